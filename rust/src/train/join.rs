//! Joining two tables on several threads, each with its own part of the slots.
//!
//! A slot's place is the low bits of its hash, or a little behind that. So what one table holds in a range of slots
//! belongs in the same range of a table of that length, or in one such range of each half of a table twice as long, and
//! so on. The few pretokens whose look-up leaves their thread's ranges go in afterwards, one by one.

use super::counts::{Counts, LONG, Slot, long_at};
use super::threads::on_threads;

/// Slots of a table from which on threads take less time than they take to start.
const MANY_SLOTS: usize = 1 << 19;

impl Counts {
    /// Adds what another table counted as [`Counts::merge`] does, on up to `threads` threads.
    pub(super) fn merge_on(&mut self, other: &Self, threads: usize) {
        if threads > 1 && other.slots.len() >= MANY_SLOTS && self.has_room_for(other) {
            self.join(other, threads);
        } else {
            self.merge(other);
        }
    }

    /// Whether this table takes in all of another without growing.
    fn has_room_for(&self, other: &Self) -> bool {
        let most = self.slots.len() * 7 / 8;
        other.slots.len() <= self.slots.len() && self.used + other.used <= most
    }

    /// Adds what a table counted for which there is room.
    fn join(&mut self, other: &Self, threads: usize) {
        self.most = self.slots.len() * 7 / 8;
        let of = other.slots.len();
        let len = of.div_ceil(threads);
        let mut parts: Vec<_> = (0..of)
            .step_by(len)
            .map(|start| Part {
                start,
                of,
                ranges: Vec::new(),
                arena: &self.arena,
            })
            .collect();
        for slots in self.slots.chunks_exact_mut(of) {
            for (part, range) in parts.iter_mut().zip(slots.chunks_mut(len)) {
                part.ranges.push(range);
            }
        }
        let jobs = parts.into_iter().zip(other.slots.chunks(len)).collect();
        let put = on_threads(jobs, |(mut part, slots)| Ok(part.put(slots, other)));
        let (used, left): (Vec<_>, Vec<_>) = put.expect("no part fails").into_iter().unzip();
        self.used += used.iter().sum::<usize>();
        // All of it: a few long keys lie there twice, and no slot is visited again.
        self.arena.extend_from_slice(&other.arena);
        for slot in left.concat() {
            self.add_slot(slot, other);
        }
        self.sum_up(other.total(), other.num_pairs());
    }
}

/// One thread's slots of a table.
struct Part<'a> {
    /// Where each range begins, from the multiple of `of` before it.
    start: usize,
    of: usize,
    ranges: Vec<&'a mut [Slot]>,
    /// Long keys of the slots that were there before.
    arena: &'a [u8],
}

impl Part<'_> {
    fn put(&mut self, slots: &[Slot], other: &Counts) -> (usize, Vec<Slot>) {
        let mask = self.of * self.ranges.len() - 1;
        let shift = self.of.trailing_zeros();
        let old = LONG..LONG + self.arena.len() as u64;
        let (mut used, mut left) = (0, Vec::new());
        for &slot in slots.iter().filter(|s| s.count > 0) {
            let home = slot.hash() as usize & mask;
            let range = &mut self.ranges[home >> shift];
            let at = (home & (self.of - 1)).wrapping_sub(self.start);
            let is_long = slot.high >= LONG;
            let high = slot.high + if is_long { old.end - LONG } else { 0 };
            let found = range
                .get_mut(at..)
                .unwrap_or_default()
                .iter_mut()
                .find(|s| {
                    // A long key behind the old ones comes from `other`, which has each once.
                    let same_long = || {
                        is_long
                            && old.contains(&s.high)
                            && long_at(self.arena, **s) == long_at(&other.arena, slot)
                    };
                    s.count == 0 || s.low == slot.low && (s.high == high || same_long())
                });
            match found {
                Some(free) if free.count == 0 => {
                    *free = Slot { high, ..slot };
                    used += 1;
                }
                Some(same) => same.count = same.count.saturating_add(slot.count),
                None => left.push(slot),
            }
        }
        (used, left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::pretokenize::key::{Key, hash_bytes};

    fn table(pretokens: &[(Vec<u8>, u64)], slots: usize) -> Counts {
        let mut counts = Counts::with_slots(slots);
        pretokens.iter().for_each(|(p, n)| counts.add(p, *n));
        counts
    }

    fn listed(counts: &Counts) -> HashMap<Vec<u8>, u64> {
        let mut found = HashMap::new();
        counts.for_each(|p, n| assert!(found.insert(p.to_vec(), n).is_none(), "listed twice"));
        found
    }

    fn wanted(pretokens: &[(Vec<u8>, u64)]) -> HashMap<Vec<u8>, u64> {
        let mut want: HashMap<_, u64> = HashMap::new();
        for (pretoken, count) in pretokens.iter().filter(|(_, n)| *n > 0) {
            let sum = want.entry(pretoken.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        want
    }

    /// Pretokens of both kinds whose slots lie in the last or the first two of each quarter of 64: look-ups cross the
    /// borders between threads and walk around the end.
    fn at_borders() -> Vec<Vec<u8>> {
        let near = |hash: u64| [15, 0, 1].contains(&(hash % 16));
        let short = (0..400u32).map(|n| n.to_le_bytes().to_vec());
        let long = (0..400u32).map(|n| n.to_le_bytes().repeat(5));
        let short = short.filter(|p| near(Key::of(p).hash()));
        short.chain(long.filter(|p| near(hash_bytes(p)))).collect()
    }

    fn pretokens(of: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
        let count = prop_oneof![0u64..5, Just(u64::MAX - 1)];
        prop::collection::vec((prop::sample::select(of), count), 0..80)
    }

    proptest! {
        #[test]
        fn threads_join_as_one_does(
            first in pretokens(at_borders()),
            second in pretokens(at_borders()),
            third in pretokens(at_borders()),
            threads in 1usize..6,
            slots in prop::sample::select(vec![64usize, 128, 256]),
        ) {
            let (mut many, mut one) = (table(&first, slots), table(&first, slots));
            for other in [&second, &third] {
                let other = table(other, 64);
                if many.has_room_for(&other) {
                    many.join(&other, threads);
                } else {
                    many.merge(&other);
                }
                one.merge(&other);
            }
            prop_assert_eq!(listed(&many), wanted(&[first, second, third].concat()));
            prop_assert_eq!(many.fingerprint(), one.fingerprint());
            prop_assert_eq!((many.len(), many.total(), many.num_pairs()), (one.len(), one.total(), one.num_pairs()));
            // Each is found again where it lies.
            let len = many.len();
            for (pretoken, _) in listed(&one) {
                many.add(&pretoken, 1);
            }
            prop_assert_eq!(many.len(), len);
        }
    }

    #[test]
    fn large_tables_are_joined_with_room_and_without() {
        for (each, common) in [(200_000, 50_000), (300_000, 0)] {
            let row = |n: u32| {
                let times = 1 + n as usize % 5;
                (n.to_le_bytes().repeat(times), u64::from(n % 3 + 1))
            };
            let first: Vec<_> = (0..each).map(row).collect();
            let second: Vec<_> = (each - common..2 * each - common).map(row).collect();
            let mut all = table(&first, 64);
            let other = table(&second, 64);
            assert!(other.slots.len() >= MANY_SLOTS);
            assert_eq!(all.has_room_for(&other), common > 0);
            all.merge_on(&other, 3);
            assert_eq!(listed(&all), wanted(&[first, second].concat()));
        }
    }
}
