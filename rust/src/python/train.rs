//! `_core.Counter`, `_core.Counts` and `_core.train`: counting and merging. The typed face is `nanobpe.train`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use super::feed::{Caller, Intake};
use super::parquet::PyParquetFile;
use super::run::abandonable;
use super::tokenizer::PyTokenizer;
use crate::error::Error;
use crate::feed::{Fed, Feed, FeedOptions, Pool};
use crate::pretokenize::Pattern;
use crate::train::{
    BoundedCounts, CountWork, Counted, Memory, Rows, TieBreak, TrainOptions, check_size,
};
use crate::vocab::Vocab;

/// Counts taken between two looks at the memory they need.
const LOOK_EVERY: usize = 1 << 12;

/// Counts pretokens of whatever it is given, on threads of its own.
#[pyclass(name = "Counter", module = "nanobpe._core", frozen)]
struct PyCounter {
    intake: Intake<BoundedCounts>,
    /// Counts that came as such.
    given: Mutex<BoundedCounts>,
    memory: Option<Memory>,
    fed: Arc<Fed>,
}

#[pymethods]
impl PyCounter {
    #[new]
    #[pyo3(signature = (pattern, special_tokens, split_on, threads, max_bytes, max_document_chars, memory, progress))]
    #[allow(clippy::too_many_arguments)] // the options of the Python functions, by name
    fn new(
        py: Python<'_>,
        pattern: &str,
        special_tokens: Vec<String>,
        split_on: Vec<String>,
        threads: usize,
        max_bytes: Option<u64>,
        max_document_chars: Option<usize>,
        memory: Option<(usize, PathBuf)>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let memory = memory.map(|(bytes, folder)| Memory { bytes, folder });
        let pattern = py.detach(|| Pattern::new(pattern)).map(Arc::new)?;
        let distinct = Arc::<AtomicU64>::default();
        let work = CountWork::for_threads(
            threads,
            &pattern,
            &special_tokens,
            memory.as_ref(),
            &distinct,
        )?;
        let options = FeedOptions {
            split_on,
            keep_whole: special_tokens,
            max_bytes,
            max_document_chars,
        };
        let feed = Feed::new(Pool::start(work), pattern, options)?;
        let fed = feed.fed().clone();
        let seen = fed.clone();
        let row = move || {
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            vec![
                ("documents", load(&seen.documents)),
                ("bytes", load(&seen.bytes)),
                ("distinct", load(&distinct)),
            ]
        };
        let caller = Caller::new(progress, Box::new(row));
        Ok(Self {
            intake: Intake::new(feed, caller),
            given: Mutex::new(BoundedCounts::new(memory.as_ref(), threads.max(1) + 1)),
            memory,
            fed,
        })
    }

    fn is_full(&self, py: Python<'_>) -> PyResult<bool> {
        self.intake.is_full(py)
    }

    fn add_texts(&self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<()> {
        self.intake.add_texts(py, texts)
    }

    fn add_arrow(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyArray1<u8>>,
        offsets: &Bound<'_, PyArray1<i64>>,
    ) -> PyResult<()> {
        self.intake.add_arrow(py, data, offsets)
    }

    #[pyo3(signature = (path, kind, field, compression=None))]
    fn add_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        kind: &str,
        field: &str,
        compression: Option<&str>,
    ) -> PyResult<()> {
        self.intake.add_file(py, path, kind, field, compression)
    }

    #[pyo3(signature = (file, field, groups=None))]
    fn add_parquet(
        &self,
        py: Python<'_>,
        file: &PyParquetFile,
        field: &str,
        groups: Option<Vec<usize>>,
    ) -> PyResult<()> {
        self.intake.add_parquet(py, file, field, groups)
    }

    fn add_stream(
        &self,
        py: Python<'_>,
        name: &str,
        read: &Bound<'_, PyAny>,
        kind: &str,
        field: &str,
    ) -> PyResult<()> {
        self.intake.add_stream(py, name, read, kind, field)
    }

