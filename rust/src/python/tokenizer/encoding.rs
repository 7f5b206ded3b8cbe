//! Texts to lists and arrays of ids, without the interpreter lock where that pays.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;

use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::super::interruptible;
use super::super::text::Text;
use super::{MANY_IDS, PyRule, PyTokenizer};
use crate::arena::{self, Arena, Block};
use crate::encode::batch::Batch;
use crate::error::Result;
use crate::pretokenize;

/// Below this many bytes of text, letting go of the interpreter costs more than the call.
const SHORT_BYTES: usize = 1 << 12;
/// From here on a call may be felt: signals are looked at.
const LONG_BYTES: usize = 1 << 18;
/// From here on one text goes over all threads.
pub(super) const PARALLEL_BYTES: usize = 1 << 20;

/// Runs `work`, with the interpreter lock let go of as the size of the text demands.
pub(super) fn run<T: Send>(
    py: Python<'_>,
    num_bytes: usize,
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send,
) -> PyResult<T> {
    if num_bytes < SHORT_BYTES {
        Ok(work(&AtomicBool::new(false))?)
    } else if num_bytes < LONG_BYTES {
        Ok(py.detach(|| work(&AtomicBool::new(false)))?)
    } else {
        interruptible(py, work)
    }
}

/// A list of ids; a long one is made in parts, with a look for signals between them.
pub(super) fn list_of<'py>(py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
    if ids.len() <= MANY_IDS {
        return PyList::new(py, ids);
    }
    let list = PyList::empty(py);
    for part in ids.chunks(MANY_IDS) {
        py.check_signals()?;
        list.call_method1("extend", (PyList::new(py, part)?,))?;
    }
    Ok(list)
}

pub(super) fn threads_or_all(threads: Option<usize>) -> usize {
    threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The texts that an Arrow array holds.
pub(super) fn texts_between<'a>(
    offsets: &[i64],
    data: &'a [u8],
) -> PyResult<Vec<pretokenize::Text<'a>>> {
    let text = |ends: &[i64]| {
        let (start, end) = (
            usize::try_from(ends[0]).ok()?,
            usize::try_from(ends[1]).ok()?,
        );
        data.get(start..end).map(pretokenize::Text::Bytes)
    };
    let texts: Option<Vec<_>> = offsets.windows(2).map(text).collect();
    texts.ok_or_else(|| PyValueError::new_err("the Arrow array's offsets leave its data"))
}

impl PyTokenizer {
    /// Gives the ids of a text to `f`.
    pub(super) fn encode_text<R>(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        rule: Option<&PyRule>,
        f: impl FnOnce(&[u32]) -> R,
    ) -> PyResult<R> {
        match self.encode_if_long(py, text, rule, |id| id)? {
            Ok(ids) => Ok(f(&ids)),
            Err(text) => self.encode_short(py, &text, rule, f),
        }
    }

    /// The ids of a long text, over all threads; or else the text.
    fn encode_if_long<T: Send>(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        rule: Option<&PyRule>,
        narrow: impl Fn(u32) -> T + Copy + Send,
    ) -> PyResult<std::result::Result<Vec<T>, Text>> {
        if let Some(batch) = self.encode_while_made(py, text, rule, narrow)? {
            return Ok(Ok(batch.ids));
        }
        let text = Text::new(text)?;
        if text.bytes().len() < PARALLEL_BYTES {
            return Ok(Err(text));
        }
        let batch = self.encode_slices(py, &[text.known()], rule, None, narrow)?;
        Ok(Ok(batch.ids))
    }

    /// As [`PyTokenizer::encode_text`], on one thread.
    fn encode_short<R>(
        &self,
        py: Python<'_>,
        text: &Text,
        rule: Option<&PyRule>,
        f: impl FnOnce(&[u32]) -> R,
    ) -> PyResult<R> {
        thread_local! {
            /// Fresh memory for the ids of each text would cost a tenth of a call on a page of text.
            static IDS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
        }
        /// Ids whose memory is kept.
        const KEPT: usize = 1 << 18;
        let rule = rule.map_or(&*self.ordinary, |rule| &rule.0);
        let mut ids = IDS.take();
        ids.clear();
        run(py, text.bytes().len(), |stop| {
            self.encoder.encode_with(text.known(), rule, &mut ids, stop)
        })?;
        let result = f(&ids);
        if ids.capacity() <= KEPT {
            IDS.set(ids);
        }
        Ok(result)
    }

