//! Many texts, or one long text, over several threads with the order kept.
//!
//! Workers take groups of whole texts of about the same size, which they search for added tokens themselves; a long
//! text is cut before that, at added tokens and at places where the pattern allows it. Threads live for one call:
//! nothing is left over for a fork to break.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::special::{Piece, Rule};
use super::{Encoder, State};
use crate::error::{Error, Result};
use crate::pretokenize::Text;

/// Bytes of text that a worker takes at a time: a fraction of a millisecond, and far more than a hand-over costs.
const GROUP_BYTES: usize = 1 << 16;

/// Ids of several texts, in the order of the texts.
#[derive(Debug, Default)]
pub struct Batch {
    /// The ids, in parts that ignore the borders of texts.
    pub parts: Vec<Vec<u32>>,
    /// Number of ids of each text.
    pub lens: Vec<usize>,
}

impl Batch {
    /// The parts as slices.
    pub fn slices(&self) -> Vec<&[u32]> {
        self.parts.iter().map(Vec::as_slice).collect()
    }
}

/// What a worker takes at a time.
enum Group<'a> {
    /// Whole texts, not yet searched for added tokens.
    Texts(Range<usize>),
    /// Pieces, end to end, of the long text of this number.
    Pieces(usize, Vec<Piece<'a>>),
}

impl Group<'_> {
    fn first_text(&self) -> usize {
        match self {
            Group::Texts(texts) => texts.start,
            Group::Pieces(text, _) => *text,
        }
    }
}

/// Of a group: how many ids each of its texts has, and the ids.
type Encoded = (Vec<usize>, Vec<u32>);

/// Text gives an id for every three to five bytes; a page not written to costs nothing.
fn room_for(num_bytes: usize) -> Vec<u32> {
    Vec::with_capacity(num_bytes / 2)
}

