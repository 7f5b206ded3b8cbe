//! What comes out of counting, in memory or on disk.

use std::sync::atomic::AtomicBool;

use super::records::Cursor;
use super::{BoundedCounts, Memory, Sorted};
use crate::error::Result;
use crate::train::counts::Counts;
use crate::train::limit;

/// Bytes that the merge loop needs for each byte of a word and for its end: its symbol, its place in a list, and that
/// again while threads put their lists together.
const SYMBOL_BYTES: usize = 12;

/// Distinct pretokens and how often each occurs, in memory or on disk.
pub enum Counted {
    /// All in a table.
    Table(Counts),
    /// On disk, in order of bytes.
    Sorted(Sorted),
}

impl Counted {
    /// Adds up what several tables counted, within `memory`.
    ///
    /// # Errors
    /// `Error::Value` if the sums are beyond what counts can be, `Error::Io` if the disk does not take the runs,
    /// `Error::Interrupted` after `stop`.
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
        let counted = if let Some(memory) = memory
            && (tables.iter().any(|t| t.spilled.is_some()) || !fits(memory))
        {
            let mut runs = Vec::new();
            for table in tables {
                runs.extend(table.end()?);
            }
            Self::Sorted(Sorted::merged(runs, memory, stop)?)
        } else {
            Self::Table(merged(tables.into_iter().map(|t| t.table).collect()))
        };
        limit::check(counted.total(), counted.num_pairs())?;
        Ok(counted)
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

    /// Pairs of neighbouring bytes in all pretokens together.
    fn num_pairs(&self) -> u128 {
        match self {
            Self::Table(table) => table.num_pairs(),
            Self::Sorted(sorted) => sorted.pairs,
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

/// All tables in one, made on as many threads as counted something.
fn merged(tables: Vec<Counts>) -> Counts {
    let threads = tables.iter().filter(|table| !table.is_empty()).count();
    let mut tables = tables.into_iter();
    let mut all = tables.next().unwrap_or_default();
    for mut table in tables {
        // The smaller into the larger.
        if table.len() > all.len() {
            std::mem::swap(&mut table, &mut all);
        }
        all.merge_on(&table, threads);
    }
    all
}
