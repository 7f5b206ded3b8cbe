//! `_core.Shards`, `_core.DocumentEncoder`, `_core.EncodedParts`, `_core.verify`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use super::feed::{Caller, Intake};
use super::interruptible;
use super::parquet::PyParquetFile;
use super::tokenizer::PyTokenizer;
use crate::error::Error;
use crate::feed::{Feed, FeedOptions, Pool};
use crate::shard::encode::{
    BinarySink, EncodeWork, InOrder, ShardSink, Sink, Splitter, TallySink, TextSink,
};
use crate::shard::parts::{EncodedPart, Parts, PartsSink};
use crate::shard::shuffle::ShuffleSink;
use crate::shard::write::{ShardWriter, Start};
use crate::shard::{self, Manifest, Shards};
use crate::vocab::Vocab;

/// How long giving up waits for a thread that is writing.
const PATIENCE: Duration = Duration::from_millis(50);

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
        self.0.manifest().to_json()
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
    let read = Arc::<AtomicU64>::default();
    let shown = read.clone();
    let row = move || vec![("bytes", shown.load(Ordering::Relaxed))];
    let mut caller = Caller::new(progress, Box::new(row));
    py.detach(|| {
        let found = shard::verify(&folder, &mut |bytes| {
            read.fetch_add(bytes, Ordering::Relaxed);
            caller.poll().is_ok()
        });
        caller.result(found).map(|v| (v.shards, v.tokens, v.errors))
    })
}

/// Encodes whatever it is given, on threads of its own, in input order: into shards or as text.
#[pyclass(name = "DocumentEncoder", module = "nanobpe._core", frozen)]
struct PyDocumentEncoder {
    intake: Intake<()>,
    results: Arc<InOrder>,
}

/// How documents are read and encoded, alike for all that is made of them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    bos: Option<u32>,
    eos: Option<u32>,
    threads: usize,
    split_on: Vec<String>,
    max_bytes: Option<u64>,
    max_document_chars: Option<usize>,
}

