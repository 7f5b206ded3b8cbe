//! Byte-pair encoding of one pretoken: the pair of lowest rank merges first, of equal ranks the leftmost.
//!
//! The parts are a linked list. In short pretokens the lowest rank is searched for; many of up to 32 bytes merge side
//! by side ([`lockstep`](super::lockstep)). Long ones have a queue of buckets, one per rank, which costs O(n) whatever
//! the text: merging makes pairs of higher rank than its own (a part is older than the whole), so the buckets are walked
//! once, in order. A vocabulary from a file may break that rule; the walk then goes back, and the result is still exact.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_arch = "aarch64")]
use super::lockstep::Neon;
use super::lockstep::{self, Portable};
#[cfg(target_arch = "x86_64")]
use super::lockstep::{Avx2, Avx512};
use super::pairs::{PairRanks, Table};
use super::ranks::NO_RANK;
#[cfg(target_arch = "x86_64")]
use super::ranks::RankTable;
use crate::processor::Level;

/// Up to this many bytes the array wins (measured: equal near 100 bytes of CJK text).
const SEARCHED: usize = 64;
const NONE: u32 = u32::MAX;
/// Merges between two looks at the stop flag, well under a millisecond.
const MERGES_PER_LOOK: usize = 4096;

/// Working memory of the merge loops, kept between calls.
#[derive(Default)]
pub struct Scratch {
    ids: Vec<u32>,
    /// Rank of the pair that begins at each position.
    ranks: Vec<u32>,
    next: Vec<u32>,
    prev: Vec<u32>,
    buckets: Buckets,
    /// Positions of the bucket at hand, in order.
    positions: Vec<u32>,
}

impl Scratch {
    /// The ids of one pretoken; nonsense once `stop` is set.
    pub fn merge(&mut self, pairs: &PairRanks, bytes: &[u8], stop: &AtomicBool) -> &[u32] {
        let len = bytes.len() as u32;
        self.ids.clear();
        self.ids.extend(bytes.iter().map(|&b| pairs.byte_id(b)));
        self.ranks.clear();
        self.ranks
            .extend(bytes.windows(2).map(|w| pairs.byte_rank(w[0], w[1])));
        self.ranks.push(NO_RANK);
        self.next.clear();
        self.next.extend(1..=len);
        self.prev.clear();
        self.prev.push(NONE);
        self.prev.extend(0..len - 1);
        if bytes.len() <= SEARCHED {
            self.merge_by_search(pairs);
        } else {
            self.merge_by_buckets(pairs, stop);
        }
        let (mut at, mut kept) = (0, 0);
        while at < len {
            self.ids[kept] = self.ids[at as usize];
            kept += 1;
            at = self.next[at as usize];
        }
        self.ids.truncate(kept);
        &self.ids
    }

    fn merge_by_search(&mut self, pairs: &PairRanks) {
        // Least rank and its place in two passes: each compiles to vector instructions, one combined does not.
        while let Some(least) = self
            .ranks
            .iter()
            .copied()
            .min()
            .filter(|&rank| rank != NO_RANK)
        {
            let Some(at) = self.ranks.iter().position(|&rank| rank == least) else {
                break;
            };
            self.merge_at(pairs, at as u32, least);
        }
    }

