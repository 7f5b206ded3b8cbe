//! The merge loop for words that do not fit into memory: they lie on disk and come in batches.
//!
//! The counts of all pairs are in memory, the words are not. A batch begins with the pairs that are next in the queue,
//! as many as have room for their words; one pass over the disk brings those words in and copies the others. While the
//! best pair is one of those, or holds a symbol made since, every word that has it is in memory, and its merge changes
//! the counts as it would with all words there. The batch ends before the first merge of any other pair, so the merges
//! are those of [`super::merge`] whatever the memory. A pair whose words have no room by themselves is merged during a
//! pass. Words that have become one symbol are dropped, so the passes get shorter.
//!
//! A pass costs about as much as counting pairs once. There are about as many as merges in all words together go into
//! the memory: some tens for words of ten times the memory. Each merge of a word costs its length, as words are short.

use std::collections::hash_map::Entry;
use std::sync::atomic::{self, AtomicBool, AtomicU64};

use rustc_hash::{FxHashMap, FxHashSet};

use super::heap::Heap;
use super::scratch::{Reader, Run, Scratch};
use super::spill::{Memory, Sorted};
use super::tokens::{Candidate, Start, Tokens};
use super::{Learned, TrainOptions};
use crate::error::{Error, Result};
use crate::vocab::Merge;

mod batch;
mod choice;
mod merging;

use batch::Batch;
use merging::{Found, Merging};

/// Words between two looks at whether the work is still wanted.
const LOOK_EVERY: u64 = 1 << 14;

type Pair = (u32, u32);

struct Trainer<'a> {
    options: &'a TrainOptions,
    memory: &'a Memory,
    progress: &'a AtomicU64,
    stop: &'a AtomicBool,
    tokens: Tokens,
    pairs: FxHashMap<Pair, Found>,
    merges: Vec<Merge>,
    last_count: u64,
    /// The words of more than one symbol: how many, how many symbols they have, and where they are.
    num_words: u64,
    num_symbols: u64,
    run: Run,
    /// Symbols of the words that are one symbol.
    single: u128,
}

