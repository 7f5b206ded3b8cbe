//! How often each distinct pretoken occurs: a flat table with the short keys inside.
//!
//! Nine of ten pretokens of a text have at most 15 bytes. Their bytes and length fill the two words of a slot, so that
//! a look-up is one hash, one cache line and two compares. Longer ones lie in an arena behind their hash.

use std::cmp::Ordering;

use crate::memory::{Plain, Table};
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::{KEY_BYTES, Key, hash_bytes, prefetch};

/// A short key's second word holds its length in the highest byte; this marks a long key, whose offset follows.
pub(super) const LONG: u64 = 0xff << 56;
/// Pretokens whose slots are fetched together.
const AHEAD: usize = 64;
/// Slots of another table that are taken one after another, and the step from block to block, prime to their number.
const BLOCK: usize = 64;
const SPREAD: usize = 1_000_003;

#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    pub(super) low: u64,
    pub(super) high: u64,
    /// 0 marks a free slot.
    pub(super) count: u64,
}

// SAFETY: numbers only.
unsafe impl Plain for Slot {}

impl Slot {
    #[inline]
    pub(super) fn hash(self) -> u64 {
        if self.high >= LONG {
            self.low
        } else {
            self.key().hash()
        }
    }

    /// The key of a short pretoken.
    #[inline]
    fn key(self) -> Key {
        Key(u128::from(self.low) | u128::from(self.high) << 64)
    }
}

/// A pretoken whose slot is being fetched: the words of its key, or where it lies in the text and [`LONG`] with its
/// length.
#[derive(Clone, Copy, Default)]
struct Ahead {
    low: u64,
    high: u64,
    hash: u64,
}

/// Pretokens and their counts.
pub struct Counts {
    pub(super) slots: Table<Slot>,
    mask: usize,
    pub(super) used: usize,
    /// With more it grows.
    pub(super) most: usize,
    /// Long keys, each behind its length as eight bytes.
    pub(super) arena: Vec<u8>,
    total: u64,
    /// Neighbouring bytes in all pretokens together.
    pairs: u128,
}

impl Default for Counts {
    fn default() -> Self {
        Self::with_slots(1 << 12)
    }
}

impl Counts {
    pub(super) fn with_slots(slots: usize) -> Self {
        Self {
            slots: Table::new(slots),
            mask: slots - 1,
            used: 0,
            most: slots * 5 / 8,
            arena: Vec::new(),
            total: 0,
            pairs: 0,
        }
    }

    /// Distinct pretokens.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// All pretokens together; the largest number stands for more than that, as it does for each.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Counts `pretoken` `count` times more; the empty one and a count of 0 are passed over.
    #[inline]
    pub fn add(&mut self, pretoken: &[u8], count: u64) {
        if pretoken.is_empty() || count == 0 {
            return;
        }
        self.sum_up(count, u128::from(count) * (pretoken.len() as u128 - 1));
        if pretoken.len() <= KEY_BYTES {
            let key = Key::of(pretoken);
            self.bump(words(key), key.hash(), count);
        } else {
            self.add_long(pretoken, hash_bytes(pretoken), count);
        }
    }

    /// Counts each pretoken once more.
    pub fn add_all(&mut self, pretokens: Pretokens<'_>) {
        let Pretokens { text, start, ends } = pretokens;
        let mut start = start;
        // Those near the end of the text have no 16 bytes to read a key from.
        let (many, last) = ends.split_at(ends.partition_point(|end| end + 16 <= text.len()));
        let bytes = many.last().map_or(0, |end| end - start);
        self.sum_up(many.len() as u64, (bytes - many.len()) as u128);
        let mut ahead = [Ahead::default(); AHEAD];
        for ends in many.chunks(AHEAD) {
            let mut num = 0;
            loop {
                // SAFETY: 16 bytes behind each end there still is text.
                num += unsafe { self.look_ahead(text, start, &ends[num..], &mut ahead[num..]) };
                if num > 0 {
                    start = ends[num - 1];
                }
                let Some(&end) = ends.get(num) else { break };
                let hash = hash_bytes(&text[start..end]);
                prefetch(&raw const self.slots[hash as usize & self.mask]);
                let (low, high) = (start as u64, LONG | (end - start) as u64);
                ahead[num] = Ahead { low, high, hash };
                num += 1;
                start = end;
            }
            for &Ahead { low, high, hash } in &ahead[..num] {
                if high < LONG {
                    self.bump((low, high), hash, 1);
                } else {
                    let (start, len) = (low as usize, (high & !LONG) as usize);
                    self.add_long(&text[start..start + len], hash, 1);
                }
            }
        }
        for &end in last {
            self.add(&text[start..end], 1);
            start = end;
        }
    }

