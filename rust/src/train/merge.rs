//! The merge loop: most frequent pair first, counts and positions kept up to date for the pairs around each merge.
//!
//! A pair's positions are listed when the younger of its two symbols is made and never after, so a list is written
//! once and read once, and a count only falls. Counts around a merge are summed per neighbour first, in tables that
//! fit the cache, and reach the table of pairs once per distinct neighbour instead of once per occurrence.
//!
//! Most pairs are too rare ever to be merged, and those are not kept at all. Let there be n merges to make, and n
//! words that occur `least` times or more: until the last merge one of these words is not a single token, so it has a
//! pair, and the next merge's count is at least `least`.
//!
//! Entries of the queue may be stale: one whose count is no longer the pair's goes back with the right one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use super::counts::Counts;
use super::heap::Heap;
use super::neighbours::{Beside, Neighbours};
use super::threads::on_threads;
use super::tokens::Tokens;
use super::words::{Part, SMALL_IDS, Sought, Symbol, Words};
use super::{Learned, TrainOptions};
use crate::encode::{PairRanks, Scratch};
use crate::error::{Error, Result};
use crate::vocab::Merge;

/// Positions whose slots are fetched together (measured: 64 to 256 alike, 1 costs half as much again).
const BLOCK: usize = 128;
/// Positions from which on another thread pays for being started.
const WORTH_A_THREAD: usize = 1 << 15;

#[derive(Default)]
struct Pair {
    count: u64,
    positions: Vec<u32>,
}

/// An entry of the queue.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub count: u64,
    pub left: u32,
    pub right: u32,
}

struct Trainer<'a, S> {
    options: &'a TrainOptions,
    tokens: Tokens,
    words: Words<S>,
    /// Pairs that occur less often are forgotten.
    least: u64,
    pairs: FxHashMap<(u32, u32), Pair>,
    queue: Heap<Candidate>,
    /// What each thread sums up before and behind a merge.
    sides: Vec<[Neighbours; 2]>,
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
    if num_ids <= SMALL_IDS {
        Trainer::<u16>::new(counts, num_ids, options, stop)?.learn(num_ids, progress)
    } else {
        Trainer::<u32>::new(counts, num_ids, options, stop)?.learn(num_ids, progress)
    }
}

impl<'a, S: Symbol> Trainer<'a, S> {
    fn new(
        counts: &Counts,
        num_ids: usize,
        options: &'a TrainOptions,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let tokens = Tokens::new(options);
        let longest = options.max_token_bytes.unwrap_or(usize::MAX);
        let len = |id| tokens.len(id);
        let min_frequency = options.min_frequency.max(1);
        let (words, merges, least);
        if let Some(vocab) = &options.resume {
            let (pairs, mut scratch) = (PairRanks::new(vocab), Scratch::default());
            let split = |word: &[u8], ids: &mut Vec<u32>| {
                ids.extend_from_slice(scratch.merge(&pairs, word, stop));
            };
            words = Words::new(counts, longest, len, split, stop)?;
            merges = vocab.merges().to_vec();
            // A pair that spells an older token becomes that token, so counts may rise again.
            least = 1;
        } else {
            let split =
                |word: &[u8], ids: &mut Vec<u32>| ids.extend(word.iter().map(|&b| u32::from(b)));
            words = Words::new(counts, longest, len, split, stop)?;
            merges = Vec::new();
            least = words
                .count_of_nth(num_ids.saturating_sub(256))
                .max(min_frequency);
        }
        Ok(Self {
            options,
            tokens,
            words,
            least,
            pairs: FxHashMap::default(),
            queue: Heap::default(),
            sides: Vec::new(),
            merges,
            stop,
        })
    }

    fn learn(mut self, num_ids: usize, progress: &AtomicU64) -> Result<Learned> {
        let listed = if self.options.resume.is_some() {
            self.listed_pairs()?
        } else {
            self.listed_byte_pairs()?
        };
        for ((left, right), pair) in listed {
            self.add(left, right, pair);
        }
        let mut last_count = 0;
        while self.tokens.num_ids() < num_ids {
            let Some(best) = self.best() else { break };
            last_count = best.count;
            self.apply(best)?;
            progress.store(self.tokens.num_ids() as u64, Ordering::Relaxed);
        }
        let num_tokens = self.words.num_tokens(|id| self.tokens.len(id), self.stop)?;
        Ok(Learned {
            tokens: self.tokens.into_bytes(),
            merges: self.merges,
            last_count,
            num_tokens,
        })
    }

