//! Counting the pretokens of batches, one table per thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::spill::{BoundedCounts, Memory};
use crate::error::{Error, Result};
use crate::feed::{Batch, Finder, Work};
use crate::pretokenize::Pattern;

/// One thread's part of the counting.
pub struct CountWork {
    pattern: Arc<Pattern>,
    /// Special tokens: text is split at them and nothing is counted from them.
    specials: Option<Finder>,
    counts: BoundedCounts,
    /// Distinct pretokens of all threads (some counted more than once), for the display.
    distinct: Arc<AtomicU64>,
}

impl CountWork {
    /// The work of `threads` threads, whose tables and one more share `memory`.
    ///
    /// # Errors
    /// `Error::Value` if a special token is empty.
    pub fn for_threads(
        threads: usize,
        pattern: &Arc<Pattern>,
        specials: &[String],
        memory: Option<&Memory>,
        distinct: &Arc<AtomicU64>,
    ) -> Result<Vec<Self>> {
        let finder = Finder::new(specials, "a special token")?;
        let work = || Self {
            pattern: pattern.clone(),
            specials: finder.clone(),
            counts: BoundedCounts::new(memory, threads.max(1) + 1),
            distinct: distinct.clone(),
        };
        Ok((0..threads.max(1)).map(|_| work()).collect())
    }

    fn count(&mut self, text: &[u8], stop: &AtomicBool) -> Result<()> {
        let counts = &mut self.counts;
        let mut kept = Ok(());
        self.pattern.for_some_while(text.into(), |pretokens| {
            counts.table().add_all(pretokens);
            kept = counts.keep_bound();
            // A custom regex may take seconds over one document.
            kept.is_ok() && !stop.load(Ordering::Relaxed)
        })?;
        kept?;
        self.counts.keep_bound()?;
        if stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

impl Work for CountWork {
    type Output = BoundedCounts;

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

    fn finish(self) -> Result<BoundedCounts> {
        self.counts.finish()
    }
}
