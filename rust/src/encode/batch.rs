//! Many texts, or one long text, over several threads with the order kept.
//!
//! Workers take groups of whole texts of about the same size, which they search for added tokens themselves; a long
//! text is cut before that, at added tokens and at places where the pattern allows it. Threads live for one call:
//! nothing is left over for a fork to break.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::special::{Piece, Rule};
use super::{Encoder, State};
use crate::error::{Error, Result};
use crate::memory;
use crate::pretokenize::Text;

/// Bytes of text that a worker takes at a time: a fraction of a millisecond, and far more than a hand-over costs.
const GROUP_BYTES: usize = 1 << 16;

/// Ids of several texts, end to end.
#[derive(Debug)]
pub struct Batch<T> {
    /// The ids.
    pub ids: Vec<T>,
    /// Number of ids of each text.
    pub lens: Vec<usize>,
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

/// Of a group: how many ids each of its texts has.
pub(super) type Lens = Vec<usize>;

/// What becomes of groups of texts, in their order, whichever is done first.
pub(super) struct InOrder<T, N> {
    batch: Result<Batch<T>>,
    narrow: N,
    /// The group whose ids come next, and the later ones that are done: each with its first text.
    next: usize,
    done: BTreeMap<usize, (usize, Result<Lens>, Vec<u32>)>,
    /// Memory of ids that were appended.
    spare: Vec<Vec<u32>>,
}

impl<T: Send, N: Fn(u32) -> T + Send> InOrder<T, N> {
    pub fn new(num_texts: usize, num_bytes: usize, narrow: N) -> Self {
        Self {
            batch: Ok(Batch {
                // Text gives an id for every three to five bytes; a page not written to costs nothing.
                ids: memory::large_vec(num_bytes / 2),
                lens: vec![0; num_texts],
            }),
            narrow,
            next: 0,
            done: BTreeMap::new(),
            spare: Vec::new(),
        }
    }

    /// The batch of all groups that `take` gives, with their numbers: in order, so that of those that fail the first is
    /// among the results. On up to so many threads `encode` appends the ids of a group and tells its first text.
    pub fn encode<G>(
        self,
        threads: usize,
        stop: &AtomicBool,
        take: impl Fn() -> Option<(usize, G)> + Sync,
        encode: impl Fn(G, &mut Vec<u32>) -> (usize, Result<Lens>) + Sync,
    ) -> Result<Batch<T>> {
        let failed = AtomicBool::new(false);
        let in_order = Mutex::new(self);
        let work = || {
            let mut ids = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let Some((index, group)) = take() else {
                    break;
                };
                let (first_text, mut lens) = encode(group, &mut ids);
                if stop.load(Ordering::Relaxed) {
                    lens = Err(Error::Interrupted);
                }
                failed.fetch_or(lens.is_err(), Ordering::Relaxed);
                let mut in_order = in_order.lock().unwrap_or_else(PoisonError::into_inner);
                ids = in_order.put(index, (first_text, lens, ids));
            }
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            work();
            for handle in handles {
                handle.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        let in_order = in_order.into_inner();
        in_order.unwrap_or_else(PoisonError::into_inner).batch
    }

    /// Takes the ids of a group and gives memory for those of another one.
    fn put(&mut self, index: usize, group: (usize, Result<Lens>, Vec<u32>)) -> Vec<u32> {
        self.done.insert(index, group);
        while let Some((first_text, lens, mut ids)) = self.done.remove(&self.next) {
            match (&mut self.batch, lens) {
                (Ok(batch), Ok(lens)) => {
                    for (place, len) in batch.lens[first_text..].iter_mut().zip(lens) {
                        *place += len;
                    }
                    batch.ids.extend(ids.iter().map(|id| (self.narrow)(*id)));
                }
                (Ok(_), Err(error)) => self.batch = Err(error),
                (Err(_), _) => (),
            }
            ids.clear();
            self.spare.push(ids);
            self.next += 1;
        }
        self.spare.pop().unwrap_or_default()
    }
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

    /// Encodes texts on up to `threads` threads, each id as `narrow` makes it; the ids are those of one thread.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`], for the first text that has one.
    pub fn encode_batch<T: Send>(
        &self,
        texts: &[Text<'_>],
        rule: &Rule,
        threads: usize,
        stop: &AtomicBool,
        narrow: impl Fn(u32) -> T + Send,
    ) -> Result<Batch<T>> {
        let mut groups = Vec::new();
        let planned = self.plan(texts, rule, &mut groups);
        let num_bytes = texts.iter().map(|text| text.bytes().len()).sum();
        let next = AtomicUsize::new(0);
        let take = || {
            let index = next.fetch_add(1, Ordering::Relaxed);
            groups.get(index).map(|group| (index, group))
        };
        let in_order = InOrder::new(texts.len(), num_bytes, narrow);
        let batch = in_order.encode(threads.min(groups.len()), stop, take, |group, ids| {
            let lens = self.encode_group(texts, group, rule, ids, stop);
            (group.first_text(), lens)
        })?;
        planned.map(|()| batch)
    }

    /// Appends the ids of a group.
    fn encode_group(
        &self,
        texts: &[Text<'_>],
        group: &Group<'_>,
        rule: &Rule,
        ids: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<Lens> {
        let mut state = self.state();
        let lens = match group {
            Group::Texts(range) => {
                self.encode_some_texts(&mut state, &texts[range.clone()], rule, ids, stop)
            }
            Group::Pieces(text, pieces) => {
                let pieces = pieces.iter().copied();
                self.encode_pieces(&mut state, texts[*text], pieces, ids, stop)
                    .map(|()| vec![ids.len()])
            }
        };
        self.put_back(state);
        lens
    }

    fn encode_some_texts(
        &self,
        state: &mut State,
        texts: &[Text<'_>],
        rule: &Rule,
        ids: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<Lens> {
        let mut lens = Vec::with_capacity(texts.len());
        for text in texts {
            let before = ids.len();
            let bytes = text.bytes();
            rule.check(bytes)?;
            self.encode_pieces(state, *text, rule.pieces(bytes), ids, stop)?;
            lens.push(ids.len() - before);
        }
        Ok(lens)
    }

    pub(super) fn encode_pieces<'a>(
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
