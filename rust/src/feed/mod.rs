//! From inputs to batches of documents, handed to worker threads through a bounded queue.
//!
//! A [`Feed`] takes documents in whatever shape they come (whole, as a stream of text, as lines of JSON, as Arrow
//! arrays) and makes [`Batch`]es of about a megabyte, numbered in input order. Documents larger than a batch are cut
//! where the pattern allows it, so memory depends on the queue and not on the input. A [`Pool`] runs the workers; the
//! caller's `poll` is called every few milliseconds while it has to wait, so that a user can always interrupt.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::pretokenize::Pattern;

mod buffer;
mod find;
pub mod json;
mod pool;
#[cfg(test)]
mod tests;
pub mod text;

pub use buffer::Buffer;
use buffer::Spare;
pub use find::Finder;
pub use pool::{Poll, Pool, Work};

/// Bytes per batch: large enough that handing it over costs nothing, small enough that a stop is noticed at once.
pub const BATCH_BYTES: usize = 1 << 20;

/// Bytes that a batch owns or shares with whoever made them (an Arrow buffer).
pub enum Data {
    /// The batch's own.
    Owned(Buffer),
    /// Someone else's, kept alive by the batch.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => (**bytes).as_ref(),
        }
    }
}

/// A document, or a part of one that pretokenises by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where its bytes lie in the batch.
    pub range: Range<usize>,
    /// Whether a document begins here.
    pub begins: bool,
    /// Whether the document ends here.
    pub ends: bool,
}

/// Some pieces and the bytes they lie in.
pub struct Batch {
    /// The bytes; not all of them need to belong to a piece.
    pub data: Data,
    /// In input order.
    pub pieces: Vec<Piece>,
}

impl Batch {
    /// Each piece with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&Piece, &[u8])> {
        let bytes = self.data.as_ref();
        self.pieces
            .iter()
            .map(move |p| (p, &bytes[p.range.clone()]))
    }
}

/// What a feed does to documents on their way.
#[derive(Clone, Debug, Default)]
pub struct FeedOptions {
    /// Strings that separate documents and belong to none.
    pub split_on: Vec<String>,
    /// Strings that no cut may go through (special tokens, where text is split at them later).
    pub keep_whole: Vec<String>,
    /// Stop taking documents after this many bytes; the last one is cut at a character.
    pub max_bytes: Option<u64>,
    /// Keep only the first characters of each document.
    pub max_document_chars: Option<usize>,
}

/// How much has been fed; shared with whoever shows progress.
#[derive(Debug, Default)]
pub struct Fed {
    /// Documents begun.
    pub documents: AtomicU64,
    /// Bytes of documents.
    pub bytes: AtomicU64,
}

/// Takes documents and sends batches of them to a pool.
pub struct Feed<T> {
    pool: Pool<T>,
    pattern: Arc<Pattern>,
    options: FeedOptions,
    separators: Option<Finder>,
    whole: Option<Finder>,
    /// Longest separator or string that must stay whole.
    longest: usize,
    fed: Arc<Fed>,
    spare: Arc<Spare>,
    batch: Buffer,
    pieces: Vec<Piece>,
    /// Characters of the current document so far, where they are limited.
    document_chars: usize,
    inside_document: bool,
}