    pub(super) fn sum_up(&mut self, total: u64, pairs: u128) {
        self.total = self.total.saturating_add(total);
        self.pairs = self.pairs.saturating_add(pairs);
    }

    /// Fetches the slots of pretokens up to the first long one; how many they are.
    ///
    /// A loop without checks of bounds, and apart from the long ones: a fifth of the time of counting English.
    ///
    /// # Safety
    /// The text goes on for 16 bytes from each of `ends` on.
    #[inline]
    unsafe fn look_ahead(
        &self,
        text: &[u8],
        mut start: usize,
        ends: &[usize],
        ahead: &mut [Ahead],
    ) -> usize {
        for (i, (&end, entry)) in ends.iter().zip(ahead).enumerate() {
            let len = end - start;
            if len > KEY_BYTES {
                return i;
            }
            // SAFETY: the caller says so.
            let key = unsafe { Key::new_unchecked(text, start, len) };
            let ((low, high), hash) = (words(key), key.hash());
            // SAFETY: the mask is that of the slots.
            prefetch(unsafe { self.slots.get_unchecked(hash as usize & self.mask) });
            *entry = Ahead { low, high, hash };
            start = end;
        }
        ends.len()
    }

    #[inline]
    fn bump(&mut self, (low, high): (u64, u64), hash: u64, count: u64) {
        let mut i = hash as usize & self.mask;
        loop {
            // SAFETY: the mask is that of the slots.
            let slot = unsafe { self.slots.get_unchecked_mut(i) };
            // No key is 0, so a free slot is never taken for it.
            if slot.low == low && slot.high == high {
                slot.count = slot.count.saturating_add(count);
                return;
            }
            if slot.count == 0 {
                *slot = Slot { low, high, count };
                self.used += 1;
                if self.used > self.most {
                    self.grow();
                }
                return;
            }
            i = (i + 1) & self.mask;
        }
    }

    fn add_long(&mut self, pretoken: &[u8], hash: u64, count: u64) {
        let mut i = hash as usize & self.mask;
        loop {
            let slot = self.slots[i];
            if slot.count == 0 {
                let offset = self.arena.len() as u64;
                self.arena
                    .extend_from_slice(&(pretoken.len() as u64).to_le_bytes());
                self.arena.extend_from_slice(pretoken);
                return self.bump((hash, LONG | offset), hash, count);
            }
            if slot.high >= LONG && slot.low == hash && self.long(slot) == pretoken {
                let total = &mut self.slots[i].count;
                *total = total.saturating_add(count);
                return;
            }
            i = (i + 1) & self.mask;
        }
    }

    fn long(&self, slot: Slot) -> &[u8] {
        long_at(&self.arena, slot)
    }

