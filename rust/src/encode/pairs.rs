//! Which two adjacent ids merge, and how early: a flat table that a merge loop asks twice per merge.
//!
//! Each answer waits for memory, so little of it is used: a slot is one word, on large pages, and most pairs that do
//! not merge are told by a filter.

use std::sync::atomic::AtomicBool;

use super::Scratch;
use super::characters::Characters;
use super::filter::Filter;
use super::joints::Joints;
use crate::memory::Table;
use crate::pretokenize::key::fold;
use crate::processor::Level;
use crate::vocab::{Merge, Vocab};

/// The rank of a pair that does not merge.
pub const NO_RANK: u32 = u32::MAX;

/// Ranks of pairs. Pairs of single bytes, where every pretoken starts, have a dense table of 256 KiB.
pub struct PairRanks {
    byte_ids: [u32; 256],
    byte_pairs: Box<[u32]>,
    /// Most pairs that are asked for do not merge.
    filter: Filter,
    slots: Slots,
    /// The id that the merge of each rank makes; empty if it is the rank itself.
    results: Box<[u32]>,
    num_ranks: usize,
    joints: Joints,
    characters: Option<Characters>,
    level: Level,
}

/// Open addressing, at most half full. 0 is a free slot.
enum Slots {
    /// 21 bits for each id, then 22 for the rank + 1: any vocabulary in use.
    Narrow(Table<u64>),
    Wide(Table<u128>),
}

/// A slot: left id, right id and the rank + 1.
trait Slot: Copy + PartialEq + 'static {
    /// Bits of an id.
    const ID: u32;
    /// The rank + 1 in it, 0 if it is that of another pair.
    fn rank_of(self, left: u32, right: u32) -> u32;
    fn is_free(self) -> bool;
    fn new(left: u32, right: u32, rank: u32) -> Self;
}

macro_rules! slot {
    ($word:ty, $id:literal, $rank:literal) => {
        impl Slot for $word {
            const ID: u32 = $id;

            #[inline]
            fn rank_of(self, left: u32, right: u32) -> u32 {
                // What is left of the highest bits is the rank if the others are equal.
                let rest = self ^ Self::new(left, right, 0);
                if rest >> $rank == 0 { rest as u32 } else { 0 }
            }

            #[inline]
            fn is_free(self) -> bool {
                self == 0
            }

            #[inline]
            fn new(left: u32, right: u32, rank: u32) -> Self {
                <$word>::from(left) << ($id + $rank)
                    | <$word>::from(right) << $rank
                    | <$word>::from(rank)
            }
        }
    };
}

slot!(u64, 21, 22);
slot!(u128, 32, 32);

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
        let num_slots = (2 * merges.len()).max(2);
        let mut table = Self {
            byte_ids,
            byte_pairs: vec![NO_RANK; 1 << 16].into(),
            filter: Filter::new(merges.len()),
            slots: if vocab.len() <= 1 << <u64 as Slot>::ID {
                Slots::Narrow(Table::new(num_slots))
            } else {
                Slots::Wide(Table::new(num_slots))
            },
            results: Box::default(),
            num_ranks: merges.len(),
            joints: Joints::new(vocab),
            characters: None,
            level,
        };
        if by_id {
            table.num_ranks = merges.last().map_or(0, |merge| merge.id as usize + 1);
        } else {
            table.results = merges.iter().map(|m| m.id).collect();
        }
        for (at, &Merge { left, right, id }) in (0u32..).zip(merges) {
            let hash = hash(left, right);
            let rank = if by_id { id } else { at };
            match &mut table.slots {
                Slots::Narrow(slots) => put(slots, hash, Slot::new(left, right, rank + 1)),
                Slots::Wide(slots) => put(slots, hash, Slot::new(left, right, rank + 1)),
            }
            table.filter.insert(hash);
        }
        for a in 0..256 {
            for b in 0..256 {
                table.byte_pairs[a << 8 | b] = table.rank(byte_ids[a], byte_ids[b]);
            }
        }
        let (mut scratch, never) = (Scratch::default(), AtomicBool::new(false));
        table.characters =
            Characters::new(vocab, |bytes| scratch.merge(&table, bytes, &never).to_vec());
        table
    }

    /// Where no token reaches across.
    pub fn joints(&self) -> &Joints {
        &self.joints
    }

    /// What is merged from the start.
    pub fn characters(&self) -> Option<&Characters> {
        self.characters.as_ref()
    }

    /// Priority of merging the two ids, [`NO_RANK`] if they do not merge.
    #[inline]
    pub fn rank(&self, left: u32, right: u32) -> u32 {
        let hash = hash(left, right);
        if !self.filter.may_have(hash) {
            return NO_RANK;
        }
        let rank = match &self.slots {
            Slots::Narrow(slots) => find(slots, hash, left, right),
            Slots::Wide(slots) => find(slots, hash, left, right),
        };
        rank.wrapping_sub(1)
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

/// Puts a slot's word in the first free place, behind that of the same pair if there is one.
fn put<S: Slot>(slots: &mut [S], hash: u64, slot: S) {
    let mut at = place(slots, hash);
    while !slots[at].is_free() {
        at = following(slots, at);
    }
    slots[at] = slot;
}

/// The rank + 1 of the pair; 0 if it has none.
#[inline]
fn find<S: Slot>(slots: &[S], hash: u64, left: u32, right: u32) -> u32 {
    let mut at = place(slots, hash);
    loop {
        let slot = slots[at];
        let rank = slot.rank_of(left, right);
        if rank != 0 || slot.is_free() {
            return rank;
        }
        at = following(slots, at);
    }
}

#[inline]
fn place<S>(slots: &[S], hash: u64) -> usize {
    ((u128::from(hash) * slots.len() as u128) >> 64) as usize
}

#[inline]
fn following<S>(slots: &[S], at: usize) -> usize {
    if at + 1 < slots.len() { at + 1 } else { 0 }
}

#[inline]
fn hash(left: u32, right: u32) -> u64 {
    let pair = u64::from(left) << 32 | u64::from(right);
    fold(pair, 0x9e37_79b9_7f4a_7c15)
}
