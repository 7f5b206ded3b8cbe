//! Text to ids and back, exactly.
//!
//! An [`Encoder`] splits text into pretokens and emits each that is a token whole; the others merge pair by pair,
//! lowest rank first ([`merge`]). What a thread has merged once it remembers within a fixed size ([`cache`]).
//! Special tokens are found by [`special`], many texts or one long text go over threads in [`batch`], text that
//! comes in chunks through [`stream`], and [`spans`] says which bytes each id came from.
//!
//! ```
//! use nanobpe::{encode::Encoder, pretokenize::Pattern, vocab::Vocab};
//! let vocab = Vocab::trained(&[(b't'.into(), b'h'.into()), (256, b'e'.into())], &[])?;
//! let encoder = Encoder::new(&vocab, &Pattern::new("gpt2")?);
//! let mut ids = Vec::new();
//! encoder.encode_into(b"the then", &mut ids)?;
//! assert_eq!(ids, [257, b' '.into(), 257, b'n'.into()]);
//! # Ok::<(), nanobpe::Error>(())
//! ```

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::pretokenize::key::{KEY_BYTES, Key, PART_BYTES, hash_bytes};
use crate::pretokenize::{Pattern, Pretokens};
use crate::vocab::Vocab;

pub mod batch;
mod cache;
pub mod decode;
mod joints;
mod merge;
mod pairs;
mod pool;
mod small;
pub mod spans;
pub mod special;
pub mod stream;
#[cfg(test)]
mod tests;
mod whole;

use cache::{Cache, Found, MOST_IDS};
use joints::Joints;
pub(crate) use merge::Scratch;
pub(crate) use pairs::PairRanks;
use pool::Pool;
use small::{SMALL_BYTES, Small, SmallIds, SmallKey};
use whole::WholeTokens;
pub(crate) use whole::unmade;

/// MiB of cache for each thread that encodes, unless set otherwise.
pub const CACHE_MIB: usize = 32;

/// The table of small pretokens has 2^16 pairs of entries, 2 MiB, as the second level of a processor's cache.
const SMALL_BITS: u32 = 16;

/// Pretokens looked up together, so that their lines are fetched at the same time and not one after the other: the
/// wait for memory is half of the whole time otherwise.
const AHEAD: usize = 64;

/// Encodes text with one vocabulary and pattern, from any number of threads at once.
pub struct Encoder {
    pattern: Pattern,
    pairs: PairRanks,
    whole: WholeTokens,
    joints: Joints,
    pool: Pool<State>,
    cache_mib: AtomicUsize,
}

/// What one thread needs while it encodes.
struct State {
    small: Small,
    cache: Cache,
    /// The larger pretokens of the group at hand, in parts.
    wanted: Vec<Wanted>,
    scratch: Scratch,
}

impl Encoder {
    /// The encoder of a vocabulary. Costs a few milliseconds per 100,000 tokens.
    pub fn new(vocab: &Vocab, pattern: &Pattern) -> Self {
        Self {
            pattern: pattern.clone(),
            pairs: PairRanks::new(vocab),
            whole: WholeTokens::new(vocab),
            joints: Joints::new(vocab),
            pool: Pool::new(),
            cache_mib: AtomicUsize::new(CACHE_MIB),
        }
    }

    /// How text is split.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// MiB of cache per thread.
    pub fn cache_mib(&self) -> usize {
        self.cache_mib.load(Ordering::Relaxed)
    }

    /// Sets the size of the caches, 0 for none; each takes it up at its next call.
    pub fn set_cache_mib(&self, mib: usize) {
        self.cache_mib.store(mib, Ordering::Relaxed);
    }

    /// Appends the ids of a text in which special tokens are ordinary text.
    ///
    /// # Errors
    /// `Error::Value` if a custom regex loses text or gives up on it.
    pub fn encode_into(&self, text: &[u8], out: &mut Vec<u32>) -> Result<()> {
        self.encode_until(text, out, &AtomicBool::new(false))
    }

    /// As [`Encoder::encode_into`], given up soon after `stop` is set.
    ///
    /// # Errors
    /// Also `Error::Interrupted`.
    pub fn encode_until(&self, text: &[u8], out: &mut Vec<u32>, stop: &AtomicBool) -> Result<()> {
        let mut state = self.state();
        let result = self.encode_in(&mut state, text, out, stop);
        self.put_back(state);
        result
    }

