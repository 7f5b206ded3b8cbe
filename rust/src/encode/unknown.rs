//! Pretokens that the cache does not know: kept until there are many, merged side by side, and put where they belong.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::Encoder;
use super::cache::Cache;
use super::lockstep::{LONG, SHORT};
use super::merge::{Scratch, merge_all};
use super::wanted::Wanted;

/// Pretokens kept at most.
const MOST: usize = 512;
/// Their bytes, and ids, from which on more memory is given back.
const MOST_BYTES: usize = 1 << 16;
/// Slots by which a pretoken is found among those kept.
const SLOTS: usize = 4 * MOST;

/// Pretokens that are not known, among others that are.
pub struct Unknown {
    /// Each once.
    wanted: Vec<Wanted>,
    /// Their bytes, end to end.
    text: Vec<u8>,
    /// Open addressing: the number + 1 of a pretoken, 0 for none.
    slots: Box<[u16; SLOTS]>,
    /// Which pretoken belongs before which of the known ids.
    uses: Vec<(u16, usize)>,
    /// Where in `ids` those of each lie.
    ranges: Vec<Range<usize>>,
    ids: Vec<u32>,
    /// The known ones.
    known: Vec<u32>,
    /// Numbers: of those that are in no line, of these that may be a token, that are none, and of the last ones up to
    /// [`SHORT`] bytes and [`LONG`].
    new: Vec<usize>,
    maybe: Vec<usize>,
    merging: Vec<usize>,
    short: Vec<usize>,
    long: Vec<usize>,
}

impl Default for Unknown {
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            text: Vec::new(),
            slots: Box::new([0; SLOTS]),
            uses: Vec::new(),
            ranges: Vec::new(),
            ids: Vec::new(),
            known: Vec::new(),
            new: Vec::new(),
            maybe: Vec::new(),
            merging: Vec::new(),
            short: Vec::new(),
            long: Vec::new(),
        }
    }
}

impl Unknown {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether there are enough to be merged: of different ones, of all together, or of bytes.
    pub fn is_full(&self) -> bool {
        self.wanted.len() >= MOST || self.uses.len() >= SLOTS || self.text.len() >= MOST_BYTES
    }

    /// Keeps a pretoken of a text before the known id `at`.
    pub fn push(&mut self, want: &Wanted, text: &[u8], at: usize) {
        let mut slot = want.key.hash() as usize % SLOTS;
        let number = loop {
            let Some(number) = self.slots[slot].checked_sub(1) else {
                let number = self.wanted.len() as u16;
                self.slots[slot] = number + 1;
                let start = self.text.len();
                if want.hash_of_long().is_some() {
                    self.text.extend_from_slice(want.bytes(text));
                } else {
                    self.text.extend_from_slice(&want.key.0.to_le_bytes());
                    self.text.truncate(start + want.key.len());
                }
                self.wanted.push(Wanted { start, ..*want });
                break number;
            };
            let kept = &self.wanted[usize::from(number)];
            if kept.is_same(&self.text, want, text) {
                break number;
            }
            slot = (slot + 1) % SLOTS;
        };
        self.uses.push((number, at));
    }

    /// Puts the ids among the known ones, tells the cache, and keeps no pretoken.
    #[inline(never)]
    pub fn resolve(
        &mut self,
        encoder: &Encoder,
        (cache, scratch): (&mut Cache, &mut Scratch),
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        self.find(encoder, cache, scratch, stop);
        self.insert(out);
        for i in self.new.drain(..) {
            let Range { start, end } = self.ranges[i];
            cache.put(&self.wanted[i], &self.text, &self.ids[start..], end - start);
        }
        self.wanted.clear();
        self.text.clear();
        self.text.shrink_to(MOST_BYTES);
        self.ids.clear();
        self.ids.shrink_to(MOST_BYTES);
        self.known.shrink_to(MOST_BYTES);
        self.slots.fill(0);
        self.uses.clear();
    }

    /// The ids of all.
    fn find(
        &mut self,
        encoder: &Encoder,
        cache: &mut Cache,
        scratch: &mut Scratch,
        stop: &AtomicBool,
    ) {
        let Self {
            wanted,
            text,
            ranges,
            ids,
            new,
            maybe,
            merging,
            short,
            long,
            ..
        } = self;
        ranges.clear();
        ranges.resize(wanted.len(), 0..0);
        for want in wanted.iter() {
            cache.fetch(want);
        }
        for (i, want) in wanted.iter().enumerate() {
            if let Some(held) = cache.get_beside(want, text) {
                let start = ids.len();
                cache.append(held, ids);
                ranges[i] = start..ids.len();
                continue;
            }
            new.push(i);
            let may_be = want.is_whole() && encoder.whole.may_have(want);
            if may_be { &mut *maybe } else { &mut *merging }.push(i);
        }
        for i in maybe.drain(..) {
            match encoder.whole.get(&wanted[i], text) {
                Some(id) => ranges[i] = append(ids, &[id], 1),
                None => merging.push(i),
            }
        }
        for i in merging.drain(..) {
            let bytes = wanted[i].bytes(text);
            if bytes.len() <= SHORT {
                short.push(i);
            } else if bytes.len() <= LONG {
                long.push(i);
            } else {
                let merged = scratch.merge(&encoder.pairs, bytes, stop);
                ranges[i] = append(ids, merged, merged.len());
            }
        }
        let text = |i: usize| (i, wanted[i].bytes(text));
        merge_all::<SHORT>(
            &encoder.pairs,
            short.drain(..).map(text),
            |i, merged, num| {
                ranges[i] = append(ids, merged, num);
            },
        );
        merge_all::<LONG>(
            &encoder.pairs,
            long.drain(..).map(text),
            |i, merged, num| {
                ranges[i] = append(ids, merged, num);
            },
        );
    }

    /// Puts the ids among the known ones.
    fn insert(&mut self, out: &mut Vec<u32>) {
        let Some(&(_, first)) = self.uses.first() else {
            return;
        };
        self.known.clear();
        self.known.extend_from_slice(&out[first..]);
        out.truncate(first);
        let mut start = 0;
        for &(number, at) in &self.uses {
            append_some(out, &self.known, start..at - first);
            start = at - first;
            append_some(out, &self.ids, self.ranges[usize::from(number)].clone());
        }
        out.extend_from_slice(&self.known[start..]);
    }
}

/// Appends a few ids, of which those behind them are copied too: a copy of a number that cannot be foreseen is slow.
#[inline]
fn append_some(out: &mut Vec<u32>, ids: &[u32], mut range: Range<usize>) {
    const MORE: usize = 16;
    let end = out.len() + range.len();
    while let Some(some) = ids[range.start..].first_chunk::<MORE>() {
        out.extend_from_slice(some);
        if range.len() <= MORE {
            out.truncate(end);
            return;
        }
        range.start += MORE;
    }
    out.extend_from_slice(&ids[range]);
}

/// Appends the first ones of so many ids that their number need not be known; where they are.
#[inline]
fn append(ids: &mut Vec<u32>, some: &[u32], num: usize) -> Range<usize> {
    let start = ids.len();
    ids.extend_from_slice(some);
    ids.truncate(start + num);
    start..start + num
}
