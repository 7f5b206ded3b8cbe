//! Counting within a bound: a table that is full is written to disk as a sorted run, and the runs are merged.
//!
//! A [`BoundedCounts`] counts like [`Counts`] and looks from time to time whether its table has grown to its share of
//! the [`Memory`]. What comes out of counting is [`Counted`]: a table if all fits, otherwise one sorted run without
//! repetitions that can be read any number of times. Either holds the same pretokens and counts.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::PathBuf;
use std::sync::atomic::{self, AtomicBool};

use super::counts::Counts;
use super::scratch::{BUFFER_BYTES, Run, Scratch};
use crate::error::{Error, Result};

/// Runs that are merged at once; more are merged in several passes.
const MOST_RUNS: usize = 256;
/// Bytes that the merge loop needs for each byte of a word and for its end: its symbol, its place in a list, and that
/// again while threads put their lists together.
const SYMBOL_BYTES: usize = 12;
/// Records between two looks at whether the work is still wanted.
const LOOK_EVERY: u64 = 1 << 14;

/// How much memory counting and merging may take, and the folder for what takes more.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Bytes of all tables and buffers together.
    pub bytes: usize,
    /// Where files without a name are made.
    pub folder: PathBuf,
}

/// A table of counts that goes to disk when it is full.
#[derive(Default)]
pub struct BoundedCounts {
    table: Counts,
    memory: Option<Memory>,
    spilled: Option<Spilled>,
    /// Distinct pretokens in the runs, those of several runs counted for each.
    in_runs: usize,
}

struct Spilled {
    scratch: Scratch,
    runs: Vec<Run>,
}

impl BoundedCounts {
    /// `tables` of these share `memory`; without any, there is no bound.
    pub fn new(memory: Option<&Memory>, tables: usize) -> Self {
        let share = |memory: &Memory| Memory {
            bytes: memory.bytes / tables.max(1),
            folder: memory.folder.clone(),
        };
        Self {
            memory: memory.map(share),
            ..Self::default()
        }
    }

    /// The table in memory, to be counted into.
    #[inline]
    pub fn table(&mut self) -> &mut Counts {
        &mut self.table
    }

    /// Distinct pretokens so far; one that has gone to disk counts again when it comes again.
    pub fn len(&self) -> usize {
        self.in_runs + self.table.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the table to disk if it is as large as its share allows. To be called every few thousand pretokens.
    ///
    /// # Errors
    /// `Error::Io` if the disk does not take it.
    #[inline]
    pub fn keep_bound(&mut self) -> Result<()> {
        match &self.memory {
            Some(memory) if is_full(&self.table, memory.bytes) => self.spill(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn spill(&mut self) -> Result<()> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled {
                scratch: Scratch::new(&memory.folder)?,
                runs: Vec::new(),
            }),
        };
        self.in_runs += self.table.len();
        let mut writer = Writer::new(&mut spilled.scratch);
        self.table
            .drain_sorted(|pretoken, count| writer.put(pretoken, count))?;
        spilled.runs.push(writer.end()?);
        Ok(())
    }

    /// Ends the counting: what belongs to a table on disk goes there.
    ///
    /// # Errors
    /// `Error::Io` if the disk does not take it.
    pub fn finish(mut self) -> Result<Self> {
        if self.spilled.is_some() && !self.table.is_empty() {
            self.spill()?;
        }
        Ok(self)
    }

    /// The last run, and with it the table's memory.
    fn end(mut self) -> Result<Vec<Run>> {
        if !self.table.is_empty() {
            self.spill()?;
        }
        Ok(self.spilled.map_or_else(Vec::new, |s| s.runs))
    }
}

/// Whether a table has more than its share or is about to grow beyond it.
fn is_full(table: &Counts, share: usize) -> bool {
    table.size() > share || (table.room() <= table.len() / 16 && table.size_growing() > share)
}

/// Distinct pretokens and how often each occurs, in memory or on disk.
pub enum Counted {
    /// All in a table.
    Table(Counts),
    /// On disk, in order of bytes.
    Sorted(Sorted),
}

/// Counts on disk, each pretoken once.
pub struct Sorted {
    run: Run,
    distinct: usize,
    total: u64,
    fingerprint: u128,
    memory: Memory,
}

impl Counted {
    /// Adds up what several tables counted, within `memory`.
    ///
    /// # Errors
    /// `Error::Io` if the disk does not take the runs, `Error::Interrupted` after `stop`.
    pub fn from_tables(
        tables: Vec<BoundedCounts>,
        memory: Option<&Memory>,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let fits = |memory: &Memory| {
            let sizes: usize = tables.iter().map(|t| t.table.size()).sum();
            let used: usize = tables.iter().map(BoundedCounts::len).sum();
            let bytes: usize = tables.iter().map(|t| t.table.bytes()).sum();
            let all = Counts::size_for(used);
            // The largest table grows to the sum of all while the others are still there; then comes the merge loop.
            (sizes + all).max(all + SYMBOL_BYTES * (bytes + used)) <= memory.bytes
        };
        if let Some(memory) = memory
            && (tables.iter().any(|t| t.spilled.is_some()) || !fits(memory))
        {
            let mut runs = Vec::new();
            for table in tables {
                runs.extend(table.end()?);
            }
            return Sorted::merged(runs, memory, stop).map(Self::Sorted);
        }
        Ok(Self::Table(merged(
            tables.into_iter().map(|t| t.table).collect(),
        )))
    }

