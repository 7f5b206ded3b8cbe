//! `_core.Packer`.

use std::sync::{Mutex, PoisonError};

use numpy::{PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

use super::shards::PyShards;
use crate::pack::{Mode, PackOptions, Packer, Source};

/// Bytes between two looks for signals.
const STRETCH: usize = 1 << 22;

/// Fills rows; bytes in, bytes out. The typed face is `nanobpe.Packer`.
#[pyclass(name = "Packer", module = "nanobpe._core", frozen)]
struct PyPacker {
    inner: Mutex<Packer>,
    row_bytes: usize,
}

impl PyPacker {
    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut Packer) -> T + Send) -> T {
        // The mutex is taken and released while detached: nobody waits for it with the interpreter lock in hand.
        py.detach(|| work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[pymethods]
impl PyPacker {
    /// From shards that are open.
    #[staticmethod]
    #[pyo3(signature = (shards, row_tokens, mode, bos, seed, buffer_documents, epochs))]
    #[allow(clippy::too_many_arguments)] // the options of the Python class, by name
    fn from_shards(
        py: Python<'_>,
        shards: &PyShards,
        row_tokens: usize,
        mode: &str,
        bos: Option<u32>,
        seed: u64,
        buffer_documents: usize,
        epochs: Option<u64>,
    ) -> PyResult<Self> {
        let mode = Mode::named(mode)?;
        let options = PackOptions {
            row_tokens,
            mode,
            bos,
            seed,
            buffer_documents,
            epochs,
        };
        Self::new(py, Source::Shards(shards.0.clone()), options)
    }

    /// From the little-endian bytes of documents of `width`-byte ids, end to end, and where each ends.
    #[staticmethod]
    #[pyo3(signature = (bytes, width, ends, row_tokens, mode, bos, seed, buffer_documents, epochs))]
    #[allow(clippy::too_many_arguments)] // the options of the Python class, by name
    fn from_documents(
        py: Python<'_>,
        bytes: PyReadonlyArray1<'_, u8>,
        width: usize,
        ends: PyReadonlyArray1<'_, u64>,
        row_tokens: usize,
        mode: &str,
        bos: Option<u32>,
        seed: u64,
        buffer_documents: usize,
        epochs: Option<u64>,
    ) -> PyResult<Self> {
        let mode = Mode::named(mode)?;
        let options = PackOptions {
            row_tokens,
            mode,
            bos,
            seed,
            buffer_documents,
            epochs,
        };
        let source = Source::Documents {
            bytes: bytes.as_slice()?.to_vec(),
            ends: ends.as_slice()?.to_vec(),
            width,
        };
        Self::new(py, source, options)
    }

    /// Up to `rows` rows as bytes, shape (rows, row bytes); fewer at the end of the data.
    fn rows<'py>(&self, py: Python<'py>, rows: usize) -> PyResult<Bound<'py, PyArray2<u8>>> {
        let array = PyArray2::<u8>::zeros(py, [rows, self.row_bytes], false);
        let mut filled = 0;
        {
            let mut view = array.readwrite();
            let stretch = (STRETCH / self.row_bytes).max(1) * self.row_bytes;
            for part in view.as_slice_mut()?.chunks_mut(stretch) {
                let (done, whole) = self.with(py, |packer| {
                    let mut done = 0;
                    for row in part.chunks_exact_mut(self.row_bytes) {
                        if !packer.fill(row)? {
                            return Ok((done, false));
                        }
                        done += 1;
                    }
                    Ok::<_, crate::Error>((done, true))
                })?;
                filled += done;
                if !whole {
                    break;
                }
                py.check_signals()?;
            }
        }
        if filled == rows {
            return Ok(array);
        }
        let kept = array.readonly().as_slice()?[..filled * self.row_bytes].to_vec();
        numpy::PyArray1::from_vec(py, kept).reshape([filled, self.row_bytes])
    }

    /// The state as JSON.
    fn state(&self, py: Python<'_>) -> String {
        self.with(py, |packer| packer.state())
    }

    /// Goes to a state.
    fn restore(&self, py: Python<'_>, state: &str) -> PyResult<()> {
        Ok(self.with(py, |packer| packer.restore(state))?)
    }

    /// The report as JSON.
    fn report(&self, py: Python<'_>) -> String {
        let report = self.with(py, |packer| packer.report());
        serde_json::to_string(&report).expect("a report has string keys only")
    }
}

impl PyPacker {
    fn new(py: Python<'_>, source: Source, options: PackOptions) -> PyResult<Self> {
        let packer = py.detach(|| Packer::new(source, options))?;
        Ok(Self {
            row_bytes: packer.row_bytes(),
            inner: Mutex::new(packer),
        })
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyPacker>()
}
