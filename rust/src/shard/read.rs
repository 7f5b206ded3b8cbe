//! Reading shards: memory-mapped, checked when opened, verified on demand.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::{HEADER_BYTES, MANIFEST, Manifest, ShardInfo, header, hex, magic};
use crate::error::{Error, Result};

/// One split of a folder of shards, mapped into memory.
pub struct Shards {
    folder: PathBuf,
    manifest: Manifest,
    split: String,
    width: usize,
    maps: Vec<Mmap>,
}

impl Shards {
    /// Maps the shards of `split`; header, size and manifest of each must agree.
    ///
    /// # Errors
    /// `Error::Io` for what is not there, `Error::Value` for a split without shards, `Error::Format` for a shard that
    /// does not hold what the manifest says; each names the file.
    pub fn open(folder: &Path, split: &str) -> Result<Self> {
        let manifest = open_manifest(folder)?;
        let width = manifest.width()?;
        let Some(found) = manifest.splits.get(split).filter(|s| !s.shards.is_empty()) else {
            let held: Vec<_> = manifest
                .splits
                .iter()
                .filter(|(_, s)| !s.shards.is_empty())
                .collect();
            let held: Vec<_> = held.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::value(format!(
                "{}: there is no split {split:?}; it holds {}",
                folder.display(),
                if held.is_empty() {
                    "none".to_string()
                } else {
                    held.join(", ")
                }
            )));
        };
        let maps = found
            .shards
            .iter()
            .map(|info| map(&folder.join(&info.name), width, info.tokens));
        let maps = maps.collect::<Result<_>>()?;
        Ok(Self {
            folder: folder.to_path_buf(),
            split: split.to_string(),
            width,
            maps,
            manifest,
        })
    }

    /// The record of the whole folder.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files' records, in order.
    pub fn infos(&self) -> &[ShardInfo] {
        &self.manifest.splits[&self.split].shards
    }

    /// Number of shards.
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// Never: a split without shards does not open.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// Bytes of an id.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Documents of the split.
    pub fn num_documents(&self) -> u64 {
        self.manifest.splits[&self.split].documents
    }

    /// The file of shard `index`.
    pub fn path(&self, index: usize) -> PathBuf {
        self.folder.join(&self.infos()[index].name)
    }

    /// Ids of shard `index`, as little-endian bytes.
    pub fn bytes(&self, index: usize) -> &[u8] {
        &self.maps[index][HEADER_BYTES..]
    }

    /// Number of ids of shard `index`.
    pub fn tokens(&self, index: usize) -> u64 {
        self.infos()[index].tokens
    }

    /// Where documents begin in shard `index`; what lies before the first belongs to the last one of the shard before.
    ///
    /// # Errors
    /// `Error::Io` or `Error::Format` if the index file is not what the manifest says.
    pub fn starts(&self, index: usize) -> Result<Vec<u32>> {
        let info = &self.infos()[index];
        let starts = match &info.index {
            Some(file) => read_index(&self.folder.join(&file.name), info)?,
            None => match self.manifest.bos_id {
                Some(bos) if self.width == 2 => positions_16(self.bytes(index), bos as u16),
                Some(bos) => positions_32(self.bytes(index), bos),
                None => {
                    return Err(Error::format(format!(
                        "{}: the manifest names neither a BOS id nor an index of documents",
                        self.path(index).display()
                    )));
                }
            },
        };
        if starts.len() as u64 != info.documents {
            return Err(Error::format(format!(
                "{}: {} documents begin in it, its manifest says {}",
                self.path(index).display(),
                starts.len(),
                info.documents
            )));
        }
        Ok(starts)
    }
}

/// The manifest of a folder, with an error that says what is there instead.
fn open_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    fs::metadata(folder).map_err(Error::io(folder))?;
    if !path.exists() {
        let unfinished = folder.join(super::JOURNAL).exists();
        return Err(Error::format(if unfinished {
            format!(
                "{}: these shards are unfinished; `nanobpe encode --resume` ends them",
                folder.display()
            )
        } else {
            format!(
                "{}: no shards here, {MANIFEST} is missing",
                folder.display()
            )
        }));
    }
    Manifest::read(&path)
}

/// Maps a shard and checks its header and size.
fn map(path: &Path, width: usize, tokens: u64) -> Result<Mmap> {
    let wrong = |what: String| Err(Error::format(format!("{}: {what}", path.display())));
    let file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    if size < HEADER_BYTES as u64 {
        return wrong(format!(
            "{size} bytes are fewer than a shard's header of {HEADER_BYTES}"
        ));
    }
    // SAFETY: shards are never changed in place once they have their name, neither by us nor by anyone who means well;
    // a file truncated while mapped ends the process with SIGBUS, as for every reader of mapped files.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
    let field =
        |i: usize| i32::from_le_bytes([map[4 * i], map[4 * i + 1], map[4 * i + 2], map[4 * i + 3]]);
    if [field(0), field(1)] != magic(width) {
        return wrong(format!(
            "magic {} version {} is not that of uint{} shards, {:?}",
            field(0),
            field(1),
            8 * width,
            magic(width)
        ));
    }
    if u64::try_from(field(2)) != Ok(tokens) {
        return wrong(format!(
            "the header counts {} tokens, the manifest {tokens}",
            field(2)
        ));
    }
    if map[..HEADER_BYTES] != header(width, tokens) {
        return wrong("the header goes on with other bytes than zeroes".into());
    }
    let want = HEADER_BYTES as u64 + tokens * width as u64;
    if size != want {
        return wrong(format!(
            "{size} bytes on disk, {want} expected for {tokens} tokens"
        ));
    }
    Ok(map)
}

