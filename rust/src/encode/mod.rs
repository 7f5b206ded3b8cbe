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
use crate::pretokenize::Pattern;
use crate::vocab::Vocab;

pub mod batch;
mod cache;
pub mod decode;
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
pub(crate) use merge::Scratch;
pub(crate) use pairs::PairRanks;
use pool::Pool;
use whole::{KEY_BYTES, Key, WholeTokens};

/// MiB of cache for each thread that encodes, unless set otherwise.
pub const CACHE_MIB: usize = 16;

/// Short pretokens looked up together, so that their cache lines are fetched at the same time and not one after the
/// other: the wait for memory is half of the whole time otherwise.
const AHEAD: usize = 16;

/// Encodes text with one vocabulary and pattern, from any number of threads at once.
pub struct Encoder {
    pattern: Pattern,
    pairs: PairRanks,
    whole: WholeTokens,
    pool: Pool<State>,
    cache_mib: AtomicUsize,
}

/// What one thread needs while it encodes.
struct State {
    cache: Cache,
    scratch: Scratch,
    /// Short pretokens whose ids are still to be appended.
    waiting: [Key; AHEAD],
    num_waiting: usize,
}

impl Encoder {
    /// The encoder of a vocabulary. Costs a few milliseconds per 100,000 tokens.
    pub fn new(vocab: &Vocab, pattern: &Pattern) -> Self {
        Self {
            pattern: pattern.clone(),
            pairs: PairRanks::new(vocab),
            whole: WholeTokens::new(vocab),
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
        // Looking once per pretoken would cost 3 %.
        let mut seen = 0u32;
        let result = self.pattern.for_each_while(text, |piece| {
            self.encode_pretoken(&mut state, text, piece, out, stop);
            seen = seen.wrapping_add(1);
            !seen.is_multiple_of(1024) || !stop.load(Ordering::Relaxed)
        });
        self.encode_waiting(&mut state, out, stop);
        state.scratch.trim();
        self.pool.put(state);
        result?;
        if stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    fn state(&self) -> Box<State> {
        let mib = self.cache_mib();
        match self.pool.take() {
            Some(state) if state.cache.mib() == mib => state,
            _ => Box::new(State {
                cache: Cache::new(mib),
                scratch: Scratch::default(),
                waiting: [Key::NONE; AHEAD],
                num_waiting: 0,
            }),
        }
    }

    #[inline]
    fn encode_pretoken(
        &self,
        state: &mut State,
        text: &[u8],
        piece: &[u8],
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        if piece.len() <= KEY_BYTES {
            if state.num_waiting == AHEAD {
                self.encode_waiting(state, out, stop);
            }
            state.waiting[state.num_waiting] = Key::new(piece, text);
            state.num_waiting += 1;
        } else {
            self.encode_waiting(state, out, stop);
            self.encode_long(state, piece, out, stop);
        }
    }

    fn encode_waiting(&self, state: &mut State, out: &mut Vec<u32>, stop: &AtomicBool) {
        let State {
            cache,
            scratch,
            waiting,
            num_waiting,
        } = state;
        let keys = &waiting[..std::mem::take(num_waiting)];
        cache.touch(keys);
        for &key in keys {
            if cache.get(key, out) {
                continue;
            }
            if let Some(id) = self.whole.get(key) {
                cache.put(key, &[id]);
                out.push(id);
                continue;
            }
            let mut buffer = [0; 16];
            let piece = key.bytes(&mut buffer);
            if piece.len() > MOST_IDS && cache.get_long(piece, out) {
                continue;
            }
            let ids = scratch.merge(&self.pairs, piece, stop);
            if ids.len() <= MOST_IDS {
                cache.put(key, ids);
            } else {
                cache.put_long(piece, ids);
            }
            out.extend_from_slice(ids);
        }
    }

    fn encode_long(&self, state: &mut State, piece: &[u8], out: &mut Vec<u32>, stop: &AtomicBool) {
        if state.cache.get_long(piece, out) {
            return;
        }
        if let Some(id) = self.whole.get_long(piece) {
            state.cache.put_long(piece, &[id]);
            out.push(id);
        } else {
            let ids = state.scratch.merge(&self.pairs, piece, stop);
            state.cache.put_long(piece, ids);
            out.extend_from_slice(ids);
        }
    }
}
