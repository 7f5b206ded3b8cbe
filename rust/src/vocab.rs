//! The vocabulary: which bytes each id stands for, and which pairs merge in which order.
//!
//! A vocabulary is the same thing whether it was trained here, read from a `.tiktoken` file of ranks or from a list of
//! merges. Where only ranks are known, the merge of a token is found by encoding its bytes until two parts are left:
//! no other two adjacent parts can ever spell the token (merges inside a span depend on nothing outside it), so the
//! list of merges and the table of ranks encode every text alike, even where a token has a lower rank than its parts.

use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::OnceLock;

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashSet};
use sha2::{Digest, Sha256};

use crate::added::AddedToken;
use crate::error::{Error, Result};

/// One merge: `left` followed by `right` becomes `id`. Its priority is its place in [`Vocab::merges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Id of the left part.
    pub left: u32,
    /// Id of the right part.
    pub right: u32,
    /// Id of the two together.
    pub id: u32,
}

/// Ids, their bytes, the merges in order of priority, and the added tokens.
#[derive(Clone, Debug)]
pub struct Vocab {
    /// Of all ids, those of added tokens too.
    texts: Texts,
    /// Ordinary tokens by their bytes.
    ids: HashTable<u32>,
    merges: Vec<Merge>,
    /// In order of id.
    added: Vec<AddedToken>,
    only_merges: bool,
    /// See [`Vocab::unmade_once`].
    unmade: OnceLock<Vec<u32>>,
}

impl PartialEq for Vocab {
    /// Whether both hold the same, in whatever order it was placed.
    fn eq(&self, other: &Self) -> bool {
        self.tokens().eq(other.tokens())
            && self.merges == other.merges
            && self.added == other.added
            && self.only_merges == other.only_merges
    }
}

impl Eq for Vocab {}

/// The bytes of each id.
#[derive(Clone, Debug, Default)]
struct Texts {
    arena: Vec<u8>,
    /// Where each id's bytes lie; empty for holes.
    spans: Vec<Range<u32>>,
}

impl Texts {
    fn get(&self, id: u32) -> &[u8] {
        self.spans
            .get(id as usize)
            .map_or(&[], |s| &self.arena[s.start as usize..s.end as usize])
    }

    fn place(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        let index = id as usize;
        if bytes.is_empty() || self.arena.len() + bytes.len() > u32::MAX as usize {
            return Err(Error::value(format!(
                "token {id} has {} bytes; at least 1 and 4 GiB for all together are allowed",
                bytes.len()
            )));
        }
        if index >= MAX_VOCAB_SIZE {
            return Err(Error::value(format!(
                "token {} has id {id}; ids up to {} are allowed",
                shown(bytes),
                MAX_VOCAB_SIZE - 1
            )));
        }
        if index >= self.spans.len() {
            self.spans.resize(index + 1, 0..0);
        }
        if !self.spans[index].is_empty() {
            return Err(Error::value(format!(
                "id {id} is given to {} and to {}",
                shown(self.get(id)),
                shown(bytes)
            )));
        }
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        self.spans[index] = start..self.arena.len() as u32;
        Ok(())
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    FxBuildHasher.hash_one(bytes)
}

/// Longest token that a table of ranks may bring: finding its merge costs the square of its length. o200k's longest
/// has 128 bytes.
pub const MAX_RANKED_BYTES: usize = 1 << 12;
/// Largest id + 1 that a vocabulary may have, holes counted.
pub const MAX_VOCAB_SIZE: usize = 1 << 26;

impl Vocab {
    /// The vocabulary of `tokens` (id and bytes) and `merges`, with `specials` (text and id).
    ///
    /// # Errors
    /// `Error::Value` if a single byte, a merge's part or its result is missing, if ids or bytes occur twice, or if a
    /// special token is empty, repeated or takes the id of a token.
    pub fn new<'a>(
        tokens: impl IntoIterator<Item = (u32, &'a [u8])>,
        merges: Vec<Merge>,
        specials: &[(String, u32)],
    ) -> Result<Self> {
        let special = |(text, id): &(String, u32)| AddedToken::special(text.clone(), *id);
        Self::with_added(tokens, specials.iter().map(special).collect())?.with_merges(merges)
    }

