//! Texts to lists and arrays of ids, without the interpreter lock where that pays.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;

use numpy::{Element, PyArray1, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::super::interruptible;
use super::super::text::{Text, with_texts};
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
const PARALLEL_BYTES: usize = 1 << 20;
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

fn threads_or_all(threads: Option<usize>) -> usize {
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
    /// Gives the ids of a text, in parts, to `f`.
    pub(super) fn encode_text<R>(
        &self,
        py: Python<'_>,
        text: &Text,
        rule: Option<&PyRule>,
        f: impl FnOnce(&[&[u32]]) -> R,
    ) -> PyResult<R> {
        thread_local! {
            /// Fresh memory for the ids of each text would cost a tenth of a call on a page of text.
            static IDS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
        }
        /// Ids whose memory is kept.
        const KEPT: usize = 1 << 18;
        let bytes = text.bytes();
        let rule = rule.map_or(&*self.ordinary, |rule| &rule.0);
        if bytes.len() >= PARALLEL_BYTES {
            let batch = run(py, bytes.len(), |stop| {
                self.encoder
                    .encode_batch(&[text.known()], rule, threads_or_all(None), stop)
            })?;
            return Ok(f(&batch.slices()));
        }
        let mut ids = IDS.take();
        ids.clear();
        run(py, bytes.len(), |stop| {
            self.encoder.encode_with(text.known(), rule, &mut ids, stop)
        })?;
        let result = f(&[&ids]);
        if ids.capacity() <= KEPT {
            IDS.set(ids);
        }
        Ok(result)
    }

    pub(super) fn encode_texts(
        &self,
        py: Python<'_>,
        texts: &Bound<'_, PyList>,
        rule: Option<&PyRule>,
        threads: Option<usize>,
    ) -> PyResult<Batch> {
        with_texts(texts, |texts| self.encode_slices(py, texts, rule, threads))
    }

    pub(super) fn encode_slices(
        &self,
        py: Python<'_>,
        texts: &[pretokenize::Text<'_>],
        rule: Option<&PyRule>,
        threads: Option<usize>,
    ) -> PyResult<Batch> {
        let rule = rule.map_or(&*self.ordinary, |rule| &rule.0);
        let num_bytes = texts.iter().map(|text| text.bytes().len()).sum();
        run(py, num_bytes, |stop| {
            self.encoder
                .encode_batch(texts, rule, threads_or_all(threads), stop)
        })
    }

    /// The ids in an array of the vocabulary's type.
    pub(super) fn array<'py>(&self, py: Python<'py>, parts: &[&[u32]]) -> Bound<'py, PyAny> {
        if self.len() <= 1 << 16 {
            filled(py, parts, |id| id as u16)
        } else {
            filled(py, parts, |id| id)
        }
    }

    pub(super) fn arrays<'py>(
        &self,
        py: Python<'py>,
        batch: &Batch,
    ) -> (Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>) {
        let mut offsets = Vec::with_capacity(batch.lens.len() + 1);
        let mut end = 0;
        offsets.push(end);
        offsets.extend(batch.lens.iter().map(|&len| {
            end += len as i64;
            end
        }));
        (
            self.array(py, &batch.slices()),
            PyArray1::from_vec(py, offsets),
        )
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

/// An array of all parts end to end.
fn filled<'py, T: Element + Copy>(
    py: Python<'py>,
    parts: &[&[u32]],
    narrow: impl Fn(u32) -> T,
) -> Bound<'py, PyAny> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let array = new_array::<T>(py, len);
    // SAFETY: the array is new, contiguous and of this type.
    let mut rest = unsafe { array.as_slice_mut() }.expect("a new array is contiguous");
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        for (to, id) in here.iter_mut().zip(*part) {
            *to = narrow(*id);
        }
        rest = after;
    }
    array.into_any()
}
