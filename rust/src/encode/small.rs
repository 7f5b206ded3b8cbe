//! Pretokens of up to seven bytes -> one or two ids, in entries of 16 bytes.
//!
//! Six of seven pretokens of English and three of four of mixed scripts are that short and become at most two ids. In
//! entries of half the size four lie in a line of the processor's cache, a key is compared in one word, and the table
//! nearly fits into the second level: English and source code gain 10 % over one [cache](super::cache) for all, mixed
//! scripts lose up to 6 %. What has no room here is in the other cache.

use std::hint::select_unpredictable;

use crate::memory::{Plain, Table};
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::prefetch;

/// Longest pretoken that has a place here.
pub const SMALL_BYTES: usize = 7;
/// Ids that an entry holds.
pub const MOST_IDS: usize = 2;

/// Of what is not in the table and would displace something, one in so many does.
const ADMIT: u32 = 8;

/// Bytes from the highest on, then zeroes, and their number in the lowest byte; 0 for none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SmallKey(u64);

/// One or two ids as two halves of a word, the first one lower. The highest bit says that there are two; ids have 26.
#[derive(Clone, Copy)]
pub struct SmallIds(u64);

/// Two entries that have the same place.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Set {
    keys: [u64; 2],
    ids: [u64; 2],
}

// SAFETY: numbers only.
unsafe impl Plain for Set {}

/// One thread's table.
pub struct Small {
    sets: Table<Set>,
    /// How far a product is shifted to be the number of a set.
    shift: u32,
    /// Whether anything is remembered.
    is_on: bool,
    refused: u32,
}

impl SmallKey {
    /// The key of 1 to 7 bytes from `start` on; nonsense for more.
    #[inline]
    pub fn new(text: &[u8], start: usize, len: usize) -> Self {
        let word = match text.get(start..start + 8) {
            Some(bytes) => u64::from_le_bytes(bytes.try_into().expect("eight bytes")),
            None => Self::at_the_end(&text[start..]),
        };
        Self(word.wrapping_shl(64u32.wrapping_sub(8 * len as u32)) | len as u64)
    }

    #[cold]
    fn at_the_end(rest: &[u8]) -> u64 {
        let mut bytes = [0; 8];
        bytes[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(bytes)
    }

    /// The bytes from the lowest on, and their number.
    pub fn bytes(self) -> ([u8; 8], usize) {
        let len = (self.0 & 0xff) as usize;
        ((self.0 >> (64 - 8 * len)).to_le_bytes(), len)
    }
}

impl SmallIds {
    const TWO: u64 = 1 << 63;

    /// One or two ids.
    pub fn new(ids: &[u32]) -> Option<Self> {
        match *ids {
            [id] => Some(Self(u64::from(id))),
            [first, second] => Some(Self(u64::from(first) | u64::from(second) << 32 | Self::TWO)),
            _ => None,
        }
    }

    /// Both, and how many count.
    #[inline]
    pub fn get(self) -> ([u32; MOST_IDS], usize) {
        let both = self.0 & !Self::TWO;
        (
            [both as u32, (both >> 32) as u32],
            1 + (self.0 >> 63) as usize,
        )
    }
}

impl Small {
    /// A table of 2^`bits` pairs of entries; None for none.
    pub fn new(bits: Option<u32>) -> Self {
        let num_bits = bits.unwrap_or(1);
        Self {
            sets: Table::new(1 << num_bits),
            shift: 64 - num_bits,
            is_on: bits.is_some(),
            refused: 0,
        }
    }

