//! Which pretokens are looked up together: one behind the other, long ones in parts.

use std::ops::Range;

use super::cache::Cache;
use super::joints::{Joints, PARTS};
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::{KEY_BYTES, Key, hash_bytes};

/// Pretokens looked up together, so that their lines are fetched at the same time and not one after the other: the
/// wait for memory is half of the whole time otherwise.
pub(super) const AHEAD: usize = 64;

/// First bytes of the characters from U+3000 to U+9FFF, kana and Han: their words are not set apart, and pretokens of
/// a few words are seldom seen twice.
pub(super) const HAN: Range<u8> = 0xe3..0xea;

/// Longest pretoken of such characters that is looked up whole. With all that have a key, 100 MB of mixed scripts take
/// a tenth longer the first time, and half as long again later, as they do not fit in the cache.
pub(super) const UNCUT_BYTES: usize = 9;

/// Whether there is a byte of [`HAN`].
#[inline]
pub(super) fn has_han(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| HAN.contains(byte))
}

/// A pretoken to look up, or a part of one: half a line of the processor's cache.
#[derive(Clone, Copy, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[repr(C, align(32))]
pub struct Wanted {
    /// Of a longer one, hash and length; the highest bits, in which shorter ones have their length, are 0.
    pub(super) key: Key,
    /// Where its line is in the cache that made this, in bytes.
    pub(super) place: usize,
    /// Where it begins in the text.
    pub(super) start: usize,
}

/// Set in the key of a longer part of a pretoken; what is [`Key::PART`] in shorter ones.
const LONG_PART: u128 = 1 << 64;

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
            self.key.0 & LONG_PART == 0
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
    /// Whether the first is cut, and its parts up to `start` are taken.
    is_cut: bool,
    /// The next parts: which of `ends`.
    parts: Range<usize>,
    ends: [usize; PARTS],
}

impl<'a> Rest<'a> {
    /// All of some pretokens.
    pub fn new(pretokens: Pretokens<'a>) -> Self {
        Self {
            pretokens,
            is_cut: false,
            parts: 0..0,
            ends: [0; PARTS],
        }
    }

    /// Takes the next ones, and fetches their lines; how many.
    pub fn take(&mut self, joints: &Joints, cache: &Cache, wanted: &mut [Wanted; AHEAD]) -> usize {
        let mut num = 0;
        while num < AHEAD
            && let Some(&end) = self.pretokens.ends.first()
        {
            if self.is_cut && self.parts.is_empty() {
                self.cut(end, joints);
            }
            let ends = if self.is_cut {
                &self.ends[self.parts.clone()]
            } else {
                self.pretokens.ends
            };
            let pretokens = Pretokens {
                ends,
                ..self.pretokens
            };
            let taken = cache.want_some(pretokens, self.is_cut, &mut wanted[num..]);
            let next = ends.get(taken).copied();
            self.pass(taken);
            num += taken;
            // The next one may be cut, is too long for a key, or is near the end of the text.
            if num < AHEAD
                && let Some(end) = next
                && (self.is_cut || !self.cut(end, joints))
            {
                wanted[num] = self.one(end, cache);
                num += 1;
                self.pass(1);
            }
        }
        num
    }

    /// Passes over pretokens, or parts of the first one.
    #[inline]
    fn pass(&mut self, num: usize) {
        let Pretokens { start, ends, .. } = &mut self.pretokens;
        if self.is_cut {
            self.parts.start += num;
            *start = num
                .checked_sub(1)
                .map_or(*start, |_| self.ends[self.parts.start - 1]);
            if *start == ends[0] {
                *ends = &ends[1..];
                self.is_cut = false;
            }
        } else {
            let (passed, rest) = ends.split_at(num);
            *start = passed.last().copied().unwrap_or(*start);
            *ends = rest;
        }
    }

    /// Cuts the first pretoken, or what is left of it; whether it is cut.
    #[inline]
    fn cut(&mut self, end: usize, joints: &Joints) -> bool {
        let Pretokens { text, start, .. } = self.pretokens;
        let pretoken = &text[start..end];
        let may_be = match pretoken.len() {
            ..=KEY_BYTES => pretoken.len() > UNCUT_BYTES && has_han(pretoken),
            _ => !pretoken.is_ascii(),
        };
        if may_be || self.is_cut {
            self.parts = 0..joints.cut(text, start, end, &mut self.ends);
            self.is_cut |= self.parts.len() > 1;
        }
        self.is_cut
    }

    /// The first pretoken or part, which ends there.
    #[inline]
    fn one(&self, end: usize, cache: &Cache) -> Wanted {
        let Pretokens { text, start, .. } = self.pretokens;
        let len = end - start;
        let (key, part) = if len <= KEY_BYTES {
            (Key::new(text, start, len).0, Key::PART)
        } else {
            // A part that spells a token need not be it.
            let hash = hash_bytes(&text[start..end]) ^ u64::from(self.is_cut);
            (u128::from(hash) | (len as u128) << 65, LONG_PART)
        };
        let key = if self.is_cut { key | part } else { key };
        cache.want(Key(key), start)
    }
}
