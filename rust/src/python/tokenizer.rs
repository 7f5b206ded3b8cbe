//! `_core.Tokenizer`: the typed face is `nanobpe.Tokenizer`.

// PyO3 hands arguments over by value; positions in memory fit numpy's signed integers.
#![allow(clippy::needless_pass_by_value, clippy::cast_possible_wrap)]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::arguments::{id_of, merges_of, specials_of, token_of};
use super::gc::PausedGc;
use super::text::{Text, with_texts};
use crate::encode::Encoder;
use crate::encode::decode::{decode_into, unknown};
use crate::encode::spans::to_characters;
use crate::encode::special::Rule;
use crate::encode::stream::Stream;
use crate::error::{Error, Result};
use crate::format::{self, folder, gpt2, hf, tiktoken};
use crate::pretokenize::Pattern;
use crate::vocab::{Vocab, shown};

mod encoding;
mod long;
mod state;
mod stream;

use encoding::{list_of, run, texts_between};
use state::{State, parts_of, state_of};
use stream::PyStream;

/// Ids of a Python list between two looks for signals: a few milliseconds.
const MANY_IDS: usize = 1 << 17;

/// A vocabulary, its pattern and its encoder.
#[pyclass(name = "Tokenizer", module = "nanobpe._core", frozen)]
pub(super) struct PyTokenizer {
    vocab: Arc<Vocab>,
    encoder: Arc<Encoder>,
    /// No special token is one.
    ordinary: Arc<Rule>,
    hash: OnceLock<String>,
}

/// Which special tokens are allowed and which are refused.
#[pyclass(name = "SpecialRule", module = "nanobpe._core", frozen)]
pub(super) struct PyRule(Arc<Rule>);

#[pymethods]
impl PyTokenizer {
    #[staticmethod]
    fn from_ranks(
        py: Python<'_>,
        ranks: &Bound<'_, PyDict>,
        pattern: &str,
        specials: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let ranks = ranks
            .iter()
            .map(|(token, id)| Ok((token_of(&token)?, id_of(&id)?)));
        let ranks = ranks.collect::<PyResult<Vec<_>>>()?;
        let specials = specials_of(specials)?;
        Ok(py.detach(|| {
            let pattern = Pattern::new(pattern)?;
            let ids = ranks.iter().map(|(_, id)| *id);
            let special_ids = specials.iter().map(|(_, id)| *id);
            format::check_ids(ranks.len(), ids.chain(special_ids))?;
            let vocab = Vocab::from_ranks(&ranks, &specials)?;
            Self::from_parts(vocab, pattern)
        })?)
    }

    #[staticmethod]
    fn from_merges(
        py: Python<'_>,
        vocab: &Bound<'_, PyDict>,
        merges: &Bound<'_, PyList>,
        pattern: &str,
        specials: Vec<String>,
    ) -> PyResult<Self> {
        let tokens = vocab
            .iter()
            .map(|(id, token)| Ok((token_of(&token)?, id_of(&id)?)));
        let mut tokens = tokens.collect::<PyResult<Vec<_>>>()?;
        let merges = merges_of(merges)?;
        Ok(py.detach(|| {
            let pattern = Pattern::new(pattern)?;
            let specials = format::named_specials(&mut tokens, &specials);
            let vocab = format::vocab_of(&tokens, merges.into_iter(), specials)?;
            Self::from_parts(vocab, pattern)
        })?)
    }

    #[staticmethod]
    fn from_tiktoken(
        py: Python<'_>,
        path: PathBuf,
        pattern: &str,
        specials: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let specials = specials_of(specials)?;
        Ok(py.detach(|| {
            let pattern = Pattern::new(pattern)?;
            Self::from_parts(tiktoken::load(&path, &specials)?, pattern)
        })?)
    }

    #[staticmethod]
    fn from_hf(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(py.detach(|| {
            let (vocab, pattern) = hf::load(&path)?;
            Self::from_parts(vocab, pattern)
        })?)
    }

