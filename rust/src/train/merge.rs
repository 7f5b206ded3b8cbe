//! The merge loop: most frequent pair first, counts and positions kept up to date for the pairs around each merge.
//!
//! A pair's positions are listed when the younger of its two symbols is made and never after, so a list is written
//! once and read once. Counts around a merge are summed per neighbour first, in tables that fit the cache, and reach
//! the table of pairs once per distinct neighbour instead of once per occurrence. Entries of the queue may be stale:
//! an entry whose count is no longer the pair's goes back with the right one.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use super::counts::Counts;
use super::heap::Heap;
use super::words::{BORDER, Words};
use super::{Learned, TieBreak, TrainOptions, byte_level_order};
use crate::error::{Error, Result};
use crate::vocab::{Merge, Vocab};

/// How often a long pass looks whether it is still wanted.
const LOOK_EVERY: usize = 1 << 14;

#[derive(Default)]
struct Pair {
    count: u64,
    positions: Vec<u32>,
}

/// An entry of the queue.
#[derive(Clone, Copy)]
struct Candidate {
    count: u64,
    left: u32,
    right: u32,
}

/// What a merge changes for the pairs on one side of it.
#[derive(Default)]
struct Side {
    /// Per neighbour: how often it stood there, weighted by words, and at how many positions.
    sums: Vec<(u64, u32)>,
    /// The neighbours that have a sum.
    seen: Vec<u32>,
    /// Neighbour and position of each new pair, in order of position.
    hits: Vec<(u32, u32)>,
}

impl Side {
    #[inline]
    fn add(&mut self, neighbour: u32, at: u32, count: u64) {
        let sum = &mut self.sums[neighbour as usize];
        if sum.1 == 0 {
            self.seen.push(neighbour);
        }
        sum.0 += count;
        sum.1 += 1;
        self.hits.push((neighbour, at));
    }

    /// Per neighbour its sum and the positions of the new pair.
    fn lists(&mut self) -> Vec<(u32, u64, Vec<u32>)> {
        let mut lists: Vec<_> = Vec::with_capacity(self.seen.len());
        for &neighbour in &self.seen {
            let (count, hits) = &mut self.sums[neighbour as usize];
            lists.push((neighbour, *count, Vec::with_capacity(*hits as usize)));
            // From here on the place of the neighbour's list.
            *hits = lists.len() as u32 - 1;
        }
        for &(neighbour, at) in &self.hits {
            lists[self.sums[neighbour as usize].1 as usize].2.push(at);
        }
        for &neighbour in &self.seen {
            self.sums[neighbour as usize] = (0, 0);
        }
        self.seen.clear();
        self.hits.clear();
        lists
    }
}

struct Trainer<'a> {
    options: &'a TrainOptions,
    /// The bytes of every id; empty where an older vocabulary has none.
    bytes: Vec<Vec<u8>>,
    ids: FxHashMap<Vec<u8>, u32>,
    /// What the tie rule compares instead of an id.
    order: Vec<u32>,
    words: Words,
    pairs: FxHashMap<(u32, u32), Pair>,
    queue: Heap<Candidate>,
    sides: [Side; 2],
    merges: Vec<Merge>,
    stop: &'a AtomicBool,
}