    /// The vocabulary of `tokens` (id and bytes) and added tokens, still without merges.
    ///
    /// # Errors
    /// As [`Vocab::new`].
    pub fn with_added<'a>(
        tokens: impl IntoIterator<Item = (u32, &'a [u8])>,
        added: Vec<AddedToken>,
    ) -> Result<Self> {
        let (mut texts, mut ids) = (Texts::default(), HashTable::new());
        for (id, bytes) in tokens {
            texts.place(id, bytes)?;
            let (hash, same) = (hash_of(bytes), |other: &u32| texts.get(*other) == bytes);
            if let Some(other) = ids.find(hash, same) {
                return Err(Error::value(format!(
                    "token {} has two ids, {other} and {id}",
                    shown(bytes)
                )));
            }
            ids.insert_unique(hash, id, |other| hash_of(texts.get(*other)));
        }
        let mut vocab = Self {
            texts,
            ids,
            merges: Vec::new(),
            added,
            only_merges: false,
            unmade: OnceLock::new(),
        };
        for byte in 0..=255u8 {
            if vocab.id(&[byte]).is_none() {
                return Err(Error::value(format!(
                    "the vocabulary lacks the single byte {byte:#04x}; all 256 are needed"
                )));
            }
        }
        vocab.added.sort_by_key(|token| token.id);
        let mut named = FxHashSet::default();
        for AddedToken { content, id, .. } in &vocab.added {
            if content.is_empty() {
                return Err(Error::value("a special token is empty"));
            }
            vocab.texts.place(*id, content.as_bytes())?;
            if !named.insert(content) {
                return Err(Error::value(format!(
                    "special token {content:?} is given twice"
                )));
            }
        }
        Ok(vocab)
    }

    /// The vocabulary with these merges.
    ///
    /// # Errors
    /// As [`Vocab::new`].
    pub fn with_merges(mut self, merges: Vec<Merge>) -> Result<Self> {
        let len = self.len() as u32;
        for m in &merges {
            if m.left >= len || m.right >= len || m.id >= len {
                return Err(Error::value(format!(
                    "merge of {} and {} into {} names an id beyond {len}",
                    m.left, m.right, m.id
                )));
            }
            let [left, right, whole] = [m.left, m.right, m.id].map(|id| self.bytes(id));
            if whole.strip_prefix(left) != Some(right) || self.is_added(m.id) {
                return Err(Error::value(format!(
                    "merge of {} and {} does not spell token {}",
                    shown(left),
                    shown(right),
                    shown(whole)
                )));
            }
        }
        self.merges = merges;
        Ok(self)
    }

    /// The vocabulary of a trainer: bytes 0-255, the merges from id 256 on, then `specials` in the order given.
    ///
    /// # Errors
    /// `Error::Value` for empty or repeated specials.
    pub fn trained(merges: &[(u32, u32)], specials: &[String]) -> Result<Self> {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let mut listed = Vec::with_capacity(merges.len());
        for &(left, right) in merges {
            let id = tokens.len() as u32;
            tokens.push([tokens[left as usize].as_slice(), &tokens[right as usize]].concat());
            listed.push(Merge { left, right, id });
        }
        let first = tokens.len() as u32;
        let specials: Vec<_> = specials.iter().cloned().zip(first..).collect();
        Self::new(
            (0u32..).zip(tokens.iter().map(Vec::as_slice)),
            listed,
            &specials,
        )
    }

    /// The vocabulary of a table of ranks, as `.tiktoken` files hold it: the rank is both id and priority.
    ///
    /// # Errors
    /// As [`Vocab::new`].
    pub fn from_ranks(ranks: &[(Vec<u8>, u32)], specials: &[(String, u32)]) -> Result<Self> {
        if let Some((bytes, id)) = ranks.iter().find(|(b, _)| b.len() > MAX_RANKED_BYTES) {
            return Err(Error::value(format!(
                "token {id} has {} bytes; up to {MAX_RANKED_BYTES} are allowed in a table of ranks",
                bytes.len()
            )));
        }
        let tokens = ranks.iter().map(|(bytes, id)| (*id, bytes.as_slice()));
        let mut vocab = Self::new(tokens, Vec::new(), specials)?;
        vocab.merges = vocab.recovered_merges();
        Ok(vocab)
    }

    /// The merge of each token of two and more bytes, in order of id; unreachable tokens have none.
    fn recovered_merges(&self) -> Vec<Merge> {
        const NONE: u32 = u32::MAX;
        let two = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
        let mut of_two = vec![NONE; 1 << 16];
        for (id, bytes) in self.tokens().filter(|(_, bytes)| bytes.len() == 2) {
            of_two[two(bytes)] = id;
        }
        let mut merges = Vec::with_capacity(self.ids.len());
        // Where each part begins, and the rank of what it makes with the next.
        let (mut starts, mut ranks) = (Vec::new(), Vec::new());
        for (id, bytes) in self.tokens().filter(|(_, bytes)| bytes.len() > 1) {
            starts.clear();
            starts.extend(0..=bytes.len());
            ranks.clear();
            ranks.extend(bytes.windows(2).map(|bytes| of_two[two(bytes)]));
            while ranks.len() > 1 {
                let (at, _) = (0..)
                    .zip(&ranks)
                    .min_by_key(|(_, rank)| **rank)
                    .expect("two or more");
                if ranks[at] == NONE {
                    break;
                }
                starts.remove(at + 1);
                ranks.remove(at);
                for at in at.saturating_sub(1)..ranks.len().min(at + 1) {
                    ranks[at] = self.id(&bytes[starts[at]..starts[at + 2]]).unwrap_or(NONE);
                }
            }
            if let [_, middle, _] = starts[..] {
                let part = |bytes| {
                    self.id(bytes)
                        .expect("bytes and what ranks have made are tokens")
                };
                let (left, right) = bytes.split_at(middle);
                merges.push(Merge {
                    left: part(left),
                    right: part(right),
                    id,
                });
            }
        }
        merges
    }

