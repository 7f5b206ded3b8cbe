//! Counting the pretokens of batches, one table per thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::counts::Counts;
use crate::error::{Error, Result};
use crate::feed::{Batch, Finder, Work};
use crate::pretokenize::Pattern;

/// One thread's part of the counting.
pub struct CountWork {
    pattern: Arc<Pattern>,
    /// Special tokens: text is split at them and nothing is counted from them.
    specials: Option<Finder>,
    counts: Counts,
    /// Distinct pretokens of all threads (some counted more than once), for the display.
    distinct: Arc<AtomicU64>,
}

impl CountWork {
    /// The work of `threads` threads.
    ///
    /// # Errors
    /// `Error::Value` if a special token is empty.
    pub fn for_threads(
        threads: usize,
        pattern: &Arc<Pattern>,
        specials: &[String],
        distinct: &Arc<AtomicU64>,
    ) -> Result<Vec<Self>> {
        let finder = Finder::new(specials, "a special token")?;
        let work = || Self {
            pattern: pattern.clone(),
            specials: finder.clone(),
            counts: Counts::default(),
            distinct: distinct.clone(),
        };
        Ok((0..threads.max(1)).map(|_| work()).collect())
    }

    fn count(&mut self, text: &[u8], stop: &AtomicBool) -> Result<()> {
        let counts = &mut self.counts;
        self.pattern.for_some_while(text, |pretokens| {
            counts.add_all(pretokens);
            // A custom regex may take seconds over one document.
            !stop.load(Ordering::Relaxed)
        })?;
        if stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

impl Work for CountWork {
    type Output = Counts;

    fn batch(&mut self, _: u64, batch: Batch, stop: &AtomicBool) -> Result<()> {
        let before = self.counts.len();
        for (_, text) in batch.iter() {
            let mut start = 0;
            if let Some(specials) = self.specials.clone() {
                for found in specials.find_iter(text) {
                    self.count(&text[start..found.start], stop)?;
                    start = found.end;
                }
            }
            self.count(&text[start..], stop)?;
        }
        let new = self.counts.len() - before;
        self.distinct.fetch_add(new as u64, Ordering::Relaxed);
        Ok(())
    }

    fn finish(self) -> Result<Counts> {
        Ok(self.counts)
    }
}

/// All tables in one.
pub fn merged(tables: Vec<Counts>) -> Counts {
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
