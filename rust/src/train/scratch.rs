//! A temporary file that nobody sees: it has no name when its first byte is written, so that no exit, not even a kill,
//! leaves it behind. Written once from front to back in runs; each run is then read from its start, several at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Bytes of a writer's and of a reader's buffer.
pub(super) const BUFFER_BYTES: usize = 1 << 16;

/// The file and the folder that errors name.
struct Nameless {
    file: File,
    folder: PathBuf,
}

/// A part of a file, to be read as often as wanted; the file's space is free when its last run is dropped.
#[derive(Clone)]
pub(super) struct Run {
    file: Arc<Nameless>,
    range: Range<u64>,
}

/// Writes runs, one after the other.
pub(super) struct Scratch {
    file: Arc<Nameless>,
    buffer: Vec<u8>,
    start: u64,
    end: u64,
}

impl Scratch {
    /// A new file in `folder`.
    ///
    /// # Errors
    /// `Error::Io` if the folder takes none.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let file = nameless(folder).map_err(Error::io(folder))?;
        let folder = folder.to_path_buf();
        Ok(Self {
            file: Arc::new(Nameless { file, folder }),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            start: 0,
            end: 0,
        })
    }

    /// Appends to the open run.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
            if bytes.len() > BUFFER_BYTES {
                return self.append(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a number of one to ten bytes, seven bits each.
    #[inline]
    pub(super) fn write_number(&mut self, mut number: u64) -> Result<()> {
        let (mut bytes, mut len) = ([0; 10], 1);
        while number >= 0x80 {
            bytes[len - 1] = number as u8 | 0x80;
            number >>= 7;
            len += 1;
        }
        bytes[len - 1] = number as u8;
        self.write(&bytes[..len])
    }

    /// Ends the open run; the next byte begins another.
    pub(super) fn end_run(&mut self) -> Result<Run> {
        self.flush()?;
        let range = self.start..self.end;
        self.start = self.end;
        Ok(Run {
            file: self.file.clone(),
            range,
        })
    }

    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.append(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        // Readers give their own positions, so the file's is the writer's alone.
        (&self.file.file)
            .write_all(bytes)
            .map_err(Error::io(&self.file.folder))?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// A file for this user that no folder lists.
fn nameless(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    #[cfg(target_os = "linux")]
    if let Ok(file) = options.clone().custom_flags(libc::O_TMPFILE).open(folder) {
        return Ok(file);
    }
    // Where the system or the disk has no such files, the name is there for a moment.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("nanobpe-{}-{number}.tmp", std::process::id()));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Run {
    /// A reader at the start.
    pub(super) fn read(&self) -> Reader {
        Reader {
            file: self.file.clone(),
            left: self.range.clone(),
            buffer: Vec::new(),
            at: 0,
        }
    }
}

/// Reads a run from front to back.
pub(super) struct Reader {
    file: Arc<Nameless>,
    left: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Whether the run has more; reads on where the buffer has none.
    #[inline]
    pub(super) fn has_more(&mut self) -> Result<bool> {
        Ok(self.at < self.buffer.len() || self.fill()?)
    }

    /// The next number.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    /// Appends the next `len` bytes to `bytes`.
    pub(super) fn bytes(&mut self, mut len: usize, bytes: &mut Vec<u8>) -> Result<()> {
        while len > 0 {
            self.need()?;
            let part = len.min(self.buffer.len() - self.at);
            bytes.extend_from_slice(&self.buffer[self.at..self.at + part]);
            self.at += part;
            len -= part;
        }
        Ok(())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8> {
        self.need()?;
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    #[inline]
    fn need(&mut self) -> Result<()> {
        if self.has_more()? {
            Ok(())
        } else {
            let end = io::Error::from(io::ErrorKind::UnexpectedEof);
            Err(Error::io(&self.file.folder)(end))
        }
    }

    #[cold]
    fn fill(&mut self) -> Result<bool> {
        let left = self.left.end - self.left.start;
        let size = BUFFER_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.buffer.resize(size, 0);
        self.at = 0;
        self.file
            .file
            .read_exact_at(&mut self.buffer, self.left.start)
            .map_err(Error::io(&self.file.folder))?;
        self.left.start += size as u64;
        Ok(size > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_give_back_what_was_written(
            runs in prop::collection::vec(
                prop::collection::vec((any::<u64>(), 0usize..5, 0usize..90_000), 0..6), 1..4),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut scratch = Scratch::new(folder.path()).unwrap();
            let bytes = |n: u64, len: usize| vec![n as u8; len];
            // Short ones fill the buffer, long ones pass it by.
            let len = |(few, many): (usize, usize)| if many % 3 == 0 { many } else { few };
            let mut made = Vec::new();
            for run in &runs {
                for &(number, few, many) in run {
                    scratch.write_number(number).unwrap();
                    scratch.write(&bytes(number, len((few, many)))).unwrap();
                }
                made.push(scratch.end_run().unwrap());
            }
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
            for (run, made) in runs.iter().zip(&made) {
                let mut reader = made.read();
                for &(number, few, many) in run {
                    prop_assert!(reader.has_more().unwrap());
                    prop_assert_eq!(reader.number().unwrap(), number);
                    let mut got = Vec::new();
                    reader.bytes(len((few, many)), &mut got).unwrap();
                    prop_assert_eq!(got, bytes(number, len((few, many))));
                }
                prop_assert!(!reader.has_more().unwrap());
                prop_assert!(reader.number().is_err());
            }
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let message = Scratch::new(&missing).err().unwrap().to_string();
        assert!(message.contains("missing"), "{message}");
    }
}