fn read_index(path: &Path, info: &ShardInfo) -> Result<Vec<u32>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let wrong = |what: &str| Err(Error::format(format!("{}: {what}", path.display())));
    if bytes.len() % 4 != 0 {
        return wrong("its size is no multiple of 4 bytes");
    }
    let starts: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let ordered = starts.is_sorted() && starts.last().is_none_or(|&s| u64::from(s) <= info.tokens);
    if ordered {
        Ok(starts)
    } else {
        wrong("the positions are not in order within the shard")
    }
}

// A lazy or would leave the loop early and not vectorise.
#[allow(clippy::needless_bitwise_bool)]
fn positions_16(bytes: &[u8], id: u16) -> Vec<u32> {
    // Blocks without the id are passed over at once.
    let id = id.to_le_bytes();
    let mut found = Vec::new();
    for (block, ids) in bytes.chunks(64).enumerate() {
        if ids.chunks_exact(2).fold(false, |any, b| any | (b == id)) {
            let at = ids.chunks_exact(2).enumerate().filter(|(_, b)| *b == id);
            found.extend(at.map(|(i, _)| (block * 32 + i) as u32));
        }
    }
    found
}

fn positions_32(bytes: &[u8], id: u32) -> Vec<u32> {
    let id = id.to_le_bytes();
    let at = bytes.chunks_exact(4).enumerate().filter(|(_, b)| *b == id);
    at.map(|(i, _)| i as u32).collect()
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Shard files looked at.
    pub shards: u64,
    /// Tokens that the manifest counts.
    pub tokens: u64,
    /// One line per fault, with the file's name.
    pub errors: Vec<String>,
}

/// Reads every byte of a folder of shards and compares it with the manifest.
///
/// `proceed` gets the bytes read since it was last called and stops the work by false.
///
/// # Errors
/// `Error::Io` for a folder that is not there, `Error::Format` for a broken manifest, `Error::Interrupted`. Faults of
/// shards are no errors: they are listed.
pub fn verify(folder: &Path, proceed: &mut dyn FnMut(u64) -> bool) -> Result<Verification> {
    let manifest = open_manifest(folder)?;
    let width = manifest.width()?;
    let mut found = Verification::default();
    for (name, split) in &manifest.splits {
        let mut sums = [0; 3];
        for info in &split.shards {
            found.shards += 1;
            found.tokens += info.tokens;
            for (sum, part) in sums
                .iter_mut()
                .zip([info.documents, info.tokens, info.bytes])
            {
                *sum += part;
            }
            if let Err(error) = verify_shard(folder, &manifest, width, info, proceed) {
                if matches!(error, Error::Interrupted) {
                    return Err(error);
                }
                found.errors.push(error.to_string());
            }
        }
        if sums != [split.documents, split.tokens, split.bytes] {
            let path = folder.join(MANIFEST);
            found
                .errors
                .push(format!("{}: the sums of {name} are wrong", path.display()));
        }
    }
    Ok(found)
}

fn verify_shard(
    folder: &Path,
    manifest: &Manifest,
    width: usize,
    info: &ShardInfo,
    proceed: &mut dyn FnMut(u64) -> bool,
) -> Result<()> {
    let path = folder.join(&info.name);
    let map = map(&path, width, info.tokens)?;
    let mut same = |path: &Path, from: usize, want: &str| {
        if sha256_from(path, from as u64, proceed)? == want {
            return Ok(());
        }
        Err(Error::format(format!(
            "{}: its checksum is not the manifest's",
            path.display()
        )))
    };
    same(&path, HEADER_BYTES, &info.ids_sha256)?;
    if let Some(index) = &info.index {
        same(&folder.join(&index.name), 0, &index.sha256)?;
    }
    let ids = map[HEADER_BYTES..].chunks_exact(width);
    let id = |b: &[u8]| {
        b.iter()
            .rev()
            .fold(0usize, |id, &b| id << 8 | usize::from(b))
    };
    let highest: Cow<'_, str> = match ids.map(id).max() {
        Some(highest) if highest >= manifest.vocab_size => highest.to_string().into(),
        _ => return Ok(()),
    };
    Err(Error::format(format!(
        "{}: id {highest} is beyond the vocabulary of {}",
        path.display(),
        manifest.vocab_size
    )))
}

/// SHA-256 of a file's bytes from one on; `proceed` is asked every few MiB and stops it by false.
///
/// Read, not mapped: what the disk cannot read is an error then, and ends no process.
fn sha256_from(path: &Path, from: u64, proceed: &mut dyn FnMut(u64) -> bool) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    file.seek(SeekFrom::Start(from)).map_err(Error::io(path))?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut block).map_err(Error::io(path))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&block[..read]);
        if !proceed(read as u64) {
            return Err(Error::Interrupted);
        }
    }
}
