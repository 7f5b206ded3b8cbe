//! Counts on disk: sorted runs, merged into one.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Memory;
use super::records::{Cursor, Writer};
use crate::error::{Error, Result};
use crate::train::counts::row_hash;
use crate::train::scratch::{BUFFER_BYTES, Run, Scratch};

/// Runs that are merged at once; more are merged in several passes.
const MOST_RUNS: usize = 256;
/// Records between two looks at whether the work is still wanted.
const LOOK_EVERY: u64 = 1 << 14;

/// Counts on disk, each pretoken once.
pub struct Sorted {
    pub(super) run: Run,
    pub(super) distinct: usize,
    pub(super) total: u64,
    pub(super) pairs: u128,
    pub(super) fingerprint: u128,
    memory: Memory,
}

impl Sorted {
    /// The bound that these counts were made within.
    pub(in crate::train) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Calls `f` with each distinct pretoken and its count, in order of bytes.
    pub(in crate::train) fn for_each(
        &self,
        mut f: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let mut cursor = Cursor::new(&self.run);
        while cursor.advance()? {
            f(&cursor.key, cursor.count)?;
        }
        Ok(())
    }

    /// Merges runs into one, `MOST_RUNS` at a time or as many as have room for their buffers.
    pub(super) fn merged(mut runs: Vec<Run>, memory: &Memory, stop: &AtomicBool) -> Result<Self> {
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
        let (mut distinct, mut total, mut pairs, mut fingerprint) = (0, 0u64, 0u128, 0u128);
        let mut scratch = Scratch::new(&memory.folder)?;
        let mut writer = Writer::new(&mut scratch);
        let mut row = Vec::new();
        let (mut key, mut sum, mut seen) = (Vec::new(), 0u64, 0u64);
        loop {
            seen += 1;
            if seen.is_multiple_of(LOOK_EVERY) && stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let top = heap.peek_mut();
            let is_other = top.as_ref().is_none_or(|top| top.key != key);
            if is_other && sum > 0 {
                writer.put(&key, sum)?;
                distinct += 1;
                total = total.saturating_add(sum);
                pairs += (key.len() as u128 - 1) * u128::from(sum);
                fingerprint = fingerprint.wrapping_add(row_hash(&key, sum, &mut row));
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
            pairs,
            fingerprint,
            memory: memory.clone(),
        })
    }
}