    #[staticmethod]
    fn from_gpt2(
        py: Python<'_>,
        vocab_json: PathBuf,
        merges_txt: PathBuf,
        specials: Vec<String>,
    ) -> PyResult<Self> {
        Ok(py.detach(|| {
            let vocab = gpt2::load(&vocab_json, &merges_txt, &specials)?;
            Self::from_parts(vocab, Pattern::new("gpt2")?)
        })?)
    }

    /// The tokenizer of a folder and its meta.json.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<(Self, String)> {
        let loaded = py.detach(|| folder::load(&path))?;
        Ok((
            Self::from_parts(loaded.vocab, loaded.pattern)?,
            loaded.meta.to_string(),
        ))
    }

    /// What meta.json says, given how it was trained (JSON or None).
    #[pyo3(signature = (training=None))]
    fn meta(&self, training: Option<&str>) -> PyResult<String> {
        let training: Option<serde_json::Value> = training
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(folder::meta(&self.vocab, self.encoder.pattern(), training.as_ref()).to_string())
    }

    fn save(&self, py: Python<'_>, path: PathBuf, meta: &str) -> PyResult<()> {
        let meta = serde_json::from_str(meta).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(py.detach(|| folder::save(&self.vocab, self.encoder.pattern(), &meta, &path))?)
    }

    fn to_tiktoken(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| tiktoken::save(&self.vocab, &path))?)
    }

    fn to_hf(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| hf::save(&self.vocab, self.encoder.pattern(), &path))?)
    }

    fn to_gpt2(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| gpt2::save(&self.vocab, &path))?)
    }

    /// All of it as plain values, for pickling.
    fn state<'py>(&self, py: Python<'py>) -> State<'py> {
        state_of(py, &self.vocab, self.encoder.pattern())
    }

    #[staticmethod]
    fn from_state(state: State<'_>) -> PyResult<Self> {
        let (vocab, pattern) = parts_of(state)?;
        Ok(Self::from_parts(vocab, pattern)?)
    }

    /// None allows or refuses all special tokens, those allowed not being refused.
    #[pyo3(signature = (allowed, disallowed))]
    fn rule(
        &self,
        allowed: Option<Vec<String>>,
        disallowed: Option<Vec<String>>,
    ) -> PyResult<PyRule> {
        let rule = Rule::new(&self.vocab, allowed.as_deref(), disallowed.as_deref())?;
        Ok(PyRule(Arc::new(rule)))
    }

    #[pyo3(signature = (text, rule=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        rule: Option<&PyRule>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.encode_text(py, text, rule, |ids| list_of(py, ids))?
    }

    #[pyo3(signature = (text, rule=None))]
    fn encode_to_numpy<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        rule: Option<&PyRule>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.encode_to_array(py, text, rule)
    }

    #[pyo3(signature = (texts, rule=None, threads=None))]
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
        rule: Option<&PyRule>,
        threads: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let batch = with_texts(texts, |texts| {
            self.encode_slices(py, texts, rule, threads, |id| id)
        })?;
        let _paused = PausedGc::new(py);
        let lists = PyList::empty(py);
        let mut rest = batch.ids.as_slice();
        for len in batch.lens {
            let (here, after) = rest.split_at(len);
            lists.append(PyList::new(py, here)?)?;
            rest = after;
        }
        Ok(lists)
    }

    #[pyo3(signature = (texts, rule=None, threads=None))]
    fn encode_batch_to_numpy<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyList>,
        rule: Option<&PyRule>,
        threads: Option<usize>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>)> {
        with_texts(texts, |texts| {
            self.encode_to_arrays(py, texts, rule, threads)
        })
    }

    /// As `encode_batch_to_numpy` of the texts between `offsets` in `data`.
    #[pyo3(signature = (offsets, data, rule=None, threads=None))]
    fn encode_arrow<'py>(
        &self,
        py: Python<'py>,
        offsets: PyReadonlyArray1<'py, i64>,
        data: PyReadonlyArray1<'py, u8>,
        rule: Option<&PyRule>,
        threads: Option<usize>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyArray1<i64>>)> {
        let (offsets, data) = (offsets.as_slice()?, data.as_slice()?);
        self.encode_to_arrays(py, &texts_between(offsets, data)?, rule, threads)
    }

    /// Ids, and half-open spans of bytes or characters.
    #[pyo3(signature = (text, rule, characters))]
    fn encode_with_offsets<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        rule: Option<&PyRule>,
        characters: bool,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyArray2<i64>>)> {
        let text = Text::new(text)?;
        let rule = self.rule_or_ordinary(rule);
        let (ids, spans) = run(py, text.bytes().len(), |stop| {
            let (ids, mut spans) =
                self.encoder
                    .encode_with_spans(&self.vocab, text.bytes(), &rule, stop)?;
            if characters {
                to_characters(text.bytes(), &mut spans);
            }
            Ok((ids, spans))
        })?;
        let flat = spans
            .iter()
            .flat_map(|span| [span.0 as i64, span.1 as i64])
            .collect();
        let flat = PyArray1::from_vec(py, flat);
        Ok((PyList::new(py, ids)?, flat.reshape([spans.len(), 2])?))
    }

    fn count(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.encode_text(py, text, None, <[_]>::len)
    }

    fn truncate<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        max_tokens: usize,
    ) -> PyResult<Bound<'py, PyString>> {
        let text = Text::new(text)?;
        let Some(text) = text.as_str() else {
            return Err(PyTypeError::new_err("text is bytes, want str"));
        };
        let num_bytes = text.len().min(max_tokens.saturating_mul(8));
        let end = run(py, num_bytes, |stop| {
            self.encoder
                .truncate(&self.vocab, &self.ordinary, text, max_tokens, stop)
        })?;
        Ok(PyString::new(py, &text[..end]))
    }

    #[pyo3(signature = (rule=None))]
    fn encode_stream(&self, rule: Option<&PyRule>) -> PyStream {
        PyStream(Stream::new(
            self.encoder.clone(),
            self.rule_or_ordinary(rule),
        ))
    }

    /// The bytes of a list of ids, or of an array of uint32.
    fn decode_bytes<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        if let Ok(list) = ids.cast::<PyList>() {
            let mut known = Vec::with_capacity(list.len());
            for (i, id) in list.iter().enumerate() {
                if i % MANY_IDS == MANY_IDS - 1 {
                    py.check_signals()?;
                }
                known.push(self.known_id(&id)?);
            }
            py.detach(|| decode_into(&self.vocab, &known, &mut bytes))?;
        } else {
            let ids = ids.extract::<PyReadonlyArray1<'py, u32>>()?;
            let ids = ids.as_slice()?;
            py.detach(|| decode_into(&self.vocab, ids, &mut bytes))?;
        }
        Ok(PyBytes::new(py, &bytes))
    }

    fn token_bytes<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let known = id_of(id).map_or(&[][..], |id| self.vocab.bytes(id));
        if known.is_empty() {
            return Err(Error::UnknownToken(unknown(&self.vocab, id).to_string()).into());
        }
        Ok(PyBytes::new(id.py(), known))
    }

    /// The id of an ordinary token's bytes, or else of an added token's text.
    fn token_id(&self, token: &[u8]) -> PyResult<u32> {
        let found = self.find(token);
        Ok(found.ok_or_else(|| Error::UnknownToken(format!("{} is no token", shown(token))))?)
    }

    fn has_token(&self, token: &[u8]) -> bool {
        self.find(token).is_some()
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.len()
    }

    #[getter]
    fn pattern(&self) -> &str {
        self.encoder.pattern().regex()
    }

    #[getter]
    fn pattern_name(&self) -> Option<&'static str> {
        self.encoder.pattern().name()
    }

    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let mut specials = self.vocab.specials();
        specials.try_for_each(|(text, id)| dict.set_item(text, id))?;
        Ok(dict)
    }

    /// Added tokens that are not special.
    #[getter]
    fn added_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let mut others = self.vocab.added().iter().filter(|token| !token.special);
        others.try_for_each(|token| dict.set_item(&token.content, token.id))?;
        Ok(dict)
    }

    #[getter]
    fn num_merges(&self) -> usize {
        self.vocab.merges().len()
    }

    #[getter]
    fn merges<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let bytes = |id| PyBytes::new(py, self.vocab.bytes(id));
        self.vocab
            .merges()
            .iter()
            .map(|m| (bytes(m.left), bytes(m.right)))
            .collect()
    }

    #[getter]
    fn ranks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        let mut tokens = self.vocab.tokens();
        tokens.try_for_each(|(id, bytes)| dict.set_item(PyBytes::new(py, bytes), id))?;
        Ok(dict)
    }

    /// Bytes of each id, 0 for special tokens and holes.
    #[getter]
    fn byte_lengths<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i32>> {
        let mut lengths = vec![0; self.len()];
        let added = self.vocab.added().iter().filter(|token| !token.special);
        let added = added.map(|token| (token.id, token.content.as_bytes()));
        for (id, bytes) in self.vocab.tokens().chain(added) {
            lengths[id as usize] = bytes.len() as i32;
        }
        PyArray1::from_vec(py, lengths)
    }

    #[getter]
    fn hash(&self) -> &str {
        self.hash
            .get_or_init(|| self.vocab.hash(self.encoder.pattern().regex()))
    }

    #[getter]
    fn cache_mib(&self) -> usize {
        self.encoder.cache_mib()
    }

    #[setter]
    fn set_cache_mib(&self, mib: usize) {
        self.encoder.set_cache_mib(mib);
    }
}