    /// As [`Encoder::encode_until`] with a state in hand.
    fn encode_in(
        &self,
        state: &mut State,
        text: &[u8],
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<()> {
        self.pattern.for_some_while(text, |pretokens| {
            self.encode_some(state, pretokens, out, stop);
            !stop.load(Ordering::Relaxed)
        })?;
        if stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Keeps a state for the next call.
    fn put_back(&self, mut state: Box<State>) {
        state.scratch.trim();
        self.pool.put(state);
    }

    fn state(&self) -> Box<State> {
        let mib = self.cache_mib();
        match self.pool.take() {
            Some(state) if state.cache.mib() == mib => state,
            _ => {
                let mut state = Box::new(State {
                    small: Small::new((mib > 0).then_some(SMALL_BITS)),
                    cache: Cache::new(mib),
                    wanted: Vec::new(),
                    scratch: Scratch::default(),
                });
                state.know(&self.whole);
                state
            }
        }
    }

    /// Appends the ids of some pretokens.
    fn encode_some(
        &self,
        state: &mut State,
        pretokens: Pretokens<'_>,
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        let Pretokens { text, start, ends } = pretokens;
        let mut start = start;
        for ends in ends.chunks(AHEAD) {
            self.encode_few(state, Pretokens { text, start, ends }, out, stop);
            start = ends[ends.len() - 1];
        }
    }

    /// The same for at most [`AHEAD`].
    fn encode_few(
        &self,
        state: &mut State,
        group: Pretokens<'_>,
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        let Pretokens { text, start, ends } = group;
        let mut places = [(SmallKey::default(), 0); AHEAD];
        let mut larger = state.small.places(group, &mut places);
        self.prepare(state, group, larger);
        let mut wanted = 0;
        // Ids not yet appended. Two or four are written whatever the number, which costs no branch.
        let mut ids = [0; 2 * small::MOST_IDS * AHEAD];
        let (mut num, mut at, mut start) = (0, 0, start);
        loop {
            let next = (larger.trailing_zeros() as usize).min(ends.len());
            while at < next {
                let known;
                (known, num) = state.small.get_some(&places[at..next], &mut ids, num);
                at += known;
                if at < next {
                    let from = if known > 0 { ends[at - 1] } else { start };
                    out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
                    self.encode_small(state, &text[from..ends[at]], out, stop);
                    at += 1;
                }
                start = ends[at - 1];
            }
            let Some(&end) = ends.get(next) else {
                break;
            };
            while start < end {
                let want = state.wanted[wanted];
                wanted += 1;
                start = want.start + want.len();
                match state.found(&want, text) {
                    Some((known, n)) if n <= MOST_IDS && num + MOST_IDS <= ids.len() => {
                        ids[num..num + MOST_IDS].copy_from_slice(known);
                        num += n;
                    }
                    found => {
                        out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
                        match found {
                            Some(found) => out.extend_from_slice(state.cache.ids_of(found)),
                            None => self.encode_new(state, &want, want.bytes(text), out, stop),
                        }
                    }
                }
            }
            // The small ones that may follow have room.
            if num > AHEAD * small::MOST_IDS {
                out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
            }
            at = next + 1;
            larger &= larger - 1;
        }
        out.extend_from_slice(&ids[..num]);
    }

    /// Fetches the lines of the pretokens that are not small, and of their parts.
    fn prepare(&self, state: &mut State, group: Pretokens<'_>, mut larger: u64) {
        let Pretokens { text, start, ends } = group;
        state.wanted.clear();
        while larger != 0 {
            let i = larger.trailing_zeros() as usize;
            larger &= larger - 1;
            let (mut start, end) = (if i == 0 { start } else { ends[i - 1] }, ends[i]);
            let len = end - start;
            if len <= KEY_BYTES {
                let key = Key::new(text, start, len);
                state.want(key, key.hash(), start);
                continue;
            }
            let is_whole = self.joints.cut(&text[start..end]) == len;
            while start < end {
                let len = if is_whole {
                    len
                } else {
                    self.joints.cut(&text[start..end])
                };
                if len <= PART_BYTES && !is_whole {
                    let key = Key::of_part(text, start, len);
                    state.want(key, key.hash(), start);
                } else {
                    // A part that spells a token need not be it.
                    let hash = hash_bytes(&text[start..start + len]) ^ u64::from(!is_whole);
                    state.want(long_key(hash, len, is_whole), hash, start);
                }
                start += len;
            }
        }
    }

    /// Appends the ids of a small pretoken that is not among the small ones.
    #[inline(never)]
    fn encode_small(&self, state: &mut State, bytes: &[u8], out: &mut Vec<u32>, stop: &AtomicBool) {
        let (small, key) = (SmallKey::new(bytes, 0, bytes.len()), Key::of(bytes));
        let place = state.cache.place(key.hash());
        let Some(found) = state.cache.get(place, key) else {
            let one;
            let ids = if let Some(id) = self.whole.get(key) {
                one = [id];
                &one
            } else {
                state.scratch.merge(&self.pairs, bytes, stop)
            };
            out.extend_from_slice(ids);
            if !SmallIds::new(ids).is_some_and(|ids| state.small.put(small, ids)) {
                state.cache.put(place, key, ids);
            }
            return;
        };
        let ids = state.cache.ids_of(found);
        out.extend_from_slice(ids);
        let displaced = SmallIds::new(ids).and_then(|ids| state.small.promote(small, ids));
        if let Some((key, ids)) = displaced {
            let ((bytes, len), (both, n)) = (key.bytes(), ids.get());
            let key = Key::of(&bytes[..len]);
            state
                .cache
                .put(state.cache.place(key.hash()), key, &both[..n]);
        }
    }
    /// Appends the ids of a larger pretoken, or a part of one, that the cache does not know, and tells it.
    #[cold]
    fn encode_new(
        &self,
        state: &mut State,
        want: &Wanted,
        bytes: &[u8],
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        let State { cache, scratch, .. } = state;
        let whole = if want.is_long() {
            (want.key.0 & WHOLE != 0)
                .then(|| self.whole.get_long(bytes))
                .flatten()
        } else if want.key.is_part() {
            None
        } else {
            self.whole.get(want.key)
        };
        let one;
        let ids = if let Some(id) = whole {
            one = [id];
            &one
        } else {
            scratch.merge(&self.pairs, bytes, stop)
        };
        if want.is_long() {
            cache.put_long(want.place, want.key.0 as u64, bytes, ids);
        } else {
            cache.put(want.place, want.key, ids);
        }
        out.extend_from_slice(ids);
    }
}

impl State {
    /// Remembers the oldest tokens: nine of ten pretokens are a token, and those known from the start cost no look-up
    /// elsewhere when first seen (a tenth of a first pass). More of them would crowd the lines.
    fn know(&mut self, whole: &WholeTokens) {
        let most = self.cache.num_entries() / 16;
        for (key, id) in whole.iter().filter(|(_, id)| (*id as usize) < most) {
            let (mut buffer, ids) = ([0; 16], [id]);
            let bytes = key.bytes(&mut buffer);
            let is_known = bytes.len() <= SMALL_BYTES && {
                let small = SmallKey::new(bytes, 0, bytes.len());
                SmallIds::new(&ids).is_some_and(|ids| self.small.put(small, ids))
            };
            if !is_known {
                self.cache.put(self.cache.place(key.hash()), key, &ids);
            }
        }
    }

    /// Fetches the line of a larger pretoken, or a part of one.
    #[inline]
    fn want(&mut self, key: Key, hash: u64, start: usize) {
        let place = self.cache.place(hash);
        self.cache.prefetch(place);
        self.wanted.push(Wanted { key, place, start });
    }

    /// What the cache knows of it.
    #[inline]
    fn found(&self, want: &Wanted, text: &[u8]) -> Option<Found<'_>> {
        if want.is_long() {
            let hash = want.key.0 as u64;
            self.cache.get_long(want.place, hash, want.bytes(text))
        } else {
            self.cache.get(want.place, want.key)
        }
    }
}

/// A pretoken that is not small, or a part of one: half a line of the processor's cache.
#[derive(Clone, Copy)]
struct Wanted {
    /// Of a longer one, what [`long_key`] makes.
    key: Key,
    /// Its line in the cache.
    place: usize,
    start: usize,
}

/// Set in the key of a longer pretoken that is whole.
const WHOLE: u128 = 1 << 64;

/// Hash and length of a longer pretoken; the highest bits, in which shorter ones have their length, are 0.
#[inline]
fn long_key(hash: u64, len: usize, is_whole: bool) -> Key {
    let whole = if is_whole { WHOLE } else { 0 };
    Key(u128::from(hash) | whole | (len as u128) << 65)
}

impl Wanted {
    #[inline]
    fn is_long(&self) -> bool {
        self.key.0 >> 112 == 0
    }

    #[inline]
    fn len(&self) -> usize {
        if self.is_long() {
            (self.key.0 >> 65) as usize
        } else {
            self.key.len()
        }
    }

    #[inline]
    fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..self.start + self.len()]
    }
}
