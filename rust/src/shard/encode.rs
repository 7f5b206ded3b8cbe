//! From batches of documents to ids in input order: encoder threads and whoever takes what they made.
//!
//! [`EncodeWork`] runs in each thread of a [`Pool`](crate::feed::Pool). Results come out of order; [`InOrder`] holds them
//! until it is their turn, and makes threads wait that are far ahead, so that memory stays bounded.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::lay_out;
use super::write::{Part, ShardWriter};
use crate::encode::Encoder;
use crate::encode::special::Rule;
use crate::error::{Error, Result};
use crate::feed::{Batch, Work};
use crate::vocab::Vocab;

/// Results that may wait for their turn before threads that bring more have to.
const WAITING: u64 = 8;
/// Bytes of a document that decide its split.
const HASHED_BYTES: usize = 1 << 16;

/// Decides by its text alone to which split a document belongs.
#[derive(Clone, Debug)]
pub struct Splitter {
    seed: u64,
    /// Sums of the shares, the last one 1.
    upto: Vec<f64>,
}

impl Splitter {
    /// Splits by `shares`, which are not negative and add up to 1.
    ///
    /// # Errors
    /// `Error::Value` for other shares.
    pub fn new(shares: &[f64], seed: u64) -> Result<Self> {
        let sum: f64 = shares.iter().sum();
        if shares.iter().any(|s| s.is_nan() || *s < 0.0) || (sum - 1.0).abs() > 1e-6 {
            return Err(Error::value(format!(
                "shares {shares:?} must not be negative and add up to 1"
            )));
        }
        let mut sum = 0.0;
        let upto = shares.iter().map(|share| {
            sum += share;
            sum
        });
        Ok(Self {
            seed,
            upto: upto.collect(),
        })
    }

    /// The number of the document's split: equal documents go to one, and no other document plays a part.
    pub fn split(&self, document: &[u8]) -> usize {
        let hash = xxh3_64_with_seed(&document[..document.len().min(HASHED_BYTES)], self.seed);
        let place = (hash >> 11) as f64 / (1u64 << 53) as f64;
        // Rounding may leave the last sum below 1; then the last split that has a share takes the rest.
        let last = self.upto.iter().rposition(|upto| *upto > 0.0).unwrap_or(0);
        let last = (0..=last)
            .rev()
            .find(|&i| i == 0 || self.upto[i] > self.upto[i - 1])
            .unwrap_or(last);
        self.upto
            .iter()
            .position(|upto| place < *upto)
            .unwrap_or(last)
    }
}

/// One piece of a batch after encoding.
pub(super) struct EncodedPiece {
    pub(super) ids: Range<usize>,
    pub(super) bytes: u64,
    pub(super) begins: bool,
    pub(super) ends: bool,
    /// Known where the document begins.
    pub(super) split: Option<usize>,
    /// Words between white space, and whether decoding gives the text back; 0 and true unless asked for.
    pub(super) words: u64,
    pub(super) same: bool,
}

/// The ids of a batch.
pub struct Encoded {
    pub(super) ids: Vec<u32>,
    pub(super) pieces: Vec<EncodedPiece>,
}

impl Encoded {
    /// The ids of each piece.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u32], &EncodedPiece)> {
        self.pieces
            .iter()
            .map(|piece| (&self.ids[piece.ids.clone()], piece))
    }
}

/// Takes encoded batches in input order.
pub trait Sink: Send {
    /// Takes the next batch.
    ///
    /// # Errors
    /// Stops the whole work.
    fn take(&mut self, encoded: &Encoded, stop: &AtomicBool) -> Result<()>;

    /// Ends the work after the last batch; gives its record as JSON.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn finish(&mut self, stop: &AtomicBool) -> Result<Option<String>>;

    /// Removes what is not complete; gives whether something is left that can be gone on with.
    fn abandon(&mut self) -> bool;
}

/// What one encoder thread does.
pub struct EncodeWork {
    /// Turns text into ids.
    pub encoder: Arc<Encoder>,
    /// Which added tokens are ordinary text.
    pub rule: Arc<Rule>,
    /// Put before each document.
    pub bos: Option<u32>,
    /// Put behind each document.
    pub eos: Option<u32>,
    /// Chooses the split.
    pub splitter: Arc<Splitter>,
    /// Counts words and decodes what was encoded, to compare.
    pub checked: Option<Arc<Vocab>>,
    /// Takes the results.
    pub results: Arc<InOrder>,
}

