//! Which pretokens are looked up together: one behind the other, long ones in parts.

use super::cache::Cache;
use super::joints::Joints;
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::{KEY_BYTES, Key, PART_BYTES, hash_bytes};

/// Pretokens looked up together, so that their lines are fetched at the same time and not one after the other: the
/// wait for memory is half of the whole time otherwise.
pub(super) const AHEAD: usize = 64;

/// A pretoken to look up, or a part of one: half a line of the processor's cache.
#[derive(Clone, Copy, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[repr(C, align(32))]
pub struct Wanted {
    /// Of a longer one, what [`long_key`] makes.
    pub(super) key: Key,
    /// Where its line is in the cache that made this, in bytes.
    pub(super) place: usize,
    /// Where it begins in the text.
    pub(super) start: usize,
}

/// Set in the key of a longer pretoken that is whole.
const WHOLE: u128 = 1 << 64;

/// Hash and length of a longer pretoken; the highest bits, in which shorter ones have their length, are 0.
fn long_key(hash: u64, len: usize, is_whole: bool) -> Key {
    let whole = if is_whole { WHOLE } else { 0 };
    Key(u128::from(hash) | whole | (len as u128) << 65)
}

impl Wanted {
    fn is_long(&self) -> bool {
        self.key.0 >> 112 == 0
    }

    /// The hash of one that is too long for a key.
    pub fn hash_of_long(&self) -> Option<u64> {
        self.is_long().then_some(self.key.0 as u64)
    }

    /// Whether it is a pretoken and not a part of one.
    pub fn is_whole(&self) -> bool {
        if self.is_long() {
            self.key.0 & WHOLE != 0
        } else {
            !self.key.is_part()
        }
    }

    /// Its bytes in the text.
    pub fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let len = if self.is_long() {
            (self.key.0 >> 65) as usize
        } else {
            self.key.len()
        };
        &text[self.start..self.start + len]
    }

    /// Whether it is the same as another of another text.
    pub fn is_same(&self, text: &[u8], other: &Self, other_text: &[u8]) -> bool {
        self.key == other.key && (!self.is_long() || self.bytes(text) == other.bytes(other_text))
    }
}

/// The pretokens not yet looked up.
pub struct Rest<'a> {
    pretokens: Pretokens<'a>,
    /// Whether the first is what remains of one that is cut.
    is_cut: bool,
}

impl<'a> Rest<'a> {
    /// All of some pretokens.
    pub fn new(pretokens: Pretokens<'a>) -> Self {
        Self {
            pretokens,
            is_cut: false,
        }
    }

    /// Takes the next ones, and fetches their lines; how many.
    pub fn take(&mut self, joints: &Joints, cache: &Cache, wanted: &mut [Wanted; AHEAD]) -> usize {
        let mut num = 0;
        while num < AHEAD && !self.pretokens.ends.is_empty() {
            if !self.is_cut {
                let taken = cache.want_some(self.pretokens, &mut wanted[num..]);
                self.pass(taken);
                num += taken;
            }
            if num < AHEAD
                && let Some(&end) = self.pretokens.ends.first()
            {
                wanted[num] = self.part(end, joints, cache);
                num += 1;
            }
        }
        num
    }

    fn pass(&mut self, num: usize) {
        let Pretokens { start, ends, .. } = &mut self.pretokens;
        let (passed, rest) = ends.split_at(num);
        *start = passed.last().copied().unwrap_or(*start);
        *ends = rest;
    }

    /// The first pretoken, up to `end`, or its first part.
    fn part(&mut self, end: usize, joints: &Joints, cache: &Cache) -> Wanted {
        let Pretokens { text, start, .. } = self.pretokens;
        let rest = &text[start..end];
        let whole_key = !self.is_cut && rest.len() <= KEY_BYTES;
        let len = if whole_key {
            rest.len()
        } else {
            joints.cut(rest)
        };
        let is_whole = !self.is_cut && len == rest.len();
        let key = if whole_key {
            Key::new(text, start, len)
        } else if len <= PART_BYTES && !is_whole {
            Key::of_part(text, start, len)
        } else {
            // A part that spells a token need not be it.
            let hash = hash_bytes(&rest[..len]) ^ u64::from(!is_whole);
            long_key(hash, len, is_whole)
        };
        if len == rest.len() {
            self.pass(1);
            self.is_cut = false;
        } else {
            self.pretokens.start += len;
            self.is_cut = true;
        }
        cache.want(key, start)
    }
}
