//! Encoded documents on their way to another process: taken in parts here, handed to a sink there.
//!
//! A [`PartsSink`] stands where the writer of shards stands in a local run, and whoever holds the [`Parts`] takes what
//! it collects, so that memory depends on the size of a part and not on the input. [`EncodedPart::encoded`] turns a part
//! into what the writer takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use super::encode::{Encoded, EncodedPiece, Sink};
use crate::error::{Error, Result};

/// Bytes of a part, about.
const PART_BYTES: usize = 8 << 20;
/// Between two looks at whether the parts are still wanted.
const PATIENCE: Duration = Duration::from_millis(10);

/// Documents, and pieces of those that are large, one behind another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedPart {
    /// Those of all pieces.
    pub ids: Vec<u32>,
    /// Number of ids of each piece.
    pub counts: Vec<u64>,
    /// Bytes of text of each piece.
    pub bytes: Vec<u64>,
    /// The split of each piece's document + 1, or 0 for a piece that goes on with the document before it.
    pub splits: Vec<u8>,
}

impl EncodedPart {
    fn add(&mut self, encoded: &Encoded) {
        for (ids, piece) in encoded.iter() {
            self.ids.extend_from_slice(ids);
            self.counts.push(ids.len() as u64);
            self.bytes.push(piece.bytes);
            self.splits
                .push(piece.split.map_or(0, |split| split as u8 + 1));
        }
    }

    fn size(&self) -> usize {
        4 * self.ids.len() + 17 * self.counts.len()
    }

    /// The part as a sink takes it.
    ///
    /// # Errors
    /// `Error::Value` if the numbers of ids do not add up, or the lists have other lengths than one another.
    pub fn encoded(self) -> Result<Encoded> {
        let Self {
            ids,
            counts,
            bytes,
            splits,
        } = self;
        let mut end = 0usize;
        let pieces = counts
            .iter()
            .zip(bytes.iter().zip(&splits))
            .map(|(&count, (&bytes, &split))| {
                let start = end;
                end = end.saturating_add(count as usize);
                EncodedPiece {
                    ids: start..end,
                    bytes,
                    begins: split > 0,
                    ends: false,
                    split: usize::from(split).checked_sub(1),
                    words: 0,
                    same: true,
                }
            })
            .collect();
        if end != ids.len() || [bytes.len(), splits.len()] != [counts.len(); 2] {
            return Err(Error::value(format!(
                "{} ids in {} pieces do not fit together",
                ids.len(),
                counts.len()
            )));
        }
        Ok(Encoded { ids, pieces })
    }
}

/// Collects parts for a [`Parts`].
pub struct PartsSink {
    part: EncodedPart,
    /// None when all has been sent, or is given up.
    sender: Option<Sender<EncodedPart>>,
}

/// The parts that a [`PartsSink`] makes; one waits while another is taken.
pub struct Parts(Receiver<EncodedPart>);

impl PartsSink {
    /// A sink and where its parts come out.
    pub fn new() -> (Self, Parts) {
        let (sender, receiver) = bounded(1);
        let sink = Self {
            part: EncodedPart::default(),
            sender: Some(sender),
        };
        (sink, Parts(receiver))
    }

    fn send(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut part = std::mem::take(&mut self.part);
        while let Some(sender) = &self.sender {
            match sender.send_timeout(part, PATIENCE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !stop.load(Ordering::Relaxed) => {
                    part = back;
                }
                Err(_) => break,
            }
        }
        Err(Error::Interrupted)
    }
}

impl Sink for PartsSink {
    fn take(&mut self, encoded: &Encoded, stop: &AtomicBool) -> Result<()> {
        self.part.add(encoded);
        if self.part.size() < PART_BYTES {
            return Ok(());
        }
        self.send(stop)
    }

    fn finish(&mut self, stop: &AtomicBool) -> Result<Option<String>> {
        self.send(stop)?;
        self.sender = None;
        Ok(None)
    }

    fn abandon(&mut self) -> bool {
        self.sender = None;
        false
    }
}

impl Parts {
    /// The next part; None after the last, or when the work was given up.
    pub fn next(&self) -> Option<EncodedPart> {
        self.0.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO: AtomicBool = AtomicBool::new(false);

    fn part() -> EncodedPart {
        EncodedPart {
            ids: vec![7, 8, 9],
            counts: vec![2, 0, 1],
            bytes: vec![5, 0, 3],
            splits: vec![3, 1, 0],
        }
    }

    #[test]
    fn parts_come_out_as_they_went_in() {
        let (mut sink, parts) = PartsSink::new();
        let encoded = part().encoded().unwrap();
        let begins: Vec<_> = encoded.pieces.iter().map(|p| (p.begins, p.split)).collect();
        assert_eq!(begins, [(true, Some(2)), (true, Some(0)), (false, None)]);
        sink.take(&encoded, &GO).unwrap();
        sink.finish(&GO).unwrap();
        assert_eq!(parts.next(), Some(part()));
        assert_eq!(parts.next(), None);
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        for change in [
            |p: &mut EncodedPart| p.counts[0] = u64::MAX,
            |p: &mut EncodedPart| p.ids.truncate(2),
            |p: &mut EncodedPart| p.bytes.truncate(2),
            |p: &mut EncodedPart| p.splits.truncate(2),
        ] {
            let mut part = part();
            change(&mut part);
            assert!(part.encoded().is_err());
        }
    }

    #[test]
    fn nobody_waits_for_parts_that_are_given_up() {
        let (mut sink, parts) = PartsSink::new();
        sink.abandon();
        assert_eq!(parts.next(), None);
        let (mut sink, parts) = PartsSink::new();
        drop(parts);
        assert!(matches!(sink.finish(&GO), Err(Error::Interrupted)));
    }
}
