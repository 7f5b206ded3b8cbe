//! Which pairs a batch begins with, and how much room their words have.

use super::Trainer;
use super::batch::{LIST_BYTES, PLACE_BYTES, WORD_BYTES};
use super::merging::Found;
use crate::train::tokens::Candidate;

/// Bytes of a pair in the table, at its usual load.
const PAIR_BYTES: usize = 48;

impl Trainer<'_> {
    /// Bytes for a batch: what the pairs leave, and always a quarter.
    pub(super) fn room(&self) -> usize {
        let bytes = self.memory.bytes;
        bytes
            .saturating_sub(PAIR_BYTES * self.pairs.len())
            .max(bytes / 4)
    }

    /// The pairs that are next in the queue, in order: about as many as have room for their words.
    pub(super) fn next_pairs(&self, room: usize) -> Vec<Candidate> {
        let length = self.num_symbols / self.num_words.max(1) + 1;
        let word_bytes = 4 * length as usize + WORD_BYTES + PLACE_BYTES;
        let size = |found: &Found| LIST_BYTES + word_bytes * found.places as usize;
        // Sizes by count in steps of a thousandth: the queue's beginning without a sort of all pairs.
        let mut sizes = vec![0; step(u64::MAX) + 1];
        for (pair, found) in &self.pairs {
            if self.is_allowed(*pair, found.count) {
                sizes[step(found.count)] += size(found);
            }
        }
        let mut sum = 0;
        let last = (0..sizes.len())
            .rev()
            .find(|i| {
                sum += sizes[*i];
                sum > room
            })
            .unwrap_or(0);
        let mut next: Vec<Candidate> = self
            .pairs
            .iter()
            .filter(|(pair, found)| {
                step(found.count) >= last && self.is_allowed(**pair, found.count)
            })
            .map(|(&pair, found)| Candidate {
                count: found.count,
                pair,
            })
            .collect();
        let order = self.tokens.order(self.options.tie_break);
        next.sort_unstable_by(|a, b| order.compare(a, b));
        let mut sum = 0;
        let fitting = next.iter().take_while(|c| {
            sum += size(&self.pairs[&c.pair]);
            sum <= room
        });
        let fitting = fitting.count().max(1);
        next.truncate(fitting);
        next
    }
}

/// Numbers in order, so that those of one step differ by at most a thousandth.
fn step(count: u64) -> usize {
    const BITS: u32 = 10;
    let exponent = count.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    ((exponent as usize) << BITS) + (count >> exponent) as usize
}
