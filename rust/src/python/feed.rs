//! What `_core`'s classes that take documents share: ways in from Python, signals and progress.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyString};

use super::parquet::PyParquetFile;
use crate::error::{Error, Result};
use crate::feed::file::{Compression, LocalFile};
use crate::feed::json::JsonStream;
use crate::feed::text::TextStream;
use crate::feed::{BATCH_BYTES, Feed, Poll};

/// Between two looks for signals; Ctrl-C is to be heard within 100 ms.
const LOOK: Duration = Duration::from_millis(20);
/// Between two calls of a progress callback.
const TELL: Duration = Duration::from_millis(200);

/// What a progress callback gets, as keys and numbers.
type Row = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send>;

/// The Python side of a long call: its signals, its progress callback, and what they raised.
pub(super) struct Caller {
    progress: Option<(Py<PyAny>, Row)>,
    raised: Option<PyErr>,
    looked: Instant,
    told: Instant,
}

impl Caller {
    /// A caller whose `progress` is called with a dict of `row`'s numbers.
    pub(super) fn new(progress: Option<Py<PyAny>>, row: Row) -> Self {
        let now = Instant::now();
        let progress = progress.map(|call| (call, row));
        Self {
            progress,
            raised: None,
            looked: now,
            told: now,
        }
    }

    /// A caller without a progress callback.
    pub(super) fn silent() -> Self {
        Self::new(None, Box::new(Vec::new))
    }

    /// Looks for signals and tells the progress, each when it is due; what is raised is kept for [`Caller::result`].
    pub(super) fn poll(&mut self) -> Result<()> {
        let now = Instant::now();
        if now.duration_since(self.looked) < LOOK {
            return Ok(());
        }
        self.looked = now;
        let tell = now.duration_since(self.told) >= TELL;
        let told = Python::attach(|py| {
            py.check_signals()?;
            let Some((call, row)) = self.progress.as_ref().filter(|_| tell) else {
                return Ok(());
            };
            let dict = PyDict::new(py);
            row()
                .into_iter()
                .try_for_each(|(key, value)| dict.set_item(key, value))?;
            call.call1(py, (dict,)).map(drop)
        });
        if tell {
            self.told = now;
        }
        told.map_err(|error| {
            self.raised = Some(error);
            Error::Interrupted
        })
    }

    /// A result as Python sees it: what a callback or signal handler raised goes before our own error.
    pub(super) fn result<T>(&mut self, result: Result<T>) -> PyResult<T> {
        result.map_err(|error| self.raised.take().unwrap_or_else(|| error.into()))
    }
}

/// A feed and its caller; empty once it is finished or has failed.
pub(super) struct Intake<T>(Mutex<Option<(Feed<T>, Caller)>>);

