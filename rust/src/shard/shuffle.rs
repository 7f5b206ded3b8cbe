//! Documents in an order that only a seed and their number decide, in bounded memory.
//!
//! Each document has a random key. Its ids go to one of 256 files by the key's first byte; afterwards these are
//! read one by one, sorted by key and written on. A file that is too large for that is first divided again, by the
//! next byte. The files have temporary names beside the shards, so that what a killed run leaves goes with the next.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::encode::{Encoded, ShardSink, Sink};
use super::temporary;
use super::write::Part;
use crate::error::{Error, Result};

/// Largest file that is sorted in memory.
const SORTED_BYTES: u64 = 32 << 20;
/// Buffer of each of the 256 files.
const BUFFER_BYTES: usize = 1 << 15;
/// Bytes of a record before its ids: key, number of ids, bytes of text, split, whether a document begins.
const HEAD_BYTES: usize = 8 + 8 + 8 + 1 + 1;

/// Takes documents in input order and hands them to a [`ShardSink`] in random order.
pub struct ShuffleSink {
    sink: ShardSink,
    folder: PathBuf,
    seed: u64,
    sorted_bytes: u64,
    /// Documents begun.
    documents: u64,
    key: u64,
    split: usize,
    files: Scatter,
}

/// A part of a document on its way.
struct Record {
    key: u64,
    ids: Vec<u8>,
    bytes: u64,
    split: u8,
    begins: bool,
}

impl ShuffleSink {
    /// In front of `sink`, with files in `folder`.
    pub fn new(sink: ShardSink, folder: &Path, seed: u64) -> Self {
        Self::with_sorted_bytes(sink, folder, seed, SORTED_BYTES)
    }

    pub(super) fn with_sorted_bytes(
        sink: ShardSink,
        folder: &Path,
        seed: u64,
        sorted_bytes: u64,
    ) -> Self {
        Self {
            sink,
            folder: folder.to_path_buf(),
            seed,
            sorted_bytes,
            documents: 0,
            key: 0,
            split: 0,
            files: Scatter::new(&folder.join("shuffle"), 0),
        }
    }

    /// Writes on what a file holds, in order of the keys, of which the files of `depth` share that many bytes.
    fn write_on(&mut self, path: &Path, depth: u32, stop: &AtomicBool) -> Result<()> {
        let size = fs::metadata(path).map_err(Error::io(path))?.len();
        let mut records = Records::open(path)?;
        if size > self.sorted_bytes && depth < 8 {
            let mut files = Scatter::new(path, depth);
            while let Some(record) = records.next(stop)? {
                files.put(&record)?;
            }
            fs::remove_file(path).map_err(Error::io(path))?;
            for path in files.finish()? {
                self.write_on(&path, depth + 1, stop)?;
            }
            return Ok(());
        }
        if depth == 8 {
            // All keys are equal: one document, but for a collision, and too large to be held.
            while let Some(record) = records.next(stop)? {
                self.hand_on(&record)?;
            }
        } else {
            let mut all = Vec::new();
            while let Some(record) = records.next(stop)? {
                all.push(record);
            }
            // Stable: the parts of a document stay in order.
            all.sort_by_key(|record| record.key);
            for record in &all {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                self.hand_on(record)?;
            }
        }
        fs::remove_file(path).map_err(Error::io(path))
    }

    fn hand_on(&mut self, record: &Record) -> Result<()> {
        let ids: Vec<u32> = record
            .ids
            .chunks_exact(4)
            .map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
            .collect();
        let part = Part {
            ids: &ids,
            bytes: record.bytes,
            begins: record.begins,
        };
        self.sink.part(usize::from(record.split), part)
    }
}

impl Sink for ShuffleSink {
    fn take(&mut self, encoded: &Encoded, _: &AtomicBool) -> Result<()> {
        for (ids, piece) in encoded.iter() {
            if piece.begins {
                self.key = xxh3_64_with_seed(&self.documents.to_le_bytes(), self.seed);
                self.split = piece.split.unwrap_or(self.split);
                self.documents += 1;
            }
            self.files.put(&Record {
                key: self.key,
                ids: ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
                bytes: piece.bytes,
                split: self.split as u8,
                begins: piece.begins,
            })?;
        }
        Ok(())
    }

    fn finish(&mut self, stop: &AtomicBool) -> Result<Option<String>> {
        for path in self.files.finish()? {
            self.write_on(&path, 1, stop)?;
        }
        self.sink.finish(stop)
    }

    fn abandon(&mut self) -> bool {
        // Whatever is left of the files: those of all depths begin alike.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".shuffle") {
                let _ = fs::remove_file(entry.path());
            }
        }
        self.sink.abandon()
    }
}

/// 256 files, one for each value of a byte of the key; those that get nothing are not made.
struct Scatter {
    prefix: PathBuf,
    depth: u32,
    files: Vec<Option<BufWriter<File>>>,
}

impl Scatter {
    /// Files whose names begin with that of `parent`, by byte number `depth` of the keys.
    fn new(parent: &Path, depth: u32) -> Self {
        let name = parent.file_stem().unwrap_or_default().to_string_lossy();
        Self {
            prefix: parent.with_file_name(name.trim_start_matches('.')),
            depth,
            files: (0..256).map(|_| None).collect(),
        }
    }

    fn path(&self, byte: usize) -> PathBuf {
        let name = self
            .prefix
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        temporary(&self.prefix.with_file_name(format!("{name}-{byte:02x}")))
    }

    fn put(&mut self, record: &Record) -> Result<()> {
        let byte = (record.key >> (56 - 8 * self.depth)) as usize & 0xff;
        let path = self.path(byte);
        let file = match &mut self.files[byte] {
            Some(file) => file,
            none => {
                let file = File::create(&path).map_err(Error::io(&path))?;
                none.insert(BufWriter::with_capacity(BUFFER_BYTES, file))
            }
        };
        record.write(file).map_err(Error::io(&path))
    }

    /// Completes the files; their paths in order of the byte.
    fn finish(&mut self) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for byte in 0..self.files.len() {
            if let Some(mut file) = self.files[byte].take() {
                let path = self.path(byte);
                file.flush().map_err(Error::io(&path))?;
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

impl Record {
    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.key.to_le_bytes());
        head[8..16].copy_from_slice(&(self.ids.len() as u64).to_le_bytes());
        head[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        head[24] = self.split;
        head[25] = u8::from(self.begins);
        out.write_all(&head)?;
        out.write_all(&self.ids)
    }
}

/// The records of a file, in order.
struct Records {
    path: PathBuf,
    file: BufReader<File>,
}

impl Records {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file: BufReader::with_capacity(1 << 18, file),
        })
    }

    fn next(&mut self, stop: &AtomicBool) -> Result<Option<Record>> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let mut head = [0; HEAD_BYTES];
        match self.file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(Error::io(&self.path)(error)),
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut ids = vec![0; number(8) as usize];
        self.file
            .read_exact(&mut ids)
            .map_err(Error::io(&self.path))?;
        Ok(Some(Record {
            key: number(0),
            ids,
            bytes: number(16),
            split: head[24],
            begins: head[25] != 0,
        }))
    }
}
