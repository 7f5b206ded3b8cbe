//! Characters of two and three bytes that are merged from the start.
//!
//! The bytes of a character merge among themselves until it is whole, or for good if it is no token, unless a pair that
//! reaches across one of its borders and holds it in part merges first. Each such pair makes a token of which the same
//! is true; where all of these are younger than what the bytes become by themselves, the character can be taken as that
//! from the start, provided that every part of a token is older than the token: which merges come first where nothing
//! is shared does not matter. Two merges of three are saved in CJK text.

use super::joints::{border_index, character, whole_sides};
use super::lockstep::SHORT;
use super::merge::merge_all;
use super::pairs::PairRanks;
use crate::vocab::{Merge, Vocab};

/// Ranks count from 1 on here: that of what is never made.
const NEVER: u32 = (1 << 22) - 1;

/// What the bytes of each character become by themselves.
pub struct Characters {
    /// By code point, up to U+FFFF.
    characters: Box<[Character]>,
    /// By the bytes before and behind a border of characters.
    borders: Box<[Border]>,
}

/// One id or two and the rank by which they are made, in one word, since thousands of them are in use: from the lowest
/// bit on 21 bits of the first id, 21 of the second + 1, which is 0 if there is none, and 22 of the rank.
#[derive(Clone, Copy)]
struct Character(u64);

impl Character {
    const BITS: u32 = 21;

    fn new(first: u32, second: Option<u32>, rank: u32) -> Self {
        let second = second.map_or(0, |id| id + 1);
        Self((u64::from(rank) << Self::BITS | u64::from(second)) << Self::BITS | u64::from(first))
    }

    /// The first id, and the second + 1.
    #[inline]
    fn ids(self) -> (u32, u32) {
        let id = |word: u64| word as u32 & ((1 << Self::BITS) - 1);
        (id(self.0), id(self.0 >> Self::BITS))
    }

    #[inline]
    fn rank(self) -> u32 {
        (self.0 >> (2 * Self::BITS)) as u32
    }
}

/// The least rank of a token that reaches across a border and holds in part the character before it, and behind it.
#[derive(Clone, Copy)]
struct Border {
    before: u32,
    behind: u32,
}

impl Characters {
    /// The characters of a vocabulary. None if a token is older than a part of it, or there are more than fit.
    pub fn new(vocab: &Vocab, pairs: &PairRanks) -> Option<Self> {
        let made = Made::new(vocab);
        let fit = vocab.len() < 1 << Character::BITS && vocab.merges().len() < NEVER as usize;
        if !fit || !made.parts_are_older(vocab) {
            return None;
        }
        let mut characters = vec![Character::new(0, None, NEVER); 1 << 16].into_boxed_slice();
        let all: String = ('\u{80}'..='\u{ffff}').collect();
        let bytes = |(at, c): (usize, char)| (c as usize, &all.as_bytes()[at..at + c.len_utf8()]);
        let texts = all.char_indices().map(bytes);
        merge_all::<SHORT>(pairs, texts, |point, merged, num| {
            let (first, second) = match merged[..num] {
                [one] => (one, None),
                [first, second] if point >= 0x800 => (first, Some(second)),
                // Nothing merges.
                _ => return,
            };
            let last = |id: u32| made.last[id as usize];
            let rank = second.map_or(0, last).max(last(first));
            characters[point] = Character::new(first, second, rank);
        });
        let never = Border {
            before: NEVER,
            behind: NEVER,
        };
        let mut borders = vec![never; 1 << 16].into_boxed_slice();
        for (id, token) in vocab.tokens() {
            for at in 1..token.len() {
                let (is_whole_before, is_whole_behind) = whole_sides(token, at);
                let border = &mut borders[border_index(token, at)];
                let rank = made.first[id as usize];
                if !is_whole_before {
                    border.before = border.before.min(rank);
                }
                if !is_whole_behind {
                    border.behind = border.behind.min(rank);
                }
            }
        }
        Some(Self {
            characters,
            borders,
        })
    }

    /// What the merging of a pretoken begins with: the ids of characters that are merged from the start, and of the other
    /// bytes; how many they are, and garbage is behind them.
    #[inline]
    pub fn begin<const N: usize>(
        &self,
        pairs: &PairRanks,
        bytes: &[u8],
        ids: &mut [u32; N],
    ) -> usize {
        let (mut at, mut num) = (0, 0);
        // The least rank of a token that holds the next character in part, and what is before it.
        let mut before = NEVER;
        while at < bytes.len() {
            let (point, len) = decode(bytes, at).unwrap_or((0, 1));
            let end = at + len;
            let border = match bytes.get(end) {
                None => Border {
                    before: NEVER,
                    behind: NEVER,
                },
                // No character.
                Some(next) if next & 0xc0 == 0x80 => Border {
                    before: 0,
                    behind: 0,
                },
                Some(_) => self.borders[border_index(bytes, end)],
            };
            let character = self.characters[point];
            if character.rank() < before.min(border.before) {
                // The second is written in any case: which characters have one cannot be foreseen.
                let (first, second) = character.ids();
                ids[num] = first;
                ids[num + 1] = second.wrapping_sub(1);
                num += 1 + usize::from(second != 0);
            } else {
                for &byte in &bytes[at..end] {
                    ids[num] = pairs.byte_id(byte);
                    num += 1;
                }
            }
            (at, before) = (end, border.behind);
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

/// The ranks by which each id is made: the first and the last one, [`NEVER`] and 0 if by none.
struct Made {
    first: Vec<u32>,
    last: Vec<u32>,
}

impl Made {
    fn new(vocab: &Vocab) -> Self {
        let mut made = Self {
            first: vec![NEVER; vocab.len()],
            last: vec![0; vocab.len()],
        };
        for (rank, merge) in (1..).zip(vocab.merges()) {
            let id = merge.id as usize;
            made.first[id] = made.first[id].min(rank);
            made.last[id] = rank;
        }
        made
    }

    /// Whether each merge comes behind all that make its parts.
    fn parts_are_older(&self, vocab: &Vocab) -> bool {
        let mut ranked = (1..).zip(vocab.merges());
        ranked.all(|(rank, &Merge { left, right, .. })| {
            self.last[left as usize] < rank && self.last[right as usize] < rank
        })
    }
}
