//! Where no token reaches across the border of two characters, or none holds a character there in part.
//!
//! Scripts without spaces make pretokens of whole phrases, which are hardly ever seen twice, out of words that are.
//! Merging makes tokens only, so between two characters that no token holds side by side nothing merges, and what lies
//! on either side merges by itself: the ids are those of the whole. Of the long pretokens of mixed CJK and Cyrillic
//! text this leaves one part in twenty longer than a key.
//!
//! Where tokens reach across but hold both characters whole, a character between two such borders merges by itself
//! before it merges with others, provided that parts are older than the whole: it can be taken as one from the start.

use crate::pretokenize::key::fold;
use crate::vocab::Vocab;

/// Bits of the filter of pairs of characters; o200k has 21,000 such pairs.
const FILTER_BITS: usize = 1 << 20;

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

    /// Where the first part of a pretoken ends; its length if it cannot be cut.
    #[inline]
    pub fn cut(&self, pretoken: &[u8]) -> usize {
        if pretoken.is_ascii() {
            return pretoken.len();
        }
        let (mut left, mut at) = (None, 0);
        while at < pretoken.len() {
            let right = character(pretoken, at);
            if let (Some((left, _)), Some((right, _))) = (left, right)
                && left | right >= 0x80
                && !has(&self.characters, character_bit(left, right))
                && !self.splits(pretoken, at)
            {
                return at;
            }
            left = right;
            at += right.map_or(1, |(_, len)| len);
        }
        pretoken.len()
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
    let (left, len) = character(bytes, start)?;
    let (right, _) = character(bytes, at)?;
    (start + len == at).then_some((left, right))
}

/// The bytes of a character as one number, and how many they are, if one is there whole.
#[inline]
fn character(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let len = match bytes[at] {
        0x80..0xc0 => return None,
        first => character_len(first),
    };
    let mut number = 0;
    for (i, &byte) in bytes.get(at..at + len)?.iter().enumerate() {
        if i > 0 && byte & 0xc0 != 0x80 {
            return None;
        }
        number = number << 8 | u32::from(byte);
    }
    Some((number, len))
}

/// Bytes of a character, by its first one.
#[inline]
pub fn character_len(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[inline]
fn character_bit(left: u32, right: u32) -> usize {
    let both = u64::from(left) << 32 | u64::from(right);
    fold(both, 0x9e37_79b9_7f4a_7c15) as usize % FILTER_BITS
}

#[inline]
fn byte_bit(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at - 1]) << 8 | usize::from(bytes[at])
}