    /// Distinct pretokens.
    pub fn len(&self) -> usize {
        match self {
            Self::Table(table) => table.len(),
            Self::Sorted(sorted) => sorted.distinct,
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All pretokens together.
    pub fn total(&self) -> u64 {
        match self {
            Self::Table(table) => table.total(),
            Self::Sorted(sorted) => sorted.total,
        }
    }

    /// A fingerprint of the pretokens and their counts, whatever their order.
    pub fn fingerprint(&self) -> u128 {
        match self {
            Self::Table(table) => table.fingerprint(),
            Self::Sorted(sorted) => sorted.fingerprint,
        }
    }

    /// Calls `f` with each distinct pretoken and its count, in no particular order.
    ///
    /// # Errors
    /// `Error::Io` if the disk does not give them back, and what `f` raised.
    pub fn for_each(&self, mut f: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        match self {
            Self::Table(table) => {
                let mut result = Ok(());
                table.for_each(|pretoken, count| {
                    if result.is_ok() {
                        result = f(pretoken, count);
                    }
                });
                result
            }
            Self::Sorted(sorted) => sorted.for_each(f),
        }
    }

    /// A walk through the pretokens in order of their bytes, for [`Counted::next_rows`].
    pub fn rows(&self) -> Rows {
        match self {
            Self::Table(table) => Rows::Table(table.sorted().into_iter()),
            Self::Sorted(sorted) => Rows::Sorted(Cursor::new(&sorted.run)),
        }
    }

    /// Calls `f` with up to `most` further pretokens and their counts; gives how many there were.
    ///
    /// # Errors
    /// `Error::Io` if the disk does not give them back.
    pub fn next_rows(
        &self,
        rows: &mut Rows,
        most: usize,
        mut f: impl FnMut(&[u8], u64),
    ) -> Result<usize> {
        let mut given = 0;
        while given < most {
            match (self, &mut *rows) {
                (Self::Table(table), Rows::Table(places)) => {
                    let Some(place) = places.next() else { break };
                    table.at(place, &mut f);
                }
                (_, Rows::Sorted(cursor)) => {
                    if !cursor.advance()? {
                        break;
                    }
                    f(&cursor.key, cursor.count);
                }
                (Self::Sorted(_), Rows::Table(_)) => break,
            }
            given += 1;
        }
        Ok(given)
    }
}

/// Where a walk through counts is.
pub enum Rows {
    /// The places that are left of a table.
    Table(std::vec::IntoIter<usize>),
    /// What is left of a run.
    Sorted(Cursor),
}

impl Sorted {
    /// The bound that these counts were made within.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Calls `f` with each distinct pretoken and its count, in order of bytes.
    pub(super) fn for_each(&self, mut f: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        let mut cursor = Cursor::new(&self.run);
        while cursor.advance()? {
            f(&cursor.key, cursor.count)?;
        }
        Ok(())
    }

    /// Merges runs into one, `MOST_RUNS` at a time or as many as have room for their buffers.
    fn merged(mut runs: Vec<Run>, memory: &Memory, stop: &AtomicBool) -> Result<Self> {
        let most = (memory.bytes / (2 * BUFFER_BYTES)).clamp(2, MOST_RUNS);
        loop {
            let rest = runs.split_off(runs.len().min(most));
            let made = Self::merge(&runs, memory, stop)?;
            if rest.is_empty() {
                return Ok(made);
            }
            runs = rest;
            runs.push(made.run);
        }
    }

    fn merge(runs: &[Run], memory: &Memory, stop: &AtomicBool) -> Result<Self> {
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for run in runs {
            let mut cursor = Cursor::new(run);
            if cursor.advance()? {
                heap.push(cursor);
            }
        }
        let (mut distinct, mut total, mut fingerprint) = (0, 0u64, 0u128);
        let mut scratch = Scratch::new(&memory.folder)?;
        let mut writer = Writer::new(&mut scratch);
        let mut row = Vec::new();
        let (mut key, mut sum, mut seen) = (Vec::new(), 0u64, 0u64);
        loop {
            seen += 1;
            if seen.is_multiple_of(LOOK_EVERY) && stop.load(atomic::Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let top = heap.peek_mut();
            let is_other = top.as_ref().is_none_or(|top| top.key != key);
            if is_other && sum > 0 {
                writer.put(&key, sum)?;
                distinct += 1;
                total = total.saturating_add(sum);
                fingerprint =
                    fingerprint.wrapping_add(super::counts::row_hash(&key, sum, &mut row));
                sum = 0;
            }
            let Some(mut top) = top else { break };
            if is_other {
                key.clone_from(&top.key);
            }
            sum = sum.saturating_add(top.count);
            if !top.advance()? {
                PeekMut::pop(top);
            }
        }
        Ok(Self {
            run: writer.end()?,
            distinct,
            total,
            fingerprint,
            memory: memory.clone(),
        })
    }
}

/// Writes a run: of each pretoken the bytes it shares with the one before, the others, and its count.
struct Writer<'a> {
    scratch: &'a mut Scratch,
    before: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(scratch: &'a mut Scratch) -> Self {
        let before = Vec::new();
        Self { scratch, before }
    }

    fn put(&mut self, pretoken: &[u8], count: u64) -> Result<()> {
        let pairs = self.before.iter().zip(pretoken);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        self.scratch.write_number(shared as u64)?;
        self.scratch
            .write_number((pretoken.len() - shared) as u64)?;
        self.scratch.write(&pretoken[shared..])?;
        self.before.truncate(shared);
        self.before.extend_from_slice(&pretoken[shared..]);
        self.scratch.write_number(count)
    }

    fn end(self) -> Result<Run> {
        self.scratch.end_run()
    }
}

/// Reads a run.
pub struct Cursor {
    reader: super::scratch::Reader,
    key: Vec<u8>,
    count: u64,
}

impl Cursor {
    fn new(run: &Run) -> Self {
        Self {
            reader: run.read(),
            key: Vec::new(),
            count: 0,
        }
    }

    /// Goes to the next pretoken, if there is one.
    fn advance(&mut self) -> Result<bool> {
        if !self.reader.has_more()? {
            return Ok(false);
        }
        let (shared, more) = (self.reader.number()?, self.reader.number()?);
        self.key.truncate(shared as usize);
        self.reader.bytes(more as usize, &mut self.key)?;
        self.count = self.reader.number()?;
        Ok(true)
    }
}

/// The smallest key is the greatest, as the heap gives it out first.
impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Cursor {}

/// All tables in one.
fn merged(tables: Vec<Counts>) -> Counts {
    let mut tables = tables.into_iter();
    let mut all = tables.next().unwrap_or_default();
    for mut table in tables {
        // The smaller into the larger.
        if table.len() > all.len() {
            std::mem::swap(&mut table, &mut all);
        }
        all.merge(&table);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn rows(counted: &Counted, most: usize) -> Vec<(Vec<u8>, u64)> {
        let (mut rows, mut place) = (Vec::new(), counted.rows());
        let mut add = |p: &[u8], n: u64| rows.push((p.to_vec(), n));
        while counted.next_rows(&mut place, most, &mut add).unwrap() > 0 {}
        rows
    }

    proptest! {
        #[test]
        fn spilled_equals_whole(
            added in prop::collection::vec(
                (prop::collection::vec(0u8..3, 1..40), prop_oneof![1u64..5, Just(1 << 40)]), 0..300),
            tables in 1usize..4,
            spill_every in 1usize..60,
            bytes in 1usize..(2 << 20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let memory = Memory { bytes, folder: folder.path().to_path_buf() };
            let mut parts: Vec<_> = (0..tables).map(|_| BoundedCounts::new(Some(&memory), tables)).collect();
            let (mut whole, mut want) = (Counts::default(), BTreeMap::<_, u64>::new());
            for (i, (pretoken, count)) in added.iter().enumerate() {
                let part = &mut parts[i % tables];
                part.table().add(pretoken, *count);
                if i % spill_every == 0 {
                    part.spill().unwrap();
                }
                whole.add(pretoken, *count);
                *want.entry(pretoken.clone()).or_default() += count;
            }
            let counted = Counted::from_tables(parts, Some(&memory), &AtomicBool::new(false)).unwrap();
            prop_assert_eq!(counted.len(), want.len());
            prop_assert_eq!(counted.total(), whole.total());
            prop_assert_eq!(counted.fingerprint(), whole.fingerprint());
            let want: Vec<_> = want.into_iter().collect();
            prop_assert_eq!(&rows(&counted, 7), &want);
            prop_assert_eq!(&rows(&Counted::Table(whole), 7), &want);
            let mut listed = Vec::new();
            counted.for_each(|p, n| { listed.push((p.to_vec(), n)); Ok(()) }).unwrap();
            listed.sort_unstable();
            prop_assert_eq!(&listed, &want);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_table_keeps_to_its_share() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            bytes: 4 << 20,
            folder: folder.path().to_path_buf(),
        };
        let mut bounded = BoundedCounts::new(Some(&memory), 2);
        for n in 0u32..400_000 {
            let key = n.to_string().repeat(1 + n as usize % 4);
            bounded.table().add(key.as_bytes(), 1);
            if n % 256 == 0 {
                bounded.keep_bound().unwrap();
                assert!(bounded.table.size() <= 2 << 20);
            }
        }
        assert!(bounded.spilled.as_ref().unwrap().runs.len() > 5);
        let stop = AtomicBool::new(false);
        let counted = Counted::from_tables(vec![bounded], Some(&memory), &stop).unwrap();
        assert!(matches!(counted, Counted::Sorted(_)));
        assert_eq!(counted.total(), 400_000);
    }

    #[test]
    fn a_stop_ends_the_merging_of_runs() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory {
            bytes: 1,
            folder: folder.path().to_path_buf(),
        };
        let mut bounded = BoundedCounts::new(Some(&memory), 1);
        for n in 0u32..20_000 {
            bounded.table().add(&n.to_le_bytes(), 1);
        }
        let stopped = Counted::from_tables(vec![bounded], Some(&memory), &AtomicBool::new(true));
        assert!(matches!(stopped, Err(Error::Interrupted)));
    }
}
