//! Pair of ids -> rank, in lines of eight: a look-up reads one line of the processor's cache and has no branch that
//! cannot be foreseen, so that many of them wait for memory at the same time.
//!
//! A line that is full, so that another has to be read, would be such a branch, and a wrong guess while many wait costs
//! 60 ns. So no line is given more than it has room for: the pairs are in groups by their hash, and each group is moved
//! on by as many lines as suits all of its pairs (Belazzougui, Botelho and Dietzfelbinger, "Hash, displace, and
//! compress", 2009).

use std::cmp::Reverse;

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

/// A line of slots, filled from the first on.
pub type Line<S> = [S; SLOTS];

/// Left id, right id and rank of a pair.
pub type Ranked = (u32, u32, u32);

/// The ranks of pairs.
pub struct RankTable<S> {
    /// A power of two, and one that stays free.
    lines: Table<Line<S>>,
    /// By how many lines each group is moved; a power of two.
    moves: Box<[u8]>,
    /// Bits of a hash below the numbers of its group and its line.
    shift: u32,
    /// Whether nothing suited some group, so that a full line may go on in the next one.
    goes_on: bool,
}

/// Pairs of a group, about.
const GROUP: usize = 12;

impl<S: Slot> RankTable<S> {
    /// The table of some pairs; of one that is there twice, the first place counts.
    pub fn new(pairs: &[Ranked]) -> Self {
        // At most four fifths full.
        let num_lines = (pairs.len() * 5).div_ceil(4 * SLOTS).next_power_of_two();
        let num_groups = pairs.len().div_ceil(GROUP).next_power_of_two().max(2);
        let mut table = Self {
            lines: Table::new(num_lines + 1),
            moves: vec![0; num_groups].into(),
            shift: u64::BITS - num_groups.trailing_zeros() - num_lines.trailing_zeros(),
            goes_on: false,
        };
        let (grouped, ends) = table.grouped(pairs);
        let group = |i: usize| &grouped[i.checked_sub(1).map_or(0, |i| ends[i])..ends[i]];
        // The largest first, while there is room.
        let mut order: Vec<usize> = (0..num_groups).collect();
        order.sort_unstable_by_key(|i| Reverse(group(*i).len()));
        let mut used = vec![0; num_lines];
        for i in order {
            let suits = (0..=u8::MAX).any(|moved| {
                table.moves[i] = moved;
                table.take_room(group(i), &mut used)
            });
            table.goes_on |= !suits;
            group(i).iter().for_each(|pair| table.insert(*pair));
        }
        table
    }

    /// The pairs group by group, each in their order, and where the groups end.
    fn grouped(&self, pairs: &[Ranked]) -> (Vec<Ranked>, Vec<usize>) {
        let group = |pair: &Ranked| self.group(hash(pair.0, pair.1));
        let mut places = vec![0; self.moves.len()];
        pairs.iter().for_each(|pair| places[group(pair)] += 1);
        let mut end = 0;
        for place in &mut places {
            (*place, end) = (end, end + *place);
        }
        let mut grouped = vec![(0, 0, 0); pairs.len()];
        for pair in pairs {
            let place = &mut places[group(pair)];
            grouped[*place] = *pair;
            *place += 1;
        }
        (grouped, places)
    }

    /// Takes room for the pairs of a group if there is enough where it is moved to.
    fn take_room(&self, group: &[Ranked], used: &mut [u8]) -> bool {
        for (taken, pair) in group.iter().enumerate() {
            let here = &mut used[self.line(pair.0, pair.1) as usize];
            if usize::from(*here) == SLOTS {
                for pair in &group[..taken] {
                    used[self.line(pair.0, pair.1) as usize] -= 1;
                }
                return false;
            }
            *here += 1;
        }
        true
    }