impl Encoder {
    /// Appends the ids of one text under a rule for special tokens.
    ///
    /// # Errors
    /// As [`Rule::check`] and [`Encoder::encode_until`].
    pub fn encode_with<'a>(
        &self,
        text: impl Into<Text<'a>>,
        rule: &Rule,
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let text = text.into();
        rule.check(text.bytes())?;
        let mut state = self.state();
        let done = self.encode_pieces(&mut state, text, rule.pieces(text.bytes()), out, stop);
        self.put_back(state);
        done
    }

    /// Encodes texts on up to `threads` threads; the ids are those of one thread.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`], for the first text that has one.
    pub fn encode_batch(
        &self,
        texts: &[Text<'_>],
        rule: &Rule,
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<Batch> {
        let mut groups = Vec::new();
        let planned = self.plan(texts, rule, &mut groups);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        // Groups are taken in order, so that of those that fail the first is among the results.
        let work = || {
            let mut done = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(group) = groups.get(index) else {
                    break;
                };
                let encoded = self.encode_group(texts, group, rule, stop);
                failed.fetch_or(encoded.is_err(), Ordering::Relaxed);
                done.push((index, encoded));
            }
            done
        };
        let others = threads.min(groups.len()).saturating_sub(1);
        let mut done = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for handle in handles {
                done.extend(
                    handle
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                );
            }
            done
        });
        done.sort_unstable_by_key(|(index, _)| *index);
        let mut batch = Batch {
            parts: Vec::with_capacity(done.len()),
            lens: vec![0; texts.len()],
        };
        for (index, encoded) in done {
            let (lens, ids) = encoded?;
            let places = &mut batch.lens[groups[index].first_text()..];
            for (place, len) in places.iter_mut().zip(lens) {
                *place += len;
            }
            batch.parts.push(ids);
        }
        planned.map(|()| batch)
    }

    fn encode_group(
        &self,
        texts: &[Text<'_>],
        group: &Group<'_>,
        rule: &Rule,
        stop: &AtomicBool,
    ) -> Result<Encoded> {
        let mut state = self.state();
        let encoded = match group {
            Group::Texts(range) => {
                self.encode_some_texts(&mut state, &texts[range.clone()], rule, stop)
            }
            Group::Pieces(text, pieces) => {
                let mut ids = room_for(pieces.iter().map(Piece::num_bytes).sum());
                let pieces = pieces.iter().copied();
                self.encode_pieces(&mut state, texts[*text], pieces, &mut ids, stop)
                    .map(|()| (vec![ids.len()], ids))
            }
        };
        self.put_back(state);
        if stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            encoded
        }
    }

    fn encode_some_texts(
        &self,
        state: &mut State,
        texts: &[Text<'_>],
        rule: &Rule,
        stop: &AtomicBool,
    ) -> Result<Encoded> {
        let mut ids = room_for(texts.iter().map(|text| text.bytes().len()).sum());
        let mut lens = Vec::with_capacity(texts.len());
        for text in texts {
            let before = ids.len();
            let bytes = text.bytes();
            rule.check(bytes)?;
            self.encode_pieces(state, *text, rule.pieces(bytes), &mut ids, stop)?;
            lens.push(ids.len() - before);
        }
        Ok((lens, ids))
    }

    fn encode_pieces<'a>(
        &self,
        state: &mut State,
        text: Text<'a>,
        pieces: impl Iterator<Item = Piece<'a>>,
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<()> {
        for piece in pieces {
            match piece {
                Piece::Text(bytes) => self.encode_in(state, text.part(bytes), out, stop)?,
                Piece::Special(id, _) => out.push(id),
            }
        }
        Ok(())
    }

    /// Appends groups of texts in order, up to the first long text that is refused.
    fn plan<'a>(&self, texts: &[Text<'a>], rule: &Rule, groups: &mut Vec<Group<'a>>) -> Result<()> {
        let (mut start, mut num_bytes) = (0, 0);
        for (i, text) in texts.iter().map(|text| text.bytes()).enumerate() {
            let is_long = text.len() > 2 * GROUP_BYTES;
            num_bytes += text.len();
            if num_bytes < GROUP_BYTES {
                continue;
            }
            let end = if is_long { i } else { i + 1 };
            if start < end {
                groups.push(Group::Texts(start..end));
            }
            (start, num_bytes) = (i + 1, 0);
            if is_long {
                rule.check(text)?;
                self.plan_long(i, rule.pieces(text), groups);
            }
        }
        if start < texts.len() {
            groups.push(Group::Texts(start..texts.len()));
        }
        Ok(())
    }

    /// Appends groups of one text's pieces, long ones cut.
    fn plan_long<'a>(
        &self,
        text: usize,
        pieces: impl Iterator<Item = Piece<'a>>,
        groups: &mut Vec<Group<'a>>,
    ) {
        let (mut group, mut num_bytes) = (Vec::new(), 0);
        let mut add = |piece: Piece<'a>| {
            group.push(piece);
            num_bytes += piece.num_bytes();
            if num_bytes >= GROUP_BYTES {
                groups.push(Group::Pieces(text, std::mem::take(&mut group)));
                num_bytes = 0;
            }
        };
        for piece in pieces {
            let Piece::Text(mut rest) = piece else {
                add(piece);
                continue;
            };
            while rest.len() > 2 * GROUP_BYTES {
                let Some(cut) = self.cut_between(rest, GROUP_BYTES, 2 * GROUP_BYTES) else {
                    break;
                };
                add(Piece::Text(&rest[..cut]));
                rest = &rest[cut..];
            }
            add(Piece::Text(rest));
        }
        if !group.is_empty() {
            groups.push(Group::Pieces(text, group));
        }
    }

    /// A place to cut the text, near `from` or else before `to`.
    fn cut_between(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let pattern = self.pattern();
        // The search goes backwards, so the window bounds its cost on text without such a place.
        let near = |end: usize| pattern.cut(&text[..(end + 4).min(text.len())], end);
        near(from).or_else(|| near(to))
    }
}
