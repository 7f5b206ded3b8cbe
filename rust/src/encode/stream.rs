//! Encoding of text that comes in chunks, with the ids of the whole.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Encoder;
use super::held::Held;
use super::special::{Piece, Rule};
use crate::error::Result;

/// Text is taken in portions of about this size: below it, calls cost more than encoding.
const PORTION: usize = 1 << 13;

/// The encoder of one text in chunks.
pub struct Stream {
    encoder: Arc<Encoder>,
    rule: Arc<Rule>,
    held: Held,
    /// Memory for what is held next.
    room: Vec<u8>,
}

impl Stream {
    /// A stream that has seen nothing.
    pub fn new(encoder: Arc<Encoder>, rule: Arc<Rule>) -> Self {
        Self {
            encoder,
            rule,
            held: Held::new(PORTION),
            room: Vec::new(),
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
        if self.held.push(chunk) {
            self.emit(false, out, stop)?;
        }
        Ok(())
    }

    /// Appends the ids of what was held back; the stream is as new then.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`].
    pub fn finish(&mut self, out: &mut Vec<u32>, stop: &AtomicBool) -> Result<()> {
        self.emit(true, out, stop)?;
        (self.held, self.room) = (Held::new(PORTION), Vec::new());
        Ok(())
    }

    fn emit(&mut self, is_last: bool, out: &mut Vec<u32>, stop: &AtomicBool) -> Result<()> {
        let encoder = &*self.encoder;
        let take = |piece: Piece<'_>| match piece {
            Piece::Text(text) => encoder.encode_until(text, out, stop),
            Piece::Special(id, _) => {
                out.push(id);
                Ok(())
            }
        };
        let certain = self
            .held
            .certain(encoder.pattern(), &self.rule, is_last, take);
        let room = std::mem::take(&mut self.room);
        self.room = self.held.split(certain?, room);
        Ok(())
    }
}
