//! Counting within a bound: a table that is full is written to disk as a sorted run, and the runs are merged.
//!
//! A [`BoundedCounts`] counts like [`Counts`] and looks from time to time whether its table has grown to its share of
//! the [`Memory`]. What comes out of counting is [`Counted`]: a table if all fits, otherwise one sorted run without
//! repetitions that can be read any number of times. Either holds the same pretokens and counts.

use std::path::PathBuf;

use super::counts::Counts;
use super::scratch::{Run, Scratch};
use crate::error::Result;

mod counted;
mod records;
mod sorted;
#[cfg(test)]
mod tests;

pub use counted::{Counted, Rows};
use records::Writer;
pub use sorted::Sorted;

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
