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
pub mod spans;
pub mod special;
pub mod stream;
#[cfg(test)]
mod tests;
mod whole;

use cache::{Cache, MOST_IDS};
use joints::Joints;
pub(crate) use merge::Scratch;
pub(crate) use pairs::PairRanks;
use pool::Pool;
use whole::WholeTokens;
pub(crate) use whole::unmade;

/// MiB of cache for each thread that encodes, unless set otherwise.
pub const CACHE_MIB: usize = 32;

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
    cache: Cache,
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
            _ => Box::new(State {
                cache: Cache::new(mib),
                scratch: Scratch::default(),
            }),
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
        let mut ahead = [Wanted::default(); AHEAD];
        let mut num = 0;
        for &end in ends {
            if num == AHEAD {
                self.encode_wanted(state, text, &ahead, out, stop);
                num = 0;
            }
            let len = end - start;
            if len <= KEY_BYTES {
                let key = Key::new(text, start, len);
                ahead[num] = Wanted::new(&state.cache, key, key.hash(), start);
                num += 1;
                start = end;
                continue;
            }
            let is_whole = self.joints.cut(&text[start..end]) == len;
            while start < end {
                if num == AHEAD {
                    self.encode_wanted(state, text, &ahead, out, stop);
                    num = 0;
                }
                let len = if is_whole {
                    len
                } else {
                    self.joints.cut(&text[start..end])
                };
                ahead[num] = if len <= PART_BYTES && !is_whole {
                    let key = Key::of_part(text, start, len);
                    Wanted::new(&state.cache, key, key.hash(), start)
                } else {
                    // A part that spells a token need not be it.
                    let hash = hash_bytes(&text[start..start + len]) ^ u64::from(!is_whole);
                    Wanted::new(&state.cache, long_key(hash, len, is_whole), hash, start)
                };
                num += 1;
                start += len;
            }
        }
        self.encode_wanted(state, text, &ahead[..num], out, stop);
    }

    /// Appends the ids of what was prepared.
    fn encode_wanted(
        &self,
        state: &mut State,
        text: &[u8],
        wanted: &[Wanted],
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        // Ids not yet appended. Four are written whatever the number, which costs no branch.
        let mut ids = [0; (AHEAD + 1) * MOST_IDS];
        let mut num = 0;
        for want in wanted {
            let found = if want.is_long() {
                let hash = want.key.0 as u64;
                state.cache.get_long(want.place, hash, want.bytes(text))
            } else {
                state.cache.get(want.place, want.key)
            };
            match found {
                Some((known, n)) if n <= MOST_IDS => {
                    ids[num..num + MOST_IDS].copy_from_slice(known);
                    num += n;
                }
                Some(found) => {
                    out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
                    out.extend_from_slice(state.cache.ids_of(found));
                }
                None => {
                    out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
                    self.encode_new(state, want, want.bytes(text), out, stop);
                }
            }
        }
        out.extend_from_slice(&ids[..num]);
    }

    /// Appends the ids of a pretoken that the cache does not know, and tells it.
    #[cold]
    fn encode_new(
        &self,
        State { cache, scratch }: &mut State,
        want: &Wanted,
        bytes: &[u8],
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
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

/// A pretoken, or a part of one, whose ids are to be appended: half a line of the processor's cache.
#[derive(Clone, Copy, Default)]
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
    fn new(cache: &Cache, key: Key, hash: u64, start: usize) -> Self {
        let place = cache.place(hash);
        cache.prefetch(place);
        Self { key, place, start }
    }

    #[inline]
    fn is_long(&self) -> bool {
        self.key.0 >> 112 == 0
    }

    #[inline]
    fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let len = if self.is_long() {
            (self.key.0 >> 65) as usize
        } else {
            self.key.len()
        };
        &text[self.start..self.start + len]
    }
}