    fn insert(&mut self, (left, right, rank): Ranked) {
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

    fn group(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.moves.len().trailing_zeros())) as usize
    }

    /// The line where the search for a pair begins.
    #[inline]
    pub fn line(&self, left: u32, right: u32) -> u32 {
        let hash = hash(left, right);
        // SAFETY: there are as many groups as their bits of a hash tell apart.
        let moved = u32::from(unsafe { *self.moves.get_unchecked(self.group(hash)) });
        ((hash >> self.shift) as u32).wrapping_add(moved) & (self.no_line() - 1)
    }

    /// The line in which there is no pair.
    #[inline]
    pub fn no_line(&self) -> u32 {
        self.lines.len() as u32 - 1
    }

    /// Fetches a line.
    #[inline]
    pub fn prefetch(&self, line: u32) {
        prefetch(self.lines.as_ptr().wrapping_add(line as usize));
    }

    /// The rank of the pair with this key, [`NO_RANK`] if it has none; `find` is [`find`] or does the same.
    ///
    /// # Safety
    /// [`RankTable::line`] or [`RankTable::no_line`] of this table gave the line.
    #[inline]
    pub unsafe fn rank_from(&self, mut at: u32, key: S, find: impl Fn(&Line<S>, S) -> u32) -> u32 {
        loop {
            debug_assert!((at as usize) < self.lines.len());
            // SAFETY: as the caller says, and so are those that follow.
            let line = unsafe { self.lines.get_unchecked(at as usize) };
            let rank = find(line, key);
            if !self.goes_on || rank != 0 || line[SLOTS - 1] == S::default() {
                return rank.wrapping_sub(1);
            }
            at = self.following(at);
        }
    }

    fn following(&self, at: u32) -> u32 {
        (at + 1) & (self.no_line() - 1)
    }
}

#[inline]
fn hash(left: u32, right: u32) -> u64 {
    let pair = u64::from(left) << 21 ^ u64::from(right);
    pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)
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

    fn rank_of<S: Slot>(table: &RankTable<S>, line: u32, key: S) -> u32 {
        assert!(line <= table.no_line());
        // SAFETY: there is such a line.
        unsafe { table.rank_from(line, key, find) }
    }

    fn check(table: &RankTable<u64>, pairs: &[Ranked]) {
        for &(left, right, rank) in pairs {
            let line = table.line(left, right);
            assert_eq!(rank_of(table, line, u64::key(left, right)), rank);
            let (line, none) = (table.line(right, left + 5000), u64::key(right, left + 5000));
            assert_eq!(rank_of(table, line, none), NO_RANK);
        }
    }

    #[test]
    fn every_group_of_a_full_table_finds_room() {
        // Four fifths of all slots.
        let num = 1024 * SLOTS as u32 * 4 / 5;
        let pairs: Vec<Ranked> = (0..num).map(|i| (i * 7 % 3000, i % 997, i)).collect();
        let table = RankTable::new(&pairs);
        assert!(!table.goes_on && table.lines.len() == 1024 + 1);
        check(&table, &pairs);
    }

    #[test]
    fn what_no_line_has_room_for_lies_in_the_next_one() {
        let all = (0..2000).flat_map(|left| (0..2000).map(move |right| (left, right)));
        let same = all.filter(|&(left, right)| hash(left, right) >> 56 == 0x5c);
        let pairs: Vec<Ranked> = (0..)
            .zip(same.take(100))
            .map(|(i, (l, r))| (l, r, i))
            .collect();
        let table = RankTable::new(&pairs);
        assert!(table.goes_on);
        check(&table, &pairs);
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_a_map(
            pairs in prop::collection::vec((0u32..40, 0u32..40, 0u32..1 << 20), 1..300),
            asked in prop::collection::vec((0u32..40, 0u32..40), 50),
        ) {
            let mut known = std::collections::HashMap::new();
            let narrow = RankTable::<u64>::new(&pairs);
            let wide = RankTable::<u128>::new(&pairs);
            for &(left, right, rank) in &pairs {
                known.entry((left, right)).or_insert(rank);
            }
            let known_ones = known.keys().copied().collect::<Vec<_>>();
            for (left, right) in asked.into_iter().chain(known_ones) {
                let rank = known.get(&(left, right)).copied().unwrap_or(NO_RANK);
                let line = narrow.line(left, right);
                prop_assert_eq!(rank_of(&wide, line, u128::key(left, right)), rank);
                prop_assert_eq!(rank_of(&narrow, line, u64::key(left, right)), rank);
                prop_assert_eq!(rank_of(&narrow, narrow.no_line(), u64::key(left, right)), NO_RANK);
            }
        }
    }
}
