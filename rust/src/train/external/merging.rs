//! A merge under way: what it replaces in words, and what it changes for pairs.

use rustc_hash::FxHashMap;

use super::Pair;
use crate::vocab::Merge;

/// How often a pair occurs: in the corpus, and in the distinct words.
#[derive(Clone, Copy, Default)]
pub(super) struct Found {
    pub count: u64,
    pub places: u64,
}

/// What a merge changes for one pair.
#[derive(Default)]
pub(super) struct Change {
    pub more: Found,
    pub less: Found,
    /// The words in memory that have the pair anew.
    pub words: Vec<u32>,
}

/// A merge under way and what it has changed so far.
pub(super) struct Merging {
    pub merge: Merge,
    pub changes: FxHashMap<Pair, Change>,
}

impl Merging {
    pub(super) fn apply(&mut self, word: &mut Vec<u32>, count: u64, index: Option<u32>) {
        let len = self.replace(word, count, index);
        word.truncate(len);
    }

    /// Replaces the pair in a word from left to right; gives how many symbols it has then.
    pub(super) fn replace(&mut self, word: &mut [u32], count: u64, index: Option<u32>) -> usize {
        let Merge { left, right, id } = self.merge;
        let is_pair =
            |word: &[u32], i: usize| i + 1 < word.len() && word[i] == left && word[i + 1] == right;
        let (mut i, mut end) = (0, 0);
        // The symbol before `i` as it was.
        let mut before = None;
        while i < word.len() {
            let symbol = word[i];
            if !is_pair(word, i) {
                word[end] = symbol;
                end += 1;
                i += 1;
                before = Some(symbol);
                continue;
            }
            self.less((left, right), count);
            if let Some(before) = before {
                self.less((before, left), count);
                self.more((word[end - 1], id), count, index);
            }
            // Where the pair comes again, the next round takes care of what lies between.
            if i + 2 < word.len() && !is_pair(word, i + 2) {
                self.less((right, word[i + 2]), count);
                self.more((id, word[i + 2]), count, index);
            }
            word[end] = id;
            end += 1;
            i += 2;
            before = Some(right);
        }
        end
    }

    fn less(&mut self, pair: Pair, count: u64) {
        let less = &mut self.changes.entry(pair).or_default().less;
        less.count += count;
        less.places += 1;
    }

    fn more(&mut self, pair: Pair, count: u64, index: Option<u32>) {
        let change = self.changes.entry(pair).or_default();
        change.more.count += count;
        change.more.places += 1;
        change
            .words
            .extend(index.filter(|i| change.words.last() != Some(i)));
    }
}
