//! Where in the text each id comes from, and how much of a text a number of ids covers.
//!
//! The ids' bytes tile the text, so a running sum gives their places. Only a pattern that normalises (qwen2) needs a
//! map: text between two characters that normalisation leaves apart is one unit, and an id that holds a byte of a
//! changed unit covers the unit.

use std::sync::atomic::AtomicBool;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::Encoder;
use super::special::{Piece, Rule};
use crate::error::Result;
use crate::vocab::Vocab;

/// Half-open range of a text, in bytes or characters.
pub type Span = (usize, usize);

impl Encoder {
    /// The ids of a text and the bytes that each came from.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`].
    pub fn encode_with_spans(
        &self,
        vocab: &Vocab,
        text: &[u8],
        rule: &Rule,
        stop: &AtomicBool,
    ) -> Result<(Vec<u32>, Vec<Span>)> {
        rule.check(text)?;
        let (mut ids, mut spans) = (Vec::new(), Vec::new());
        let mut at = 0;
        for piece in rule.pieces(text) {
            match piece {
                Piece::Special(id, bytes) => {
                    ids.push(id);
                    spans.push((at, at + bytes.len()));
                    at += bytes.len();
                }
                Piece::Text(bytes) => {
                    let first = ids.len();
                    self.encode_until(bytes, &mut ids, stop)?;
                    let map = self.pattern().normalizes().then(|| normalized_bytes(bytes));
                    let mut from = 0;
                    spans.extend(ids[first..].iter().map(|&id| {
                        let to = from + vocab.bytes(id).len();
                        let (start, end) = map
                            .as_ref()
                            .map_or((from, to), |map| (map[from].0, map[to - 1].1));
                        from = to;
                        (at + start, at + end)
                    }));
                    at += bytes.len();
                }
            }
        }
        Ok((ids, spans))
    }

    /// Bytes of the longest prefix with at most `most` ids that are the first of the whole text's. The prefix ends
    /// between characters.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`].
    pub fn truncate(
        &self,
        vocab: &Vocab,
        rule: &Rule,
        text: &str,
        most: usize,
        stop: &AtomicBool,
    ) -> Result<usize> {
        let bytes = text.as_bytes();
        let added: Vec<_> = rule.find_all(bytes).collect();
        let cut = |text: &[u8], near: usize| {
            let cut = self.pattern().cut(text, near)?;
            let next = added.partition_point(|found| found.end <= cut);
            let is_apart = added.get(next).is_none_or(|found| cut <= found.start);
            (is_apart && !rule.looks_around()).then_some(cut)
        };
        let (mut ids, mut spans, mut seen);
        let mut near = 64usize.saturating_add(8 * most.min(bytes.len()));
        loop {
            // Up to a cut the ids are those of the whole, so the rest need not be encoded.
            seen = if near < bytes.len() {
                cut(bytes, near).unwrap_or(bytes.len())
            } else {
                bytes.len()
            };
            (ids, spans) = self.encode_with_spans(vocab, &bytes[..seen], rule, stop)?;
            if ids.len() > most || seen == bytes.len() {
                break;
            }
            near = near.saturating_mul(4);
        }
        if ids.len() <= most {
            return Ok(bytes.len());
        }
        for num in (1..=most).rev() {
            let end = spans[num - 1].1;
            if !text.is_char_boundary(end) {
                continue;
            }
            // Before a cut inside the prefix nothing can differ.
            let start = cut(&bytes[..end], end).unwrap_or(0);
            let first = spans.partition_point(|span| span.0 < start);
            let mut again = Vec::new();
            self.encode_with(&bytes[start..end], rule, &mut again, stop)?;
            if again == ids[first..num] {
                return Ok(end);
            }
        }
        Ok(0)
    }
}

/// For each byte of the text as normalised, the bytes of the text that it stands for.
fn normalized_bytes(text: &[u8]) -> Vec<Span> {
    let mut map = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut add = |unit: &[u8], normalized: &[u8]| {
        if unit == normalized {
            map.extend((at..at + unit.len()).map(|i| (i, i + 1)));
        } else {
            map.extend(normalized.iter().map(|_| (at, at + unit.len())));
        }
        at += unit.len();
    };
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let mut start = 0;
        for (i, c) in valid.char_indices().chain([(valid.len(), ' ')]) {
            if i > start && stands_apart(c) {
                let normalized: String = valid[start..i].nfc().collect();
                add(&valid.as_bytes()[start..i], normalized.as_bytes());
                start = i;
            }
        }
        add(chunk.invalid(), chunk.invalid());
    }
    map
}

/// Whether normalisation never joins the character to one before it.
fn stands_apart(c: char) -> bool {
    canonical_combining_class(c) == 0 && is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes
}

/// Turns byte spans into spans of the characters that they touch; a stretch that is not UTF-8 counts one character
/// for each U+FFFD that decoding would put there.
pub fn to_characters(text: &[u8], spans: &mut [Span]) {
    let mut starts = Vec::with_capacity(text.len());
    let mut at = 0;
    for chunk in text.utf8_chunks() {
        starts.extend(chunk.valid().char_indices().map(|(i, _)| at + i));
        at += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            starts.push(at);
            at += chunk.invalid().len();
        }
    }
    let owner = |byte: usize| starts.partition_point(|&start| start <= byte) - 1;
    for span in spans {
        *span = (owner(span.0), owner(span.1 - 1) + 1);
    }
}
