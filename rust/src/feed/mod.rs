//! From inputs to batches of documents, handed to worker threads through a bounded queue.
//!
//! A [`Feed`] takes documents in whatever shape they come (whole, as a stream of text, as lines of JSON, as Arrow
//! arrays) and makes [`Batch`]es of about a quarter of a megabyte, numbered in input order. Documents larger than a
//! batch are cut where the pattern allows it, so memory depends on the queue and not on the input. A [`Pool`] runs the
//! workers, which read large files of text themselves; the caller's `poll` is called every few milliseconds while it
//! has to wait, so that a user can always interrupt.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::error::{Error, Result};
use crate::pretokenize::Pattern;

mod buffer;
mod cut;
mod fetch;
pub mod file;
mod filling;
mod find;
mod guard;
pub mod json;
pub mod parquet;
mod pool;
#[cfg(test)]
mod tests;
pub mod text;

pub use buffer::Buffer;
use cut::{Cutter, Rest};
use filling::Filling;
pub use find::Finder;
pub use pool::{Poll, Pool, Work};

/// Bytes per batch: large enough that handing it over costs nothing, small enough to lie in a core's cache and that a
/// stop is noticed at once.
pub const BATCH_BYTES: usize = 1 << 18;

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
    /// None while the workers have it, and after they have failed.
    cutter: Option<Cutter>,
    fed: Arc<Fed>,
    filling: Filling,
}

impl<T: Send + 'static> Feed<T> {
    /// A feed into `pool`.
    ///
    /// # Errors
    /// `Error::Value` for an empty separator.
    pub fn new(pool: Pool<T>, pattern: Arc<Pattern>, options: FeedOptions) -> Result<Self> {
        let cutter = Cutter::new(pattern, options, pool.num_workers())?;
        Ok(Self {
            pool,
            fed: cutter.fed().clone(),
            cutter: Some(cutter),
            filling: Filling::default(),
        })
    }

    /// The counters.
    pub fn fed(&self) -> &Arc<Fed> {
        &self.fed
    }

    /// Whether `max_bytes` are reached: what comes is passed over.
    pub fn is_full(&self) -> bool {
        self.cutter.as_ref().is_some_and(Cutter::is_full)
    }

    fn cutter(&mut self) -> Result<&mut Cutter> {
        self.cutter.as_mut().ok_or(Error::Interrupted)
    }

    /// Takes one whole document.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn document(&mut self, text: &[u8], poll: Poll<'_>) -> Result<()> {
        let mut rest = Rest::default();
        loop {
            let cutter = self.cutter.as_mut().ok_or(Error::Interrupted)?;
            let Some((part, ends)) = cutter.part(text, &mut rest) else {
                return Ok(());
            };
            self.filling.add(cutter, &text[part], ends);
            if self.filling.is_enough() {
                self.flush(poll)?;
            }
        }
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
        let is_split = self.cutter()?.separators().is_some();
        let mut pieces = Vec::new();
        let mut size = 0;
        for range in ranges {
            if is_split || range.len() > 2 * BATCH_BYTES {
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
            let Some(piece) = self.cutter()?.admit(range, bytes, true) else {
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

    /// Sends what has been filled in.
    fn flush(&mut self, poll: Poll<'_>) -> Result<()> {
        match self.filling.take() {
            Some(batch) => self.pool.send(batch, poll),
            None => Ok(()),
        }
    }

    fn send(&mut self, data: Data, pieces: Vec<Piece>, poll: Poll<'_>) -> Result<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.pool.send(Batch { data, pieces }, poll)
    }
}