impl PyTokenizer {
    /// The tokenizer of a vocabulary, from a file or a trainer.
    pub(super) fn from_parts(vocab: Vocab, pattern: Pattern) -> Result<Self> {
        let ordinary = Arc::new(Rule::ordinary(&vocab)?);
        let encoder = Arc::new(Encoder::new(&vocab, &pattern));
        Ok(Self {
            vocab: Arc::new(vocab),
            encoder,
            ordinary,
            hash: OnceLock::new(),
        })
    }

    /// The encoder, to be shared with threads.
    pub(super) fn encoder(&self) -> Arc<Encoder> {
        self.encoder.clone()
    }

    /// The rule under which special tokens are ordinary text.
    pub(super) fn ordinary(&self) -> Arc<Rule> {
        self.ordinary.clone()
    }

    /// The vocabulary, to be shared with threads.
    pub(super) fn vocab(&self) -> Arc<Vocab> {
        self.vocab.clone()
    }

    fn len(&self) -> usize {
        self.vocab.len()
    }

    fn find(&self, token: &[u8]) -> Option<u32> {
        self.vocab.id(token).or_else(|| {
            let mut added = self.vocab.added().iter();
            added
                .find(|added| added.content.as_bytes() == token)
                .map(|added| added.id)
        })
    }

    fn rule_or_ordinary(&self, rule: Option<&PyRule>) -> Arc<Rule> {
        rule.map_or_else(|| self.ordinary.clone(), |rule| rule.0.clone())
    }

    /// An id to decode: one too large for any vocabulary is unknown to this one.
    fn known_id(&self, id: &Bound<'_, PyAny>) -> PyResult<u32> {
        id.extract().or_else(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(id.py()) {
                return Err(unknown(&self.vocab, id).into());
            }
            id_of(id)
        })
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTokenizer>()?;
    module.add_class::<PyRule>()?;
    module.add_class::<PyStream>()
}