    #[inline]
    fn place(&self, key: SmallKey) -> usize {
        (key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// The places of pretokens, one behind the other in a text, and which of them are larger; nonsense for these.
    #[inline]
    pub fn places(&self, group: Pretokens<'_>, places: &mut [(SmallKey, u32)]) -> u64 {
        let Pretokens { text, start, ends } = group;
        let (mut larger, mut start) = (0, start);
        for (i, (&end, place)) in ends.iter().zip(places).enumerate() {
            let len = end - start;
            let key = SmallKey::new(text, start, len);
            let at = self.place(key);
            prefetch(&self.sets[at]);
            *place = (key, at as u32);
            larger |= u64::from(len > SMALL_BYTES) << i;
            start = end;
        }
        larger
    }

    /// Writes the ids of pretokens from place `num` on until one is not known. Gives how many were known and how many
    /// ids there are then. The one branch is known or not: which of two entries it is cannot be foreseen.
    #[inline]
    pub fn get_some(
        &self,
        places: &[(SmallKey, u32)],
        ids: &mut [u32],
        mut num: usize,
    ) -> (usize, usize) {
        for (i, &(key, place)) in places.iter().enumerate() {
            let set = &self.sets[place as usize];
            let [first, second] = set.keys.map(|known| known ^ key.0);
            let known = SmallIds(select_unpredictable(first == 0, set.ids[0], set.ids[1]));
            if first.min(second) != 0 {
                return (i, num);
            }
            let (both, n) = known.get();
            ids[num..num + MOST_IDS].copy_from_slice(&both);
            num += n;
        }
        (places.len(), num)
    }

    /// Remembers the ids of a pretoken where there is room; whether there was.
    pub fn put(&mut self, key: SmallKey, ids: SmallIds) -> bool {
        let place = self.place(key);
        let set = &mut self.sets[place];
        let free = (0..2)
            .find(|&way| set.keys[way] == 0)
            .filter(|_| self.is_on);
        if let Some(way) = free {
            (set.keys[way], set.ids[way]) = (key.0, ids.0);
        }
        free.is_some()
    }

    /// Remembers one in so many of the pretokens that were found elsewhere, in the place of another; gives that one.
    pub fn promote(&mut self, key: SmallKey, ids: SmallIds) -> Option<(SmallKey, SmallIds)> {
        self.refused = self.refused.wrapping_add(1);
        if !self.is_on || !self.refused.is_multiple_of(ADMIT) {
            return None;
        }
        let place = self.place(key);
        let set = &mut self.sets[place];
        let old = (SmallKey(set.keys[1]), SmallIds(set.ids[1]));
        *set = Set {
            keys: [key.0, set.keys[0]],
            ids: [ids.0, set.ids[0]],
        };
        (old.0.0 != 0).then_some(old)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn known(table: &Small, bytes: &[u8]) -> Option<Vec<u32>> {
        let (mut places, mut ids) = ([(SmallKey::default(), 0)], [0; 2]);
        let ends = [bytes.len()];
        let group = Pretokens {
            text: bytes,
            start: 0,
            ends: &ends,
        };
        assert_eq!(table.places(group, &mut places), 0);
        let (found, num) = table.get_some(&places, &mut ids, 0);
        (found == 1).then(|| ids[..num].to_vec())
    }

    proptest! {
        #[test]
        fn gives_what_was_put_and_nothing_else(
            rows in prop::collection::vec((prop::collection::vec(0u8..3, 1..=7), prop::collection::vec(0u32..1 << 26, 1..=2)), 0..40),
        ) {
            // Four places, so that most rows displace others.
            let mut table = Small::new(Some(1));
            let mut all: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
            for (bytes, ids) in rows {
                if known(&table, &bytes).is_some() || all.contains_key(&bytes) {
                    continue;
                }
                let (key, packed) = (SmallKey::new(&bytes, 0, bytes.len()), SmallIds::new(&ids).unwrap());
                if !table.put(key, packed)
                    && let Some((old, old_ids)) = table.promote(key, packed)
                {
                    let ((old, len), (old_ids, n)) = (old.bytes(), old_ids.get());
                    prop_assert_eq!(&all[&old[..len]], &old_ids[..n]);
                    prop_assert_eq!(known(&table, &old[..len]), None);
                }
                all.insert(bytes, ids);
                for (bytes, ids) in &all {
                    prop_assert!(known(&table, bytes).is_none_or(|known| known == *ids));
                }
            }
            prop_assert!(all.len() < 2 || all.keys().any(|bytes| known(&table, bytes).is_some()));
        }
    }

    #[test]
    fn more_ids_than_two_have_no_place_and_no_table_keeps_nothing() {
        assert!(SmallIds::new(&[1, 2, 3]).is_none());
        let key = SmallKey::new(b"abc", 0, 3);
        assert!(!Small::new(None).put(key, SmallIds::new(&[1]).unwrap()));
    }
}
