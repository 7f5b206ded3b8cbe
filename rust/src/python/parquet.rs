//! `_core.ParquetFile`: local, or read through a function.

use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::feed::parquet::{LocalFile, ParquetFile};

/// The least that is asked for at once: what is far away takes as long for a byte.
const AHEAD: usize = 1 << 20;

/// A parquet file with its footer read. The typed face is `nanobpe.sources`.
#[pyclass(name = "ParquetFile", module = "nanobpe._core", frozen)]
pub(super) struct PyParquetFile {
    pub(super) file: ParquetFile,
    /// None for a local file.
    remote: Option<Remote>,
}

#[pymethods]
impl PyParquetFile {
    /// The local file `name`, or `remote`: its size and a function of offset and length that gives bytes.
    #[new]
    #[pyo3(signature = (name, remote=None))]
    fn new(py: Python<'_>, name: PathBuf, remote: Option<(u64, Py<PyAny>)>) -> PyResult<Self> {
        let remote = remote.map(|(size, read)| Remote::new(size, read));
        let file = py.detach(|| match &remote {
            Some(remote) => ParquetFile::open(&name, remote.clone()),
            None => ParquetFile::open(&name, LocalFile::open(&name)?),
        });
        match file {
            Ok(file) => Ok(Self { file, remote }),
            Err(error) => Err(raised(remote.as_ref(), error.into())),
        }
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<&str> {
        self.file.columns()
    }

    /// Bytes of each row group before compression.
    #[getter]
    fn group_bytes(&self) -> Vec<u64> {
        self.file.group_bytes()
    }
}

impl PyParquetFile {
    pub(super) fn is_local(&self) -> bool {
        self.remote.is_none()
    }

    /// What the function raised, if that is why reading failed.
    pub(super) fn raised(&self, error: PyErr) -> PyErr {
        raised(self.remote.as_ref(), error)
    }
}

fn raised(remote: Option<&Remote>, error: PyErr) -> PyErr {
    let taken = remote.and_then(|remote| held(&remote.raised).take());
    taken.unwrap_or(error)
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that Python reads.
#[derive(Clone)]
struct Remote {
    size: u64,
    read: Arc<Py<PyAny>>,
    raised: Arc<Mutex<Option<PyErr>>>,
    /// What was asked for last, and where it begins.
    last: Arc<Mutex<(u64, Bytes)>>,
}

impl Remote {
    fn new(size: u64, read: Py<PyAny>) -> Self {
        Self {
            size,
            read: Arc::new(read),
            raised: Arc::default(),
            last: Arc::default(),
        }
    }

    /// What `read` gives, which must be as long as asked for.
    fn ask(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let asked = Python::attach(|py| {
            let bytes: PyBackedBytes = self.read.call1(py, (start, length))?.extract(py)?;
            Ok(bytes)
        });
        let bytes = asked.map_err(|error| {
            *held(&self.raised) = Some(error);
            ParquetError::General("it cannot be read".to_string())
        })?;
        if bytes.len() != length {
            let got = bytes.len();
            return Err(ParquetError::EOF(format!(
                "there are {got} of {length} bytes at {start}"
            )));
        }
        Ok(Bytes::from_owner(bytes))
    }
}

impl Length for Remote {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Remote {
    type T = BufReader<At>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(At {
            remote: self.clone(),
            at: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let left = self.size.saturating_sub(start);
        if length as u64 > left {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} reach beyond its end at {}",
                self.size
            )));
        }
        let mut last = held(&self.last);
        let (begin, bytes) = &*last;
        let known = match start.checked_sub(*begin) {
            Some(skipped) if skipped < bytes.len() as u64 => bytes.slice(skipped as usize..),
            _ => Bytes::new(),
        };
        if known.len() >= length {
            return Ok(known.slice(..length));
        }
        // Pages are read one behind the other: what is known is the beginning of this one.
        let (from, missing) = (start + known.len() as u64, length - known.len());
        let left = usize::try_from(self.size - from).unwrap_or(usize::MAX);
        let more = self.ask(from, missing.max(AHEAD).min(left))?;
        let found = if known.is_empty() {
            more.slice(..missing)
        } else {
            let mut joined = BytesMut::with_capacity(length);
            joined.extend_from_slice(&known);
            joined.extend_from_slice(&more[..missing]);
            joined.freeze()
        };
        *last = (from, more);
        Ok(found)
    }
}

/// A remote file from some place on.
struct At {
    remote: Remote,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.remote.size.saturating_sub(self.at);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let bytes = self
            .remote
            .get_bytes(self.at, length)
            .map_err(std::io::Error::other)?;
        buffer[..length].copy_from_slice(&bytes);
        self.at += length as u64;
        Ok(length)
    }
}
