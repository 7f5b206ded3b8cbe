//! Tokens, ids and merges that callers list, and what is said of others.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyList, PyString};

/// A token's bytes.
pub(super) fn token_of(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let bytes: PyBackedBytes = value.extract().map_err(|_| {
        let hint = if value.is_instance_of::<PyString>() {
            "\nhint: pass token.encode()"
        } else {
            ""
        };
        wrong("token", value, "bytes", hint)
    })?;
    Ok(bytes.to_vec())
}

/// A token's id: what is no id is a `ValueError`, whatever its size.
pub(super) fn id_of(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            PyValueError::new_err(format!("id {value} is not from 0 to 2**32 - 1"))
        } else {
            wrong("id", value, "an integer", "")
        }
    })
}

/// The texts and ids of special tokens.
pub(super) fn specials_of(specials: &Bound<'_, PyDict>) -> PyResult<Vec<(String, u32)>> {
    let special = |text: &Bound<'_, PyAny>| {
        let found: PyResult<String> = text.extract();
        found.map_err(|_| wrong("special token", text, "str", ""))
    };
    specials
        .iter()
        .map(|(text, id)| Ok((special(&text)?, id_of(&id)?)))
        .collect()
}

/// The two tokens of each merge.
pub(super) fn merges_of(merges: &Bound<'_, PyList>) -> PyResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let parts = |merge: &Bound<'_, PyAny>| {
        let pair: [Bound<'_, PyAny>; 2] = merge
            .extract()
            .map_err(|_| wrong("merge", merge, "a pair of bytes", ""))?;
        Ok((token_of(&pair[0])?, token_of(&pair[1])?))
    };
    merges.iter().map(|merge| parts(&merge)).collect()
}

fn wrong(what: &str, value: &Bound<'_, PyAny>, want: &str, hint: &str) -> PyErr {
    let kind = value.get_type().name();
    match (value.repr(), kind) {
        (Ok(shown), Ok(kind)) => {
            PyTypeError::new_err(format!("{what} {shown} is {kind}, want {want}{hint}"))
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}
