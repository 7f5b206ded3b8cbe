//! Text that comes in parts, held back until what comes later cannot change it.
//!
//! It is held from the last place at which the pattern may be cut, and from anything that might be the beginning of an
//! added token. What is held begins where a pretoken does, so that most custom regexes tell such places too. One that
//! has to backtrack may look at the whole text, and an added token at what stands beside it, so all of it is held to
//! the end then.

use super::special::{Piece, Rule};
use crate::error::Result;
use crate::pretokenize::Pattern;

/// Bytes before and behind a place that tell whether a text may be cut there, and more.
const AROUND: usize = 8;

/// What of a text was held back.
pub(super) struct Held {
    bytes: Vec<u8>,
    /// The bytes before this one were searched for disallowed special tokens.
    checked: usize,
    /// Before this byte there is no place to cut.
    searched: usize,
    /// No attempt below this size: doubled after one in vain, so that text without a place to cut costs O(n).
    enough: usize,
    least: usize,
}

impl Held {
    /// Nothing; an attempt is made from `least` bytes on.
    pub fn new(least: usize) -> Self {
        Self {
            bytes: Vec::new(),
            checked: 0,
            searched: 0,
            enough: least,
            least,
        }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the next part; whether there is enough for an attempt.
    pub fn push(&mut self, part: &[u8]) -> bool {
        self.bytes.extend_from_slice(part);
        self.bytes.len() >= self.enough
    }

    /// Gives what is certain to `take`, piece by piece, all that is left if it is the last; where that ends.
    ///
    /// # Errors
    /// As [`Rule::check`] and `take`; nothing is to be done with what is held then.
    pub fn certain(
        &mut self,
        pattern: &Pattern,
        rule: &Rule,
        is_last: bool,
        mut take: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<usize> {
        let len = self.bytes.len();
        // In these bytes at the end an added token may have begun.
        let overhang = len.min(rule.longest().saturating_sub(1));
        rule.check(&self.bytes[self.checked..])?;
        self.checked = len - overhang;
        let certain = if is_last {
            len
        } else if rule.looks_around() {
            0
        } else {
            len - overhang
        };
        let (mut at, mut upto) = (0, certain);
        for found in rule.find_all(&self.bytes) {
            // A longer one may begin at the same place, or one that goes before it further on.
            if found.end > certain {
                upto = certain.min(found.start);
                break;
            }
            if at < found.start {
                take(Piece::Text(&self.bytes[at..found.start]))?;
            }
            take(Piece::Special(
                found.id,
                &self.bytes[found.start..found.end],
            ))?;
            at = found.end;
        }
        // Behind it the text may end for the pattern: an added token may stand there.
        let rest = &self.bytes[at..upto];
        let cut = if is_last {
            rest.len()
        } else {
            // What stands around a place tells, unless the pattern has to be run.
            let searched = self.searched.saturating_sub(at + AROUND);
            let from = if pattern.cuts_anywhere() { searched } else { 0 };
            let cut = pattern.cut_from_start(&rest[from..], rest.len() - from);
            cut.map_or(0, |cut| from + cut)
        };
        self.searched = upto;
        if cut > 0 {
            take(Piece::Text(&rest[..cut]))?;
        }
        Ok(at + cut)
    }

    /// Gives up the bytes up to where what was certain ended, and holds the others in `room`.
    pub fn split(&mut self, end: usize, mut room: Vec<u8>) -> Vec<u8> {
        room.clear();
        if end == 0 {
            self.enough = 2 * self.bytes.len();
            return room;
        }
        room.extend_from_slice(&self.bytes[end..]);
        self.checked = self.checked.saturating_sub(end);
        self.searched = self.searched.saturating_sub(end);
        self.enough = self.least.max(2 * room.len());
        let mut taken = std::mem::replace(&mut self.bytes, room);
        taken.truncate(end);
        taken
    }
}
