//! One shard while it grows, under a temporary name until it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{HEADER_BYTES, IndexInfo, ShardInfo, header, hex, lay_out, temporary, write_whole};
use crate::error::{Error, Result};

/// Bytes after which the disk is told to begin: with all of them at the end, completing a shard of 100 million tokens
/// took 0.1 seconds longer.
const WRITTEN_AT_ONCE: u64 = 8 << 20;

/// A place in a shard.
#[derive(Clone, Default)]
struct Mark {
    tokens: u64,
    bytes: u64,
    /// Of the ids before it.
    sha256: Sha256,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) documents: u64,
    pub(super) tokens: u64,
    pub(super) bytes: u64,
}

/// A shard that grows.
pub(super) struct OpenShard {
    path: PathBuf,
    width: usize,
    /// None while a shard that is complete on disk is gone through.
    file: Option<BufWriter<File>>,
    pub(super) known: Option<ShardInfo>,
    pub(super) count: Count,
    starts: Vec<u32>,
    /// Of the ids so far.
    sha256: Sha256,
    /// Where the document begins that is being written; the shard's start for the rest of one.
    document: Mark,
    /// How much of the file the disk has been told of.
    told: u64,
}

impl OpenShard {
    pub(super) fn create(path: PathBuf, width: usize, known: Option<ShardInfo>) -> Result<Self> {
        let mut shard = Self {
            width,
            file: None,
            known,
            count: Count::default(),
            starts: Vec::new(),
            sha256: Sha256::new(),
            document: Mark::default(),
            told: 0,
            path,
        };
        if shard.known.is_none() {
            let name = temporary(&shard.path);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&name);
            let file = file.map_err(Error::io(&name))?;
            let mut file = BufWriter::with_capacity(1 << 18, file);
            file.write_all(&header(width, 0))
                .map_err(Error::io(&name))?;
            shard.file = Some(file);
        }
        Ok(shard)
    }

    /// A document begins here.
    pub(super) fn begin(&mut self) {
        self.document = Mark {
            tokens: self.count.tokens,
            bytes: self.count.bytes,
            sha256: self.sha256.clone(),
        };
        self.starts.push(self.count.tokens as u32);
        self.count.documents += 1;
    }

    /// Whether the document that is being written began behind others.
    pub(super) fn has_before(&self) -> bool {
        self.document.tokens > 0
    }

    pub(super) fn append(&mut self, ids: &[u32], bytes: u64) -> Result<()> {
        self.count.tokens += ids.len() as u64;
        self.count.bytes += bytes;
        if self.file.is_none() {
            return Ok(());
        }
        let mut block = [0; 1 << 13];
        for ids in ids.chunks(block.len() / self.width) {
            let block = &mut block[..ids.len() * self.width];
            lay_out(ids, self.width, block);
            self.write(block)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let file = self.file.as_mut().expect("a known shard is not written");
        self.sha256.update(bytes);
        file.write_all(bytes).map_err(Error::io(&self.path))?;
        let size = HEADER_BYTES as u64 + self.count.tokens * self.width as u64;
        if size >= self.told + WRITTEN_AT_ONCE {
            begin_writing(file.get_ref(), self.told);
            self.told = size;
        }
        Ok(())
    }

    /// Copies the open document to the start of another shard and forgets it here; [`OpenShard::complete`] cuts it off.
    pub(super) fn move_document(&mut self, fresh: &mut Self) -> Result<()> {
        let Mark {
            tokens,
            bytes,
            sha256,
        } = std::mem::take(&mut self.document);
        fresh.begin();
        fresh.count.tokens = self.count.tokens - tokens;
        fresh.count.bytes = self.count.bytes - bytes;
        let mut document = self.written_from(tokens)?;
        let mut block = vec![0; 1 << 16];
        loop {
            let read = document.read(&mut block).map_err(Error::io(&self.path))?;
            if read == 0 {
                break;
            }
            fresh.write(&block[..read])?;
        }
        self.count = Count {
            documents: self.count.documents - 1,
            tokens,
            bytes,
        };
        self.sha256 = sha256;
        self.starts.pop();
        Ok(())
    }

    /// What was written from a token on.
    fn written_from(&mut self, token: u64) -> Result<File> {
        let name = temporary(&self.path);
        let file = self
            .file
            .as_mut()
            .expect("only a shard that is written is cut");
        let start = HEADER_BYTES as u64 + token * self.width as u64;
        let opened = file.flush().and_then(|()| {
            let mut file = File::open(&name)?;
            file.seek(SeekFrom::Start(start))?;
            Ok(file)
        });
        opened.map_err(Error::io(&name))
    }

    /// Gives the shard its name. A known shard must have come out as it is on disk.
    pub(super) fn complete(mut self, indexed: bool) -> Result<ShardInfo> {
        let Count {
            documents,
            tokens,
            bytes,
        } = self.count;
        if let Some(known) = self.known.take() {
            let same = [known.documents, known.tokens, known.bytes] == [documents, tokens, bytes];
            return if same {
                Ok(known)
            } else {
                Err(Error::value("the counts differ"))
            };
        }
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        self.finish_file(tokens).map_err(Error::io(&self.path))?;
        // No shard is there without its index, and after an interrupt no index without its shard.
        let index = if indexed {
            let path = self.path.with_extension("idx");
            let starts: Vec<u8> = self.starts.iter().flat_map(|s| s.to_le_bytes()).collect();
            write_whole(&path, &starts)?;
            Some(IndexInfo {
                name: name(&path),
                sha256: hex(&Sha256::digest(&starts)),
            })
        } else {
            None
        };
        fs::rename(temporary(&self.path), &self.path).map_err(Error::io(&self.path))?;
        self.file = None;
        Ok(ShardInfo {
            name: name(&self.path),
            documents,
            tokens,
            bytes,
            ids_sha256: hex(&std::mem::take(&mut self.sha256).finalize()),
            index,
        })
    }

    fn finish_file(&mut self, tokens: u64) -> std::io::Result<()> {
        let writer = self.file.as_mut().expect("a known shard is not written");
        writer.flush()?;
        let file = writer.get_mut();
        file.set_len(HEADER_BYTES as u64 + tokens * self.width as u64)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(self.width, tokens))?;
        file.sync_all()
    }
}

impl Drop for OpenShard {
    /// A shard that was not completed leaves nothing.
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(temporary(&self.path));
        }
    }
}

/// Asks the system to begin writing what lies behind `from`, and waits for nothing.
#[cfg(target_os = "linux")]
fn begin_writing(file: &File, from: u64) {
    use std::os::fd::AsRawFd;

    // SAFETY: the descriptor is open; nothing is read or written here, and a refusal only means a longer wait later.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            from as i64,
            0,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn begin_writing(_: &File, _: u64) {}
