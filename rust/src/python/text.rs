//! Texts of Python's as bytes.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyString};

/// A text of Python's, kept alive while the interpreter is let go of.
pub(super) enum Text {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
}

impl Text {
    /// Of a str or bytes; a lone surrogate becomes U+FFFD.
    pub(super) fn new(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = text.cast::<PyString>() {
            if let Ok(text) = PyBackedStr::try_from(text.clone()) {
                return Ok(Self::Str(text));
            }
            // Surrogates: pairs are joined, a lone one becomes U+FFFD.
            let utf16 = text.call_method1("encode", ("utf-16-le", "surrogatepass"))?;
            let joined = utf16.call_method1("decode", ("utf-16-le", "replace"))?;
            return Ok(Self::Str(PyBackedStr::try_from(
                joined.cast_into::<PyString>()?,
            )?));
        }
        match text.extract() {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(_) => Err(PyTypeError::new_err(format!(
                "a text is str or bytes, got {}",
                text.get_type().name()?
            ))),
        }
    }

    /// The text in UTF-8, or the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Gives the bytes of many texts to `f`, which may let go of the interpreter.
///
/// One by one as [`Text`] they would cost a third of what encoding a line costs: counts of references that all must be
/// fetched from memory, to be counted up and down again.
pub(super) fn with_texts<R>(
    texts: &Bound<'_, PyList>,
    f: impl FnOnce(&[&[u8]]) -> PyResult<R>,
) -> PyResult<R> {
    // It keeps the texts, whatever other threads do to the list.
    let texts = texts.to_tuple();
    let mut others = Vec::new();
    let mut slices = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter_borrowed().enumerate() {
        slices.push(if let Some(bytes) = lasting_bytes(text) {
            bytes
        } else {
            others.push((i, Text::new(&text)?));
            &[]
        });
    }
    for (i, text) in &others {
        slices[*i] = text.bytes();
    }
    f(&slices)
}

/// The bytes of a text that Python holds as such.
fn lasting_bytes<'a>(text: Borrowed<'a, '_, PyAny>) -> Option<&'a [u8]> {
    // SAFETY: neither type ever changes its bytes or moves them, and the object lives for 'a.
    let lasting = |bytes: &[u8]| unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
    if let Ok(text) = text.cast::<PyString>() {
        return text.to_str().ok().map(|text| lasting(text.as_bytes()));
    }
    let text = text.cast::<PyBytes>().ok()?;
    Some(lasting(text.as_bytes()))
}
