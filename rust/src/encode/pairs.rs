//! Which two adjacent ids merge, and how early: a flat table that a merge loop asks twice per merge.
//!
//! Each answer waits for memory, so little of it is used: one line, on large pages ([`ranks`](super::ranks)).

use super::characters::Characters;
use super::joints::Joints;
use super::ranks::{NO_RANK, RankTable, Ranked, Slot, find};
use crate::processor::Level;
use crate::vocab::Vocab;

/// Ranks of pairs. Pairs of single bytes, where every pretoken starts, have a dense table of 256 KiB.
pub struct PairRanks {
    byte_ids: [u32; 256],
    byte_pairs: Box<[u32]>,
    table: Table,
    /// The id that the merge of each rank makes; empty if it is the rank itself.
    results: Box<[u32]>,
    num_ranks: usize,
    joints: Joints,
    characters: Option<Characters>,
    level: Level,
}

/// Words of which one holds the ids and ranks.
pub enum Table {
    Narrow(RankTable<u64>),
    Wide(RankTable<u128>),
}

impl PairRanks {
    /// The table of a vocabulary's merges; of a pair listed twice, the first place counts.
    pub fn new(vocab: &Vocab) -> Self {
        Self::at(Level::best(), vocab)
    }

    /// The same with other instructions.
    pub(super) fn at(level: Level, vocab: &Vocab) -> Self {
        let byte_ids = std::array::from_fn(|b| vocab.id(&[b as u8]).unwrap_or_default());
        let merges = vocab.merges();
        // In most vocabularies the ids say the order, and need not be looked up by it.
        let by_id = merges.is_sorted_by(|a, b| a.id < b.id);
        let ranked: Vec<Ranked> = (0u32..)
            .zip(merges)
            .map(|(at, merge)| (merge.left, merge.right, if by_id { merge.id } else { at }))
            .collect();
        let is_narrow = vocab.len() <= <u64 as Slot>::MOST_IDS as usize
            && merges.len() < <u64 as Slot>::MOST_RANKS;
        let mut pairs = Self {
            byte_ids,
            byte_pairs: vec![NO_RANK; 1 << 16].into(),
            table: if is_narrow {
                Table::Narrow(RankTable::new(&ranked))
            } else {
                Table::Wide(RankTable::new(&ranked))
            },
            results: Box::default(),
            num_ranks: merges.len(),
            joints: Joints::new(vocab),
            characters: None,
            level,
        };
        if by_id {
            pairs.num_ranks = merges.last().map_or(0, |merge| merge.id as usize + 1);
        } else {
            pairs.results = merges.iter().map(|m| m.id).collect();
        }
        for a in 0..256 {
            for b in 0..256 {
                pairs.byte_pairs[a << 8 | b] = pairs.rank(byte_ids[a], byte_ids[b]);
            }
        }
        pairs.characters = Characters::new(vocab, &pairs);
        pairs
    }

    /// Where no token reaches across.
    pub fn joints(&self) -> &Joints {
        &self.joints
    }

    /// What is merged from the start.
    pub fn characters(&self) -> Option<&Characters> {
        self.characters.as_ref()
    }

    /// The ranks of all pairs.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Priority of merging the two ids, [`NO_RANK`] if they do not merge.
    #[inline]
    pub fn rank(&self, left: u32, right: u32) -> u32 {
        fn of<S: Slot>(table: &RankTable<S>, left: u32, right: u32) -> u32 {
            // SAFETY: it is the table's line.
            unsafe { table.rank_from(table.line(left, right), S::key(left, right), find) }
        }
        match &self.table {
            Table::Narrow(table) => of(table, left, right),
            Table::Wide(table) => of(table, left, right),
        }
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
        if self.results.is_empty() {
            rank
        } else {
            self.results[rank as usize]
        }
    }

    /// The instructions to merge with.
    #[inline]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Ranks are below this.
    pub fn num_ranks(&self) -> usize {
        self.num_ranks
    }
}
