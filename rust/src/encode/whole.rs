//! Pretokens that are themselves a token: nine of ten in running text, found by one lookup.

use std::sync::atomic::AtomicBool;

use rustc_hash::FxHashMap;

use super::wanted::Wanted;
use super::{PairRanks, Scratch};
use crate::pretokenize::key::{KEY_BYTES, Key};
use crate::vocab::Vocab;

/// The ordinary tokens that merging their own bytes does not make, in order of id. A few milliseconds per 100,000.
pub fn unmade(vocab: &Vocab) -> Vec<u32> {
    let (pairs, mut scratch) = (PairRanks::new(vocab), Scratch::default());
    let never = AtomicBool::new(false);
    vocab
        .tokens()
        .filter(|(id, bytes)| scratch.merge(&pairs, bytes, &never) != [*id])
        .map(|(id, _)| id)
        .collect()
}

/// Bytes -> id of the ordinary tokens.
pub struct WholeTokens {
    keys: Box<[Key]>,
    ids: Box<[u32]>,
    long: FxHashMap<Box<[u8]>, u32>,
    longest: usize,
}

impl WholeTokens {
    /// The tokens of a vocabulary that a pretoken may be.
    pub fn new(vocab: &Vocab) -> Self {
        let num_slots = (2 * vocab.len()).next_power_of_two();
        let mut whole = Self {
            keys: vec![Key::default(); num_slots].into(),
            ids: vec![0; num_slots].into(),
            long: FxHashMap::default(),
            longest: 0,
        };
        let unmade = if vocab.only_merges() {
            unmade(vocab)
        } else {
            Vec::new()
        };
        let tokens = vocab.tokens();
        for (id, bytes) in tokens.filter(|(id, _)| unmade.binary_search(id).is_err()) {
            whole.longest = whole.longest.max(bytes.len());
            if bytes.len() <= KEY_BYTES {
                let key = Key::of(bytes);
                let at = whole.slot(key);
                whole.keys[at] = key;
                whole.ids[at] = id;
            } else {
                whole.long.insert(bytes.into(), id);
            }
        }
        whole
    }

    /// The tokens of up to 15 bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Key, u32)> {
        let all = self.keys.iter().copied().zip(self.ids.iter().copied());
        all.filter(|(key, _)| *key != Key::default())
    }

    #[inline]
    fn slot(&self, key: Key) -> usize {
        let mask = self.keys.len() - 1;
        let mut at = key.hash() as usize & mask;
        while self.keys[at] != key && self.keys[at] != Key::default() {
            at = (at + 1) & mask;
        }
        at
    }

    /// The token that the pretoken is.
    #[inline]
    pub fn get(&self, want: &Wanted, text: &[u8]) -> Option<u32> {
        if want.hash_of_long().is_some() {
            let bytes = want.bytes(text);
            return (bytes.len() <= self.longest).then(|| self.long.get(bytes).copied())?;
        }
        let at = self.slot(want.key);
        (self.keys[at] == want.key).then(|| self.ids[at])
    }
}
