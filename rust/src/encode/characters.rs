//! Characters of two and three bytes that are merged from the start.
//!
//! The bytes of a character between two borders at which no token holds a character in part ([`Joints::splits`]) merge
//! among themselves alone until the character is whole, or for good if it is no token. If every part of a token is
//! older than the token, all that is done before the character merges with others, so the order does not matter, and
//! two merges of three are saved in CJK text.

use super::joints::{Joints, character_len};
use super::lockstep::SHORT;
use super::merge::merge_all;
use super::pairs::PairRanks;
use crate::vocab::{Merge, Vocab};

/// What the bytes of each character that merge become by themselves: one id or two.
pub struct Characters {
    /// By code point, up to U+FFFF: each id + 1, the first one lower; 0 for none.
    ids: Box<[u64]>,
}

impl Characters {
    /// The characters of a vocabulary. None if a token is older than a part of it.
    pub fn new(vocab: &Vocab, pairs: &PairRanks) -> Option<Self> {
        if !parts_are_older(vocab) {
            return None;
        }
        let mut ids = vec![0; 1 << 16].into_boxed_slice();
        let all: String = ('\u{80}'..='\u{ffff}').collect();
        let bytes = |(at, c): (usize, char)| (c as usize, &all.as_bytes()[at..at + c.len_utf8()]);
        let texts = all.char_indices().map(bytes);
        merge_all::<SHORT>(pairs, texts, |point, merged, num| {
            ids[point] = match merged[..num] {
                [one] => u64::from(one + 1),
                [first, second] if point >= 0x800 => {
                    u64::from(first + 1) | u64::from(second + 1) << 32
                }
                // Nothing merges.
                _ => 0,
            };
        });
        Some(Self { ids })
    }

    /// The ids of the character at a place where one may begin, if nothing merges with a part of it, and how many
    /// bytes it has.
    #[inline]
    pub fn at(
        &self,
        joints: &Joints,
        bytes: &[u8],
        at: usize,
    ) -> Option<(u32, Option<u32>, usize)> {
        let (point, len) = decode(bytes, at)?;
        let (first, second) = (self.ids[point] as u32, (self.ids[point] >> 32) as u32);
        let end = at + len;
        let is_free = first != 0
            && (at == 0 || !joints.splits(bytes, at))
            && (end == bytes.len() || bytes[end] & 0xc0 != 0x80 && !joints.splits(bytes, end));
        is_free.then(|| (first - 1, second.checked_sub(1), len))
    }
}

/// The code point and length of a whole character of two or three bytes in their shortest form.
#[inline]
fn decode(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let tail = |i: usize| {
        let byte = *bytes.get(at + i)?;
        (byte & 0xc0 == 0x80).then_some(usize::from(byte & 0x3f))
    };
    let first = *bytes.get(at)?;
    let (point, len, least) = match character_len(first) {
        2 => (usize::from(first & 0x1f) << 6 | tail(1)?, 2, 0x80),
        3 => {
            let point = usize::from(first & 0xf) << 12 | tail(1)? << 6 | tail(2)?;
            (point, 3, 0x800)
        }
        _ => return None,
    };
    (point >= least).then_some((point, len))
}

/// Whether each merge comes behind all that make its parts.
fn parts_are_older(vocab: &Vocab) -> bool {
    let mut last_made = vec![0; vocab.len()];
    for (rank, merge) in (1usize..).zip(vocab.merges()) {
        last_made[merge.id as usize] = rank;
    }
    let mut ranked = (1usize..).zip(vocab.merges());
    ranked.all(|(rank, &Merge { left, right, .. })| {
        last_made[left as usize] < rank && last_made[right as usize] < rank
    })
}
