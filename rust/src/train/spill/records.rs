//! The records of a run: pretokens in order of their bytes, each with its count.

use std::cmp::Ordering;

use crate::error::Result;
use crate::train::scratch::{Reader, Run, Scratch};

/// Writes a run: of each pretoken the bytes it shares with the one before, the others, and its count.
pub(super) struct Writer<'a> {
    scratch: &'a mut Scratch,
    before: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(scratch: &'a mut Scratch) -> Self {
        let before = Vec::new();
        Self { scratch, before }
    }

    pub(super) fn put(&mut self, pretoken: &[u8], count: u64) -> Result<()> {
        let pairs = self.before.iter().zip(pretoken);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        self.scratch.write_number(shared as u64)?;
        self.scratch
            .write_number((pretoken.len() - shared) as u64)?;
        self.scratch.write(&pretoken[shared..])?;
        self.before.truncate(shared);
        self.before.extend_from_slice(&pretoken[shared..]);
        self.scratch.write_number(count)
    }

    pub(super) fn end(self) -> Result<Run> {
        self.scratch.end_run()
    }
}

/// Reads a run.
pub struct Cursor {
    reader: Reader,
    pub(super) key: Vec<u8>,
    pub(super) count: u64,
}

impl Cursor {
    pub(super) fn new(run: &Run) -> Self {
        Self {
            reader: run.read(),
            key: Vec::new(),
            count: 0,
        }
    }

    /// Goes to the next pretoken, if there is one.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if !self.reader.has_more()? {
            return Ok(false);
        }
        let (shared, more) = (self.reader.number()?, self.reader.number()?);
        self.key.truncate(shared as usize);
        self.reader.bytes(more as usize, &mut self.key)?;
        self.count = self.reader.number()?;
        Ok(true)
    }
}

/// The smallest key is the greatest, as the heap gives it out first.
impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Cursor {}