    fn merge_by_buckets(&mut self, pairs: &PairRanks, stop: &AtomicBool) {
        self.buckets.begin(pairs.num_ranks());
        // Buckets are stacks: from the last position on, so that each comes out in order.
        for (at, &rank) in self.ranks.iter().enumerate().rev() {
            self.buckets.push(rank, at as u32);
        }
        let mut positions = std::mem::take(&mut self.positions);
        let mut merges = 0;
        'buckets: while let Some(rank) = self.buckets.take_least(&mut positions) {
            // Left to right: of "aaa" the first two merge. Mostly sorted already.
            positions.sort_unstable();
            for (done, &at) in positions.iter().enumerate() {
                if self.ranks[at as usize] != rank {
                    continue;
                }
                merges += 1;
                if merges % MERGES_PER_LOOK == 0 && stop.load(Ordering::Relaxed) {
                    self.buckets.clear();
                    break 'buckets;
                }
                let before = self.merge_at(pairs, at, rank);
                let here = self.ranks[at as usize];
                self.buckets.push(here, at);
                let mut lower = here;
                if let Some(&rank) = self.ranks.get(before as usize) {
                    self.buckets.push(rank, before);
                    lower = lower.min(rank);
                }
                if lower < rank {
                    for &left in positions[done + 1..].iter().rev() {
                        self.buckets.push(rank, left);
                    }
                    break;
                }
            }
        }
        self.positions = positions;
    }

    /// Merges the pair at a position and ranks the two pairs that this makes; gives the position before, or `NONE`.
    #[inline]
    fn merge_at(&mut self, pairs: &PairRanks, at: u32, rank: u32) -> u32 {
        let (here, right) = (at as usize, self.next[at as usize] as usize);
        let id = pairs.result(rank);
        let after = self.next[right];
        self.ids[here] = id;
        self.next[here] = after;
        self.ranks[right] = NO_RANK;
        self.ranks[here] = NO_RANK;
        if let Some(&follower) = self.ids.get(after as usize) {
            self.prev[after as usize] = at;
            self.ranks[here] = pairs.rank(id, follower);
        }
        let before = self.prev[here];
        if before != NONE {
            self.ranks[before as usize] = pairs.rank(self.ids[before as usize], id);
        }
        before
    }

    /// Gives back the memory that a very long pretoken took.
    pub fn trim(&mut self) {
        const KEPT: usize = 1 << 16;
        if self.ids.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// Merges many pretokens of up to N bytes ([`lockstep::SHORT`] or [`lockstep::LONG`]); `done` is told the number of each, its ids with
/// zeroes behind, and how many they are, in any order.
pub fn merge_all<'a, const N: usize>(
    pairs: &PairRanks,
    texts: impl Iterator<Item = (usize, &'a [u8])>,
    done: impl FnMut(usize, &[u32; N], usize),
) {
    /// The same with the features given.
    #[cfg(target_arch = "x86_64")]
    macro_rules! at_level {
        ($table:ident, $features:literal, $vectors:ty) => {{
            #[target_feature(enable = $features)]
            fn merge<'a, const N: usize>(
                pairs: &PairRanks,
                table: &RankTable<u64>,
                texts: impl Iterator<Item = (usize, &'a [u8])>,
                done: impl FnMut(usize, &[u32; N], usize),
            ) {
                lockstep::merge::<$vectors, _, N>(pairs, table, texts, done);
            }
            // SAFETY: a processor of this level has the features.
            unsafe { merge(pairs, $table, texts, done) }
        }};
    }
    match (pairs.table(), pairs.level()) {
        (Table::Wide(table), _) => {
            lockstep::merge::<Portable, _, N>(pairs, table, texts, done);
        }
        (Table::Narrow(table), Level::Portable) => {
            lockstep::merge::<Portable, _, N>(pairs, table, texts, done);
        }
        #[cfg(target_arch = "aarch64")]
        (Table::Narrow(table), Level::Neon) => {
            lockstep::merge::<Neon, _, N>(pairs, table, texts, done);
        }
        #[cfg(target_arch = "x86_64")]
        (Table::Narrow(table), Level::Avx2) => {
            at_level!(table, "avx2,bmi1,bmi2,lzcnt,popcnt", Avx2);
        }
        #[cfg(target_arch = "x86_64")]
        (Table::Narrow(table), Level::Avx512) => at_level!(
            table,
            "avx512f,avx512bw,avx512vl,avx512dq,avx2,bmi1,bmi2,lzcnt,popcnt",
            Avx512
        ),
    }
}

/// Positions by rank: a stack for each rank, and a bit set of those that hold something.
#[derive(Default)]
struct Buckets {
    heads: Vec<u32>,
    occupied: Vec<u64>,
    /// (position, the entry below).
    entries: Vec<(u32, u32)>,
    /// No word of `occupied` before this one has a bit.
    word: usize,
}

impl Buckets {
    fn begin(&mut self, num_ranks: usize) {
        self.heads.resize(num_ranks, NONE);
        self.occupied.resize(num_ranks.div_ceil(64), 0);
        self.entries.clear();
        self.word = self.occupied.len();
    }

    fn clear(&mut self) {
        self.heads.fill(NONE);
        self.occupied.fill(0);
    }

    #[inline]
    fn push(&mut self, rank: u32, position: u32) {
        if rank == NO_RANK {
            return;
        }
        let head = &mut self.heads[rank as usize];
        self.entries.push((position, *head));
        *head = (self.entries.len() - 1) as u32;
        let word = rank as usize / 64;
        self.occupied[word] |= 1 << (rank % 64);
        self.word = self.word.min(word);
    }

    /// Empties the lowest occupied bucket into `positions`.
    fn take_least(&mut self, positions: &mut Vec<u32>) -> Option<u32> {
        positions.clear();
        let skipped = self.occupied[self.word..]
            .iter()
            .position(|&word| word != 0)?;
        self.word += skipped;
        let bit = self.occupied[self.word].trailing_zeros();
        self.occupied[self.word] &= !(1 << bit);
        let rank = self.word as u32 * 64 + bit;
        let mut entry = std::mem::replace(&mut self.heads[rank as usize], NONE);
        while entry != NONE {
            let (position, below) = self.entries[entry as usize];
            positions.push(position);
            entry = below;
        }
        Some(rank)
    }
}
