//! Pair of ids -> rank, in lines of eight: a look-up reads one line of the processor's cache and has no branch that
//! cannot be foreseen, so that many of them wait for memory at the same time.

use crate::memory::{Plain, Table};
use crate::pretokenize::key::prefetch;

/// The rank of a pair that does not merge.
pub const NO_RANK: u32 = u32::MAX;

/// Slots of a line.
const SLOTS: usize = 8;

/// A slot: left id, right id and rank + 1, with all bits inverted, so that a free one, which is 0, is no pair.
pub trait Slot: Plain + Default + PartialEq + 'static {
    /// Ids are below this.
    const MOST_IDS: u32;
    /// Ranks are below this.
    const MOST_RANKS: usize;
    /// The slot of a pair with rank + 1 of 0.
    fn key(left: u32, right: u32) -> Self;
    /// The slot of the pair whose key this is.
    fn with_rank(self, rank: u32) -> Self;
    /// The rank + 1 if it is of the same pair as `key`, else 0.
    fn rank_of(self, key: Self) -> u32;
}

macro_rules! slot {
    ($word:ty, $id:literal, $rank:literal) => {
        impl Slot for $word {
            const MOST_IDS: u32 = ((1u64 << $id) - 1) as u32;
            const MOST_RANKS: usize = (1 << $rank) - 1;

            #[inline]
            fn key(left: u32, right: u32) -> Self {
                !(<$word>::from(left) << ($id + $rank) | <$word>::from(right) << $rank)
            }

            #[inline]
            fn with_rank(self, rank: u32) -> Self {
                self ^ <$word>::from(rank + 1)
            }

            #[inline]
            fn rank_of(self, key: Self) -> u32 {
                let rest = self ^ key;
                if rest >> $rank == 0 { rest as u32 } else { 0 }
            }
        }
    };
}

// Any vocabulary in use, and all others.
slot!(u64, 21, 22);
slot!(u128, 32, 32);

/// A line of slots, filled from the first on; what does not fit goes to the next one.
pub type Line<S> = [S; SLOTS];

/// The ranks of pairs, a quarter to half full: a line that is full, and another that has to be read, cannot be foreseen.
pub struct RankTable<S> {
    /// A power of two, and one that stays free.
    lines: Table<Line<S>>,
    /// Of a hash, how many bits are not the number of a line.
    shift: u32,
}

impl<S: Slot> RankTable<S> {
    /// A table for so many pairs.
    pub fn new(num: usize) -> Self {
        let num_lines = (2 * num).div_ceil(SLOTS).next_power_of_two().max(2);
        Self {
            lines: Table::new(num_lines + 1),
            shift: u64::BITS - num_lines.trailing_zeros(),
        }
    }

    /// Adds a pair; where it is there already, the first one counts.
    pub fn insert(&mut self, left: u32, right: u32, rank: u32) {
        let (mut at, key) = (self.line(left, right), S::key(left, right));
        loop {
            for slot in &mut self.lines[at as usize] {
                if slot.rank_of(key) != 0 {
                    return;
                }
                if *slot == S::default() {
                    *slot = key.with_rank(rank);
                    return;
                }
            }
            at = self.following(at);
        }
    }

    /// The line where the search for a pair begins.
    #[inline]
    pub fn line(&self, left: u32, right: u32) -> u32 {
        let pair = u64::from(left) << 21 ^ u64::from(right);
        (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as u32
    }

    /// The line in which there is no pair.
    #[inline]
    pub fn no_line(&self) -> u32 {
        self.lines.len() as u32 - 1
    }

    /// Fetches a line.
    #[inline]
    pub fn prefetch(&self, line: u32) {
        prefetch(&raw const self.lines[line as usize]);
    }

    /// The rank of the pair with this key, [`NO_RANK`] if it has none; `find` is [`find`] or does the same.
    #[inline]
    pub fn rank_from(&self, mut at: u32, key: S, find: impl Fn(&Line<S>, S) -> u32) -> u32 {
        loop {
            let line = &self.lines[at as usize];
            let rank = find(line, key);
            // One branch, since which of the two holds cannot be foreseen.
            if (rank != 0) | (line[SLOTS - 1] == S::default()) {
                return rank.wrapping_sub(1);
            }
            at = self.following(at);
        }
    }

    fn following(&self, at: u32) -> u32 {
        (at + 1) & (self.no_line() - 1)
    }
}

/// The rank + 1 of a line's slot of the same pair as `key`, 0 if there is none.
#[inline]
pub fn find<S: Slot>(line: &Line<S>, key: S) -> u32 {
    line.iter().fold(0, |rank, slot| rank | slot.rank_of(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_are_those_of_a_map(
            pairs in prop::collection::vec((0u32..40, 0u32..40, 0u32..1 << 20), 1..300),
            asked in prop::collection::vec((0u32..40, 0u32..40), 50),
        ) {
            let mut known = std::collections::HashMap::new();
            let mut narrow = RankTable::<u64>::new(pairs.len());
            let mut wide = RankTable::<u128>::new(pairs.len());
            for &(left, right, rank) in &pairs {
                known.entry((left, right)).or_insert(rank);
                narrow.insert(left, right, rank);
                wide.insert(left, right, rank);
            }
            let known_ones = known.keys().copied().collect::<Vec<_>>();
            for (left, right) in asked.into_iter().chain(known_ones) {
                let rank = known.get(&(left, right)).copied().unwrap_or(NO_RANK);
                let line = narrow.line(left, right);
                prop_assert_eq!(wide.rank_from(line, u128::key(left, right), find), rank);
                prop_assert_eq!(narrow.rank_from(line, u64::key(left, right), find), rank);
                prop_assert_eq!(narrow.rank_from(narrow.no_line(), u64::key(left, right), find), NO_RANK);
            }
        }
    }
}