impl<T: Send + 'static> Feed<T> {
    /// A feed into `pool`.
    ///
    /// # Errors
    /// `Error::Value` for an empty separator.
    pub fn new(pool: Pool<T>, pattern: Arc<Pattern>, options: FeedOptions) -> Result<Self> {
        let longest = options
            .split_on
            .iter()
            .chain(&options.keep_whole)
            .map(String::len)
            .max()
            .unwrap_or(0);
        Ok(Self {
            // Those in the queue, in the hands of the workers and of the reader.
            spare: Spare::new(2 * pool.num_workers() + 4),
            pool,
            pattern,
            separators: Finder::new(&options.split_on, "a string that separates documents")?,
            whole: Finder::new(&options.keep_whole, "a string that stays whole")?,
            options,
            longest,
            fed: Arc::default(),
            batch: Buffer::default(),
            pieces: Vec::new(),
            document_chars: 0,
            inside_document: false,
        })
    }

    /// The counters.
    pub fn fed(&self) -> &Arc<Fed> {
        &self.fed
    }

    /// Whether `max_bytes` are reached: what comes is passed over.
    pub fn is_full(&self) -> bool {
        self.options
            .max_bytes
            .is_some_and(|max| self.fed.bytes.load(Ordering::Relaxed) >= max)
    }

    /// Takes one whole document.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn document(&mut self, text: &[u8], poll: Poll<'_>) -> Result<()> {
        let mut start = 0;
        if let Some(separators) = self.separators.clone() {
            for found in separators.find_iter(text) {
                if found.start > start {
                    self.one_document(&text[start..found.start], poll)?;
                }
                start = found.end;
            }
            if start > 0 && start == text.len() {
                return Ok(());
            }
        }
        self.one_document(&text[start..], poll)
    }

    fn one_document(&mut self, mut text: &[u8], poll: Poll<'_>) -> Result<()> {
        while text.len() > 2 * BATCH_BYTES {
            let Some(cut) = self.cut(text, 0, BATCH_BYTES) else {
                break;
            };
            self.copy_piece(&text[..cut], false, poll)?;
            text = &text[cut..];
        }
        self.copy_piece(text, true, poll)
    }

    /// Takes documents that lie in shared memory, one per range, without copying them.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn shared(
        &mut self,
        data: &Arc<dyn AsRef<[u8]> + Send + Sync>,
        ranges: impl IntoIterator<Item = Range<usize>>,
        poll: Poll<'_>,
    ) -> Result<()> {
        self.flush(poll)?;
        let bytes = (**data).as_ref();
        let mut pieces = Vec::new();
        let mut size = 0;
        for range in ranges {
            if self.separators.is_some() || range.len() > 2 * BATCH_BYTES {
                self.send(
                    Data::Shared(data.clone()),
                    std::mem::take(&mut pieces),
                    poll,
                )?;
                size = 0;
                self.document(&bytes[range], poll)?;
                self.flush(poll)?;
                continue;
            }
            let Some(piece) = self.admit(range, bytes, true) else {
                break;
            };
            size += piece.range.len();
            pieces.push(piece);
            if size >= BATCH_BYTES {
                self.send(
                    Data::Shared(data.clone()),
                    std::mem::take(&mut pieces),
                    poll,
                )?;
                size = 0;
            }
        }
        self.send(Data::Shared(data.clone()), pieces, poll)
    }

    /// Waits until everything fed is worked off; gives each worker's result.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn finish(mut self, poll: Poll<'_>) -> Result<Vec<T>> {
        self.flush(poll)?;
        self.pool.finish(poll)
    }

    /// Where a document may be cut at or before `near`: no string that must stay whole goes across. `text` begins
    /// where the document or an earlier cut does; no cut was found in its first `uncut` bytes.
    ///
    /// Behind `near` there must be the whole of such a string that begins before it.
    fn cut(&self, text: &[u8], uncut: usize, near: usize) -> Option<usize> {
        let whole = |text| {
            self.whole
                .iter()
                .flat_map(move |whole| whole.find_iter(text))
        };
        if self.pattern.cuts_anywhere() {
            // What a cut looks at may begin before it: a letter, a string that must stay whole.
            let from = uncut.saturating_sub(self.longest + 4);
            let cut = from + self.pattern.cut(&text[from..], near - from)?;
            let start = cut.saturating_sub(self.longest);
            let end = (cut + self.longest).min(text.len());
            let across = whole(&text[start..end])
                .map(|m| start + m.start..start + m.end)
                .find(|m| m.start < cut && cut < m.end);
            return across.map_or(Some(cut), |m| Some(m.start).filter(|start| *start > 0));
        }
        // A cut costs a run of the pattern over all of the text: not for each block of one that cannot be cut.
        if text.len() < 2 * uncut {
            return None;
        }
        // What lies behind may be gigabytes, and would be looked at for each cut.
        let text = &text[..text.len().min(near + self.longest)];
        // The text is split at these strings, and the pattern run between two of them.
        let (mut start, mut end) = (0, text.len());
        for found in whole(text) {
            if found.end > near {
                end = found.start;
                break;
            }
            start = found.end;
        }
        let cut = self
            .pattern
            .cut_from_start(&text[start..end], near.min(end) - start);
        cut.map(|cut| start + cut).or((start > 0).then_some(start))
    }

    /// Counts a piece in and shortens it to what the limits leave; None when the feed is full.
    fn admit(&mut self, range: Range<usize>, bytes: &[u8], ends: bool) -> Option<Piece> {
        if self.is_full() {
            return None;
        }
        let begins = !self.inside_document;
        if begins {
            self.fed.documents.fetch_add(1, Ordering::Relaxed);
            self.document_chars = 0;
        }
        let text = &bytes[range.clone()];
        let mut kept = text.len();
        if let Some(most) = self.options.max_document_chars {
            let left = most.saturating_sub(self.document_chars);
            kept = bytes_of_chars(text, left);
            self.document_chars += left.min(text.len());
        }
        if let Some(max) = self.options.max_bytes {
            let left = max - self.fed.bytes.load(Ordering::Relaxed);
            if (kept as u64) > left {
                kept = char_start(text, left as usize);
                // The limit may fall inside a character; the feed is full all the same.
                self.fed
                    .bytes
                    .fetch_add(left - kept as u64, Ordering::Relaxed);
            }
        }
        self.fed.bytes.fetch_add(kept as u64, Ordering::Relaxed);
        let ends = ends || self.is_full();
        self.inside_document = !ends;
        Some(Piece {
            range: range.start..range.start + kept,
            begins,
            ends,
        })
    }

    /// Appends a piece to the batch that is being filled.
    fn copy_piece(&mut self, text: &[u8], ends: bool, poll: Poll<'_>) -> Result<()> {
        let Some(mut piece) = self.admit(0..text.len(), text, ends) else {
            return Ok(());
        };
        if self.batch.capacity() == 0 {
            self.batch = self.spare.take();
            self.batch.reserve(BATCH_BYTES + BATCH_BYTES / 8);
        }
        let start = self.batch.len();
        self.batch.extend_from_slice(&text[piece.range.clone()]);
        piece.range = start..self.batch.len();
        self.pieces.push(piece);
        if self.batch.len() >= BATCH_BYTES {
            self.flush(poll)?;
        }
        Ok(())
    }

    fn flush(&mut self, poll: Poll<'_>) -> Result<()> {
        let (batch, pieces) = (
            std::mem::take(&mut self.batch),
            std::mem::take(&mut self.pieces),
        );
        self.send(Data::Owned(batch), pieces, poll)
    }

    fn send(&mut self, data: Data, pieces: Vec<Piece>, poll: Poll<'_>) -> Result<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.pool.send(Batch { data, pieces }, poll)
    }
}

/// Bytes of the first `chars` characters; a byte that begins no character counts with the one before it.
fn bytes_of_chars(text: &[u8], chars: usize) -> usize {
    if chars >= text.len() {
        return text.len();
    }
    let mut starts = text.iter().enumerate().filter(|(_, b)| **b & 0xc0 != 0x80);
    starts.nth(chars).map_or(text.len(), |(i, _)| i)
}

/// The last start of a character at or before `i`.
fn char_start(text: &[u8], i: usize) -> usize {
    (0..=i)
        .rev()
        .find(|&k| k == text.len() || text[k] & 0xc0 != 0x80)
        .unwrap_or(0)
}
