//! Pair of ids -> rank, in lines of eight: a look-up reads one line of the processor's cache and has no branch that
//! cannot be foreseen, so that many of them wait for memory at the same time.

use crate::memory::{Plain, Table};
use crate::pretokenize::key::{fold, prefetch};

/// The rank of a pair that does not merge.
pub const NO_RANK: u32 = u32::MAX;

/// Slots of a line.
const SLOTS: usize = 8;

/// A slot: left id, right id and rank + 1, with all bits inverted, so that a free one, which is 0, is no pair.
pub trait Slot: Plain + Default + PartialEq + 'static {
    /// In the place of an id where there is none; ids are below it.
    const NO_ID: u32;
    /// Ranks are below this.
    const MOST_RANKS: usize;
    /// A slot of this rank + 1.
    fn new(left: u32, right: u32, rank: u32) -> Self;
    /// The rank + 1 if it is of the same pair as `key`, which has rank + 1 of 0, else 0.
    fn rank_of(self, key: Self) -> u32;
}

macro_rules! slot {
    ($word:ty, $id:literal, $rank:literal) => {
        impl Slot for $word {
            const NO_ID: u32 = ((1u64 << $id) - 1) as u32;
            const MOST_RANKS: usize = (1 << $rank) - 1;

            #[inline]
            fn new(left: u32, right: u32, rank: u32) -> Self {
                !(<$word>::from(left) << ($id + $rank)
                    | <$word>::from(right) << $rank
                    | <$word>::from(rank))
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

/// The ranks of pairs, at most half full.
pub struct RankTable<S>(Table<Line<S>>);

impl<S: Slot> RankTable<S> {
    /// A table for so many pairs.
    pub fn new(num: usize) -> Self {
        Self(Table::new((2 * num).div_ceil(SLOTS).max(1)))
    }

    /// Adds a pair; where it is there already, the first one counts.
    pub fn insert(&mut self, left: u32, right: u32, rank: u32) {
        let (mut at, key) = (self.place(left, right), S::new(left, right, 0));
        loop {
            for slot in &mut self.0[at] {
                if slot.rank_of(key) != 0 {
                    return;
                }
                if *slot == S::default() {
                    *slot = S::new(left, right, rank + 1);
                    return;
                }
            }
            at = self.following(at);
        }
    }

    /// The line where the search for a pair begins.
    #[inline]
    pub fn place(&self, left: u32, right: u32) -> usize {
        let pair = u64::from(left) << 32 | u64::from(right);
        let hash = fold(pair, 0x9e37_79b9_7f4a_7c15);
        ((u128::from(hash) * self.0.len() as u128) >> 64) as usize
    }

    /// Fetches a line.
    #[inline]
    pub fn prefetch(&self, place: usize) {
        prefetch(&self.0[place]);
    }

    /// The pair's rank, [`NO_RANK`] if it has none; `find` is [`find`] or does the same.
    #[inline]
    pub fn rank_from(
        &self,
        place: usize,
        left: u32,
        right: u32,
        find: impl Fn(&Line<S>, S) -> u32,
    ) -> u32 {
        let (mut at, key) = (place, S::new(left, right, 0));
        loop {
            let line = &self.0[at];
            let rank = find(line, key);
            // One branch, since which of the two holds cannot be foreseen.
            if (rank != 0) | (line[SLOTS - 1] == S::default()) {
                return rank.wrapping_sub(1);
            }
            at = self.following(at);
        }
    }

    fn following(&self, at: usize) -> usize {
        if at + 1 < self.0.len() { at + 1 } else { 0 }
    }
}

/// The rank + 1 of a line's slot of the same pair as `key`, 0 if there is none.
#[inline]
pub fn find<S: Slot>(line: &Line<S>, key: S) -> u32 {
    line.iter().fold(0, |rank, slot| rank | slot.rank_of(key))
}

/// [`find`], four slots at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
pub fn find_avx2(line: &Line<u64>, key: u64) -> u32 {
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi128_si32, _mm_or_si128, _mm_unpackhi_epi64, _mm256_and_si256,
        _mm256_castsi256_si128, _mm256_cmpeq_epi64, _mm256_extracti128_si256, _mm256_or_si256,
        _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64, _mm256_xor_si256,
    };
    // SAFETY: vectors of integers are what any bytes are.
    let halves = unsafe { std::mem::transmute::<Line<u64>, [__m256i; 2]>(*line) };
    let ranks = halves.map(|slots| {
        let rest = _mm256_xor_si256(slots, _mm256_set1_epi64x(key.cast_signed()));
        let same = _mm256_cmpeq_epi64(_mm256_srli_epi64::<22>(rest), _mm256_setzero_si256());
        _mm256_and_si256(rest, same)
    });
    let four = _mm256_or_si256(ranks[0], ranks[1]);
    let two = _mm_or_si128(
        _mm256_castsi256_si128(four),
        _mm256_extracti128_si256::<1>(four),
    );
    _mm_cvtsi128_si32(_mm_or_si128(two, _mm_unpackhi_epi64(two, two))).cast_unsigned()
}

/// [`find`], all eight at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
pub fn find_avx512(line: &Line<u64>, key: u64) -> u32 {
    use std::arch::x86_64::{
        __m512i, _mm_cvtsi128_si32, _mm512_castsi512_si128, _mm512_maskz_compress_epi64,
        _mm512_set1_epi64, _mm512_testn_epi64_mask, _mm512_xor_si512,
    };
    // SAFETY: vectors of integers are what any bytes are.
    let slots = unsafe { std::mem::transmute::<Line<u64>, __m512i>(*line) };
    let rest = _mm512_xor_si512(slots, _mm512_set1_epi64(key.cast_signed()));
    let same = _mm512_testn_epi64_mask(rest, _mm512_set1_epi64(-1 << 22));
    let first = _mm512_castsi512_si128(_mm512_maskz_compress_epi64(same, rest));
    _mm_cvtsi128_si32(first).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::processor::Level;

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
                let place = narrow.place(left, right);
                prop_assert_eq!(wide.rank_from(place, left, right, find), rank);
                prop_assert_eq!(narrow.rank_from(place, left, right, find), rank);
                #[cfg(target_arch = "x86_64")]
                for level in Level::all() {
                    let find = |line: &_, key| match level {
                        Level::Portable => find(line, key),
                        // SAFETY: the processor has the level.
                        Level::Avx2 => unsafe { find_avx2(line, key) },
                        // SAFETY: as above.
                        Level::Avx512 => unsafe { find_avx512(line, key) },
                    };
                    prop_assert_eq!(narrow.rank_from(place, left, right, find), rank);
                }
            }
        }
    }
}
