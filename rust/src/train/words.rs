//! The distinct pretokens as one line of symbols, in which merging is done in place.
//!
//! Every byte has a slot. A symbol (a token's id) stands in its first slot and again in its last one, so that the
//! symbol after it and the one before it are found from its length alone; slots between are dead. A merge writes two
//! slots and kills two. No list of links, no second copy of the text. Words stand in the order of how often they
//! occur, so that a few boundaries tell the count at every position.

use std::sync::atomic::{AtomicBool, Ordering};

use rustc_hash::FxHashMap;

use super::counts::Counts;
use crate::error::{Error, Result};
use crate::memory::{Plain, Table};

/// What a slot holds: an id, or one of two marks above all ids. Two bytes are enough for most vocabularies, and half
/// the memory is half the cache lines.
pub(super) trait Symbol: Plain + Eq + Send + Sync {
    /// Stands between words.
    const BORDER: Self;
    /// A slot inside a symbol.
    const DEAD: Self;

    /// The symbol of an id, which must be below those of the marks.
    fn of(id: u32) -> Self;
    /// The id.
    fn id(self) -> u32;
}

/// How many ids symbols of two bytes can tell apart.
pub(super) const SMALL_IDS: usize = u16::MAX as usize - 1;

macro_rules! symbol {
    ($slot:ty) => {
        impl Symbol for $slot {
            const BORDER: Self = Self::MAX;
            const DEAD: Self = Self::MAX - 1;

            #[inline]
            fn of(id: u32) -> Self {
                id as Self
            }

            #[inline]
            fn id(self) -> u32 {
                u32::from(self)
            }
        }
    };
}

symbol!(u16);
symbol!(u32);

/// Slots between two looks at the stop flag.
const LOOK_EVERY: usize = 1 << 16;

/// Words that occur equally often, one after another.
struct Group {
    /// Position of their first slot.
    start: u32,
    /// How often each occurs.
    count: u64,
    /// How many of them a token may spell.
    words: usize,
}

pub(super) struct Words<S> {
    slots: Table<S>,
    /// The most frequent words first.
    groups: Vec<Group>,
    /// How many symbols the words of one byte are, which have no slots: no pair is in them.
    num_single: u128,
}

/// A symbol's neighbours at the moment of its merge; none where the word ends.
pub(super) struct Merged {
    pub before: Option<u32>,
    pub after: Option<u32>,
    /// How often the word occurs.
    pub count: u64,
}

/// Two neighbouring symbols with the bytes they have.
#[derive(Clone, Copy)]
pub(super) struct Sought {
    pub left: u32,
    pub left_len: u32,
    pub right: u32,
    pub right_len: u32,
}

impl<S: Symbol> Words<S> {
    /// Lays out the words; `split` appends the ids that a word starts as, of which `len` gives the bytes.
    ///
    /// `longest` is the most bytes that a token may have.
    pub(super) fn new(
        counts: &Counts,
        longest: usize,
        len: impl Fn(u32) -> u32,
        mut split: impl FnMut(&[u8], &mut Vec<u32>),
        stop: &AtomicBool,
    ) -> Result<Self> {
        let mut sizes: FxHashMap<u64, (usize, usize)> = FxHashMap::default();
        let mut num_slots = 1;
        counts.for_each(|word, count| {
            if word.len() > 1 {
                let (slots, words) = sizes.entry(count).or_default();
                *slots += word.len() + 1;
                *words += usize::from(word.len() <= longest);
                num_slots += word.len() + 1;
            }
        });
        if num_slots > u32::MAX as usize {
            return Err(Error::value(format!(
                "the distinct pretokens have {num_slots} bytes together; up to {} are allowed: raise the minimum count or take fewer documents",
                u32::MAX
            )));
        }
        let mut sizes: Vec<_> = sizes.into_iter().collect();
        sizes.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
        let mut start = 1;
        let mut groups = Vec::with_capacity(sizes.len());
        let mut next = FxHashMap::default();
        for (count, (slots, words)) in sizes {
            next.insert(count, start);
            let first = start as u32;
            groups.push(Group {
                start: first,
                count,
                words,
            });
            start += slots;
        }
        let mut words = Self {
            slots: Table::new(num_slots),
            groups,
            num_single: 0,
        };
        words.slots.fill(S::DEAD);
        words.slots[0] = S::BORDER;
        let mut ids = Vec::new();
        counts.for_each(|word, count| {
            if word.len() < 2 {
                words.num_single += u128::from(count);
                return;
            }
            let Some(next) = next
                .get_mut(&count)
                .filter(|_| !stop.load(Ordering::Relaxed))
            else {
                return;
            };
            ids.clear();
            split(word, &mut ids);
            for &id in &ids {
                let end = *next + len(id) as usize;
                words.slots[*next] = S::of(id);
                words.slots[end - 1] = S::of(id);
                *next = end;
            }
            words.slots[*next] = S::BORDER;
            *next += 1;
        });
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        Ok(words)
    }

    /// How often the `n`-th most frequent word occurs of those that a token may spell; 0 if there are fewer.
    pub(super) fn count_of_nth(&self, n: usize) -> u64 {
        let mut seen = 0;
        let reached = |group: &&Group| {
            seen += group.words;
            seen >= n
        };
        self.groups
            .iter()
            .find(reached)
            .map_or(0, |group| group.count)
    }