#[pymethods]
impl PyDocumentEncoder {
    /// Writes shards into `folder`, or gives the manifest as JSON if a resumed run has nothing left to do.
    ///
    /// `plan` is a manifest without shards as JSON, `names` and `shares` are those of the splits; `shuffle` is the seed
    /// of the documents' order, None for that of the input.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // the options of the command, by name
    fn to_shards(
        py: Python<'_>,
        tokenizer: &PyTokenizer,
        options: Options,
        folder: PathBuf,
        plan: &str,
        names: Vec<String>,
        shares: Vec<f64>,
        seed: u64,
        shard_tokens: u64,
        shuffle: Option<u64>,
        resume: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Option<Self>, Option<String>)> {
        let splitter = Splitter::new(&shares, seed)?;
        let plan: Manifest = serde_json::from_str(plan)
            .map_err(|e| Error::value(format!("the plan of the shards is broken: {e}")))?;
        if shard_tokens == 0 || shard_tokens > shard::MAX_SHARD_TOKENS {
            return Err(Error::value(format!(
                "shards of {shard_tokens} tokens cannot be written; 1 to {} are allowed",
                shard::MAX_SHARD_TOKENS
            ))
            .into());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let start =
            py.detach(|| ShardWriter::start(&folder, plan, &names, shard_tokens, resume))?;
        let writer = match start {
            Start::Complete(manifest) => return Ok((None, Some(manifest.to_json()))),
            Start::Writer(writer) => *writer,
        };
        let sink = ShardSink {
            writer,
            vocab: tokenizer.vocab(),
            split: 0,
        };
        let sink: Box<dyn Sink> = match shuffle {
            Some(seed) => Box::new(ShuffleSink::new(sink, &folder, seed)),
            None => Box::new(sink),
        };
        let made = Self::start(tokenizer, options, splitter, sink, progress)?;
        Ok((Some(made), None))
    }

    /// Writes ids to standard output: one document a line, or as little-endian numbers of `width` bytes.
    #[staticmethod]
    fn to_stdout(
        tokenizer: &PyTokenizer,
        options: Options,
        width: Option<usize>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let out = std::io::stdout();
        let sink: Box<dyn Sink> = match width {
            Some(width) => Box::new(BinarySink { out, width }),
            None => Box::new(TextSink { out, inside: false }),
        };
        Self::start(
            tokenizer,
            options,
            Splitter::new(&[1.0], 0)?,
            sink,
            progress,
        )
    }

    /// Collects encoded documents in parts, for another process that adds them to shards.
    #[staticmethod]
    fn to_parts(
        tokenizer: &PyTokenizer,
        options: Options,
        shares: Vec<f64>,
        seed: u64,
    ) -> PyResult<(Self, PyEncodedParts)> {
        let (sink, parts) = PartsSink::new();
        let splitter = Splitter::new(&shares, seed)?;
        let made = Self::start(tokenizer, options, splitter, Box::new(sink), None)?;
        let small = tokenizer.vocab().len() <= 1 << 16;
        Ok((made, PyEncodedParts { parts, small }))
    }

    /// Counts documents, bytes, words, ids, and documents that do not come back from decoding.
    #[staticmethod]
    fn to_tally(
        tokenizer: &PyTokenizer,
        options: Options,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let sink = TallySink::new(tokenizer.vocab().len());
        let vocab = Some(tokenizer.vocab());
        let splitter = Splitter::new(&[1.0], 0)?;
        Self::start_checked(
            tokenizer,
            options,
            splitter,
            Box::new(sink),
            progress,
            vocab,
        )
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

    /// Takes a part of encoded documents as `EncodedParts` gives it, after all that was taken before.
    fn add_encoded(
        &self,
        py: Python<'_>,
        ids: Ids<'_>,
        counts: PyReadonlyArray1<'_, u64>,
        bytes: PyReadonlyArray1<'_, u64>,
        splits: PyReadonlyArray1<'_, u8>,
    ) -> PyResult<()> {
        let part = EncodedPart {
            ids: match ids {
                Ids::Small(ids) => ids.as_slice()?.iter().map(|id| u32::from(*id)).collect(),
                Ids::Large(ids) => ids.as_slice()?.to_vec(),
            },
            counts: counts.as_slice()?.to_vec(),
            bytes: bytes.as_slice()?.to_vec(),
            splits: splits.as_slice()?.to_vec(),
        };
        let encoded = part.encoded()?;
        interruptible(py, |stop| self.results.hand_on(&encoded, stop))
    }

    /// Waits for the threads and completes what they made; gives the manifest or the tally as JSON.
    fn finish(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.intake.finish(py)?;
        interruptible(py, |stop| self.results.sink().finish(stop))
    }

    /// Gives up and removes what is not complete; gives whether shards are left to go on with.
    fn abandon(&self, py: Python<'_>) -> bool {
        self.intake.abandon(py);
        py.detach(|| {
            let until = Instant::now() + PATIENCE;
            loop {
                if let Some(mut sink) = self.results.free_sink() {
                    return sink.abandon();
                }
                if Instant::now() > until {
                    // A thread is held up by the disk: what it leaves, a resumed run removes.
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }
}

impl PyDocumentEncoder {
    fn start(
        tokenizer: &PyTokenizer,
        options: Options,
        splitter: Splitter,
        sink: Box<dyn Sink>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Self::start_checked(tokenizer, options, splitter, sink, progress, None)
    }

    fn start_checked(
        tokenizer: &PyTokenizer,
        options: Options,
        splitter: Splitter,
        sink: Box<dyn Sink>,
        progress: Option<Py<PyAny>>,
        checked: Option<Arc<Vocab>>,
    ) -> PyResult<Self> {
        let Options {
            bos,
            eos,
            threads,
            split_on,
            max_bytes,
            max_document_chars,
        } = options;
        let encoder = tokenizer.encoder();
        let results = Arc::new(InOrder::new(sink));
        let splitter = Arc::new(splitter);
        let work = (0..threads.max(1)).map(|_| EncodeWork {
            encoder: encoder.clone(),
            rule: tokenizer.ordinary(),
            bos,
            eos,
            splitter: splitter.clone(),
            checked: checked.clone(),
            results: results.clone(),
        });
        let pattern = Arc::new(encoder.pattern().clone());
        let vocab = tokenizer.vocab();
        let found = vocab.added().iter().filter(|token| !token.special);
        let reading = FeedOptions {
            split_on,
            keep_whole: found.map(|token| token.content.clone()).collect(),
            max_bytes,
            max_document_chars,
        };
        let feed = Feed::new(Pool::start(work.collect()), pattern, reading)?;
        let (counted, out) = (feed.fed().clone(), results.clone());
        let row = move || {
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            vec![
                ("documents", load(&counted.documents)),
                ("bytes", load(&counted.bytes)),
                ("tokens", load(&out.tokens)),
            ]
        };
        let caller = Caller::new(progress, Box::new(row));
        Ok(Self {
            intake: Intake::new(feed, caller),
            results,
        })
    }
}

/// Ids as they travel: uint16 where the vocabulary allows it.
#[derive(FromPyObject)]
enum Ids<'py> {
    Small(PyReadonlyArray1<'py, u16>),
    Large(PyReadonlyArray1<'py, u32>),
}

/// What an encoder of `DocumentEncoder.to_parts` has made, part by part.
#[pyclass(name = "EncodedParts", module = "nanobpe._core", frozen)]
struct PyEncodedParts {
    parts: Parts,
    /// All ids fit into 16 bits.
    small: bool,
}

#[pymethods]
impl PyEncodedParts {
    /// The next part: ids (uint16 or uint32), and of each piece the number of ids, the bytes of text and the split + 1,
    /// 0 where a piece goes on with a document. None after the last, or when the encoder was abandoned.
    #[allow(clippy::type_complexity)] // four arrays
    fn next<'py>(
        &self,
        py: Python<'py>,
    ) -> Option<(
        Bound<'py, PyAny>,
        Bound<'py, PyArray1<u64>>,
        Bound<'py, PyArray1<u64>>,
        Bound<'py, PyArray1<u8>>,
    )> {
        let part = py.detach(|| self.parts.next())?;
        let ids = if self.small {
            let small: Vec<u16> = py.detach(|| part.ids.iter().map(|id| *id as u16).collect());
            PyArray1::from_vec(py, small).into_any()
        } else {
            PyArray1::from_vec(py, part.ids).into_any()
        };
        Some((
            ids,
            PyArray1::from_vec(py, part.counts),
            PyArray1::from_vec(py, part.bytes),
            PyArray1::from_vec(py, part.splits),
        ))
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyShards>()?;
    module.add_class::<PyDocumentEncoder>()?;
    module.add_class::<PyEncodedParts>()?;
    module.add_function(wrap_pyfunction!(verify, module)?)
}
