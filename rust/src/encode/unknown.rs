//! Pretokens that the cache does not know: kept until there are many, merged side by side, and put where they belong.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::Encoder;
use super::cache::{Beside, Cache, Few, Place};
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
    found: Found,
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

/// The ids of pretokens.
#[derive(Default)]
struct Found {
    /// How many each has; up to [`SHORT`] are in `few`, more in `many` from where it says.
    nums: Vec<(u32, u32)>,
    few: Vec<Few>,
    many: Vec<u32>,
}

impl Found {
    /// Room for those of so many pretokens.
    fn resize(&mut self, num: usize) {
        self.nums.resize(num, (0, 0));
        if self.few.len() < num {
            self.few.resize(num, Few::default());
        }
    }

    #[inline]
    fn put(&mut self, i: usize, ids: &[u32]) {
        self.nums[i] = (ids.len() as u32, self.many.len() as u32);
        if ids.len() <= SHORT {
            self.few[i] = Few::default();
            self.few[i][..ids.len()].copy_from_slice(ids);
        } else {
            self.many.extend_from_slice(ids);
        }
    }

    /// The same of a few ids with zeroes behind them.
    #[inline]
    fn put_few(&mut self, i: usize, ids: &Few, num: usize) {
        self.nums[i].0 = num as u32;
        self.few[i] = *ids;
    }

    /// A few ids with zeroes behind them, and how many they are; or else more.
    #[inline]
    fn get(&self, i: usize) -> Result<(&Few, usize), &[u32]> {
        let (num, start) = self.nums[i];
        let (num, start) = (num as usize, start as usize);
        if num <= SHORT {
            Ok((&self.few[i], num))
        } else {
            Err(&self.many[start..start + num])
        }
    }

    fn clear(&mut self) {
        self.many.clear();
        self.many.shrink_to(MOST_BYTES);
    }
}

impl Default for Unknown {
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            keys: Vec::new(),
            text: Vec::new(),
            slots: Box::new([0; SLOTS]),
            uses: Vec::new(),
            found: Found::default(),
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

    /// Where known ids are put: behind `out`, but here as long as an unknown pretoken comes before them.
    #[inline]
    pub fn ids<'a>(&'a mut self, out: &'a mut Vec<u32>) -> &'a mut Vec<u32> {
        if self.is_empty() {
            out
        } else {
            &mut self.known
        }
    }

    /// Keeps a pretoken of a text, which comes behind the known ids so far.
    #[inline]
    pub fn push(&mut self, want: &Wanted, text: &[u8]) {
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
        self.uses.push((number, self.known.len()));
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
            let want = &self.wanted[i];
            match self.found.get(i) {
                Ok((ids, num)) => cache.put(place, want, &self.text, ids, num),
                Err(ids) => cache.put_many(place, want, &self.text, ids),
            }
        }
        self.wanted.clear();
        self.keys.clear();
        self.text.clear();
        self.text.shrink_to(MOST_BYTES);
        self.found.clear();
        self.known.clear();
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
            found,
            new,
            maybe,
            short,
            long,
            longer,
            ..
        } = self;
        found.resize(wanted.len());
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
                    match cache.in_arena(ids) {
                        Some(ids) => found.put(i, ids),
                        None => found.put_few(i, &ids.get(), ids.num()),
                    }
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
                Some(id) => found.put(i, &[id]),
                None => by_len(i),
            }
        }
        for i in longer.drain(..) {
            found.put(i, scratch.merge(&encoder.pairs, bytes(i), stop));
        }
        let text = |i: usize| (i, bytes(i));
        merge_all::<LONG>(
            &encoder.pairs,
            long.drain(..).map(text),
            |i, merged, num| found.put(i, &merged[..num]),
        );
        merge_all::<SHORT>(
            &encoder.pairs,
            short.drain(..).map(text),
            |i, merged, num| found.put_few(i, merged, num),
        );
    }

    /// Appends the ids and, where they belong, the known ones.
    fn insert(&mut self, out: &mut Vec<u32>) {
        let mut start = 0;
        for &(number, at) in &self.uses {
            append_some(out, &self.known, start..at);
            start = at;
            match self.found.get(number.into()) {
                // Those behind them are copied too: a copy of a number that cannot be foreseen is slow.
                Ok((ids, num)) => {
                    let end = out.len() + num;
                    out.extend_from_slice(ids);
                    out.truncate(end);
                }
                Err(ids) => out.extend_from_slice(ids),
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
