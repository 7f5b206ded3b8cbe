//! One long text that is encoded while it is made, chunk by chunk, in memory that goes round.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, Sender};

use super::Encoder;
use super::batch::{Batch, InOrder};
use super::held::Held;
use super::special::{Piece, Rule};
use crate::error::Result;
use crate::pretokenize::Text;

/// Bytes of a chunk, about.
const CHUNK: usize = if cfg!(test) { 1 << 9 } else { 1 << 16 };

/// A part of a text that is encoded by itself.
pub struct Chunk {
    index: usize,
    /// UTF-8.
    text: Vec<u8>,
    /// Where each piece lies, and the ids of those that are added tokens.
    pieces: Vec<(Range<usize>, Option<u32>)>,
}

impl Chunk {
    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.pieces.iter().map(|(range, special)| {
            let text = &self.text[range.clone()];
            special.map_or(Piece::Text(text), |id| Piece::Special(id, text))
        })
    }
}

/// Cuts a text that comes in parts.
pub struct Cutter<'a> {
    encoder: &'a Encoder,
    rule: &'a Rule,
    held: Held,
    num: usize,
    /// Memory of chunks that were encoded.
    spare: Receiver<Vec<u8>>,
}

impl<'a> Cutter<'a> {
    /// A cutter for an encoder and a rule; `spare` is what [`Encoder::encode_chunks`] gives back.
    pub fn new(encoder: &'a Encoder, rule: &'a Rule, spare: Receiver<Vec<u8>>) -> Self {
        Self {
            encoder,
            rule,
            held: Held::new(CHUNK),
            num: 0,
            spare,
        }
    }

    /// Takes the next part of the text, and gives a chunk when there is enough for one.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn push(&mut self, part: &str) -> Result<Option<Chunk>> {
        if self.held.push(part.as_bytes()) {
            self.chunk(false)
        } else {
            Ok(None)
        }
    }

    /// The last chunk.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn finish(&mut self) -> Result<Option<Chunk>> {
        self.chunk(true)
    }

    fn chunk(&mut self, is_last: bool) -> Result<Option<Chunk>> {
        let mut pieces = Vec::new();
        let mut at = 0;
        let pattern = self.encoder.pattern();
        let end = self.held.certain(pattern, self.rule, is_last, |piece| {
            let (range, special) = match piece {
                Piece::Text(text) => (at..at + text.len(), None),
                Piece::Special(id, text) => (at..at + text.len(), Some(id)),
            };
            at = range.end;
            pieces.push((range, special));
            Ok(())
        })?;
        let room = self.spare.try_recv().unwrap_or_default();
        let text = self.held.split(end, room);
        let index = self.num;
        self.num += usize::from(end > 0);
        Ok((end > 0).then_some(Chunk {
            index,
            text,
            pieces,
        }))
    }
}

impl Encoder {
    /// Encodes the chunks of one text of about so many bytes as they come, on up to `threads` threads, each id as `narrow`
    /// makes it; `spare` takes their memory.
    ///
    /// # Errors
    /// As [`Encoder::encode_until`], for the first chunk that has one.
    pub fn encode_chunks<T: Send>(
        &self,
        chunks: &Receiver<Chunk>,
        spare: &Sender<Vec<u8>>,
        num_bytes: usize,
        threads: usize,
        stop: &AtomicBool,
        narrow: impl Fn(u32) -> T + Send,
    ) -> Result<Batch<T>> {
        let take = || chunks.recv().ok().map(|chunk| (chunk.index, chunk));
        InOrder::new(1, num_bytes, narrow).encode(threads, stop, take, |chunk, ids| {
            let mut state = self.state();
            debug_assert!(str::from_utf8(&chunk.text).is_ok());
            // SAFETY: what is cut from strs at borders of characters is one.
            let text = Text::Str(unsafe { str::from_utf8_unchecked(&chunk.text) });
            let lens = self.encode_pieces(&mut state, text, chunk.pieces(), ids, stop);
            self.put_back(state);
            // The cutter may have ended.
            let _ = spare.send(chunk.text);
            (0, lens.map(|()| vec![ids.len()]))
        })
    }
}
