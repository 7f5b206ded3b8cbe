//! Which two adjacent ids merge, and how early: a flat table that a merge loop asks twice per merge.

use crate::pretokenize::key::fold;
use crate::vocab::{Merge, Vocab};

/// The rank of a pair that does not merge.
pub const NO_RANK: u32 = u32::MAX;

/// Ranks of pairs. Pairs of single bytes, where every pretoken starts, have a dense table of 256 KiB.
pub struct PairRanks {
    byte_ids: [u32; 256],
    byte_pairs: Box<[u32]>,
    /// A bit for the hash of each pair. Most pairs that are asked for do not merge, and this answers so from 256 KiB
    /// where the slots have megabytes.
    filter: Box<[u64]>,
    /// Open addressing, at most half full: (left << 32 | right, rank, id).
    slots: Box<[(u64, u32, u32)]>,
    /// The id that the merge of each rank makes.
    results: Box<[u32]>,
}

impl PairRanks {
    /// The table of a vocabulary's merges; of a pair listed twice, the first place counts.
    pub fn new(vocab: &Vocab) -> Self {
        let byte_ids = std::array::from_fn(|b| vocab.id(&[b as u8]).unwrap_or_default());
        let merges = vocab.merges();
        let mut table = Self {
            byte_ids,
            byte_pairs: vec![NO_RANK; 1 << 16].into(),
            filter: vec![0; (merges.len() / 4).next_power_of_two()].into(),
            slots: vec![(0, NO_RANK, 0); (2 * merges.len()).next_power_of_two()].into(),
            results: merges.iter().map(|m| m.id).collect(),
        };
        for (rank, &Merge { left, right, id }) in (0u32..).zip(merges) {
            let at = table.slot(left, right);
            if table.slots[at].1 == NO_RANK {
                let (word, bit) = table.filter_bit(hash(left, right));
                table.filter[word] |= bit;
                table.slots[at] = (joined(left, right), rank, id);
            }
        }
        for a in 0..256 {
            for b in 0..256 {
                table.byte_pairs[a << 8 | b] = table.rank(byte_ids[a], byte_ids[b]).0;
            }
        }
        table
    }

    /// The slot that holds the pair, or the free one where it would be.
    #[inline]
    fn slot(&self, left: u32, right: u32) -> usize {
        let key = joined(left, right);
        let mask = self.slots.len() - 1;
        let mut at = hash(left, right) as usize & mask;
        while self.slots[at].1 != NO_RANK && self.slots[at].0 != key {
            at = (at + 1) & mask;
        }
        at
    }

    /// Another part of the hash than the slots use.
    #[inline]
    fn filter_bit(&self, hash: u64) -> (usize, u64) {
        (
            (hash >> 38) as usize & (self.filter.len() - 1),
            1 << (hash >> 32 & 63),
        )
    }

    /// Priority of merging the two ids, [`NO_RANK`] if they do not merge, and what they merge into.
    #[inline]
    pub fn rank(&self, left: u32, right: u32) -> (u32, u32) {
        let (word, bit) = self.filter_bit(hash(left, right));
        if self.filter[word] & bit == 0 {
            return (NO_RANK, 0);
        }
        let (_, rank, id) = self.slots[self.slot(left, right)];
        (rank, id)
    }

    /// As [`PairRanks::rank`] for two single bytes.
    #[inline]
    pub fn byte_rank(&self, left: u8, right: u8) -> u32 {
        self.byte_pairs[usize::from(left) << 8 | usize::from(right)]
    }

    /// The id of a single byte.
    #[inline]
    pub fn byte_id(&self, byte: u8) -> u32 {
        self.byte_ids[usize::from(byte)]
    }

    /// The id that the merge of this rank makes.
    #[inline]
    pub fn result(&self, rank: u32) -> u32 {
        self.results[rank as usize]
    }

    /// Number of ranks.
    pub fn len(&self) -> usize {
        self.results.len()
    }
}

#[inline]
fn hash(left: u32, right: u32) -> u64 {
    fold(joined(left, right), 0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn joined(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}
