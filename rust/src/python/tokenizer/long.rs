//! A long str, encoded on other threads while this one makes its UTF-8.
//!
//! Made as a whole first, it costs a fifth of the time on two cores, and as much fresh memory as the text is long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded, unbounded};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::super::run::fed;
use super::super::text::Unmade;
use super::encoding::{PARALLEL_BYTES, threads_or_all};
use super::{PyRule, PyTokenizer};
use crate::encode::batch::Batch;
use crate::encode::chunks::{Chunk, Cutter};
use crate::error::{Error, Result};

/// Parts made at a time, unless the interpreter has to be waited for: a fraction of a millisecond.
const AT_ONCE: usize = 16;
/// A wait for the interpreter that says that another thread uses it: twice as many are made the next time.
const BUSY: Duration = Duration::from_millis(1);

/// Makes chunks.
struct Maker<'a> {
    unmade: Unmade,
    /// UTF-8 of a part.
    part: Vec<u8>,
    cutter: Cutter<'a>,
    /// Made, and not sent yet.
    ready: VecDeque<Chunk>,
    at_once: usize,
    is_at_end: bool,
    has_surrogates: bool,
}

impl Maker<'_> {
    /// Makes some parts, of which chunks may be cut.
    fn make(&mut self) -> Result<()> {
        let asked = Instant::now();
        Python::attach(|py| {
            if asked.elapsed() > BUSY {
                self.at_once *= 2;
            }
            for _ in 0..self.at_once {
                self.part.clear();
                let Some(is_part) = self.unmade.append_next(py, &mut self.part) else {
                    self.has_surrogates = true;
                    return Err(Error::Interrupted);
                };
                if !is_part {
                    self.is_at_end = true;
                    self.ready.extend(self.cutter.finish()?);
                    break;
                }
                // SAFETY: it was appended as such.
                let part = unsafe { str::from_utf8_unchecked(&self.part) };
                self.ready.extend(self.cutter.push(part)?);
            }
            Ok(())
        })
    }

    /// Sends a chunk if there is room for it within some time; whether there is more to send.
    fn send(&mut self, chunks: &Sender<Chunk>, timeout: Duration) -> Result<bool> {
        if self.ready.is_empty() && !self.is_at_end {
            self.make()?;
        }
        let Some(chunk) = self.ready.pop_front() else {
            return Ok(!self.is_at_end);
        };
        match chunks.send_timeout(chunk, timeout) {
            Ok(()) => Ok(true),
            Err(SendTimeoutError::Timeout(chunk)) => {
                self.ready.push_front(chunk);
                Ok(true)
            }
            // The encoder has failed.
            Err(SendTimeoutError::Disconnected(_)) => Ok(false),
        }
    }
}

impl PyTokenizer {
    /// The ids of a long str that is not ASCII, the first time it is here, each as `narrow` makes it. None of another text,
    /// one with surrogates, or where all of it is needed to cut it.
    pub(super) fn encode_while_made<T: Send>(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        rule: Option<&PyRule>,
        narrow: impl Fn(u32) -> T + Send,
    ) -> PyResult<Option<Batch<T>>> {
        let rule = rule.map_or(&*self.ordinary, |rule| &rule.0);
        // To find a place to cut would take this thread too long.
        if rule.looks_around() || !self.encoder.pattern().cuts_anywhere() {
            return Ok(None);
        }
        let Ok(text) = text.cast::<PyString>() else {
            return Ok(None);
        };
        let Some(unmade) = Unmade::new(text, PARALLEL_BYTES) else {
            return Ok(None);
        };
        let threads = threads_or_all(None);
        // Two bytes a character, about.
        let num_bytes = 2 * unmade.len();
        let (sender, chunks) = bounded(2 * threads);
        let (give_back, spare): (_, Receiver<Vec<u8>>) = unbounded();
        let mut maker = Maker {
            unmade,
            part: Vec::new(),
            cutter: Cutter::new(&self.encoder, rule, spare),
            ready: VecDeque::new(),
            at_once: AT_ONCE,
            is_at_end: false,
            has_surrogates: false,
        };
        let feeder = &mut maker;
        let batch = fed(
            py,
            move |timeout| feeder.send(&sender, timeout),
            |stop| {
                self.encoder
                    .encode_chunks(&chunks, &give_back, num_bytes, threads, stop, narrow)
            },
        );
        if maker.has_surrogates {
            return Ok(None);
        }
        batch.map(Some)
    }
}