    /// Counts and positions of the pairs that the words start with.
    fn listed_pairs(&mut self) -> Result<Vec<((u32, u32), Pair)>> {
        let mut listed: FxHashMap<(u32, u32), Pair> = FxHashMap::default();
        for mut part in self.words.parts(&[]) {
            part.for_each_pair(
                |id| self.tokens.len(id),
                self.stop,
                |at, left, right, count| {
                    let pair = listed.entry((left, right)).or_default();
                    pair.count += count;
                    pair.positions.push(at);
                },
            )?;
        }
        Ok(listed.into_iter().collect())
    }

    /// As `listed_pairs` where each symbol is a byte: in dense tables, one for each thread.
    fn listed_byte_pairs(&mut self) -> Result<Vec<((u32, u32), Pair)>> {
        const PAIRS: usize = 1 << 16;
        let place = |left: u32, right: u32| (left << 8 | right) as usize;
        let (least, stop) = (self.least, self.stop);
        let threads = self.options.threads.max(1);
        let step = self.words.num_slots() / threads;
        let near: Vec<u32> = (1..threads).map(|i| (step * i) as u32).collect();
        let sums = on_threads(self.words.parts(&near), |mut part| {
            let mut sums = vec![(0u64, 0u32); PAIRS];
            part.for_each_pair(
                |_| 1,
                stop,
                |_, left, right, count| {
                    let sum = &mut sums[place(left, right)];
                    sum.0 += count;
                    sum.1 += 1;
                },
            )?;
            Ok(sums)
        })?;
        let total = |place: usize| {
            let add = |sum: (u64, u32), part: &Vec<(u64, u32)>| {
                (sum.0 + part[place].0, sum.1 + part[place].1)
            };
            sums.iter().fold((0, 0), add)
        };
        let totals: Vec<(u64, u32)> = (0..PAIRS).map(total).collect();
        let lists = on_threads(self.words.parts(&near), |mut part| {
            // The first part's lists take in those of the others.
            let room = |total: &(u64, u32)| {
                if part.start == 0 && total.0 >= least {
                    total.1
                } else {
                    0
                }
            };
            let mut lists: Vec<Vec<u32>> = totals
                .iter()
                .map(|total| Vec::with_capacity(room(total) as usize))
                .collect();
            part.for_each_pair(
                |_| 1,
                stop,
                |at, left, right, _| {
                    let place = place(left, right);
                    if totals[place].0 >= least {
                        lists[place].push(at);
                    }
                },
            )?;
            Ok(lists)
        })?;
        let mut lists = lists.into_iter();
        let mut all = lists.next().unwrap_or_default();
        for part in lists {
            for (list, more) in all.iter_mut().zip(part) {
                list.extend(more);
            }
        }
        let pairs = (0u32..)
            .zip(all.into_iter().zip(totals))
            .filter(|(_, (list, _))| !list.is_empty());
        Ok(pairs
            .map(|(place, (positions, (count, _)))| {
                ((place >> 8, place & 0xff), Pair { count, positions })
            })
            .collect())
    }

    /// Whether a pair may be merged some day.
    fn is_wanted(&self, left: u32, right: u32, count: u64) -> bool {
        let len = |id| self.tokens.len(id) as usize;
        let fits = |most| len(left) + len(right) <= most;
        count >= self.least && self.options.max_token_bytes.is_none_or(fits)
    }

    /// Adds occurrences of a pair to table and queue.
    fn add(&mut self, left: u32, right: u32, more: Pair) {
        if !self.is_wanted(left, right, more.count) {
            return;
        }
        let pair = self.pairs.entry((left, right)).or_default();
        pair.count += more.count;
        if pair.positions.is_empty() {
            pair.positions = more.positions;
        } else {
            pair.positions.extend(more.positions);
        }
        let count = pair.count;
        self.enqueue(Candidate { count, left, right });
    }

    fn enqueue(&mut self, candidate: Candidate) {
        let order = self.tokens.order(self.options.tie_break);
        self.queue.push(candidate, |a, b| order.before(a, b));
    }

    /// The most frequent pair, by the tie rule among equals.
    fn best(&mut self) -> Option<Candidate> {
        loop {
            let order = self.tokens.order(self.options.tie_break);
            let top = self.queue.pop(|a, b| order.before(a, b))?;
            let Some(pair) = self.pairs.get(&(top.left, top.right)) else {
                continue;
            };
            let count = pair.count;
            if count == top.count {
                return (count >= self.options.min_frequency).then_some(top);
            }
            // A count that rose has an entry of its own.
            if count < top.count {
                self.enqueue(Candidate { count, ..top });
            }
        }
    }