/// Learns merges until `num_ids` ids exist or no pair is left, after those of `options.resume`.
pub(super) fn learn(
    counts: &Sorted,
    num_ids: usize,
    options: &TrainOptions,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Learned> {
    let mut trainer = Trainer::new(counts, options, progress, stop)?;
    while trainer.tokens.num_ids() < num_ids && trainer.batch(num_ids)? {}
    let num_tokens = trainer.num_tokens()?;
    Ok(Learned {
        tokens: trainer.tokens.into_bytes(),
        merges: trainer.merges,
        last_count: trainer.last_count,
        num_tokens,
    })
}

impl<'a> Trainer<'a> {
    fn new(
        counts: &'a Sorted,
        options: &'a TrainOptions,
        progress: &'a AtomicU64,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let mut start = Start::new(options);
        let mut scratch = Scratch::new(&counts.memory().folder)?;
        let mut trainer = Self {
            options,
            memory: counts.memory(),
            progress,
            stop,
            tokens: Tokens::new(options),
            pairs: FxHashMap::default(),
            merges: (options.resume.as_ref())
                .map_or_else(Vec::new, |vocab| vocab.merges().to_vec()),
            last_count: 0,
            num_words: 0,
            num_symbols: 0,
            run: scratch.end_run()?,
            single: 0,
        };
        let (mut word, mut seen) = (Vec::new(), 0);
        counts.for_each(|pretoken, count| {
            trainer.look(&mut seen)?;
            word.clear();
            start.split(pretoken, &mut word, stop);
            for pair in word.windows(2) {
                let found = trainer.pairs.entry((pair[0], pair[1])).or_default();
                found.count += count;
                found.places += 1;
            }
            trainer.put(&mut scratch, &word, count)
        })?;
        trainer.run = scratch.end_run()?;
        Ok(trainer)
    }

    fn look(&self, seen: &mut u64) -> Result<()> {
        *seen += 1;
        if seen.is_multiple_of(LOOK_EVERY) && self.stop.load(atomic::Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(())
    }

    /// Writes a word for the next pass, or drops it if it is one symbol.
    fn put(&mut self, scratch: &mut Scratch, word: &[u32], count: u64) -> Result<()> {
        if word.len() == 1 {
            self.single += u128::from(count);
            return Ok(());
        }
        self.num_words += 1;
        self.num_symbols += word.len() as u64;
        scratch.write_number(word.len() as u64)?;
        scratch.write_number(count)?;
        word.iter()
            .try_for_each(|symbol| scratch.write_number(u64::from(*symbol)))
    }

    /// One pass over the words and the merges that it allows; whether there were any.
    fn batch(&mut self, num_ids: usize) -> Result<bool> {
        let room = self.room();
        let mut next = self.next_pairs(room);
        let Some(&first) = next.first() else {
            return Ok(false);
        };
        let mut scratch = Scratch::new(&self.memory.folder)?;
        let run = std::mem::replace(&mut self.run, scratch.end_run()?);
        (self.num_words, self.num_symbols) = (0, 0);
        let first_id = self.tokens.num_ids() as u32;
        let mut alone = (next.len() == 1).then(|| self.alone(first));
        let mut batch = Batch::new(&next, first_id);
        let mut lefts: FxHashSet<u32> = next.iter().map(|c| c.pair.0).collect();
        let (mut reader, mut word, mut seen) = (run.read(), Vec::new(), 0);
        while let Some(count) = read(&mut reader, &mut word)? {
            self.look(&mut seen)?;
            if let Some(alone) = &mut alone {
                alone.apply(&mut word, count, None);
            } else if word.iter().any(|symbol| lefts.contains(symbol)) && batch.add(&word, count) {
                if batch.size() > room {
                    next.truncate(next.len() / 2);
                    lefts = next.iter().map(|c| c.pair.0).collect();
                    alone = (next.len() == 1).then(|| self.alone(first));
                    batch = self.shrink(batch, &next, alone.as_mut(), &mut scratch)?;
                }
                continue;
            }
            self.put(&mut scratch, &word, count)?;
        }
        drop(reader);
        drop(run);
        if let Some(alone) = alone {
            self.settle(alone, &mut Batch::default());
        } else {
            self.merge_batch(&mut batch, &next, num_ids, room)?;
            for (start, len, count) in std::mem::take(&mut batch.words) {
                self.look(&mut seen)?;
                self.put(
                    &mut scratch,
                    &batch.symbols[start..start + len as usize],
                    count,
                )?;
            }
        }
        self.run = scratch.end_run()?;
        Ok(true)
    }

    fn is_allowed(&self, pair: Pair, count: u64) -> bool {
        self.tokens.allow(self.options, pair, count)
    }

    /// A batch of the words that have one of `next`; the others go to disk, merged if there is a merge.
    fn shrink(
        &mut self,
        batch: Batch,
        next: &[Candidate],
        mut alone: Option<&mut Merging>,
        scratch: &mut Scratch,
    ) -> Result<Batch> {
        let left = if alone.is_none() { next } else { &[] };
        let mut kept = Batch::new(left, batch.first_id);
        drop(batch.lists);
        // In place: a word never moves to a later place.
        let mut symbols = batch.symbols;
        let mut word = Vec::new();
        let mut end = 0;
        for (start, len, count) in batch.words {
            word.clear();
            word.extend_from_slice(&symbols[start..start + len as usize]);
            kept.symbols.clear();
            if kept.add(&word, count) {
                symbols[end..end + word.len()].copy_from_slice(&word);
                if let Some(last) = kept.words.last_mut() {
                    last.0 = end;
                }
                end += word.len();
                continue;
            }
            if let Some(alone) = &mut alone {
                alone.apply(&mut word, count, None);
            }
            self.put(scratch, &word, count)?;
        }
        symbols.truncate(end);
        kept.symbols = symbols;
        Ok(kept)
    }

    /// Merges pairs while the best is not after the last of `next`.
    fn merge_batch(
        &mut self,
        batch: &mut Batch,
        next: &[Candidate],
        num_ids: usize,
        room: usize,
    ) -> Result<()> {
        let Some(&last) = next.last() else {
            return Ok(());
        };
        let mut queue = Heap::default();
        for candidate in next {
            queue.push(*candidate, |a, b| self.before(a, b));
        }
        let mut seen = 0;
        while self.tokens.num_ids() < num_ids {
            let Some(best) = self.best(&mut queue) else {
                break;
            };
            if self.before(&last, &best) {
                break;
            }
            let mut merging = self.alone(best);
            let list = batch.lists.remove(&best.pair).unwrap_or_default();
            batch.places -= list.len();
            for index in list {
                self.look(&mut seen)?;
                let (start, len, count) = &mut batch.words[index as usize];
                let word = &mut batch.symbols[*start..*start + *len as usize];
                *len = merging.replace(word, *count, Some(index)) as u32;
            }
            let changed = self.settle(merging, batch);
            let mut foreign = false;
            for pair in changed {
                let count = self.pairs[&pair].count;
                let candidate = Candidate { count, pair };
                if !self.is_allowed(pair, count) {
                    continue;
                }
                if batch.covers(pair) {
                    queue.push(candidate, |a, b| self.before(a, b));
                } else {
                    // A merge into an older token makes old pairs more frequent, also those that are not here.
                    foreign |= !self.before(&last, &candidate);
                }
            }
            if foreign || batch.size() > room + room / 4 {
                break;
            }
        }
        Ok(())
    }

    /// The first of the queue whose count is still right.
    fn best(&self, queue: &mut Heap<Candidate>) -> Option<Candidate> {
        loop {
            let top = queue.pop(|a, b| self.before(a, b))?;
            let count = self.pairs.get(&top.pair).map_or(0, |found| found.count);
            if count == top.count {
                return Some(top);
            }
            // A count that rose has an entry of its own.
            if count < top.count && self.is_allowed(top.pair, count) {
                queue.push(Candidate { count, ..top }, |a, b| self.before(a, b));
            }
        }
    }

    /// Makes the merge of a pair: into a new id, or into the token that its bytes already are.
    fn alone(&mut self, best: Candidate) -> Merging {
        let merge = self.tokens.merge(best.pair);
        self.merges.push(merge);
        self.last_count = best.count;
        Merging {
            merge,
            changes: FxHashMap::default(),
        }
    }

    /// Brings the counts of pairs up to date, and the lists of those whose words are in memory; gives the pairs that
    /// occur more often.
    fn settle(&mut self, merging: Merging, batch: &mut Batch) -> Vec<Pair> {
        self.progress
            .store(self.tokens.num_ids() as u64, atomic::Ordering::Relaxed);
        let mut risen = Vec::new();
        for (pair, change) in merging.changes {
            let found = self.pairs.entry(pair).or_default();
            found.count = found.count + change.more.count - change.less.count;
            found.places = found.places + change.more.places - change.less.places;
            if found.places == 0 {
                self.pairs.remove(&pair);
                continue;
            }
            if change.more.count > change.less.count {
                risen.push(pair);
            }
            // Of other pairs there are words elsewhere too.
            if !change.words.is_empty() && batch.covers(pair) {
                batch.places += change.words.len();
                match batch.lists.entry(pair) {
                    Entry::Occupied(mut list) => list.get_mut().extend(change.words),
                    Entry::Vacant(list) => drop(list.insert(change.words)),
                }
            }
        }
        risen
    }

    /// How many symbols all words have, each as often as it occurs.
    fn num_tokens(&self) -> Result<u128> {
        let (mut reader, mut word, mut seen) = (self.run.read(), Vec::new(), 0);
        let mut tokens = self.single;
        while let Some(count) = read(&mut reader, &mut word)? {
            self.look(&mut seen)?;
            tokens += u128::from(count) * word.len() as u128;
        }
        Ok(tokens)
    }

    fn before(&self, a: &Candidate, b: &Candidate) -> bool {
        self.tokens.order(self.options.tie_break).before(a, b)
    }
}

/// The next word and how often it occurs.
fn read(reader: &mut Reader, word: &mut Vec<u32>) -> Result<Option<u64>> {
    if !reader.has_more()? {
        return Ok(None);
    }
    let len = reader.number()?;
    let count = reader.number()?;
    word.clear();
    for _ in 0..len {
        word.push(reader.number()? as u32);
    }
    Ok(Some(count))
}
