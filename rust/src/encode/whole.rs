//! Pretokens that are themselves a token: nine of ten in running text, found by one lookup.

use std::sync::atomic::AtomicBool;

use rustc_hash::FxHashMap;

use super::filter::Filter;
use super::lockstep::LONG;
use super::merge::merge_all;
use super::wanted::Wanted;
use super::{PairRanks, Scratch};
use crate::memory::Table;
use crate::pretokenize::key::{KEY_BYTES, Key, prefetch};
use crate::vocab::Vocab;

/// The ordinary tokens that merging their own bytes does not make, in order of id. A few milliseconds per 100,000.
pub fn unmade(vocab: &Vocab) -> &[u32] {
    vocab.unmade_once(|| {
        let (pairs, mut scratch) = (PairRanks::new(vocab), Scratch::default());
        let (short, long): (Vec<_>, Vec<_>) =
            vocab.tokens().partition(|(_, bytes)| bytes.len() <= LONG);
        let mut unmade = Vec::new();
        let texts = short.into_iter().map(|(id, bytes)| (id as usize, bytes));
        merge_all::<LONG>(&pairs, texts, |id, merged, num| {
            let is_made = merged[..num] == [id as u32];
            unmade.extend((!is_made).then_some(id as u32));
        });
        let never = AtomicBool::new(false);
        let not_made = |(id, bytes)| (scratch.merge(&pairs, bytes, &never) != [id]).then_some(id);
        unmade.extend(long.into_iter().filter_map(not_made));
        unmade.sort_unstable();
        unmade
    })
}

/// Tokens between the fetch of a slot and its use: the wait for memory is two thirds of making the table otherwise.
const INSERTED_AHEAD: usize = 16;

/// Bytes -> id of the ordinary tokens.
pub struct WholeTokens {
    /// Two of three new pretokens are no token.
    filter: Filter,
    /// The tokens of up to 15 bytes: open addressing, half full; 0 is a free slot.
    keys: Table<u128>,
    ids: Table<u32>,
    long: FxHashMap<Box<[u8]>, u32>,
    longest: usize,
}

impl WholeTokens {
    /// The tokens of a vocabulary that a pretoken may be.
    pub fn new(vocab: &Vocab) -> Self {
        let num_slots = 2 * vocab.len();
        let mut whole = Self {
            filter: Filter::new(vocab.len()),
            keys: Table::new(num_slots),
            ids: Table::new(num_slots),
            long: FxHashMap::default(),
            longest: 0,
        };
        let unmade = if vocab.only_merges() {
            unmade(vocab)
        } else {
            &[]
        };
        let tokens = vocab.tokens();
        let mut short = Vec::with_capacity(vocab.len());
        for (id, bytes) in tokens.filter(|(id, _)| unmade.binary_search(id).is_err()) {
            whole.longest = whole.longest.max(bytes.len());
            if bytes.len() <= KEY_BYTES {
                short.push((Key::of(bytes), id));
            } else {
                whole.long.insert(bytes.into(), id);
            }
        }
        for (i, &(key, id)) in short.iter().enumerate() {
            if let Some((key, _)) = short.get(i + INSERTED_AHEAD) {
                prefetch(&raw const whole.keys[whole.place(*key)]);
            }
            whole.filter.insert(key.hash());
            let at = whole.slot(key);
            whole.keys[at] = key.0;
            whole.ids[at] = id;
        }
        whole
    }

    /// The tokens of up to 15 bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Key, u32)> {
        let all = self.keys.iter().zip(self.ids.iter());
        all.filter(|(key, _)| **key != 0)
            .map(|(key, id)| (Key(*key), *id))
    }

    /// Where the search for a key begins.
    #[inline]
    fn place(&self, key: Key) -> usize {
        ((u128::from(key.hash()) * self.keys.len() as u128) >> 64) as usize
    }

    /// The slot that holds the key, or the free one where it would be.
    #[inline]
    fn slot(&self, key: Key) -> usize {
        let mut at = self.place(key);
        while self.keys[at] != key.0 && self.keys[at] != 0 {
            at = if at + 1 < self.keys.len() { at + 1 } else { 0 };
        }
        at
    }

    /// Whether the pretoken may be a token; fetches what [`WholeTokens::get`] reads.
    #[inline]
    pub fn may_have(&self, want: &Wanted) -> bool {
        let place = self.place(want.key);
        let may_have = want.hash_of_long().is_some() || self.filter.may_have(want.key.hash());
        if may_have {
            prefetch(&raw const self.keys[place]);
            prefetch(&raw const self.ids[place]);
        }
        may_have
    }

    /// The token that the pretoken is.
    #[inline]
    pub fn get(&self, want: &Wanted, text: &[u8]) -> Option<u32> {
        if want.hash_of_long().is_some() {
            let bytes = want.bytes(text);
            return (bytes.len() <= self.longest).then(|| self.long.get(bytes).copied())?;
        }
        let at = self.slot(want.key);
        (self.keys[at] == want.key.0).then(|| self.ids[at])
    }
}