impl<T: Send + 'static> Intake<T> {
    pub(super) fn new(feed: Feed<T>, caller: Caller) -> Self {
        Self(Mutex::new(Some((feed, caller))))
    }

    /// Works on the feed without the interpreter lock. A feed that has failed takes no more.
    fn with<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Feed<T>, Poll<'_>) -> Result<R> + Send,
    ) -> PyResult<R> {
        py.detach(|| {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((feed, caller)) = held.as_mut() else {
                return Err(ended());
            };
            let result = work(feed, &mut || caller.poll());
            let result = caller.result(result);
            if result.is_err() {
                *held = None;
            }
            result
        })
    }

    /// Whether `max_bytes` are reached.
    pub(super) fn is_full(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |feed, _| Ok(feed.is_full()))
    }

    /// A local file; `kind` is "text" or "jsonl", `compression` "gzip", "zstd" or None.
    pub(super) fn add_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        kind: &str,
        field: &str,
        compression: Option<&str>,
    ) -> PyResult<()> {
        let compression = match compression {
            None => None,
            Some("gzip") => Some(Compression::Gzip),
            Some("zstd") => Some(Compression::Zstd),
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "compression {other:?} is neither \"gzip\" nor \"zstd\""
                )));
            }
        };
        let file = LocalFile { path, compression };
        match kind {
            "text" => self.with(py, |feed, poll| feed.text_file(file, poll)),
            "jsonl" => self.with(py, |feed, poll| feed.json_file(file, field, poll)),
            _ => Err(unknown(kind)),
        }
    }

    /// The column `field` of a parquet file, of all its row groups or of those given.
    pub(super) fn add_parquet(
        &self,
        py: Python<'_>,
        file: &PyParquetFile,
        field: &str,
        groups: Option<Vec<usize>>,
    ) -> PyResult<()> {
        // What Python reads is read on this thread: those of the pool outlive an interrupt, maybe the interpreter.
        let by_workers = file.is_local();
        self.with(py, |feed, poll| {
            feed.parquet(&file.file, field, groups, by_workers, poll)
        })
        .map_err(|error| file.raised(error))
    }

    /// What `read(n)` gives until it gives nothing.
    pub(super) fn add_stream(
        &self,
        py: Python<'_>,
        name: &str,
        read: &Bound<'_, PyAny>,
        kind: &str,
        field: &str,
    ) -> PyResult<()> {
        let next = || -> PyResult<Option<PyBackedBytes>> {
            let block: PyBackedBytes = read.call1((BATCH_BYTES,))?.extract()?;
            Ok(if block.is_empty() { None } else { Some(block) })
        };
        match kind {
            "text" => {
                let mut stream = TextStream::default();
                while let Some(block) = next()? {
                    if self.with(py, |feed, poll| {
                        feed.text(&mut stream, &block, poll)
                            .map(|()| feed.is_full())
                    })? {
                        break;
                    }
                }
                self.with(py, |feed, poll| feed.end_text(stream, poll))
            }
            "jsonl" => {
                let mut stream = JsonStream::new(name, field);
                while let Some(block) = next()? {
                    if self.with(py, |feed, poll| {
                        feed.json(&mut stream, &block, poll)
                            .map(|()| feed.is_full())
                    })? {
                        return Ok(());
                    }
                }
                self.with(py, |feed, poll| feed.end_json(stream, poll))
            }
            _ => Err(unknown(kind)),
        }
    }

    /// One document for each pair of neighbouring offsets into `data`, without copying; both are views of Arrow buffers.
    pub(super) fn add_arrow(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyArray1<u8>>,
        offsets: &Bound<'_, PyArray1<i64>>,
    ) -> PyResult<()> {
        let offsets = offsets.readonly();
        let offsets = offsets.as_slice()?;
        let view = data.readonly();
        let bytes = view.as_slice()?;
        let end = |&end: &i64| usize::try_from(end).ok().filter(|end| *end <= bytes.len());
        let ends: Option<Vec<usize>> = offsets.iter().map(end).collect();
        let Some(ends) = ends.filter(|ends| ends.is_sorted()) else {
            return Err(PyValueError::new_err(
                "the offsets of an Arrow array are not in order within its data",
            ));
        };
        let ranges: Vec<_> = ends.windows(2).map(|w| w[0]..w[1]).collect();
        let shared = Shared {
            start: bytes.as_ptr(),
            len: bytes.len(),
            _owner: data.clone().unbind(),
        };
        let shared: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(shared);
        drop(view);
        self.with(py, |feed, poll| feed.shared(&shared, ranges, poll))
    }

    /// Documents as `str` or `bytes`.
    pub(super) fn add_texts(&self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<()> {
        let texts: Vec<Text> = texts
            .try_iter()?
            .map(|text| Text::new(&text?))
            .collect::<PyResult<_>>()?;
        self.with(py, |feed, poll| {
            texts
                .iter()
                .try_for_each(|text| feed.document(text.as_ref(), poll))
        })
    }

    /// Waits until all is worked off.
    pub(super) fn finish(&self, py: Python<'_>) -> PyResult<Vec<T>> {
        py.detach(|| {
            let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some((feed, mut caller)) = held else {
                return Err(ended());
            };
            let result = feed.finish(&mut || caller.poll());
            caller.result(result)
        })
    }

    /// Gives up: the workers end by themselves.
    pub(super) fn abandon(&self, py: Python<'_>) {
        py.detach(|| drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

fn ended() -> PyErr {
    PyValueError::new_err("this intake has ended: it was finished or has failed")
}

fn unknown(kind: &str) -> PyErr {
    PyValueError::new_err(format!(
        "input kind {kind:?} is neither \"text\" nor \"jsonl\""
    ))
}

/// Bytes of a numpy array that lives as long as this does.
struct Shared {
    start: *const u8,
    len: usize,
    _owner: Py<PyArray1<u8>>,
}

// SAFETY: the bytes are only read, and `_owner` may be dropped on any thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` and `len` were taken from `_owner`, a contiguous array that views an Arrow buffer; those are
        // immutable, and stay where they are while the array lives. An empty slice's pointer is aligned and not null.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// A document as Python holds it.
enum Text {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
}

impl Text {
    fn new(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        if text.is_instance_of::<PyBytes>() {
            return Ok(Self::Bytes(text.extract()?));
        }
        if !text.is_instance_of::<PyString>() {
            let kind = text.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "a document is {kind}; str or bytes are needed"
            )));
        }
        if let Ok(text) = text.extract() {
            return Ok(Self::Str(text));
        }
        // Surrogates: pairs become their character, a lone one U+FFFD.
        let units = text.call_method1("encode", ("utf-16-le", "surrogatepass"))?;
        let text = units.call_method1("decode", ("utf-16-le", "replace"))?;
        Ok(Self::Str(text.extract()?))
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}
