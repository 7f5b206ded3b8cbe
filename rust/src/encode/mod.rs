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

use cache::{Cache, Found, MOST_IDS};
use joints::Joints;
use merge::Scratch;
use pairs::PairRanks;
use pool::Pool;
use whole::WholeTokens;

/// MiB of cache for each thread that encodes, unless set otherwise.
pub const CACHE_MIB: usize = 32;

/// Pretokens looked up together, so that their lines are fetched at the same time and not one after the other: the
/// wait for memory is half of the whole time otherwise.
const AHEAD: usize = 32;

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
        let result = self.pattern.for_some_while(text, |pretokens| {
            self.encode_some(&mut state, pretokens, out, stop);
            !stop.load(Ordering::Relaxed)
        });
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
        let mut ahead = [(Key::default(), 0, 0); AHEAD];
        // Ids not yet appended. Four are written whatever the number, which costs no branch.
        let mut ids = [0; AHEAD * MOST_IDS + MOST_IDS];
        for ends in ends.chunks(AHEAD) {
            let first = start;
            for (entry, &end) in ahead.iter_mut().zip(ends) {
                let len = end - start;
                let (key, hash) = if len <= KEY_BYTES {
                    let key = Key::new(text, start, len);
                    (key, key.hash())
                } else {
                    (Key::default(), hash_bytes(&text[start..end]))
                };
                let place = state.cache.place(hash);
                state.cache.prefetch(place);
                *entry = (key, hash, place);
                start = end;
            }
            let mut at = first;
            let mut num = 0;
            for (&(key, hash, place), &end) in ahead.iter().zip(ends) {
                let found = if key == Key::default() {
                    state.cache.get_long(place, hash, &text[at..end])
                } else {
                    state.cache.get(place, key)
                };
                match found {
                    Some(Found { ids: known, num: n }) if n <= MOST_IDS => {
                        ids[num..num + MOST_IDS].copy_from_slice(&known);
                        num += n;
                    }
                    Some(found) => {
                        out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
                        out.extend_from_slice(state.cache.ids_of(found));
                    }
                    None => {
                        out.extend_from_slice(&ids[..std::mem::take(&mut num)]);
                        self.encode_new(state, (key, hash, place), &text[at..end], out, stop);
                    }
                }
                at = end;
            }
            out.extend_from_slice(&ids[..num]);
        }
    }

    /// Appends the ids of a pretoken that the cache does not know, and tells it.
    #[cold]
    fn encode_new(
        &self,
        state: &mut State,
        (key, hash, place): (Key, u64, usize),
        pretoken: &[u8],
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) {
        let State { cache, scratch } = state;
        if key != Key::default() {
            let one;
            let ids = if let Some(id) = self.whole.get(key) {
                one = [id];
                &one
            } else {
                scratch.merge(&self.pairs, pretoken, stop)
            };
            cache.put(place, key, ids);
            out.extend_from_slice(ids);
            return;
        }
        let mut parts = self.joints.parts(pretoken);
        let Some(first) = parts.next().filter(|first| first.len() < pretoken.len()) else {
            let one;
            let ids = if let Some(id) = self.whole.get_long(pretoken) {
                one = [id];
                &one
            } else {
                scratch.merge(&self.pairs, pretoken, stop)
            };
            cache.put_long(place, hash, pretoken, ids);
            out.extend_from_slice(ids);
            return;
        };
        // No token is the whole of it, or it could not be cut.
        for part in std::iter::once(first).chain(parts) {
            if part.len() > PART_BYTES {
                out.extend_from_slice(scratch.merge(&self.pairs, part, stop));
                continue;
            }
            let key = Key::of_part(part);
            let place = cache.place(key.hash());
            match cache.get(place, key) {
                Some(found) if found.num <= MOST_IDS => {
                    out.extend_from_slice(&found.ids[..found.num]);
                }
                Some(found) => out.extend_from_slice(cache.ids_of(found)),
                None => {
                    let ids = scratch.merge(&self.pairs, part, stop);
                    cache.put(place, key, ids);
                    out.extend_from_slice(ids);
                }
            }
        }
    }
}
