//! `_core.Shards`, `_core.verify`.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::PyArray1;
use pyo3::prelude::*;

use crate::error::Error;
use crate::shard::{self, Shards};

/// One split of a shard folder, mapped and checked. The typed face is `nanobpe.Shards`.
#[pyclass(name = "Shards", module = "nanobpe._core", frozen)]
pub(super) struct PyShards(pub(super) Arc<Shards>);

#[pymethods]
impl PyShards {
    #[new]
    fn new(py: Python<'_>, folder: PathBuf, split: &str) -> PyResult<Self> {
        Ok(Self(Arc::new(py.detach(|| Shards::open(&folder, split))?)))
    }

    /// The manifest of the whole folder as JSON.
    fn manifest(&self) -> String {
        serde_json::to_string(self.0.manifest()).expect("a manifest has string keys only")
    }

    /// The files of the split, in order.
    fn paths(&self) -> Vec<PathBuf> {
        (0..self.0.len()).map(|i| self.0.path(i)).collect()
    }

    /// Where documents begin in shard `index`, uint32.
    fn starts<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray1<u32>>> {
        Ok(PyArray1::from_vec(py, py.detach(|| self.0.starts(index))?))
    }
}

/// (shards, tokens, errors) of a folder; `progress` is called with the bytes read so far.
#[pyfunction]
#[pyo3(signature = (folder, progress=None))]
fn verify(
    py: Python<'_>,
    folder: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u64, u64, Vec<String>)> {
    let (mut raised, mut read) = (None, 0);
    let found = py.detach(|| {
        shard::verify(&folder, &mut |bytes| {
            read += bytes;
            let told = Python::attach(|py| {
                py.check_signals()?;
                progress.as_ref().map(|call| call.call1(py, (read,))).transpose()
            });
            raised = told.err();
            raised.is_none()
        })
    });
    match (found, raised) {
        (Err(Error::Interrupted), Some(raised)) => Err(raised),
        (found, _) => Ok(found.map(|v| (v.shards, v.tokens, v.errors))?),
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyShards>()?;
    module.add_function(wrap_pyfunction!(verify, module)?)
}
