//! Encoding of text that comes in chunks, with the ids of the whole.
//!
//! What has come is held back from the last place at which the pattern may be cut, and from anything that might be
//! the beginning of an added token. What is held begins where a pretoken does, so that most custom regexes tell such
//! places too. One that has to backtrack may look at the whole text, and an added token at what stands beside it, so
//! all of it is held to the end then.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Encoder;
use super::special::Rule;
use crate::error::Result;

/// Text is taken in portions of about this size: below it, calls cost more than encoding.
const PORTION: usize = 1 << 13;

/// The encoder of one text in chunks.
pub struct Stream {
    encoder: Arc<Encoder>,
    rule: Arc<Rule>,
    held: Vec<u8>,
    /// The held bytes before this one were searched for disallowed special tokens.
    checked: usize,
    /// No attempt below this size: doubled after one in vain, so that text without a place to cut costs O(n).
    enough: usize,
}

impl Stream {
    /// A stream that has seen nothing.
    pub fn new(encoder: Arc<Encoder>, rule: Arc<Rule>) -> Self {
        Self {
            encoder,
            rule,
            held: Vec::new(),
            checked: 0,
            enough: PORTION,
        }
    }

    /// Bytes held back.
    pub fn num_held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next chunk and appends the ids that are certain.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`].
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u32>, stop: &AtomicBool) -> Result<()> {
        self.held.extend_from_slice(chunk);
        if self.held.len() < self.enough {
            return Ok(());
        }
        self.check()?;
        let before = self.held.len();
        self.emit(false, out, stop)?;
        self.enough = if self.held.len() < before {
            PORTION.max(2 * self.held.len())
        } else {
            2 * before
        };
        Ok(())
    }

    /// Appends the ids of what was held back; the stream is as new then.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`].
    pub fn finish(&mut self, out: &mut Vec<u32>, stop: &AtomicBool) -> Result<()> {
        self.check()?;
        self.emit(true, out, stop)?;
        self.held = Vec::new();
        (self.checked, self.enough) = (0, PORTION);
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.rule.check(&self.held[self.checked..])?;
        self.checked = self.held.len().saturating_sub(self.overhang());
        Ok(())
    }

    /// Bytes at the end in which an added token may have begun.
    fn overhang(&self) -> usize {
        self.rule.longest().saturating_sub(1)
    }

    fn emit(&mut self, last: bool, out: &mut Vec<u32>, stop: &AtomicBool) -> Result<()> {
        let certain = if last {
            self.held.len()
        } else if self.rule.looks_around() {
            0
        } else {
            self.held.len() - self.overhang().min(self.held.len())
        };
        let (mut at, mut upto) = (0, certain);
        for found in self.rule.find_all(&self.held) {
            // A longer one may begin at the same place, or one that goes before it further on.
            if found.end > certain {
                upto = certain.min(found.start);
                break;
            }
            self.encoder
                .encode_until(&self.held[at..found.start], out, stop)?;
            out.push(found.id);
            at = found.end;
        }
        // Behind it the text may end for the pattern: an added token may stand there.
        let rest = &self.held[at..upto];
        let cut = if last {
            Some(rest.len())
        } else {
            self.encoder.pattern().cut_from_start(rest, rest.len())
        };
        if let Some(cut) = cut {
            self.encoder.encode_until(&rest[..cut], out, stop)?;
            at += cut;
        }
        self.held.drain(..at);
        self.checked = self.checked.saturating_sub(at);
        Ok(())
    }
}
