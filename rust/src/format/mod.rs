//! Tokenizers in files: tiktoken's `.tiktoken`, Hugging Face's `tokenizer.json`, GPT-2's pair of files, and our folder.
//!
//! Everything read is taken as hostile: sizes are bounded, nothing recurses deeply, and what does not hold together is
//! refused with the file's name and the place. Everything written appears under its final name only when complete.

use std::path::Path;

use rustc_hash::FxHashSet;

use crate::added::AddedToken;
use crate::encode::unmade;
use crate::error::{Error, Result};
use crate::vocab::{Merge, Vocab, shown};

mod byte_level;
pub mod files;
pub mod folder;
pub mod gpt2;
pub mod hf;
mod hf_model;
mod regex;
pub mod tiktoken;

/// The vocabulary of tokens and merges spelt out, both as a file or a caller lists them.
///
/// # Errors
/// `Error::Value` as [`Vocab::new`], for a merge that names no token or is listed twice, and for merges that come
/// before what they are made of.
pub fn vocab_of<K: AsRef<[u8]>>(
    tokens: &[(K, u32)],
    merges: impl Iterator<Item = (K, K)>,
    added: Vec<AddedToken>,
) -> Result<Vocab> {
    let ids = tokens.iter().map(|(_, id)| *id);
    let added_ids = added.iter().map(|token| token.id);
    check_ids(tokens.len() + added.len(), ids.chain(added_ids))?;
    let vocab = Vocab::with_added(tokens.iter().map(|(k, id)| (*id, k.as_ref())), added)?;
    let mut seen = FxHashSet::default();
    let mut listed = Vec::with_capacity(merges.size_hint().0);
    let mut joined = Vec::new();
    for (number, (left, right)) in (1..).zip(merges) {
        joined.clear();
        joined.extend_from_slice(left.as_ref());
        joined.extend_from_slice(right.as_ref());
        let id = |bytes: &[u8]| {
            vocab.id(bytes).ok_or_else(|| {
                Error::value(format!(
                    "merge {number} names {}, which is no token",
                    shown(bytes)
                ))
            })
        };
        let merge = Merge {
            left: id(left.as_ref())?,
            right: id(right.as_ref())?,
            id: id(&joined)?,
        };
        if !seen.insert((merge.left, merge.right)) {
            let (left, right) = (shown(left.as_ref()), shown(right.as_ref()));
            return Err(Error::value(format!(
                "merge {number}, {left} {right}, is listed twice"
            )));
        }
        listed.push(merge);
    }
    check_order(&vocab, &listed)?;
    vocab.with_merges(listed)
}

/// Refuses merges that come before the merges that make their parts. In a table of ranks, whose merges are in order of
/// id, a token may come before its parts; there only merges of parts that nothing makes are refused.
fn check_order(vocab: &Vocab, merges: &[Merge]) -> Result<()> {
    let mut made: Vec<bool> = (0..vocab.len() as u32)
        .map(|id| vocab.bytes(id).len() == 1)
        .collect();
    let make = |made: &mut [bool], merge: &Merge| {
        made[merge.id as usize] |= made[merge.left as usize] && made[merge.right as usize];
    };
    merges.iter().for_each(|merge| make(&mut made, merge));
    // Some files list every split of a token, later parts among them; one split must come in order.
    let not_made = |made: &[bool]| merges.iter().position(|merge| !made[merge.id as usize]);
    if not_made(&made).is_some() && merges.is_sorted_by_key(|merge| merge.id) {
        let mut by_length: Vec<_> = merges.iter().collect();
        by_length.sort_by_key(|merge| vocab.bytes(merge.id).len());
        by_length.iter().for_each(|merge| make(&mut made, merge));
    }
    let Some(at) = not_made(&made) else {
        return Ok(());
    };
    let Merge { left, right, .. } = merges[at];
    Err(Error::value(format!(
        "merge {}, {} {}, comes before the merges that make its parts",
        at + 1,
        shown(vocab.bytes(left)),
        shown(vocab.bytes(right)),
    )))
}

/// The vocabulary under the rule of readers that know nothing but merges; see [`Vocab::only_merges`].
fn merged_only(mut vocab: Vocab) -> Vocab {
    let differs = !unmade(&vocab).is_empty();
    vocab.set_only_merges(differs);
    vocab
}

/// Refuses ids so far beyond the number of tokens that only a broken file has them: tables are as long as the
/// highest id.
///
/// # Errors
/// `Error::Value` that names the id.
pub fn check_ids(num_tokens: usize, ids: impl Iterator<Item = u32>) -> Result<()> {
    let most = (1 << 20) + 16 * num_tokens;
    match ids.max() {
        Some(id) if id as usize > most => Err(Error::value(format!(
            "id {id} lies far beyond the {num_tokens} tokens; at most {most}"
        ))),
        _ => Ok(()),
    }
}

/// Special tokens by name: those in the list take their id with them out of it, the others get the next free ids.
pub fn named_specials<K: AsRef<[u8]>>(
    tokens: &mut Vec<(K, u32)>,
    names: &[String],
) -> Vec<AddedToken> {
    let mut free = tokens.iter().map(|(_, id)| id + 1).max().unwrap_or(0);
    let mut specials = Vec::with_capacity(names.len());
    for name in names {
        let at = tokens
            .iter()
            .position(|(bytes, _)| bytes.as_ref() == name.as_bytes());
        let id = at.map_or_else(
            || {
                free += 1;
                free - 1
            },
            |at| tokens.remove(at).1,
        );
        specials.push(AddedToken::special(name.clone(), id));
    }
    specials
}

/// Makes a refusal of a file's content name the file.
pub fn in_file(path: &Path) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Value(message) | Error::Format(message) => {
            Error::format(format!("{}: {message}", path.display()))
        }
        other => other,
    }
}
