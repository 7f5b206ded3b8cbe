//! Where documents are separated, cut and limited: what is sent of the text that has come.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::buffer::{Buffer, Spare};
use super::{BATCH_BYTES, Fed, FeedOptions, Finder, Piece};
use crate::error::Result;
use crate::pretokenize::Pattern;

/// What is left of a text of whole documents.
#[derive(Default)]
pub(super) struct Rest {
    /// Where it begins.
    start: usize,
    /// Where the document that begins there ends and the next may begin; None if that has not been looked for.
    document: Option<(usize, usize)>,
    /// Whether no document follows.
    is_last: bool,
}

/// Makes pieces of documents, in input order.
pub(super) struct Cutter {
    pattern: Arc<Pattern>,
    options: FeedOptions,
    separators: Option<Finder>,
    whole: Option<Finder>,
    /// Longest separator or string that must stay whole.
    longest: usize,
    fed: Arc<Fed>,
    spare: Arc<Spare>,
    /// Characters of the current document so far, where they are limited.
    document_chars: usize,
    inside_document: bool,
}

impl Cutter {
    /// One for a feed of so many workers.
    ///
    /// # Errors
    /// `Error::Value` for an empty separator.
    pub fn new(pattern: Arc<Pattern>, options: FeedOptions, num_workers: usize) -> Result<Self> {
        let longest = options
            .split_on
            .iter()
            .chain(&options.keep_whole)
            .map(String::len)
            .max()
            .unwrap_or(0);
        Ok(Self {
            // Those in the queue, in the hands of the workers and of the reader.
            spare: Spare::new(2 * num_workers + 4),
            pattern,
            separators: Finder::new(&options.split_on, "a string that separates documents")?,
            whole: Finder::new(&options.keep_whole, "a string that stays whole")?,
            options,
            longest,
            fed: Arc::default(),
            document_chars: 0,
            inside_document: false,
        })
    }

    /// Longest string that counts as one: a separator or what must stay whole.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The counters.
    pub fn fed(&self) -> &Arc<Fed> {
        &self.fed
    }

    /// What separates documents.
    pub fn separators(&self) -> Option<&Finder> {
        self.separators.as_ref()
    }

    /// An empty buffer.
    pub fn buffer(&self) -> Buffer {
        self.spare.take()
    }

    /// Whether `max_bytes` are reached.
    pub fn is_full(&self) -> bool {
        self.options
            .max_bytes
            .is_some_and(|max| self.fed.bytes.load(Ordering::Relaxed) >= max)
    }

    /// Where a document may be cut at or before `near`: no string that must stay whole goes across. `text` begins
    /// where the document or an earlier cut does; no cut was found in its first `uncut` bytes.
    ///
    /// Behind `near` there must be the whole of such a string that begins before it.
    pub fn cut(&self, text: &[u8], uncut: usize, near: usize) -> Option<usize> {
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

    /// The next document between separators in a text, or a part of a large one, and whether the document ends there.
    pub fn part(&self, text: &[u8], rest: &mut Rest) -> Option<(Range<usize>, bool)> {
        let (end, next) = match rest.document {
            Some(document) => document,
            None => self.next_document(text, rest)?,
        };
        let start = rest.start;
        let left = &text[start..end];
        if left.len() > 2 * BATCH_BYTES
            && let Some(cut) = self.cut(left, 0, BATCH_BYTES)
        {
            rest.start += cut;
            rest.document = Some((end, next));
            return Some((start..rest.start, false));
        }
        rest.start = next;
        rest.document = None;
        Some((start..end, true))
    }

    /// Where the next document ends and what follows begins. Nothing between two separators is no document.
    fn next_document(&self, text: &[u8], rest: &mut Rest) -> Option<(usize, usize)> {
        while let Some(found) = self
            .separators
            .as_ref()
            .and_then(|s| s.find(text, rest.start))
        {
            if found.start > rest.start {
                return Some((found.start, found.end));
            }
            rest.start = found.end;
        }
        let is_over = rest.is_last || rest.start > 0 && rest.start == text.len();
        rest.is_last = true;
        (!is_over).then_some((text.len(), text.len()))
    }

    /// Counts a piece in and shortens it to what the limits leave; None when the feed is full.
    pub fn admit(&mut self, range: Range<usize>, bytes: &[u8], ends: bool) -> Option<Piece> {
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
