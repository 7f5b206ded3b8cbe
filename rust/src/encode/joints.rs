//! Where no token reaches across the border of two characters, or none holds a character there in part.
//!
//! Scripts without spaces make pretokens of whole phrases, which are hardly ever seen twice, out of words that are.
//! Merging makes tokens only, so between two characters that no token holds side by side nothing merges, and what lies
//! on either side merges by itself: the ids are those of the whole. Of the long pretokens of mixed CJK and Cyrillic
//! text this leaves one part in twenty longer than a key.
//!
//! Where tokens reach across but hold both characters whole, a character between two such borders merges by itself
//! before it merges with others, provided that parts are older than the whole: it can be taken as one from the start.

use crate::vocab::Vocab;

/// Bits of the filter of pairs of characters; o200k has 21,000 such pairs.
const FILTER_BITS: usize = 1 << 20;

/// Parts of a pretoken that are cut at once.
pub const PARTS: usize = 64;

/// What is side by side in tokens.
pub struct Joints {
    /// Pairs of characters that some token holds whole, by their hash.
    characters: Box<[u64]>,
    /// Last and first byte around the border of characters of which some token holds one in part.
    bytes: Box<[u64]>,
}

impl Joints {
    /// The joints of a vocabulary's tokens.
    pub fn new(vocab: &Vocab) -> Self {
        let mut joints = Self {
            characters: vec![0; FILTER_BITS / 64].into(),
            bytes: vec![0; (1 << 16) / 64].into(),
        };
        for (_, token) in vocab.tokens() {
            for at in 1..token.len() {
                if !is_border(token, at) {
                    continue;
                }
                let (set, bit) = match around(token, at) {
                    Some((left, right)) => (&mut joints.characters, character_bit(left, right)),
                    None => (&mut joints.bytes, byte_bit(token, at)),
                };
                set[bit / 64] |= 1 << (bit % 64);
            }
        }
        joints
    }

    /// Where the parts of the pretoken from `start` to `end` of a text end: their number, and if it is all of `ends`,
    /// perhaps not up to `end`.
    pub fn cut(&self, text: &[u8], start: usize, end: usize, ends: &mut [usize; PARTS]) -> usize {
        let pretoken = &text[..end];
        let (mut left, mut at, mut num) = (NO_CHARACTER, start, 0);
        while at < end && num < PARTS - 1 {
            let (right, len) = character(pretoken, at);
            // Written in any case: which borders are joints cannot be foreseen.
            ends[num] = at;
            let are_there = left != NO_CHARACTER && right != NO_CHARACTER && left | right >= 0x80;
            let is_joint = !has(&self.characters, character_bit(left, right))
                & (at > start && !self.splits(text, at));
            num += usize::from(are_there & is_joint);
            (left, at) = (right, at + len);
        }
        if at < end {
            return num;
        }
        ends[num] = end;
        num + 1
    }

    /// Whether a token holds in part a character at this border, with more behind or before it; `at` is where a
    /// character begins.
    #[inline]
    pub fn splits(&self, bytes: &[u8], at: usize) -> bool {
        has(&self.bytes, byte_bit(bytes, at))
    }
}

#[inline]
fn has(set: &[u64], bit: usize) -> bool {
    set[bit / 64] & (1 << (bit % 64)) != 0
}

/// Whether a character begins here, and not an ASCII one behind another.
#[inline]
fn is_border(bytes: &[u8], at: usize) -> bool {
    bytes[at] & 0xc0 != 0x80 && (bytes[at - 1] | bytes[at]) >= 0x80
}

/// The characters before and behind a border as numbers, if they are there whole.
fn around(bytes: &[u8], at: usize) -> Option<(u32, u32)> {
    let tail = bytes[..at].iter().rev().take_while(|b| **b & 0xc0 == 0x80);
    let start = at.checked_sub(tail.count() + 1)?;
    let ((left, len), (right, _)) = (character(bytes, start), character(bytes, at));
    (left != NO_CHARACTER && right != NO_CHARACTER && start + len == at).then_some((left, right))
}

/// In place of the number of a character; also that of a zero byte, beside which nothing is cut.
const NO_CHARACTER: u32 = 0;

/// The bytes of a character as one number, the first one lowest, and how many they are; if none is there whole,
/// [`NO_CHARACTER`] and 1.
#[inline]
pub(super) fn character(bytes: &[u8], at: usize) -> (u32, usize) {
    let word = match bytes[at..].first_chunk() {
        Some(four) => u32::from_le_bytes(*four),
        None => (0..)
            .zip(&bytes[at..])
            .fold(0, |word, (i, &byte)| word | u32::from(byte) << (8 * i)),
    };
    // Beyond the end there are zeros, with which no character goes on. One branch for each length: a text has most of
    // its characters from one script, so that the place of the next one is known before this one is read.
    if word & 0xc0_c0f0 == 0x80_80e0 {
        (word & 0xff_ffff, 3)
    } else if word & 0xc0e0 == 0x80c0 {
        (word & 0xffff, 2)
    } else if word & 0x80 == 0 {
        (word & 0xff, 1)
    } else if word & 0xc0c0_c0f0 == 0x8080_80f0 {
        (word, 4)
    } else {
        (NO_CHARACTER, 1)
    }
}

#[inline]
fn character_bit(left: u32, right: u32) -> usize {
    let both = u64::from(left) << 32 | u64::from(right);
    (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS.trailing_zeros())) as usize
}

#[inline]
fn byte_bit(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at - 1]) << 8 | usize::from(bytes[at])
}
