//! Pretokens that the cache does not know: kept until there are many, merged side by side, and put where they belong.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::Encoder;
use super::cache::{self, Beside, Cache, Few, Place, ROOM};
use super::lockstep::{LONG, SHORT};
use super::merge::{Scratch, merge_all};
use super::wanted::Wanted;
use crate::pretokenize::key::KEY_BYTES;

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
    /// Their keys, as bytes.
    keys: Vec<[u8; KEY_BYTES + 1]>,
    /// The bytes of those that are too long for a key, end to end.
    text: Vec<u8>,
    /// Open addressing: the number + 1 of a pretoken, 0 for none.
    slots: Box<[u16; SLOTS]>,
    /// Which pretoken belongs before which of the known ids.
    uses: Vec<(u16, usize)>,
    /// How many ids each has; up to [`SHORT`] are in `few`, more in `many` from where it says.
    nums: Vec<(u32, u32)>,
    few: Vec<Few>,
    many: Vec<u32>,
    /// The known ones.
    known: Vec<u32>,
    /// Numbers: of those that are in no line, with their places, of these that may be a token, and that are none, up to
    /// [`SHORT`] bytes, up to [`LONG`], and of more.
    new: Vec<(usize, Option<Place>)>,
    maybe: Vec<usize>,
    short: Vec<usize>,
    long: Vec<usize>,
    longer: Vec<usize>,
}

impl Default for Unknown {
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            keys: Vec::new(),
            text: Vec::new(),
            slots: Box::new([0; SLOTS]),
            uses: Vec::new(),
            nums: Vec::new(),
            few: Vec::new(),
            many: Vec::new(),
            known: Vec::new(),
            new: Vec::new(),
            maybe: Vec::new(),
            short: Vec::new(),
            long: Vec::new(),
            longer: Vec::new(),
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
                }
                self.keys.push(want.key.0.to_le_bytes());
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
        for (i, place) in self.new.drain(..) {
            let Some(place) = place else {
                continue;
            };
            let (num, start) = self.nums[i];
            let (want, num) = (&self.wanted[i], num as usize);
            if num <= SHORT {
                cache.put(place, want, &self.text, &self.few[i], num);
            } else {
                cache.put_many(place, want, &self.text, &self.many[start as usize..][..num]);
            }
        }
        self.wanted.clear();
        self.keys.clear();
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
            keys,
            text,
            nums,
            few,
            many,
            new,
            maybe,
            short,
            long,
            longer,
            ..
        } = self;
        nums.resize(wanted.len(), (0, 0));
        if few.len() < wanted.len() {
            few.resize(wanted.len(), Few::default());
        }
        let mut keep = |i: usize, ids: &[u32]| {
            nums[i] = (ids.len() as u32, many.len() as u32);
            match cache::few(ids) {
                Some(ids) => few[i] = ids,
                None => many.extend_from_slice(ids),
            }
        };
        let bytes = |i: usize| {
            let want = &wanted[i];
            match want.hash_of_long() {
                Some(_) => want.bytes(text),
                None => &keys[i][..want.key.len()],
            }
        };
        let mut by_len = |i: usize| {
            let len = bytes(i).len();
            let numbers = if len <= SHORT {
                &mut *short
            } else if len <= LONG {
                &mut *long
            } else {
                &mut *longer
            };
            numbers.push(i);
        };
        for want in wanted.iter() {
            cache.fetch(want);
        }
        for (i, want) in wanted.iter().enumerate() {
            let place = match cache.look_beside(want, text) {
                Beside::Held(ids) => {
                    keep(i, cache.ids(ids, &mut [0; ROOM]));
                    continue;
                }
                Beside::New(place) => place,
            };
            new.push((i, place));
            if want.is_whole() && encoder.whole.may_have(want) {
                maybe.push(i);
            } else {
                by_len(i);
            }
        }
        for i in maybe.drain(..) {
            match encoder.whole.get(&wanted[i], text) {
                Some(id) => keep(i, &[id]),
                None => by_len(i),
            }
        }
        for i in longer.drain(..) {
            keep(i, scratch.merge(&encoder.pairs, bytes(i), stop));
        }
        let text = |i: usize| (i, bytes(i));
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