    /// Highest id + 1; holes count.
    pub fn len(&self) -> usize {
        self.texts.spans.len()
    }

    /// Never: a vocabulary has at least the 256 bytes.
    pub fn is_empty(&self) -> bool {
        self.texts.spans.is_empty()
    }

    /// The bytes of an id (of a special token its text); empty for holes and ids beyond the vocabulary.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.texts.get(id)
    }

    /// The id of an ordinary token.
    pub fn id(&self, bytes: &[u8]) -> Option<u32> {
        let same = |id: &u32| self.bytes(*id) == bytes;
        self.ids.find(hash_of(bytes), same).copied()
    }

    /// Ordinary tokens in order of id.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.len() as u32)
            .map(|id| (id, self.bytes(id)))
            .filter(|(id, bytes)| !bytes.is_empty() && !self.is_added(*id))
    }

    fn is_added(&self, id: u32) -> bool {
        let found = self.added.binary_search_by_key(&id, |token| token.id);
        found.is_ok()
    }

    /// Merges in order of priority.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// Whether a pretoken that is a token is merged like any other, as in Hugging Face's files without `ignore_merges`
    /// and in GPT-2's own encoder; else it is emitted whole, as in tiktoken.
    pub fn only_merges(&self) -> bool {
        self.only_merges
    }

    /// Sets [`Vocab::only_merges`]. It belongs to vocabularies in which merging does not make some token, so that the
    /// two rules differ: equal tokenizers are equal by hash then.
    pub fn set_only_merges(&mut self, only_merges: bool) {
        self.only_merges = only_merges;
    }

    /// The tokens that merging does not make, as `find` tells: asked when a vocabulary is read, encodes and is written,
    /// where it was half of the time (r50k: 30 -> 16 ms).
    pub(crate) fn unmade_once(&self, find: impl FnOnce() -> Vec<u32>) -> &[u32] {
        self.unmade.get_or_init(find)
    }

    /// Added tokens in order of id, the special ones among them.
    pub fn added(&self) -> &[AddedToken] {
        &self.added
    }

    /// Text and id of the special tokens, in order of id.
    pub fn specials(&self) -> impl Iterator<Item = (&str, u32)> {
        let special = self.added.iter().filter(|token| token.special);
        special.map(|token| (token.content.as_str(), token.id))
    }

    /// SHA-256 over pattern, ids, merges and added tokens: equal exactly for equal tokenizers.
    pub fn hash(&self, pattern: &str) -> String {
        let mut hasher = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(pattern.as_bytes());
        for (id, bytes) in self.tokens() {
            field(&id.to_le_bytes());
            field(bytes);
        }
        for m in &self.merges {
            field(&[m.left, m.right, m.id].map(u32::to_le_bytes).concat());
        }
        for token in &self.added {
            field(&token.id.to_le_bytes());
            field(token.content.as_bytes());
            let plain = AddedToken::special(String::new(), 0);
            if token.flags() != plain.flags() {
                field(&[token.flags()]);
            }
        }
        if self.only_merges {
            field(b"only merges");
        }
        hasher
            .finalize()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}

/// Bytes as a reader would want them in a message.
pub fn shown(bytes: &[u8]) -> String {
    format!(
        "{:?}",
        String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_placing_makes_no_difference() {
        let bytes: Vec<[u8; 1]> = (0..=255u8).map(|b| [b]).collect();
        let tokens = || (0u32..).zip(bytes.iter().map(<[u8; 1]>::as_slice));
        let specials = [("<|bos|>".to_string(), 300)];
        let vocab = |tokens: Vec<(u32, &[u8])>| Vocab::new(tokens, Vec::new(), &specials).unwrap();
        let more = [(400u32, &b"ab"[..])];
        let forwards = vocab(tokens().chain(more).collect());
        let backwards = vocab(more.into_iter().chain(tokens()).collect());
        assert_eq!(forwards, backwards);
        assert_ne!(forwards, vocab(tokens().collect()));
    }

    #[test]
    fn merges_that_do_not_spell_their_token_are_refused() {
        let vocab = Vocab::trained(&[(97, 98)], &["<|bos|>".to_string()]).unwrap();
        let merged = |[left, right, id]: [u32; 3]| {
            let merged = vocab.clone().with_merges(vec![Merge { left, right, id }]);
            merged.map_err(|error| error.to_string())
        };
        assert_eq!(merged([97, 98, 256]), Ok(vocab.clone()));
        for wrong in [[98, 97, 256], [97, 97, 256], [97, 98, 97], [60, 98, 257]] {
            let error = merged(wrong).unwrap_err();
            assert!(error.contains("does not spell token"), "{error}");
        }
        assert!(merged([97, 98, 258]).unwrap_err().contains("beyond 258"));
    }
}
