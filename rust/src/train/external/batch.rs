//! Words in memory and where their pairs lie.

use rustc_hash::FxHashMap;

use super::Pair;
use crate::train::tokens::Candidate;

/// Bytes of a word in memory beside its symbols, and of each place in a list.
pub(super) const WORD_BYTES: usize = 24;
pub(super) const PLACE_BYTES: usize = 8;
/// Bytes of a list without its places, and of its pair's entries in the queue.
pub(super) const LIST_BYTES: usize = 128;

/// Words in memory and where the pairs lie that may be merged next.
#[derive(Default)]
pub(super) struct Batch {
    pub symbols: Vec<u32>,
    /// Of each word where its symbols start, how many it has, and how often it occurs.
    pub words: Vec<(usize, u32, u64)>,
    /// Of each pair here the words that have it, or had it before other merges.
    pub lists: FxHashMap<Pair, Vec<u32>>,
    /// Entries of all lists.
    pub places: usize,
    /// The first id that is made in this batch.
    pub first_id: u32,
}

impl Batch {
    pub(super) fn new(pairs: &[Candidate], first_id: u32) -> Self {
        Self {
            lists: pairs.iter().map(|c| (c.pair, Vec::new())).collect(),
            first_id,
            ..Self::default()
        }
    }

    /// Whether every word that has the pair is here.
    pub(super) fn covers(&self, pair: Pair) -> bool {
        pair.0 >= self.first_id || pair.1 >= self.first_id || self.lists.contains_key(&pair)
    }

    pub(super) fn size(&self) -> usize {
        let words = 4 * self.symbols.len() + WORD_BYTES * self.words.len();
        words + PLACE_BYTES * self.places + LIST_BYTES * self.lists.len()
    }

    /// Takes a word in if it has a listed pair.
    pub(super) fn add(&mut self, word: &[u32], count: u64) -> bool {
        let index = self.words.len() as u32;
        let mut has = false;
        for pair in word.windows(2) {
            if let Some(list) = self.lists.get_mut(&(pair[0], pair[1])) {
                has = true;
                if list.last() != Some(&index) {
                    list.push(index);
                    self.places += 1;
                }
            }
        }
        if has {
            let start = self.symbols.len();
            self.symbols.extend_from_slice(word);
            self.words.push((start, word.len() as u32, count));
        }
        has
    }
}