/// Learns merges until `num_ids` ids exist or no pair is left, after those of `options.resume`.
pub(super) fn learn(
    counts: &Counts,
    num_ids: usize,
    options: &TrainOptions,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Learned> {
    let mut trainer = Trainer::new(counts, options, stop)?;
    if let Some(vocab) = &options.resume {
        for m in vocab.merges() {
            trainer.apply(*m)?;
        }
    }
    trainer.queue_all();
    let mut last_count = 0;
    while trainer.bytes.len() < num_ids {
        let Some(best) = trainer.best() else { break };
        last_count = best.count;
        let merge = trainer.mint(best);
        trainer.apply(merge)?;
        progress.store(trainer.bytes.len() as u64, Ordering::Relaxed);
    }
    let num_tokens = trainer
        .words
        .num_tokens(|id| trainer.bytes[id as usize].len());
    Ok(Learned {
        tokens: trainer.bytes,
        merges: trainer.merges,
        last_count,
        num_tokens,
    })
}

impl<'a> Trainer<'a> {
    fn new(counts: &Counts, options: &'a TrainOptions, stop: &'a AtomicBool) -> Result<Self> {
        let bytes: Vec<Vec<u8>> = match &options.resume {
            Some(vocab) => old_tokens(vocab),
            None => (0..=255u8).map(|b| vec![b]).collect(),
        };
        let ids: FxHashMap<_, _> = bytes
            .iter()
            .zip(0u32..)
            .filter(|(b, _)| !b.is_empty())
            .map(|(b, id)| (b.clone(), id))
            .collect();
        let mut byte_ids = [0; 256];
        for b in 0..=255u8 {
            byte_ids[usize::from(b)] = ids[[b].as_slice()];
        }
        let mut order: Vec<u32> = (0..bytes.len() as u32).collect();
        if options.tie_break == TieBreak::Hf {
            for (place, byte) in byte_level_order().into_iter().enumerate() {
                order[byte_ids[usize::from(byte)] as usize] = place as u32;
            }
        }
        let words = Words::new(counts, &byte_ids)?;
        let mut trainer = Self {
            options,
            bytes,
            ids,
            order,
            words,
            pairs: FxHashMap::default(),
            queue: Heap::default(),
            sides: Default::default(),
            merges: Vec::new(),
            stop,
        };
        trainer.list_pairs();
        Ok(trainer)
    }

    /// Counts and positions of the pairs of bytes.
    fn list_pairs(&mut self) {
        let pairs = &mut self.pairs;
        let mut sizes: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        self.words.for_each_pair(|_, left, right, count| {
            pairs.entry((left, right)).or_default().count += count;
            *sizes.entry((left, right)).or_default() += 1;
        });
        for (pair, size) in sizes {
            pairs
                .entry(pair)
                .or_default()
                .positions
                .reserve_exact(size as usize);
        }
        self.words.for_each_pair(|at, left, right, _| {
            pairs.entry((left, right)).or_default().positions.push(at);
        });
    }

    fn queue_all(&mut self) {
        let all: Vec<Candidate> = self
            .pairs
            .iter()
            .map(|(&(left, right), pair)| Candidate {
                count: pair.count,
                left,
                right,
            })
            .collect();
        for candidate in all {
            self.enqueue(candidate);
        }
    }

    /// Puts a pair into the queue unless it can never be merged.
    fn enqueue(&mut self, candidate: Candidate) {
        let Candidate { count, left, right } = candidate;
        let size = self.bytes[left as usize].len() + self.bytes[right as usize].len();
        if count >= self.options.min_frequency.max(1)
            && self.options.max_token_bytes.is_none_or(|most| size <= most)
        {
            let order = Order {
                tie_break: self.options.tie_break,
                places: &self.order,
                bytes: &self.bytes,
            };
            self.queue.push(candidate, |a, b| order.before(a, b));
        }
    }

    /// The most frequent pair, by the tie rule among equals.
    fn best(&mut self) -> Option<Candidate> {
        loop {
            let order = Order {
                tie_break: self.options.tie_break,
                places: &self.order,
                bytes: &self.bytes,
            };
            let top = self.queue.pop(|a, b| order.before(a, b))?;
            let count = self
                .pairs
                .get(&(top.left, top.right))
                .map_or(0, |pair| pair.count);
            if count == top.count {
                return Some(top);
            }
            // A count that rose has an entry of its own.
            if count < top.count {
                self.enqueue(Candidate { count, ..top });
            }
        }
    }

    /// The merge of a pair: into a new id, or into the token that its bytes already are.
    fn mint(&mut self, pair: Candidate) -> Merge {
        let Candidate { left, right, .. } = pair;
        let joined = [
            self.bytes[left as usize].as_slice(),
            &self.bytes[right as usize],
        ]
        .concat();
        let next = self.bytes.len() as u32;
        let id = *self.ids.entry(joined.clone()).or_insert(next);
        if id == next {
            self.bytes.push(joined);
            self.order.push(next);
        }
        Merge { left, right, id }
    }

    /// Merges a pair everywhere and brings the pairs around up to date.
    fn apply(&mut self, merge: Merge) -> Result<()> {
        let Merge { left, right, id } = merge;
        self.merges.push(merge);
        let Some(mut pair) = self.pairs.remove(&(left, right)) else {
            return Ok(());
        };
        // Lists of one pass are in order; a pair that two passes made (resume) is not.
        if !pair.positions.is_sorted() {
            pair.positions.sort_unstable();
        }
        let len = |id: u32| self.bytes[id as usize].len() as u32;
        let (left_len, right_len) = (len(left), len(right));
        let [before, after] = &mut self.sides;
        before.sums.resize(self.bytes.len(), (0, 0));
        after.sums.resize(self.bytes.len(), (0, 0));
        for (i, &at) in pair.positions.iter().enumerate() {
            if i % LOOK_EVERY == 0 && self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let Some(m) = self
                .words
                .merge(at, (left, left_len), (right, right_len), id)
            else {
                continue;
            };
            if m.before != BORDER {
                before.add(m.before, at - len(m.before), m.count);
            }
            if m.after != BORDER {
                after.add(m.after, at, m.count);
            }
        }
        let (before, after) = (before.lists(), after.lists());
        let lost: Vec<_> = before
            .iter()
            .map(|(neighbour, count, _)| (*neighbour, left, *count))
            .chain(
                after
                    .iter()
                    .map(|(neighbour, count, _)| (right, *neighbour, *count)),
            )
            .collect();
        // A pair may be made on one side of an occurrence and lost on the other side of the next: first make.
        for (neighbour, count, positions) in before {
            self.raise(neighbour, id, count, positions);
        }
        for (neighbour, count, positions) in after {
            self.raise(id, neighbour, count, positions);
        }
        for (left, right, count) in lost {
            self.lower(left, right, count);
        }
        Ok(())
    }

    fn raise(&mut self, left: u32, right: u32, count: u64, positions: Vec<u32>) {
        let pair = self.pairs.entry((left, right)).or_default();
        pair.count += count;
        if pair.positions.is_empty() {
            pair.positions = positions;
        } else {
            pair.positions.extend(positions);
        }
        let count = pair.count;
        self.enqueue(Candidate { count, left, right });
    }

    /// Takes occurrences away; a pair without any is forgotten.
    fn lower(&mut self, left: u32, right: u32, count: u64) {
        if let Entry::Occupied(mut entry) = self.pairs.entry((left, right)) {
            let pair = entry.get_mut();
            pair.count -= count;
            if pair.count == 0 {
                entry.remove();
            }
        }
    }
}

/// The order of the queue: the higher count first, among equals what the tie rule says.
struct Order<'a> {
    tie_break: TieBreak,
    places: &'a [u32],
    bytes: &'a [Vec<u8>],
}

impl Order<'_> {
    fn before(&self, a: &Candidate, b: &Candidate) -> bool {
        if a.count != b.count {
            return a.count > b.count;
        }
        if self.tie_break == TieBreak::Bytes {
            let bytes =
                |c: &Candidate| (&self.bytes[c.left as usize], &self.bytes[c.right as usize]);
            return bytes(a) > bytes(b);
        }
        let order = |c: &Candidate| (self.places[c.left as usize], self.places[c.right as usize]);
        order(a) < order(b)
    }
}

/// The tokens of a vocabulary by id up to the last ordinary one; what is no ordinary token is empty.
fn old_tokens(vocab: &Vocab) -> Vec<Vec<u8>> {
    let mut tokens = Vec::new();
    for (id, bytes) in vocab.tokens() {
        tokens.resize(id as usize, Vec::new());
        tokens.push(bytes.to_vec());
    }
    tokens
}
