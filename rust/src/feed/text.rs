//! Streams of text: documents between separators, cut where they grow too large.

use std::io::Read;
use std::ops::Range;

use super::fetch::Blocks;
use super::file::LocalFile;
use super::{BATCH_BYTES, Batch, Buffer, Cutter, Data, Feed, Poll};
use crate::error::Result;

/// Files of more bytes are read by the workers.
const WORTH_SHARING: u64 = 4 * BATCH_BYTES as u64;

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

/// A local file of text that is being read.
pub(super) struct TextFile {
    file: LocalFile,
    content: Box<dyn Read + Send>,
    /// None once the end was reached.
    stream: Option<TextStream>,
}

impl TextFile {
    /// Opens it; gives its size on disk too, if it has one.
    ///
    /// # Errors
    /// `Error::Io` if that cannot be done.
    pub fn open(file: LocalFile) -> Result<(Self, Option<u64>)> {
        let (content, size) = file.open()?;
        let text = Self {
            file,
            content,
            stream: Some(TextStream::default()),
        };
        Ok((text, size))
    }
}

impl Blocks for TextFile {
    fn next(&mut self, cutter: &mut Cutter, poll: Poll<'_>) -> Result<Option<Batch>> {
        while let Some(stream) = &mut self.stream {
            // A text that cannot be cut is read to its end before anything is sent.
            poll()?;
            if stream.pending.capacity() == 0 {
                stream.pending = cutter.buffer();
            }
            stream.pending.reserve_exact(BATCH_BYTES);
            let read = (&mut self.content)
                .take(BATCH_BYTES as u64)
                .read_to_end(&mut stream.pending)
                .map_err(|e| self.file.failed(e))?;
            if read == 0 || cutter.is_full() {
                return Ok(self.stream.take().and_then(|stream| cutter.end(stream)));
            }
            if let Some(batch) = cutter.cut_off(stream) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl<T: Send + 'static> Feed<T> {
    /// Reads a local file of text. The end of the file ends the document.
    ///
    /// # Errors
    /// `Error::Io` if it cannot be read, `Error::Format` if its compression is damaged, and what a worker or `poll`
    /// raised.
    pub fn text_file(&mut self, file: LocalFile, poll: Poll<'_>) -> Result<()> {
        let (text, size) = TextFile::open(file)?;
        // Workers that read a small one themselves gain less than it takes to tell them.
        let by_workers = size.is_some_and(|size| size > WORTH_SHARING);
        self.read(text, by_workers, poll)
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
    pub fn end_text(&mut self, stream: TextStream, poll: Poll<'_>) -> Result<()> {
        self.flush(poll)?;
        match self.cutter()?.end(stream) {
            Some(batch) => self.pool.send(batch, poll),
            None => Ok(()),
        }
    }

    /// Sends what is complete and keeps the rest.
    pub(super) fn cut_off(&mut self, stream: &mut TextStream, poll: Poll<'_>) -> Result<()> {
        self.flush(poll)?;
        match self.cutter()?.cut_off(stream) {
            Some(batch) => self.pool.send(batch, poll),
            None => Ok(()),
        }
    }
}

impl Cutter {
    /// Takes off what is complete; the rest stays.
    fn cut_off(&mut self, stream: &mut TextStream) -> Option<Batch> {
        // A separator may be unfinished at the end.
        let hold = self.longest().saturating_sub(1);
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
            return None;
        }
        stream.searched = stream.searched.saturating_sub(start);
        stream.uncut = stream.uncut.saturating_sub(start);
        let mut tail = self.buffer();
        tail.extend_from_slice(&stream.pending[start..]);
        let done = std::mem::replace(&mut stream.pending, tail);
        self.batch(done, &parts)
    }

    /// All that is left, and with it the end of the last document.
    fn end(&mut self, mut stream: TextStream) -> Option<Batch> {
        let mut parts = Vec::new();
        let start = self.documents(&mut stream, 0, &mut parts);
        let rest = start..stream.pending.len();
        // Where a document ended at its last cut, an empty piece says so.
        if !rest.is_empty() || stream.inside {
            parts.push((rest, true));
        }
        self.batch(stream.pending, &parts)
    }

    /// The documents that a separator ends; gives where the open one starts.
    fn documents(&self, stream: &mut TextStream, hold: usize, parts: &mut Vec<Part>) -> usize {
        let Some(separators) = self.separators() else {
            return 0;
        };
        let end = stream.pending.len();
        let mut start = 0;
        // A match that reaches into the held bytes might be longer there: it is found again with what follows.
        let from = stream.searched;
        stream.searched = end.saturating_sub(hold);
        for found in separators.find_iter(&stream.pending[from..]) {
            let (found_start, found_end) = (from + found.start, from + found.end);
            if hold > 0 && found_start + self.longest() > end {
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

    /// A batch of what the limits leave of the parts; None if that is nothing.
    fn batch(&mut self, data: Buffer, parts: &[Part]) -> Option<Batch> {
        let pieces: Vec<_> = parts
            .iter()
            .map_while(|(range, ends)| self.admit(range.clone(), &data, *ends))
            .collect();
        (!pieces.is_empty()).then_some(Batch {
            data: Data::Owned(data),
            pieces,
        })
    }
}
