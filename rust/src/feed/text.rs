//! Streams of text: documents between separators, cut where they grow too large.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::{BATCH_BYTES, Buffer, Data, Feed, Poll};
use crate::error::{Error, Result};

/// A range of the pending bytes, and whether its document ends there.
type Part = (Range<usize>, bool);

/// Text that has been read and not yet sent.
#[derive(Default)]
pub struct TextStream {
    pub(super) pending: Buffer,
    /// Separators have been looked for up to here.
    searched: usize,
    /// Whether the text before `pending` ended inside a document.
    inside: bool,
    /// No cut was found up to here, so that text without any is not searched again and again.
    uncut: usize,
}

impl<T: Send + 'static> Feed<T> {
    /// Reads a local file of text. The end of the file ends the document.
    ///
    /// # Errors
    /// `Error::Io` if it cannot be read, and what a worker or `poll` raised.
    pub fn text_file(&mut self, path: &Path, poll: Poll<'_>) -> Result<()> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut stream = TextStream {
            pending: self.spare.take(),
            ..TextStream::default()
        };
        loop {
            // A text that cannot be cut is read to its end before anything is sent.
            poll()?;
            let start = stream.pending.len();
            let want = (2 * BATCH_BYTES).saturating_sub(start).max(BATCH_BYTES);
            stream.pending.reserve_exact(want);
            let read = (&mut file)
                .take(want as u64)
                .read_to_end(&mut stream.pending)
                .map_err(Error::io(path))?;
            if read == 0 || self.is_full() {
                return self.end_text(stream, poll);
            }
            self.cut_off(&mut stream, poll)?;
        }
    }

    /// Takes the next bytes of a stream of text.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn text(&mut self, stream: &mut TextStream, bytes: &[u8], poll: Poll<'_>) -> Result<()> {
        stream.pending.extend_from_slice(bytes);
        if stream.pending.len() >= BATCH_BYTES {
            self.cut_off(stream, poll)?;
        }
        Ok(())
    }

    /// Ends the stream and with it the last document.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn end_text(&mut self, mut stream: TextStream, poll: Poll<'_>) -> Result<()> {
        let mut parts = Vec::new();
        let start = self.documents(&mut stream, 0, &mut parts);
        let rest = start..stream.pending.len();
        // Where a document ended at its last cut, an empty piece says so.
        if !rest.is_empty() || stream.inside {
            parts.push((rest, true));
        }
        self.send_pieces(stream.pending, &parts, poll)
    }

    /// Sends what is complete and keeps the rest.
    pub(super) fn cut_off(&mut self, stream: &mut TextStream, poll: Poll<'_>) -> Result<()> {
        // A separator may be unfinished at the end.
        let hold = self.longest.saturating_sub(1);
        let mut parts = Vec::new();
        let mut start = self.documents(stream, hold, &mut parts);
        let rest = stream.pending.len() - start;
        if rest > BATCH_BYTES {
            let open = &stream.pending[start..];
            let uncut = stream.uncut.saturating_sub(start);
            if let Some(cut) = self.cut(open, uncut, open.len() - hold) {
                parts.push((start..start + cut, false));
                stream.inside = true;
                start += cut;
            } else {
                stream.uncut = stream.pending.len() - hold;
            }
        }
        if start == 0 {
            return Ok(());
        }
        stream.searched = stream.searched.saturating_sub(start);
        stream.uncut = stream.uncut.saturating_sub(start);
        let mut tail = self.spare.take();
        tail.extend_from_slice(&stream.pending[start..]);
        let done = std::mem::replace(&mut stream.pending, tail);
        self.send_pieces(done, &parts, poll)
    }

    /// The documents that a separator ends; gives where the open one starts.
    fn documents(&self, stream: &mut TextStream, hold: usize, parts: &mut Vec<Part>) -> usize {
        let Some(separators) = &self.separators else {
            return 0;
        };
        let end = stream.pending.len();
        let mut start = 0;
        // A match that reaches into the held bytes might be longer there: it is found again with what follows.
        let from = stream.searched;
        stream.searched = end.saturating_sub(hold);
        for found in separators.find_iter(&stream.pending[from..]) {
            let (found_start, found_end) = (from + found.start, from + found.end);
            if hold > 0 && found_start + self.longest > end {
                stream.searched = stream.searched.min(found_start);
                break;
            }
            stream.searched = stream.searched.max(found_end);
            if found_start > start || stream.inside {
                parts.push((start..found_start, true));
            }
            stream.inside = false;
            start = found_end;
        }
        start
    }

    /// Sends the pieces, each a range of the data and whether its document ends there.
    fn send_pieces(&mut self, data: Buffer, pieces: &[Part], poll: Poll<'_>) -> Result<()> {
        self.flush(poll)?;
        let pieces = pieces
            .iter()
            .map_while(|(range, ends)| self.admit(range.clone(), &data, *ends))
            .collect();
        self.send(Data::Owned(data), pieces, poll)
    }
}
