//! `_core.EncodeStream`: one text in chunks.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::super::text::Text;
use super::encoding::run;
use crate::encode::stream::Stream;

/// The encoder of one text in chunks.
#[pyclass(name = "EncodeStream", module = "nanobpe._core")]
pub(in super::super) struct PyStream(pub(super) Stream);

#[pymethods]
impl PyStream {
    /// The ids that are certain after this chunk.
    fn push<'py>(
        &mut self,
        py: Python<'py>,
        chunk: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let chunk = Text::new(chunk)?;
        let mut ids = Vec::new();
        run(py, chunk.bytes().len(), |stop| {
            self.0.push(chunk.bytes(), &mut ids, stop)
        })?;
        PyList::new(py, ids)
    }

    /// The ids of what was held back.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut ids = Vec::new();
        let held = self.0.num_held();
        run(py, held, |stop| self.0.finish(&mut ids, stop))?;
        PyList::new(py, ids)
    }
}