impl EncodeWork {
    fn check(&self, text: &[u8], ids: &[u32]) -> (u64, bool) {
        let Some(vocab) = &self.checked else {
            return (0, true);
        };
        let words = String::from_utf8_lossy(text).split_whitespace().count() as u64;
        if self.encoder.pattern().normalizes() {
            return (words, true);
        }
        let mut rest = Some(text);
        for &id in ids {
            rest = rest.and_then(|rest| rest.strip_prefix(vocab.bytes(id)));
        }
        (words, rest.is_some_and(<[u8]>::is_empty))
    }
}

impl Work for EncodeWork {
    type Output = ();

    fn batch(&mut self, index: u64, batch: Batch, stop: &AtomicBool) -> Result<()> {
        // The data may be an Arrow buffer that many batches share: only their own pieces count.
        let num_bytes: usize = batch.pieces.iter().map(|piece| piece.range.len()).sum();
        let mut ids = Vec::with_capacity(num_bytes / 2);
        let mut pieces = Vec::with_capacity(batch.pieces.len());
        for (piece, text) in batch.iter() {
            let start = ids.len();
            if piece.begins {
                ids.extend(self.bos);
            }
            let text_start = ids.len();
            self.encoder.encode_with(text, &self.rule, &mut ids, stop)?;
            let (words, same) = self.check(text, &ids[text_start..]);
            if piece.ends {
                ids.extend(self.eos);
            }
            pieces.push(EncodedPiece {
                words,
                same,
                ids: start..ids.len(),
                bytes: text.len() as u64,
                begins: piece.begins,
                ends: piece.ends,
                split: piece.begins.then(|| self.splitter.split(text)),
            });
        }
        drop(batch);
        self.results.put(index, Encoded { ids, pieces }, stop)
    }

    fn finish(self) -> Result<()> {
        Ok(())
    }
}

/// Brings results into input order before a sink.
pub struct InOrder {
    queue: Mutex<Queue>,
    moved: Condvar,
    sink: Mutex<Box<dyn Sink>>,
    /// Tokens that came out, for progress.
    pub tokens: AtomicU64,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Encoded>,
    /// A thread is handing results to the sink.
    busy: bool,
}

impl InOrder {
    /// Before `sink`.
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            queue: Mutex::default(),
            moved: Condvar::new(),
            sink: Mutex::new(sink),
            tokens: AtomicU64::new(0),
        }
    }

    /// The sink; waits for a thread that is using it.
    pub fn sink(&self) -> MutexGuard<'_, Box<dyn Sink>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sink unless a thread uses it.
    pub fn free_sink(&self) -> Option<MutexGuard<'_, Box<dyn Sink>>> {
        self.sink.try_lock().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what is due to the sink.
    ///
    /// # Errors
    /// As [`Sink::take`]; `Error::Interrupted` after `stop`.
    pub fn hand_on(&self, encoded: &Encoded, stop: &AtomicBool) -> Result<()> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        self.tokens
            .fetch_add(encoded.ids.len() as u64, Ordering::Relaxed);
        self.sink().take(encoded, stop)
    }

    /// Takes result number `index`, and hands on what is due unless another thread does so already.
    fn put(&self, index: u64, encoded: Encoded, stop: &AtomicBool) -> Result<()> {
        let mut queue = self.lock();
        while index > queue.next + WAITING {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let waited = self.moved.wait_timeout(queue, Duration::from_millis(10));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.waiting.insert(index, encoded);
        if queue.busy {
            return Ok(());
        }
        queue.busy = true;
        let mut result = Ok(());
        while result.is_ok() {
            let next = queue.next;
            let Some(encoded) = queue.waiting.remove(&next) else {
                break;
            };
            drop(queue);
            result = self.hand_on(&encoded, stop);
            queue = self.lock();
            queue.next += 1;
            self.moved.notify_all();
        }
        queue.busy = false;
        result
    }
}

/// Puts encoded documents into shards.
pub struct ShardSink {
    /// Where they go.
    pub writer: ShardWriter,
    /// Tells the lengths of ids.
    pub vocab: Arc<Vocab>,
    /// The split of the document that is being written.
    pub split: usize,
}

