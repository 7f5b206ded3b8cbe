//! Text to ids and back, exactly.
//!
//! An [`Encoder`] splits text into pretokens and emits each that is a token whole; the others merge pair by pair,
//! lowest rank first ([`merge`]), many side by side ([`unknown`]). What a thread has merged once it remembers within a
//! fixed size ([`cache`]).
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
use crate::pretokenize::key::KEY_BYTES;
use crate::pretokenize::{Pattern, Pretokens, Text};
use crate::processor::Level;
use crate::vocab::Vocab;

pub mod batch;
mod cache;
mod characters;
pub mod chunks;
pub mod decode;
mod filter;
mod held;
mod joints;
mod lockstep;
mod lookup;
mod merge;
mod pairs;
mod pool;
mod ranks;
pub mod spans;
pub mod special;
pub mod stream;
#[cfg(test)]
mod tests;
mod unknown;
mod wanted;
mod whole;

use cache::{Cache, few};
pub(crate) use merge::Scratch;
pub(crate) use pairs::PairRanks;
use pool::Pool;
use unknown::Unknown;
use wanted::{AHEAD, Rest, Wanted};
use whole::WholeTokens;
pub(crate) use whole::unmade;

/// MiB of cache for each thread that encodes, unless set otherwise.
pub const CACHE_MIB: usize = 32;

/// Encodes text with one vocabulary and pattern, from any number of threads at once.
pub struct Encoder {
    pattern: Pattern,
    pairs: PairRanks,
    whole: WholeTokens,
    pool: Pool<State>,
    cache_mib: AtomicUsize,
    level: Level,
}

/// What one thread needs while it encodes.
struct State {
    cache: Cache,
    /// The group at hand and the next one, in turns.
    wanted: [[Wanted; AHEAD]; 2],
    unknown: Unknown,
    scratch: Scratch,
    /// A short text with zeroes behind it.
    padded: Vec<u8>,
}

/// Bytes of a text up to which it is copied, so that its last pretokens are read as fast as others: a quarter of those
/// of a line.
const SHORT_TEXT: usize = 1 << 10;

impl Encoder {
    /// The encoder of a vocabulary. Costs 10 to 12 milliseconds per 100,000 tokens (measured on Zen 5).
    pub fn new(vocab: &Vocab, pattern: &Pattern) -> Self {
        Self::at(Level::best(), vocab, pattern)
    }

    /// The same with other instructions.
    fn at(level: Level, vocab: &Vocab, pattern: &Pattern) -> Self {
        Self {
            pattern: pattern.clone(),
            pairs: PairRanks::at(level, vocab),
            whole: WholeTokens::new(vocab),
            pool: Pool::new(),
            cache_mib: AtomicUsize::new(CACHE_MIB),
            level,
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
        let result = self.encode_in(&mut state, text.into(), out, stop);
        self.put_back(state);
        result
    }

    /// As [`Encoder::encode_until`] with a state in hand.
    fn encode_in(
        &self,
        state: &mut State,
        text: Text<'_>,
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let all = self.pattern.for_some_while(text, |pretokens| {
            self.encode_some(state, pretokens, out, stop);
            !stop.load(Ordering::Relaxed)
        });
        let State {
            cache,
            scratch,
            unknown,
            ..
        } = state;
        if !unknown.is_empty() {
            unknown.resolve(self, (cache, scratch), out, stop);
        }
        all?;
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
                    cache: Cache::new(mib, self.level),
                    wanted: [[Wanted::default(); AHEAD]; 2],
                    unknown: Unknown::default(),
                    scratch: Scratch::default(),
                    padded: Vec::new(),
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
        let State {
            cache,
            wanted,
            unknown,
            scratch,
            padded,
        } = state;
        let mut text = pretokens.text;
        if text.len() <= SHORT_TEXT {
            padded.clear();
            padded.extend_from_slice(text);
            padded.extend_from_slice(&[0; KEY_BYTES + 1]);
            text = padded;
        }
        let mut rest = Rest::new(Pretokens { text, ..pretokens });
        let joints = self.pairs.joints();
        let mut num = rest.take(joints, cache, &mut wanted[0]);
        let mut turn = 0;
        while num > 0 {
            // The next group's lines arrive while this one is looked up.
            let next = rest.take(joints, cache, &mut wanted[turn ^ 1]);
            let wanted = &wanted[turn][..num];
            let mut done = 0;
            loop {
                let ids = unknown.ids(out);
                // SAFETY: the cache is the one that `take` had.
                done += unsafe { cache.get_some(&wanted[done..], ids) };
                let Some(want) = wanted.get(done) else {
                    break;
                };
                match cache.get(want, text) {
                    Some(found) => cache.append(found, ids),
                    None => unknown.push(want, text),
                }
                done += 1;
            }
            if unknown.is_full() {
                unknown.resolve(self, (cache, scratch), out, stop);
            }
            (num, turn) = (next, turn ^ 1);
        }
    }
}

impl State {
    /// Remembers the oldest tokens: nine of ten pretokens are a token, and those known from the start cost no look-up
    /// elsewhere when first seen (a tenth of a first pass). More of them would crowd the lines.
    fn know(&mut self, whole: &WholeTokens) {
        let most = self.cache.num_entries() / 16;
        let mut oldest = whole.iter().filter(|(_, id)| (*id as usize) < most);
        let mut some = Vec::with_capacity(AHEAD);
        loop {
            // Lines first, so that all of them are waited for at the same time.
            let next = oldest.by_ref().take(AHEAD);
            some.extend(next.map(|(key, id)| (self.cache.want(key, 0), id)));
            if some.is_empty() {
                break;
            }
            for (want, id) in some.drain(..) {
                if let Some((place, id)) = self.cache.place_for_new(&want).zip(few(&[id])) {
                    self.cache.put(place, &want, &[], &id, 1);
                }
            }
        }
    }
}