    /// Adds pretokens that lie between the offsets in `data`, each with its count.
    fn add_counts(
        &self,
        py: Python<'_>,
        data: PyReadonlyArray1<'_, u8>,
        offsets: PyReadonlyArray1<'_, i64>,
        counts: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<()> {
        let (data, offsets, counts) = (data.as_slice()?, offsets.as_slice()?, counts.as_slice()?);
        let key = |w: &[i64]| {
            let (start, end) = (usize::try_from(w[0]).ok()?, usize::try_from(w[1]).ok()?);
            data.get(start..end)
        };
        py.detach(|| {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            if offsets.len() != counts.len() + 1 {
                return Err(Error::value(format!(
                    "{} counts need as many pretokens, got {}",
                    counts.len(),
                    offsets.len().saturating_sub(1)
                )));
            }
            for (i, (window, count)) in offsets.windows(2).zip(counts).enumerate() {
                let Some(pretoken) = key(window) else {
                    return Err(Error::value(
                        "the offsets of the pretokens are not in order",
                    ));
                };
                given.table().add(pretoken, *count);
                if i.is_multiple_of(LOOK_EVERY) {
                    given.keep_bound()?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Documents and bytes that were counted elsewhere.
    fn add_fed(&self, documents: u64, bytes: u64) {
        self.fed.documents.fetch_add(documents, Ordering::Relaxed);
        self.fed.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits for the threads and gives the counts.
    fn finish(&self, py: Python<'_>) -> PyResult<PyCounts> {
        let mut tables = self.intake.finish(py)?;
        let given = std::mem::take(&mut *self.given.lock().unwrap_or_else(PoisonError::into_inner));
        tables.push(given);
        let [documents, bytes] =
            [&self.fed.documents, &self.fed.bytes].map(|n| n.load(Ordering::Relaxed));
        let memory = self.memory.clone();
        let counts = abandonable(py, &mut Caller::silent(), move |stop| {
            Counted::from_tables(tables, memory.as_ref(), stop).map(Arc::new)
        })?;
        Ok(PyCounts {
            counts,
            documents,
            bytes,
        })
    }
}

/// Distinct pretokens and how often each occurs.
#[pyclass(name = "Counts", module = "nanobpe._core", frozen)]
struct PyCounts {
    counts: Arc<Counted>,
    #[pyo3(get)]
    documents: u64,
    #[pyo3(get)]
    bytes: u64,
}

#[pymethods]
impl PyCounts {
    #[getter]
    fn distinct(&self) -> usize {
        self.counts.len()
    }

    #[getter]
    fn total(&self) -> u64 {
        self.counts.total()
    }

    /// 128 bits over the pretokens and counts, in hexadecimal digits.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        let counts = self.counts.clone();
        let number = abandonable(py, &mut Caller::silent(), move |_| Ok(counts.fingerprint()))?;
        Ok(format!("{number:032x}"))
    }

    /// A walk through the pretokens in order of their bytes.
    fn rows(slf: Py<Self>, py: Python<'_>) -> PyRows {
        let counts = slf.get();
        let rows = Mutex::new(py.detach(|| counts.counts.rows()));
        PyRows { counts: slf, rows }
    }
}

/// Where a walk through counts is.
#[pyclass(name = "CountRows", module = "nanobpe._core", frozen)]
struct PyRows {
    counts: Py<PyCounts>,
    rows: Mutex<Rows>,
}

#[pymethods]
impl PyRows {
    /// The next pretokens, at most this many: their bytes end to end; where each begins, and where the last ends; how
    /// often each occurs. No counts are left after an empty one.
    #[allow(clippy::type_complexity)]
    fn next<'py>(
        &self,
        py: Python<'py>,
        most: usize,
    ) -> PyResult<(
        Bound<'py, PyArray1<u8>>,
        Bound<'py, PyArray1<i64>>,
        Bound<'py, PyArray1<u64>>,
    )> {
        // The first array loads numpy's API, which panics where a signal comes meanwhile: not after long work.
        PyArray1::<u8>::zeros(py, 0, false);
        let counts = &self.counts.get().counts;
        let (bytes, offsets, numbers) = py.detach(|| {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut bytes, mut offsets, mut numbers) = (Vec::new(), vec![0], Vec::new());
            counts.next_rows(&mut rows, most, |pretoken, count| {
                bytes.extend_from_slice(pretoken);
                offsets.push(bytes.len() as i64);
                numbers.push(count);
            })?;
            Ok::<_, Error>((bytes, offsets, numbers))
        })?;
        Ok((
            PyArray1::from_vec(py, bytes),
            PyArray1::from_vec(py, offsets),
            PyArray1::from_vec(py, numbers),
        ))
    }
}

/// (tokenizer, how often the last merged pair occurred, tokens of the corpus).
#[pyfunction]
#[pyo3(signature = (counts, pattern, vocab_size, special_tokens, tie_break, min_frequency, max_token_bytes, resume, threads, progress))]
#[allow(clippy::too_many_arguments)] // the options of the Python functions, by name
fn train(
    py: Python<'_>,
    counts: &PyCounts,
    pattern: &str,
    vocab_size: usize,
    special_tokens: Vec<String>,
    tie_break: &str,
    min_frequency: u64,
    max_token_bytes: Option<usize>,
    resume: Option<&PyTokenizer>,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<(PyTokenizer, u64, u128)> {
    let pattern = py.detach(|| Pattern::new(pattern))?;
    let mut options = options(tie_break, min_frequency, max_token_bytes, resume)?;
    options.threads = threads;
    let made = Arc::new(AtomicU64::new(0));
    let shown = made.clone();
    let mut caller = Caller::new(
        progress,
        Box::new(move || vec![("ids", shown.load(Ordering::Relaxed))]),
    );
    let counts = counts.counts.clone();
    abandonable(py, &mut caller, move |stop| {
        let trained = crate::train::train_counted(
            &counts,
            vocab_size,
            &special_tokens,
            &options,
            &made,
            stop,
        )?;
        let tokenizer = PyTokenizer::from_parts(trained.vocab, pattern)?;
        Ok((tokenizer, trained.last_count, trained.num_tokens))
    })
}

/// Refuses, before any work, what [`train`] would refuse after the counting.
#[pyfunction]
#[pyo3(signature = (vocab_size, special_tokens, tie_break, min_frequency, max_token_bytes, resume))]
fn check_training(
    vocab_size: usize,
    special_tokens: Vec<String>,
    tie_break: &str,
    min_frequency: u64,
    max_token_bytes: Option<usize>,
    resume: Option<&PyTokenizer>,
) -> PyResult<()> {
    let options = options(tie_break, min_frequency, max_token_bytes, resume)?;
    check_size(vocab_size, &special_tokens, &options)?;
    // A vocabulary of bytes and these special tokens says what is wrong with them.
    Vocab::trained(&[], &special_tokens)?;
    Ok(())
}

fn options(
    tie_break: &str,
    min_frequency: u64,
    max_token_bytes: Option<usize>,
    resume: Option<&PyTokenizer>,
) -> PyResult<TrainOptions> {
    Ok(TrainOptions {
        tie_break: TieBreak::parse(tie_break)?,
        min_frequency,
        max_token_bytes,
        resume: resume.map(PyTokenizer::vocab),
        threads: 1,
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCounter>()?;
    module.add_class::<PyCounts>()?;
    module.add_class::<PyRows>()?;
    module.add_function(wrap_pyfunction!(train, module)?)?;
    module.add_function(wrap_pyfunction!(check_training, module)?)
}
