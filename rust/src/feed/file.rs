//! Local files of text or JSON lines, compressed or not.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952; several members are one text.
    Gzip,
    /// RFC 8878; several frames are one text.
    Zstd,
}

/// A local file.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// None if it is not compressed.
    pub compression: Option<Compression>,
}

impl LocalFile {
    /// Opens it; gives what it holds, and its size on disk if it has one.
    ///
    /// # Errors
    /// `Error::Io` if that cannot be done.
    pub(super) fn open(&self) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
        let refused = || Error::io(&self.path);
        let file = File::open(&self.path).map_err(refused())?;
        let status = file.metadata().map_err(refused())?;
        let size = status.is_file().then_some(status.len());
        let content: Box<dyn Read + Send> = match self.compression {
            None => Box::new(file),
            Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(file)),
            Some(Compression::Zstd) => Box::new(zstd::Decoder::new(file).map_err(refused())?),
        };
        Ok((content, size))
    }

    /// What went wrong while it was read: the system's refusal, or what it holds.
    pub(super) fn failed(&self, error: std::io::Error) -> Error {
        Error::reading(&self.path)(error)
    }
}
