//! The Python extension `nanobpe._core`: converts, detaches from the interpreter and maps errors, nothing else.

use pyo3::create_exception;
use pyo3::exceptions::{PyKeyError, PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;

mod arguments;
mod feed;
mod gc;
mod pack;
mod parquet;
mod run;
mod shards;
mod text;
mod tokenizer;
mod train;

use run::interruptible;

create_exception!(
    nanobpe,
    FormatError,
    PyValueError,
    "A file that does not hold what its format asks for."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Format(_) => FormatError::new_err(message),
            Error::UnknownToken(_) => PyKeyError::new_err(message),
            // OSError picks the subclass (FileNotFoundError, ...) from the number.
            Error::Io { path, source } => match source.raw_os_error() {
                Some(code) => {
                    let text = std::io::Error::from_raw_os_error(code).to_string();
                    let text = text
                        .split(" (os error")
                        .next()
                        .unwrap_or_default()
                        .to_string();
                    PyOSError::new_err((code, text, path))
                }
                None => PyOSError::new_err(message),
            },
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            Error::Value(_) => PyValueError::new_err(message),
        }
    }
}

/// The extension module.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::FormatError;

    use pyo3::prelude::*;
    use pyo3::types::IntoPyDict;

    use crate::pretokenize::{PATTERNS, UNICODE_VERSION};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("UNICODE_VERSION", UNICODE_VERSION)?;
        module.add(
            "PATTERNS",
            PATTERNS.iter().copied().into_py_dict(module.py())?,
        )?;
        super::pack::register(module)?;
        module.add_class::<super::parquet::PyParquetFile>()?;
        super::shards::register(module)?;
        super::tokenizer::register(module)?;
        super::train::register(module)
    }
}
