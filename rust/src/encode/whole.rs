//! Pretokens that are themselves a token: nine of ten in running text, found by one lookup.

use rustc_hash::FxHashMap;

use crate::pretokenize::key::{KEY_BYTES, Key};
use crate::vocab::Vocab;

/// Bytes -> id of the ordinary tokens.
pub struct WholeTokens {
    keys: Box<[Key]>,
    ids: Box<[u32]>,
    long: FxHashMap<Box<[u8]>, u32>,
    longest: usize,
}

impl WholeTokens {
    /// The tokens of a vocabulary.
    pub fn new(vocab: &Vocab) -> Self {
        let num_slots = (2 * vocab.len()).next_power_of_two();
        let mut whole = Self {
            keys: vec![Key::default(); num_slots].into(),
            ids: vec![0; num_slots].into(),
            long: FxHashMap::default(),
            longest: 0,
        };
        for (id, bytes) in vocab.tokens() {
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

    /// The token with this key.
    #[inline]
    pub fn get(&self, key: Key) -> Option<u32> {
        let at = self.slot(key);
        (self.keys[at] == key).then(|| self.ids[at])
    }

    /// The token with these bytes, more than 15 of them.
    pub fn get_long(&self, bytes: &[u8]) -> Option<u32> {
        if bytes.len() > self.longest {
            return None;
        }
        self.long.get(bytes).copied()
    }
}
