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

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use super::counts::Counts;
use super::heap::Heap;
use super::neighbours::{Beside, Neighbours};
use super::threads::on_threads;
use super::tokens::{Candidate, Start, Tokens};
use super::words::{Part, SMALL_IDS, Sought, Symbol, Words};
use super::{Learned, TrainOptions};
use crate::error::{Error, Result};
use crate::vocab::Merge;

/// Positions whose slots are fetched together (a quarter less time than one by one).
const BLOCK: usize = 128;
/// Positions from which on another thread pays for being started.
const WORTH_A_THREAD: usize = 1 << 15;

#[derive(Default)]
struct Pair {
    count: u64,
    positions: Vec<u32>,
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
        let mut start = Start::new(options);
        let split = |word: &[u8], ids: &mut Vec<u32>| start.split(word, ids, stop);
        let words = Words::new(counts, longest, |id| tokens.len(id), split, stop)?;
        let (merges, least) = match &options.resume {
            // A pair that spells an older token becomes that token, so counts may rise again.
            Some(vocab) => (vocab.merges().to_vec(), 1),
            None => (
                Vec::new(),
                words.count_of_nth(num_ids.saturating_sub(256)).max(1),
            ),
        };
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
        for (pair, found) in listed {
            self.add(pair, found);
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

    /// Adds occurrences of a pair to table and queue, unless it is too rare or too long to be merged ever.
    fn add(&mut self, pair: (u32, u32), more: Pair) {
        if more.count < self.least || !self.tokens.allow(self.options, pair, u64::MAX) {
            return;
        }
        let known = self.pairs.entry(pair).or_default();
        known.count += more.count;
        if known.positions.is_empty() {
            known.positions = more.positions;
        } else {
            known.positions.extend(more.positions);
        }
        let count = known.count;
        self.enqueue(Candidate { count, pair });
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
            let Some(&Pair { count, .. }) = self.pairs.get(&top.pair) else {
                continue;
            };
            if count == top.count {
                return Some(top).filter(|top| self.tokens.allow(self.options, top.pair, count));
            }
            // A count that rose has an entry of its own.
            if count < top.count {
                self.enqueue(Candidate { count, ..top });
            }
        }
    }

    /// Merges a pair everywhere and brings the pairs around up to date.
    fn apply(&mut self, best: Candidate) -> Result<()> {
        let merge = self.tokens.merge(best.pair);
        let Merge { left, right, id } = merge;
        self.merges.push(merge);
        let Some(mut pair) = self.pairs.remove(&best.pair) else {
            return Ok(());
        };
        // Lists of one pass are in order; a pair that two passes made (resume) is not.
        if !pair.positions.is_sorted() {
            pair.positions.sort_unstable();
        }
        let [before, after] = self.replace(&pair.positions, merge)?;
        // A pair may be made on one side of an occurrence and lost on the other side of the next: first make.
        let mut lost = Vec::with_capacity(before.len() + after.len());
        for Beside {
            id: neighbour,
            count,
            positions,
        } in before
        {
            lost.push(((neighbour, left), count));
            if let Some(positions) = positions {
                self.add((neighbour, id), Pair { count, positions });
            }
        }
        for Beside {
            id: neighbour,
            count,
            positions,
        } in after
        {
            lost.push(((right, neighbour), count));
            if let Some(positions) = positions {
                self.add((id, neighbour), Pair { count, positions });
            }
        }
        for (pair, count) in lost {
            self.lower(pair, count);
        }
        Ok(())
    }

    /// Merges the pair at its positions; what stands before and behind them, from all threads.
    fn replace(&mut self, positions: &[u32], merge: Merge) -> Result<[Vec<Beside>; 2]> {
        let Merge { left, right, id } = merge;
        let tokens = &self.tokens;
        let num_parts = (positions.len() / WORTH_A_THREAD).clamp(1, self.options.threads.max(1));
        if self.sides.len() < num_parts {
            self.sides.resize_with(num_parts, Default::default);
        }
        for side in self.sides.iter_mut().flatten() {
            side.resize(tokens.num_ids());
        }
        let near: Vec<u32> = (1..num_parts)
            .map(|i| positions[positions.len() / num_parts * i])
            .collect();
        let parts = self.words.parts(&near);
        let mut ends: Vec<u32> = parts.iter().skip(1).map(|part| part.start as u32).collect();
        ends.push(u32::MAX);
        let mut rest = positions;
        let shares = ends.iter().map(|end| {
            let (share, more) = rest.split_at(rest.partition_point(|at| at < end));
            rest = more;
            share
        });
        let sought = Sought {
            left,
            left_len: tokens.len(left),
            right,
            right_len: tokens.len(right),
        };
        let stop = self.stop;
        let jobs = parts.into_iter().zip(shares).zip(&mut self.sides);
        on_threads(jobs.collect(), |((mut part, positions), sides)| {
            let len = |id| tokens.len(id);
            replace_in(&mut part, positions, sought, id, len, sides, stop)
        })?;
        let keep = |neighbour: u32, count: u64| {
            count >= self.least && tokens.fits(self.options, (id, neighbour))
        };
        let (mut before, mut after): (Vec<_>, Vec<_>) = self
            .sides
            .iter_mut()
            .map(|[before, after]| (before, after))
            .unzip();
        Ok([&mut before, &mut after].map(|sides| Neighbours::together(sides, keep)))
    }

    /// Takes occurrences away; a pair that has too few is forgotten.
    fn lower(&mut self, pair: (u32, u32), count: u64) {
        if let Entry::Occupied(mut entry) = self.pairs.entry(pair) {
            let known = entry.get_mut();
            known.count -= count;
            if known.count < self.least {
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