    /// Parts of the words that can be worked on at the same time, cut at the ends of words before the positions `near`,
    /// which are in order.
    pub(super) fn parts(&mut self, near: &[u32]) -> Vec<Part<'_, S>> {
        let mut parts = Vec::with_capacity(near.len() + 1);
        let mut rest = &mut *self.slots;
        let mut start = 0;
        let part = |slots, start| Part {
            slots,
            start,
            groups: &self.groups,
            group: 0,
        };
        for &near in near {
            let before = &rest[..(near as usize).saturating_sub(start)];
            // A part begins with a border; the one before it ends without.
            if let Some(cut) = before.iter().rposition(|slot| *slot == S::BORDER) {
                let (slots, more) = rest.split_at_mut(cut);
                parts.push(part(slots, start));
                (rest, start) = (more, start + cut);
            }
        }
        parts.push(part(rest, start));
        parts
    }

    /// Slots of all words.
    pub(super) fn num_slots(&self) -> usize {
        self.slots.len()
    }

    /// How many symbols the corpus has, each word as often as it occurs.
    ///
    /// # Errors
    /// `Error::Interrupted` soon after `stop` is set.
    pub(super) fn num_tokens(
        &mut self,
        len: impl Fn(u32) -> u32,
        stop: &AtomicBool,
    ) -> Result<u128> {
        let mut num_tokens = self.num_single;
        for mut part in self.parts(&[]) {
            part.for_each(&len, stop, |_, _, _, count| num_tokens += u128::from(count))?;
        }
        Ok(num_tokens)
    }
}

/// Words that one thread works on; positions must come in order.
pub(super) struct Part<'a, S> {
    slots: &'a mut [S],
    /// Position of the first slot.
    pub start: usize,
    groups: &'a [Group],
    /// The group of the last position.
    group: usize,
}

impl<S: Symbol> Part<'_, S> {
    /// How often the word at a position occurs; the position is not before the last one asked for.
    #[inline]
    fn count(&mut self, at: usize) -> u64 {
        let begun = |group: &Group| group.start as usize <= at;
        if self.groups.get(self.group + 1).is_some_and(begun) {
            self.group += self.groups[self.group + 1..].partition_point(begun);
        }
        self.groups[self.group].count
    }

    /// Calls `f` with the position and the count of each symbol, its id and the one behind it (none at a word's end).
    fn for_each(
        &mut self,
        len: impl Fn(u32) -> u32,
        stop: &AtomicBool,
        mut f: impl FnMut(u32, u32, Option<u32>, u64),
    ) -> Result<()> {
        let mut at = 0;
        let mut look = 0;
        while at < self.slots.len() {
            let symbol = self.slots[at];
            if symbol == S::BORDER {
                at += 1;
                continue;
            }
            if at >= look {
                look = at + LOOK_EVERY;
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
            }
            let end = at + len(symbol.id()) as usize;
            let count = self.count(self.start + at);
            f(
                (self.start + at) as u32,
                symbol.id(),
                self.neighbour(end),
                count,
            );
            at = end;
        }
        Ok(())
    }

    /// Calls `f` with the position, the two ids and the count of each pair of neighbours.
    ///
    /// # Errors
    /// `Error::Interrupted` soon after `stop` is set.
    pub(super) fn for_each_pair(
        &mut self,
        len: impl Fn(u32) -> u32,
        stop: &AtomicBool,
        mut f: impl FnMut(u32, u32, u32, u64),
    ) -> Result<()> {
        self.for_each(len, stop, |at, left, right, count| {
            if let Some(right) = right {
                f(at, left, right, count);
            }
        })
    }

    #[inline]
    fn neighbour(&self, slot: usize) -> Option<u32> {
        let symbol = self.slots.get(slot).filter(|symbol| **symbol != S::BORDER);
        symbol.map(|symbol| symbol.id())
    }

    /// Whether a symbol begins or ends at a position.
    #[inline]
    pub(super) fn stands(&self, at: u32, id: u32) -> bool {
        self.slots[at as usize - self.start] == S::of(id)
    }

    /// Merges the two symbols at a position into `new`, if both still stand there.
    #[inline]
    pub(super) fn merge(&mut self, at: u32, sought: Sought, new: u32) -> Option<Merged> {
        let start = at as usize - self.start;
        let middle = start + sought.left_len as usize;
        // A symbol that begins at a slot keeps beginning there until a symbol before it takes it in, and then the
        // slot is dead or holds another id. So ids in the right places mean that both symbols stand here.
        if self.slots[start] != S::of(sought.left)
            || self.slots.get(middle) != Some(&S::of(sought.right))
        {
            return None;
        }
        let end = middle + sought.right_len as usize;
        self.slots[middle - 1] = S::DEAD;
        self.slots[middle] = S::DEAD;
        self.slots[start] = S::of(new);
        self.slots[end - 1] = S::of(new);
        Some(Merged {
            before: self.neighbour(start - 1),
            after: self.neighbour(end),
            count: self.count(at as usize),
        })
    }
}
