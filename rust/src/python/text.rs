//! Texts of Python's as bytes.
//!
//! Python makes the UTF-8 of a str slowly, and keeps it as long as the str lives: most texts are encoded once, and
//! theirs is made here and thrown away. That of a text which comes again is Python's.

use std::cell::RefCell;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{PyUnicode_AsUCS4, PyUnicode_GetLength, PyUnicode_Substring};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList, PyString};

use crate::pretokenize;
use crate::pretokenize::key::{SPREAD, fold, prefetch};
use crate::processor::Level;
use crate::utf8;

/// A text of Python's, kept alive while the interpreter is let go of.
pub(super) enum Text {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
    Own(String),
}

/// Characters of a str from which on its UTF-8 is made here, and of the parts in which it is.
const LONG: usize = 512;
const PART: usize = 1 << 14;

impl Text {
    /// Of a str or bytes; a lone surrogate becomes U+FFFD.
    pub(super) fn new(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = text.cast::<PyString>() {
            if let Some(utf8) = utf8_once(text) {
                return Ok(Self::Own(utf8));
            }
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
            Self::Own(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// What is known of it.
    pub(super) fn known(&self) -> pretokenize::Text<'_> {
        match self.as_str() {
            Some(text) => pretokenize::Text::Str(text),
            None => pretokenize::Text::Bytes(self.bytes()),
        }
    }

    /// The text if it is a str.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Own(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }
}

/// The UTF-8 of a long str that is not ASCII, has no surrogates and was not here before.
fn utf8_once(text: &Bound<'_, PyString>) -> Option<String> {
    let mut unmade = Unmade::new(text, LONG)?;
    let mut utf8 = Vec::new();
    while unmade.append_next(text.py(), &mut utf8)? {}
    // SAFETY: all of it was appended as such.
    Some(unsafe { String::from_utf8_unchecked(utf8) })
}

/// A str whose UTF-8 is made here.
pub(super) struct Unmade {
    text: Py<PyString>,
    /// Characters, and those made so far.
    len: usize,
    at: usize,
    /// Of a part.
    points: Vec<u32>,
}

impl Unmade {
    /// A str of so many characters or more that is not ASCII and was not here before.
    pub(super) fn new(text: &Bound<'_, PyString>, least: usize) -> Option<Self> {
        thread_local! {
            static SEEN: RefCell<Seen> = RefCell::default();
        }
        // SAFETY: it is a str.
        let len = unsafe { PyUnicode_GetLength(text.as_ptr()) };
        let len = usize::try_from(len).ok().filter(|len| *len >= least)?;
        if SEEN.with_borrow_mut(|seen| seen.was_seen(text.as_ptr() as usize, len)) {
            return None;
        }
        let is_ascii = text.call_method0(intern!(text.py(), "isascii"));
        if is_ascii.and_then(|is| is.is_truthy()).unwrap_or(true) {
            return None;
        }
        Some(Self {
            text: text.clone().unbind(),
            len,
            at: 0,
            points: Vec::with_capacity(len.min(PART)),
        })
    }

    /// Number of characters.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends the next part; whether there is one. None if it has a surrogate.
    pub(super) fn append_next(&mut self, py: Python<'_>, utf8: &mut Vec<u8>) -> Option<bool> {
        let (text, points) = (self.text.bind(py), &mut self.points);
        let end = self.len.min(self.at + PART);
        if end == self.at {
            return Some(false);
        }
        let part = if end - self.at == self.len {
            text.clone().into_any()
        } else {
            // SAFETY: it is a str, and the places are in it; what comes back is a new one or null.
            unsafe {
                let (at, end) = (self.at as isize, end as isize);
                let part = PyUnicode_Substring(text.as_ptr(), at, end);
                Bound::from_owned_ptr_or_err(py, part).ok()?
            }
        };
        // SAFETY: there is room for so many code points, which are written unless null comes back.
        unsafe {
            let room = points.capacity() as isize;
            if PyUnicode_AsUCS4(part.as_ptr(), points.as_mut_ptr(), room, 0).is_null() {
                PyErr::take(py);
                return None;
            }
            points.set_len(end - self.at);
        }
        self.at = end;
        utf8::append(Level::best(), points, utf8).then_some(true)
    }
}

/// Where texts were, as bits of hashes: of a thousand new ones some sixty are taken for known.
struct Seen {
    bits: Box<[u64]>,
    num: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            bits: vec![0; Self::BITS / 64].into(),
            num: 0,
        }
    }
}

impl Seen {
    const BITS: usize = 1 << 18;
    /// Texts after which it begins anew.
    const MOST: usize = Self::BITS / 8;

    /// Whether the text at this address was, and from now on it is.
    fn was_seen(&mut self, address: usize, len: usize) -> bool {
        let bit = fold(address as u64 ^ SPREAD[0], len as u64 ^ SPREAD[1]) as usize % Self::BITS;
        let (word, bit) = (&mut self.bits[bit / 64], 1 << (bit % 64));
        let was_seen = *word & bit != 0;
        *word |= bit;
        self.num += usize::from(!was_seen);
        if self.num > Self::MOST {
            *self = Self::default();
        }
        was_seen
    }
}

/// Gives the bytes of many texts to `f`, which may let go of the interpreter.
///
/// One by one as [`Text`] they would cost a third of what encoding a line costs: counts of references that all must be
/// fetched from memory, to be counted up and down again.
pub(super) fn with_texts<R>(
    texts: &Bound<'_, PyList>,
    f: impl FnOnce(&[pretokenize::Text<'_>]) -> PyResult<R>,
) -> PyResult<R> {
    /// Texts between the fetch of a text's head and its use.
    const AHEAD: usize = 16;
    // It keeps the texts, whatever other threads do to the list.
    let texts = texts.to_tuple();
    let mut others = Vec::new();
    let mut known = Vec::with_capacity(texts.len());
    let mut ahead = texts.iter_borrowed().skip(AHEAD);
    for (i, text) in texts.iter_borrowed().enumerate() {
        if let Some(text) = ahead.next() {
            prefetch(text.as_ptr());
            prefetch(text.as_ptr().wrapping_byte_add(48));
        }
        known.push(if let Some(text) = lasting(text) {
            text
        } else {
            others.push((i, Text::new(&text)?));
            pretokenize::Text::Str("")
        });
    }
    for (i, text) in &others {
        known[*i] = text.known();
    }
    f(&known)
}

/// A text whose bytes Python holds as such.
fn lasting<'a>(text: Borrowed<'a, '_, PyAny>) -> Option<pretokenize::Text<'a>> {
    if let Ok(text) = text.cast::<PyString>() {
        let text: *const str = text.to_str().ok()?;
        // SAFETY: a str never changes its UTF-8 or moves it, and the object lives for 'a.
        return Some(pretokenize::Text::Str(unsafe { &*text }));
    }
    let bytes: *const [u8] = text.cast::<PyBytes>().ok()?.as_bytes();
    // SAFETY: as above of bytes.
    Some(pretokenize::Text::Bytes(unsafe { &*bytes }))
}
