//! Pretokens that the cache does not know: kept until there are many, merged side by side, and put where they belong.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::Encoder;
use super::cache::{Cache, ROOM};
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
    /// How many ids each has; up to [`SHORT`] are in `few`, with zeroes behind, more in `many` from where it says.
    nums: Vec<(u32, u32)>,
    few: Vec<[u32; SHORT]>,
    many: Vec<u32>,
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
            nums: Vec::new(),
            few: Vec::new(),
            many: Vec::new(),
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
            let (num, start) = self.nums[i];
            let ids = match num as usize {
                ..=SHORT => &self.few[i][..],
                _ => &self.many[start as usize..],
            };
            cache.put(&self.wanted[i], &self.text, ids, num as usize);
        }
        self.wanted.clear();
        self.text.clear();
        self.text.shrink_to(MOST_BYTES);
        self.many.clear();
        self.many.shrink_to(MOST_BYTES);
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
            nums,
            few,
            many,
            new,
            maybe,
            merging,
            short,
            long,
            ..
        } = self;
        nums.resize(wanted.len(), (0, 0));
        few.clear();
        few.resize(wanted.len(), [0; SHORT]);
        let mut keep = |i: usize, ids: &[u32]| {
            nums[i] = (ids.len() as u32, many.len() as u32);
            match few[i].get_mut(..ids.len()) {
                Some(few) => few.copy_from_slice(ids),
                None => many.extend_from_slice(ids),
            }
        };
        for want in wanted.iter() {
            cache.fetch(want);
        }
        for (i, want) in wanted.iter().enumerate() {
            if let Some(held) = cache.get_beside(want, text) {
                keep(i, cache.ids(held, &mut [0; ROOM]));
                continue;
            }
            new.push(i);
            let may_be = want.is_whole() && encoder.whole.may_have(want);
            if may_be { &mut *maybe } else { &mut *merging }.push(i);
        }
        for i in maybe.drain(..) {
            match encoder.whole.get(&wanted[i], text) {
                Some(id) => keep(i, &[id]),
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
                keep(i, scratch.merge(&encoder.pairs, bytes, stop));
            }
        }
        let text = |i: usize| (i, wanted[i].bytes(text));
        merge_all::<LONG>(
            &encoder.pairs,
            long.drain(..).map(text),
            |i, merged, num| keep(i, &merged[..num]),
        );
        merge_all::<SHORT>(
            &encoder.pairs,
            short.drain(..).map(text),
            |i, merged, num| {
                few[i] = *merged;
                nums[i].0 = num as u32;
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
            let i = usize::from(number);
            let (num, first) = self.nums[i];
            if num as usize <= SHORT {
                // Those behind them are copied too: a copy of a number that cannot be foreseen is slow.
                let end = out.len() + num as usize;
                out.extend_from_slice(&self.few[i]);
                out.truncate(end);
            } else {
                out.extend_from_slice(&self.many[first as usize..][..num as usize]);
            }
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