    /// Counts what a slot of another table holds.
    pub(super) fn add_slot(&mut self, slot: Slot, other: &Self) {
        if slot.high >= LONG {
            self.add_long(other.long(slot), slot.low, slot.count);
        } else {
            self.bump((slot.low, slot.high), slot.hash(), slot.count);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let more = Table::touched(self.slots.len() * 2);
        let old = std::mem::replace(&mut self.slots, more);
        self.mask = self.slots.len() - 1;
        self.most = self.slots.len() * 5 / 8;
        for &slot in old.iter().filter(|s| s.count > 0) {
            let mut i = slot.hash() as usize & self.mask;
            while self.slots[i].count > 0 {
                i = (i + 1) & self.mask;
            }
            self.slots[i] = slot;
        }
    }

    /// Adds what another table counted.
    ///
    /// A sum of tables is looked up less often than they were, so it may be fuller: growing takes longer than all the
    /// rest (two tables of 800,000 pretokens, 1.4 million together: 95 ms, 37 without growing).
    pub fn merge(&mut self, other: &Self) {
        self.most = self.slots.len() * 7 / 8;
        // Slots lie in order of their hashes. Taken in that order they would fill this table from its start, and where
        // it is full before it grows, every look-up walks on to the first free slot.
        let step = if self.used + other.used > self.most {
            SPREAD
        } else {
            1
        };
        let num_blocks = other.slots.len().div_ceil(BLOCK);
        for i in 0..num_blocks {
            let start = i * step % num_blocks * BLOCK;
            let slots = &other.slots[start..other.slots.len().min(start + BLOCK)];
            for slot in slots.iter().filter(|s| s.count > 0) {
                self.add_slot(*slot, other);
            }
        }
        self.sum_up(other.total, other.pairs);
    }

    /// A fingerprint of the pretokens and their counts, whatever their order.
    pub fn fingerprint(&self) -> u128 {
        let mut sum = 0u128;
        let mut row = Vec::new();
        self.for_each(|pretoken, count| {
            sum = sum.wrapping_add(row_hash(pretoken, count, &mut row));
        });
        sum
    }

    /// Bytes that the table and the long keys take.
    pub(super) fn size(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.arena.len()
    }

    /// Bytes that are taken while the table grows: the old slots are there until the last has moved.
    pub(super) fn size_growing(&self) -> usize {
        3 * self.slots.len() * size_of::<Slot>() + self.arena.len()
    }

    /// Bytes of all distinct pretokens together.
    pub(super) fn bytes(&self) -> usize {
        let mut bytes = 0;
        self.for_each(|pretoken, _| bytes += pretoken.len());
        bytes
    }

    /// Pairs of neighbouring bytes in all pretokens together.
    pub(super) fn num_pairs(&self) -> u128 {
        self.pairs
    }

    /// How many pretokens can come before the table grows.
    pub(super) fn room(&self) -> usize {
        self.most - self.used
    }

    /// Bytes that a table of `distinct` pretokens takes, without those of more than 15 bytes.
    pub(super) fn size_for(distinct: usize) -> usize {
        (distinct * 8 / 5 + 1).next_power_of_two() * size_of::<Slot>()
    }

    /// Calls `f` with each pretoken and its count in order of the pretokens' bytes, and then forgets them all.
    ///
    /// Sorts in place: the slots are used again, and no more memory is taken.
    ///
    /// # Errors
    /// What `f` raised.
    pub(super) fn drain_sorted<E>(
        &mut self,
        mut f: impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut slots = std::mem::replace(&mut self.slots, Table::new(0));
        let mut used = 0;
        for i in 0..slots.len() {
            if slots[i].count > 0 {
                slots.swap(used, i);
                used += 1;
            }
        }
        slots[..used].sort_unstable_by(|a, b| self.by_bytes(a, b));
        slots[..used]
            .iter()
            .try_for_each(|slot| self.with_bytes(*slot, |bytes| f(bytes, slot.count)))?;
        slots.fill(Slot::default());
        // The next long keys may be few, and the slots more.
        self.arena = Vec::new();
        (self.slots, self.used, self.total, self.pairs) = (slots, 0, 0, 0);
        Ok(())
    }

    /// The places of the pretokens in order of their bytes, for [`Counts::at`].
    pub(super) fn sorted(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.slots.len())
            .filter(|i| self.slots[*i].count > 0)
            .collect();
        places.sort_unstable_by(|a, b| self.by_bytes(&self.slots[*a], &self.slots[*b]));
        places
    }

    /// Calls `f` with the pretoken and count at a place.
    pub(super) fn at<T>(&self, place: usize, f: impl FnOnce(&[u8], u64) -> T) -> T {
        let slot = self.slots[place];
        self.with_bytes(slot, |bytes| f(bytes, slot.count))
    }

    fn by_bytes(&self, a: &Slot, b: &Slot) -> Ordering {
        // The first eight bytes of short keys decide most comparisons.
        if a.high < LONG && b.high < LONG && a.low != b.low {
            return a.low.swap_bytes().cmp(&b.low.swap_bytes());
        }
        self.with_bytes(*a, |a| self.with_bytes(*b, |b| a.cmp(b)))
    }

    fn with_bytes<T>(&self, slot: Slot, f: impl FnOnce(&[u8]) -> T) -> T {
        if slot.high >= LONG {
            return f(self.long(slot));
        }
        f(slot.key().bytes(&mut [0; 16]))
    }

    /// Calls `f` with each distinct pretoken and its count, in no particular order.
    pub fn for_each(&self, mut f: impl FnMut(&[u8], u64)) {
        for slot in self.slots.iter().filter(|s| s.count > 0) {
            self.with_bytes(*slot, |bytes| f(bytes, slot.count));
        }
    }
}