    /// The ids of texts, each as `narrow` makes it.
    pub(super) fn encode_slices<T: Send>(
        &self,
        py: Python<'_>,
        texts: &[pretokenize::Text<'_>],
        rule: Option<&PyRule>,
        threads: Option<usize>,
        narrow: impl Fn(u32) -> T + Send,
    ) -> PyResult<Batch<T>> {
        let rule = rule.map_or(&*self.ordinary, |rule| &rule.0);
        let num_bytes = texts.iter().map(|text| text.bytes().len()).sum();
        run(py, num_bytes, |stop| {
            self.encoder
                .encode_batch(texts, rule, threads_or_all(threads), stop, narrow)
        })
    }

    /// The ids of a text in an array of the vocabulary's type.
    pub(super) fn encode_to_array<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        rule: Option<&PyRule>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.is_narrow() {
            self.encode_to_array_of(py, text, rule, |id| id as u16)
        } else {
            self.encode_to_array_of(py, text, rule, |id| id)
        }
    }

    fn encode_to_array_of<'py, T: Element + Copy + Send>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        rule: Option<&PyRule>,
        narrow: impl Fn(u32) -> T + Copy + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.encode_if_long(py, text, rule, narrow)? {
            Ok(ids) => Ok(array(py, ids)),
            Err(text) => self.encode_short(py, &text, rule, |ids| filled(py, ids, narrow)),
        }
    }

    /// The ids of texts in an array of the vocabulary's type, and where each begins and the last one ends.
    pub(super) fn encode_to_arrays<'py>(
        &self,
        py: Python<'py>,
        texts: &[pretokenize::Text<'_>],
        rule: Option<&PyRule>,
        threads: Option<usize>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>)> {
        let (ids, lens) = if self.is_narrow() {
            let batch = self.encode_slices(py, texts, rule, threads, |id| id as u16)?;
            (array(py, batch.ids), batch.lens)
        } else {
            let batch = self.encode_slices(py, texts, rule, threads, |id| id)?;
            (array(py, batch.ids), batch.lens)
        };
        let mut offsets = Vec::with_capacity(lens.len() + 1);
        let mut end = 0;
        offsets.push(end);
        offsets.extend(lens.iter().map(|&len| {
            end += len as i64;
            end
        }));
        Ok((ids, PyArray1::from_vec(py, offsets)))
    }

    /// Whether all ids fit in 16 bits.
    fn is_narrow(&self) -> bool {
        self.len() <= 1 << 16
    }
}

/// What an array's memory belongs to.
#[pyclass(frozen, module = "nanobpe._core")]
struct Memory(#[expect(dead_code, reason = "dropped with it")] Block);

/// A new array, whose elements are yet to be written.
fn new_array<T: Element>(py: Python<'_>, len: usize) -> Bound<'_, PyArray1<T>> {
    static ARENA: Arena = Arena::new();
    /// Smaller ones are as well among other small things.
    const LEAST_BYTES: usize = 1 << 11;
    let num_bytes = len * size_of::<T>();
    if !(LEAST_BYTES..=arena::MOST_BYTES).contains(&num_bytes) {
        // SAFETY: every element is written before anything reads it.
        return unsafe { PyArray1::new(py, len, false) };
    }
    let block = ARENA.block(num_bytes);
    let start = block.start().cast::<T>();
    let memory = Bound::new(py, Memory(block)).expect("memory for an object");
    // SAFETY: the block has room for them, and lives as long as the array.
    unsafe {
        let view = numpy::ndarray::ArrayView1::from_shape_ptr(len, start);
        PyArray1::borrow_from_array(&view, memory.into_any())
    }
}

/// An array of ids.
fn filled<'py, T: Element + Copy>(
    py: Python<'py>,
    ids: &[u32],
    narrow: impl Fn(u32) -> T,
) -> Bound<'py, PyAny> {
    let array = new_array::<T>(py, ids.len());
    // SAFETY: the array is new, contiguous and of this type.
    let room = unsafe { array.as_slice_mut() }.expect("a new array is contiguous");
    for (to, id) in room.iter_mut().zip(ids) {
        *to = narrow(*id);
    }
    array.into_any()
}

/// An array of numbers that lie there already.
fn array<T: Element>(py: Python<'_>, mut numbers: Vec<T>) -> Bound<'_, PyAny> {
    numbers.shrink_to_fit();
    PyArray1::from_vec(py, numbers).into_any()
}