    /// Merges a pair everywhere and brings the pairs around up to date.
    fn apply(&mut self, best: Candidate) -> Result<()> {
        let Candidate { left, right, .. } = best;
        let id = self.tokens.joined(left, right);
        self.merges.push(Merge { left, right, id });
        let Some(mut pair) = self.pairs.remove(&(left, right)) else {
            return Ok(());
        };
        // Lists of one pass are in order; a pair that two passes made (resume) is not.
        if !pair.positions.is_sorted() {
            pair.positions.sort_unstable();
        }
        let (before, after) = self.replace(&pair.positions, left, right, id)?;
        // A pair may be made on one side of an occurrence and lost on the other side of the next: first make.
        let mut lost = Vec::with_capacity(before.len() + after.len());
        for beside in before {
            lost.push((beside.id, left, beside.count));
            if let Some(positions) = beside.positions {
                self.add(
                    beside.id,
                    id,
                    Pair {
                        count: beside.count,
                        positions,
                    },
                );
            }
        }
        for beside in after {
            lost.push((right, beside.id, beside.count));
            if let Some(positions) = beside.positions {
                self.add(
                    id,
                    beside.id,
                    Pair {
                        count: beside.count,
                        positions,
                    },
                );
            }
        }
        for (left, right, count) in lost {
            self.lower(left, right, count);
        }
        Ok(())
    }

    /// Puts `id` where `right` follows `left`; what stands before and behind it there.
    fn replace(
        &mut self,
        positions: &[u32],
        left: u32,
        right: u32,
        id: u32,
    ) -> Result<(Vec<Beside>, Vec<Beside>)> {
        let num_parts = self
            .options
            .threads
            .min(positions.len() / WORTH_A_THREAD)
            .max(1);
        self.sides
            .resize_with(self.sides.len().max(num_parts), Default::default);
        let near: Vec<u32> = (1..num_parts)
            .map(|i| positions[positions.len() / num_parts * i])
            .collect();
        let parts = self.words.parts(&near);
        let tokens = &self.tokens;
        for side in self.sides.iter_mut().flatten() {
            side.resize(tokens.num_ids());
        }
        let mut rest = positions;
        let starts: Vec<u32> = parts.iter().skip(1).map(|part| part.start as u32).collect();
        let mut shares = Vec::with_capacity(parts.len());
        for start in starts {
            let (share, more) = rest.split_at(rest.partition_point(|at| *at < start));
            shares.push(share);
            rest = more;
        }
        shares.push(rest);
        let sought = Sought {
            left,
            left_len: tokens.len(left),
            right,
            right_len: tokens.len(right),
        };
        let stop = self.stop;
        let jobs = parts.into_iter().zip(shares).zip(&mut self.sides);
        on_threads(jobs.collect(), |((mut part, positions), sides)| {
            replace_in(
                &mut part,
                positions,
                sought,
                id,
                |id| tokens.len(id),
                sides,
                stop,
            )
        })?;
        let longest = self.options.max_token_bytes.unwrap_or(usize::MAX);
        let new_len = tokens.len(id) as usize;
        let keep = |neighbour: u32, count: u64| {
            count >= self.least && new_len + tokens.len(neighbour) as usize <= longest
        };
        let (mut before, mut after): (Vec<_>, Vec<_>) = self
            .sides
            .iter_mut()
            .map(|[before, after]| (before, after))
            .unzip();
        Ok((
            Neighbours::together(&mut before, keep),
            Neighbours::together(&mut after, keep),
        ))
    }

    /// Takes occurrences away; a pair that has too few is forgotten.
    fn lower(&mut self, left: u32, right: u32, count: u64) {
        if let std::collections::hash_map::Entry::Occupied(mut entry) =
            self.pairs.entry((left, right))
        {
            let pair = entry.get_mut();
            pair.count -= count;
            if pair.count < self.least {
                entry.remove();
            }
        }
    }
}

/// What one thread does of a merge.
fn replace_in<S: Symbol>(
    part: &mut Part<'_, S>,
    positions: &[u32],
    sought: Sought,
    id: u32,
    len: impl Fn(u32) -> u32,
    [before, after]: &mut [Neighbours; 2],
    stop: &AtomicBool,
) -> Result<()> {
    let mut standing = [0; BLOCK];
    for block in positions.chunks(BLOCK) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        // One look at each position before anything is decided: the cache fetches them all at the same time.
        let mut num_standing = 0;
        for &at in block {
            standing[num_standing] = at;
            num_standing += usize::from(part.stands(at, sought.left));
        }
        for &at in &standing[..num_standing] {
            let Some(merged) = part.merge(at, sought, id) else {
                continue;
            };
            if let Some(neighbour) = merged.before {
                before.add(neighbour, at - len(neighbour), merged.count);
            }
            if let Some(neighbour) = merged.after {
                after.add(neighbour, at, merged.count);
            }
        }
    }
    Ok(())
}