/// What a pretoken adds to a fingerprint; `row` is a buffer to be used again.
pub(super) fn row_hash(pretoken: &[u8], count: u64, row: &mut Vec<u8>) -> u128 {
    row.clear();
    row.extend_from_slice(pretoken);
    row.extend_from_slice(&count.to_le_bytes());
    xxhash_rust::xxh3::xxh3_128(row)
}

/// The long key of a slot.
pub(super) fn long_at(arena: &[u8], slot: Slot) -> &[u8] {
    let at = (slot.high & !LONG) as usize;
    let (len, long) = arena[at..].split_first_chunk().expect("a length");
    &long[..u64::from_le_bytes(*len) as usize]
}

#[inline]
fn words(key: Key) -> (u64, u64) {
    (key.0 as u64, (key.0 >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn listed(counts: &Counts) -> HashMap<Vec<u8>, u64> {
        let mut found = HashMap::new();
        counts.for_each(|p, n| assert!(found.insert(p.to_vec(), n).is_none(), "listed twice"));
        found
    }

    proptest! {
        #[test]
        fn counts_as_a_map_does(
            added in prop::collection::vec((prop::collection::vec(0u8..3, 0..40), 0u64..5), 0..200),
            cut in 0usize..200,
        ) {
            let mut want: HashMap<Vec<u8>, u64> = HashMap::new();
            let (mut first, mut second) = (Counts::with_slots(4), Counts::with_slots(4));
            for (i, (pretoken, count)) in added.iter().enumerate() {
                if i < cut { &mut first } else { &mut second }.add(pretoken, *count);
                if !pretoken.is_empty() && *count > 0 {
                    *want.entry(pretoken.clone()).or_default() += count;
                }
            }
            let mut other = Counts::default();
            added.iter().rev().for_each(|(pretoken, count)| other.add(pretoken, *count));
            first.merge(&second);
            prop_assert_eq!(first.fingerprint(), other.fingerprint());
            prop_assert_eq!(first.len(), want.len());
            prop_assert_eq!(first.total(), want.values().sum::<u64>());
            let pairs = |(pretoken, count): (&Vec<u8>, &u64)| (pretoken.len() as u128 - 1) * u128::from(*count);
            prop_assert_eq!(first.num_pairs(), want.iter().map(pairs).sum::<u128>());
            prop_assert_eq!(&listed(&first), &want);
            let sorted: Vec<_> = want.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
            let places: Vec<_> = first.sorted().into_iter().map(|i| first.at(i, |p, n| (p.to_vec(), n))).collect();
            prop_assert_eq!(&places, &sorted);
            let mut drained = Vec::new();
            first.drain_sorted(|p, n| { drained.push((p.to_vec(), n)); Ok::<_, ()>(()) }).unwrap();
            prop_assert_eq!(&drained, &sorted);
            prop_assert!(first.is_empty() && first.total() == 0 && listed(&first).is_empty());
            first.merge(&other);
            prop_assert_eq!(first.fingerprint(), other.fingerprint());
        }

        #[test]
        fn many_at_once_are_each_once(lens in prop::collection::vec(1usize..40, 0..200)) {
            let ends: Vec<usize> = lens.iter().scan(0, |end, len| { *end += len; Some(*end) }).collect();
            let text: Vec<u8> = (0..lens.iter().sum::<usize>()).map(|i| (i % 3) as u8).collect();
            let (mut one, mut all) = (Counts::with_slots(4), Counts::with_slots(4));
            let pretokens = Pretokens { text: &text, start: 0, ends: &ends };
            pretokens.iter().for_each(|pretoken| one.add(pretoken, 1));
            all.add_all(pretokens);
            prop_assert_eq!((all.total(), all.num_pairs()), (one.total(), one.num_pairs()));
            prop_assert_eq!(listed(&all), listed(&one));
        }
    }

    #[test]
    fn tables_without_a_common_pretoken_are_joined_as_fast_as_they_were_made() {
        let table = |numbers: std::ops::Range<u32>| {
            let mut counts = Counts::default();
            numbers.for_each(|n| counts.add(&n.to_le_bytes(), 1));
            counts
        };
        // Each is nearly as full as it gets, and twice as many have no room in one.
        let begun = Instant::now();
        let (mut first, second) = (table(0..150_000), table(150_000..300_000));
        let made = begun.elapsed();
        let begun = Instant::now();
        first.merge(&second);
        let joined = begun.elapsed();
        assert_eq!(first.len(), 300_000);
        assert!(joined < 10 * made, "{joined:?} after {made:?}");
    }
}
