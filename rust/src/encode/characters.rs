//! Characters of two and three bytes that are merged from the start.
//!
//! The bytes of a character between two borders at which no token holds a character in part ([`Joints::splits`]) merge
//! among themselves alone until the character is whole, or for good if it is no token. If every part of a token is
//! older than the token, all that is done before the character merges with others, so the order does not matter, and
//! two merges of three are saved in CJK text.

use super::joints::character;
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

    /// What the merging of a pretoken begins with: the ids of characters with a part of which nothing else merges, and
    /// of the other bytes; how many they are, and garbage is behind them.
    #[inline]
    pub fn begin<const N: usize>(
        &self,
        pairs: &PairRanks,
        bytes: &[u8],
        ids: &mut [u32; N],
    ) -> usize {
        let joints = pairs.joints();
        let (mut at, mut num) = (0, 0);
        // Whether no token holds a character in part at the border where `at` is.
        let mut is_free = true;
        while at < bytes.len() {
            let (ids_of, len) = match decode(bytes, at) {
                Some((point, len)) => (self.ids[point], len),
                None => (0, 1),
            };
            let end = at + len;
            let is_next_free = match bytes.get(end) {
                None => true,
                Some(next) => next & 0xc0 != 0x80 && !joints.splits(bytes, end),
            };
            if ids_of != 0 && is_free && is_next_free {
                // The second is written in any case: which characters have one cannot be foreseen.
                let second = (ids_of >> 32) as u32;
                ids[num] = ids_of as u32 - 1;
                ids[num + 1] = second.wrapping_sub(1);
                num += 1 + usize::from(second != 0);
            } else {
                for &byte in &bytes[at..end] {
                    ids[num] = pairs.byte_id(byte);
                    num += 1;
                }
            }
            (at, is_free) = (end, is_next_free);
        }
        num
    }
}

/// The code point and length of a whole character of two or three bytes in their shortest form.
#[inline]
fn decode(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (word, len) = character(bytes, at);
    let bits = |i: u32, mask: u32| (word >> (8 * i) & mask) as usize;
    let (point, least) = match len {
        2 => (bits(0, 0x1f) << 6 | bits(1, 0x3f), 0x80),
        3 => (
            bits(0, 0xf) << 12 | bits(1, 0x3f) << 6 | bits(2, 0x3f),
            0x800,
        ),
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
