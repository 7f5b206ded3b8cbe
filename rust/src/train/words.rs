//! The distinct pretokens as one line of symbols, in which merging is done in place.
//!
//! Every byte has a slot. A symbol (a token's id) stands in its first slot and again in its last one, so that the
//! symbol after it and the one before it are found from its length alone; slots between are dead. A merge writes two
//! slots and kills two. No list of links, no second copy of the text.

use super::counts::Counts;
use crate::error::{Error, Result};

/// Stands between words.
pub(super) const BORDER: u32 = u32::MAX;
/// A slot inside a symbol.
const DEAD: u32 = u32::MAX - 1;

pub(super) struct Words {
    slots: Vec<u32>,
    /// The word each slot belongs to.
    word: Vec<u32>,
    /// How often each word occurs.
    counts: Vec<u64>,
}

/// A symbol's neighbours at the moment of its merge; `BORDER` where the word ends.
pub(super) struct Merged {
    pub before: u32,
    pub after: u32,
    /// How often the word occurs.
    pub count: u64,
}

impl Words {
    /// Lays out the words with one symbol per byte.
    pub(super) fn new(counts: &Counts, byte_ids: &[u32; 256]) -> Result<Self> {
        let mut num_slots = 1;
        counts.for_each(|word, _| num_slots += word.len() + 1);
        if num_slots >= DEAD as usize {
            return Err(Error::value(format!(
                "the distinct pretokens have {num_slots} bytes together; up to {DEAD} are allowed: raise the minimum count or take fewer documents"
            )));
        }
        let mut words = Self {
            slots: Vec::with_capacity(num_slots),
            word: Vec::with_capacity(num_slots),
            counts: Vec::with_capacity(counts.len()),
        };
        let mut put = |slot, word| {
            words.slots.push(slot);
            words.word.push(word);
        };
        put(BORDER, 0);
        counts.for_each(|bytes, count| {
            let word = words.counts.len() as u32;
            words.counts.push(count);
            bytes
                .iter()
                .for_each(|b| put(byte_ids[usize::from(*b)], word));
            put(BORDER, word);
        });
        Ok(words)
    }

    /// Calls `f` with the position, the ids and the count of each pair of neighbours.
    pub(super) fn for_each_pair(&self, mut f: impl FnMut(u32, u32, u32, u64)) {
        for (at, pair) in self.slots.windows(2).enumerate() {
            if pair[0] != BORDER && pair[1] != BORDER {
                f(
                    at as u32,
                    pair[0],
                    pair[1],
                    self.counts[self.word[at] as usize],
                );
            }
        }
    }

    /// Merges `left` at `at` with the `right` behind it into `new`, if both still stand there.
    ///
    /// The lengths are those of the tokens in bytes.
    #[inline]
    pub(super) fn merge(
        &mut self,
        at: u32,
        (left, left_len): (u32, u32),
        (right, right_len): (u32, u32),
        new: u32,
    ) -> Option<Merged> {
        let start = at as usize;
        let middle = start + left_len as usize;
        // A symbol that begins at a slot keeps beginning there until a symbol before it takes it in, and then the
        // slot is dead or holds another id. So ids in the right places mean that both symbols stand here.
        if self.slots[start] != left || self.slots[middle] != right {
            return None;
        }
        let end = middle + right_len as usize;
        let found = Merged {
            before: self.slots[start - 1],
            after: self.slots[end],
            count: self.counts[self.word[start] as usize],
        };
        self.slots[middle - 1] = DEAD;
        self.slots[middle] = DEAD;
        self.slots[start] = new;
        self.slots[end - 1] = new;
        Some(found)
    }

    /// How many symbols the whole corpus has, each word as often as it occurs.
    pub(super) fn num_tokens(&self, len: impl Fn(u32) -> usize) -> u64 {
        let (mut at, mut tokens) = (1, 0u64);
        while at < self.slots.len() {
            let symbol = self.slots[at];
            if symbol == BORDER {
                at += 1;
            } else {
                tokens = tokens.saturating_add(self.counts[self.word[at] as usize]);
                at += len(symbol);
            }
        }
        tokens
    }
}