impl ShardSink {
    /// Appends a part of a document to a split.
    ///
    /// # Errors
    /// As [`ShardWriter::part`].
    pub(super) fn part(&mut self, split: usize, part: Part<'_>) -> Result<()> {
        let vocab = &self.vocab;
        self.writer
            .part(split, part, &|id| vocab.bytes(id).len() as u64)
    }
}

impl Sink for ShardSink {
    fn take(&mut self, encoded: &Encoded, _: &AtomicBool) -> Result<()> {
        for (ids, piece) in encoded.iter() {
            self.split = piece.split.unwrap_or(self.split);
            let part = Part {
                ids,
                bytes: piece.bytes,
                begins: piece.begins,
            };
            self.part(self.split, part)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &AtomicBool) -> Result<Option<String>> {
        Ok(Some(self.writer.finish()?.to_json()))
    }

    fn abandon(&mut self) -> bool {
        self.writer.abandon()
    }
}

/// Writes ids as decimal text, one document a line.
pub struct TextSink<W> {
    /// Where to.
    pub out: W,
    /// Whether the line has ids already.
    pub inside: bool,
}

impl<W: Write + Send> Sink for TextSink<W> {
    fn take(&mut self, encoded: &Encoded, _: &AtomicBool) -> Result<()> {
        let mut text = Vec::with_capacity(encoded.ids.len() * 6);
        for piece in &encoded.pieces {
            self.inside &= !piece.begins;
            for id in &encoded.ids[piece.ids.clone()] {
                if self.inside {
                    text.push(b' ');
                }
                self.inside = true;
                write!(text, "{id}").expect("memory takes all");
            }
            if piece.ends {
                text.push(b'\n');
            }
        }
        self.out.write_all(&text).map_err(Error::io("<stdout>"))
    }

    fn finish(&mut self, _: &AtomicBool) -> Result<Option<String>> {
        self.out.flush().map_err(Error::io("<stdout>"))?;
        Ok(None)
    }

    fn abandon(&mut self) -> bool {
        false
    }
}

/// Writes ids as they lie in shards, little-endian and end to end; BOS or EOS tells documents apart.
pub struct BinarySink<W> {
    /// Where to.
    pub out: W,
    /// Bytes of an id, 2 or 4.
    pub width: usize,
}

impl<W: Write + Send> Sink for BinarySink<W> {
    fn take(&mut self, encoded: &Encoded, _: &AtomicBool) -> Result<()> {
        let mut bytes = vec![0; encoded.ids.len() * self.width];
        let mut end = 0;
        for (ids, _) in encoded.iter() {
            let start = end;
            end += ids.len() * self.width;
            lay_out(ids, self.width, &mut bytes[start..end]);
        }
        bytes.truncate(end);
        self.out.write_all(&bytes).map_err(Error::io("<stdout>"))
    }

    fn finish(&mut self, _: &AtomicBool) -> Result<Option<String>> {
        self.out.flush().map_err(Error::io("<stdout>"))?;
        Ok(None)
    }

    fn abandon(&mut self) -> bool {
        false
    }
}

/// Counts what comes out, and writes nothing.
#[derive(Default, Serialize)]
pub struct TallySink {
    documents: u64,
    bytes: u64,
    words: u64,
    /// Documents that decoding does not give back.
    changed: u64,
    /// How often each id came out.
    ids: Vec<u64>,
    /// Whether the open document is among those changed.
    #[serde(skip)]
    open_changed: bool,
}

impl TallySink {
    /// For a vocabulary of `size` ids.
    pub fn new(size: usize) -> Self {
        Self {
            ids: vec![0; size],
            ..Self::default()
        }
    }
}

impl Sink for TallySink {
    fn take(&mut self, encoded: &Encoded, _: &AtomicBool) -> Result<()> {
        for id in &encoded.ids {
            self.ids[*id as usize] += 1;
        }
        for piece in &encoded.pieces {
            self.open_changed = !piece.same || self.open_changed && !piece.begins;
            self.documents += u64::from(piece.begins);
            self.bytes += piece.bytes;
            self.words += piece.words;
            self.changed += u64::from(piece.ends && self.open_changed);
        }
        Ok(())
    }

    fn finish(&mut self, _: &AtomicBool) -> Result<Option<String>> {
        Ok(Some(
            serde_json::to_string(self).expect("a tally has string keys only"),
        ))
    }

    fn abandon(&mut self) -> bool {
        false
    }
}
