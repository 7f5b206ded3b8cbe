//! Many texts, or one long text, over several threads with the order kept.
//!
//! Texts are cut into units at special tokens, and long stretches at places where the pattern allows it; workers take
//! groups of units of about the same size. Threads live for one call: nothing is left over for a fork to break.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Encoder;
use super::special::{Piece, Rule};
use crate::error::{Error, Result};

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

/// A group's place, its ids, and how many each of its units has.
type Done = (usize, Vec<u32>, Vec<usize>);

struct Unit<'a> {
    text: usize,
    piece: Piece<'a>,
}

impl Unit<'_> {
    fn num_bytes(&self) -> usize {
        match self.piece {
            Piece::Text(bytes) | Piece::Special(_, bytes) => bytes.len(),
        }
    }
}

impl Encoder {
    /// Appends the ids of one text under a rule for special tokens.
    ///
    /// # Errors
    /// As [`Rule::check`] and [`Encoder::encode_until`].
    pub fn encode_with(
        &self,
        text: &[u8],
        rule: &Rule,
        out: &mut Vec<u32>,
        stop: &AtomicBool,
    ) -> Result<()> {
        rule.check(text)?;
        for piece in rule.pieces(text) {
            match piece {
                Piece::Text(bytes) => self.encode_until(bytes, out, stop)?,
                Piece::Special(id, _) => out.push(id),
            }
        }
        Ok(())
    }

    /// Encodes texts on up to `threads` threads; the ids are those of one thread.
    ///
    /// # Errors
    /// As [`Encoder::encode_with`], for the first text that has one.
    pub fn encode_batch(
        &self,
        texts: &[&[u8]],
        rule: &Rule,
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<Batch> {
        let units = self.units(texts, rule)?;
        let groups = groups(&units);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || -> Result<Vec<Done>> {
            let mut done = Vec::new();
            while !failed.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(group) = groups.get(index) else {
                    break;
                };
                let encoded = self.encode_group(&units[group.clone()], stop);
                failed.fetch_or(encoded.is_err(), Ordering::Relaxed);
                let (ids, lens) = encoded?;
                done.push((index, ids, lens));
            }
            Ok(done)
        };
        let others = threads.min(groups.len()).saturating_sub(1);
        let results = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
            let mut results = vec![work()];
            results.extend(handles.into_iter().map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }));
            results
        });
        let mut done = Vec::with_capacity(groups.len());
        for result in results {
            done.extend(result?);
        }
        done.sort_unstable_by_key(|(index, ..)| *index);
        let mut batch = Batch {
            parts: Vec::with_capacity(done.len()),
            lens: vec![0; texts.len()],
        };
        for (index, ids, lens) in done {
            for (unit, len) in units[groups[index].clone()].iter().zip(lens) {
                batch.lens[unit.text] += len;
            }
            batch.parts.push(ids);
        }
        Ok(batch)
    }

    fn encode_group(
        &self,
        units: &[Unit<'_>],
        stop: &AtomicBool,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        // Text gives an id for every three to five bytes; a page not written to costs nothing.
        let mut ids = Vec::with_capacity(units.iter().map(Unit::num_bytes).sum::<usize>() / 2);
        let mut lens = Vec::with_capacity(units.len());
        let mut state = self.state();
        for unit in units {
            let before = ids.len();
            match unit.piece {
                Piece::Text(bytes) => self.encode_in(&mut state, bytes, &mut ids, stop)?,
                Piece::Special(id, _) => ids.push(id),
            }
            lens.push(ids.len() - before);
        }
        self.put_back(state);
        if stop.load(Ordering::Relaxed) {
            Err(Error::Interrupted)
        } else {
            Ok((ids, lens))
        }
    }

    fn units<'a>(&self, texts: &[&'a [u8]], rule: &Rule) -> Result<Vec<Unit<'a>>> {
        let mut units = Vec::with_capacity(texts.len());
        for (text, bytes) in texts.iter().enumerate() {
            rule.check(bytes)?;
            for piece in rule.pieces(bytes) {
                let Piece::Text(mut rest) = piece else {
                    units.push(Unit { text, piece });
                    continue;
                };
                while rest.len() > 2 * GROUP_BYTES {
                    let Some(cut) = self.cut_between(rest, GROUP_BYTES, 2 * GROUP_BYTES) else {
                        break;
                    };
                    units.push(Unit {
                        text,
                        piece: Piece::Text(&rest[..cut]),
                    });
                    rest = &rest[cut..];
                }
                units.push(Unit {
                    text,
                    piece: Piece::Text(rest),
                });
            }
        }
        Ok(units)
    }

    /// A place to cut the text, near `from` or else before `to`.
    fn cut_between(&self, text: &[u8], from: usize, to: usize) -> Option<usize> {
        let pattern = self.pattern();
        // The search goes backwards, so the window bounds its cost on text without such a place.
        let near = |end: usize| pattern.cut(&text[..(end + 4).min(text.len())], end);
        near(from).or_else(|| near(to))
    }
}

fn groups(units: &[Unit<'_>]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, unit) in units.iter().enumerate() {
        bytes += unit.num_bytes();
        if bytes >= GROUP_BYTES {
            groups.push(start..i + 1);
            (start, bytes) = (i + 1, 0);
        }
    }
    if start < units.len() {
        groups.push(start..units.len());
    }
    groups
}
