//! A tokenizer as plain values, for pickling.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::added::AddedToken;
use crate::error::Result;
use crate::pretokenize::Pattern;
use crate::vocab::{Merge, Vocab};

/// Ids and lengths of tokens, their bytes end to end, merges (left, right, id), added tokens with flags, the pattern,
/// and whether only merging makes tokens. Numbers are little-endian u32.
pub(super) type State<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Vec<(String, u32, u8)>,
    String,
    bool,
);

pub(super) fn state_of<'py>(py: Python<'py>, vocab: &Vocab, pattern: &Pattern) -> State<'py> {
    let little = |numbers: Vec<u32>| {
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        PyBytes::new(py, &bytes)
    };
    let mut bytes = Vec::new();
    let mut tokens = Vec::with_capacity(2 * vocab.len());
    for (id, token) in vocab.tokens() {
        tokens.extend([id, token.len() as u32]);
        bytes.extend_from_slice(token);
    }
    let merges = vocab.merges().iter();
    let merges = merges.flat_map(|m| [m.left, m.right, m.id]).collect();
    let added = vocab.added().iter();
    let added = added
        .map(|token| (token.content.clone(), token.id, token.flags()))
        .collect();
    (
        little(tokens),
        PyBytes::new(py, &bytes),
        little(merges),
        added,
        pattern.name().unwrap_or(pattern.regex()).to_string(),
        vocab.only_merges(),
    )
}

pub(super) fn parts_of(state: State<'_>) -> Result<(Vocab, Pattern)> {
    let (tokens, bytes, merges, added, pattern, only_merges) = state;
    let numbers = |bytes: &Bound<'_, PyBytes>| -> Vec<u32> {
        let (words, _) = bytes.as_bytes().as_chunks::<4>();
        words.iter().map(|word| u32::from_le_bytes(*word)).collect()
    };
    let mut rest = bytes.as_bytes();
    let tokens = numbers(&tokens);
    let tokens = tokens.chunks_exact(2).map(|pair| {
        let (token, after) = rest.split_at((pair[1] as usize).min(rest.len()));
        rest = after;
        (pair[0], token)
    });
    let merges = numbers(&merges);
    let merges = merges.chunks_exact(3).map(|m| Merge {
        left: m[0],
        right: m[1],
        id: m[2],
    });
    let added = added
        .into_iter()
        .map(|(text, id, flags)| AddedToken::with_flags(text, id, flags));
    let mut vocab = Vocab::with_added(tokens, added.collect())?.with_merges(merges.collect())?;
    vocab.set_only_merges(only_merges);
    Ok((vocab, Pattern::new(&pattern)?))
}
