//! Where no token reaches across the border of two characters, or none holds a character there in part.
//!
//! Scripts without spaces make pretokens of whole phrases, which are hardly ever seen twice, out of words that are.
//! Merging makes tokens only, so between two characters that no token holds side by side nothing merges, and what lies
//! on either side merges by itself: the ids are those of the whole. Of the long pretokens of mixed CJK and Cyrillic
//! text this leaves one part in twenty longer than a key.

use crate::vocab::Vocab;

/// Bits of the filter of pairs of characters; o200k has 21,000 such pairs.
const FILTER_BITS: usize = 1 << 20;

/// What is side by side in tokens.
pub struct Joints {
    /// Pairs of characters that some token holds whole, by their hash.
    characters: Box<[u64; FILTER_BITS / 64]>,
    /// Last and first byte around the border of characters of which some token holds one in part.
    bytes: Box<[u64; (1 << 16) / 64]>,
}

impl Joints {
    /// The joints of a vocabulary's tokens.
    pub fn new(vocab: &Vocab) -> Self {
        let mut joints = Self {
            characters: vec![0; FILTER_BITS / 64].try_into().expect("so many"),
            bytes: vec![0; (1 << 16) / 64].try_into().expect("so many"),
        };
        for (_, token) in vocab.tokens() {
            for at in 1..token.len() {
                if !is_border(token, at) {
                    continue;
                }
                let (set, bit) = match around(token, at) {
                    (Some(left), Some(right)) => {
                        (&mut joints.characters[..], pair_bit(pair(left, right)))
                    }
                    _ => (&mut joints.bytes[..], border_index(token, at)),
                };
                set[bit / 64] |= 1 << (bit % 64);
            }
        }
        joints
    }

    /// Where the parts of the pretoken from `start` to `end` of a text end: their number, and if it is one less than there
    /// is room for, perhaps not up to `end`.
    pub fn cut(&self, text: &[u8], start: usize, end: usize, ends: &mut [usize]) -> usize {
        let pretoken = &text[..end];
        let most = ends.len() - 1;
        let mut left = character(pretoken, start);
        let (mut at, mut num) = (start + left.1, 0);
        while at < end && num < most {
            // Most characters are as long as the one before.
            (at, num) = match left.1 {
                2 => self.cut_run::<2>(pretoken, at, ends, num),
                3 => self.cut_run::<3>(pretoken, at, ends, num),
                _ => (at, num),
            };
            left = character(pretoken, at - left.1);
            if at == end || num == most {
                break;
            }
            let right = character(pretoken, at);
            ends[num] = at;
            let are_there =
                left.0 != NO_CHARACTER && right.0 != NO_CHARACTER && left.0 | right.0 >= 0x80;
            num += usize::from(are_there && self.is_joint(pair(left, right), left.1));
            (left, at) = (right, at + right.1);
        }
        if at < end {
            return num;
        }
        ends[num] = end;
        num + 1
    }

    /// Goes on over characters of LEN bytes behind another one, as long as eight bytes can be read.
    #[inline]
    fn cut_run<const LEN: usize>(
        &self,
        pretoken: &[u8],
        mut at: usize,
        ends: &mut [usize],
        mut num: usize,
    ) -> (usize, usize) {
        let most = ends.len() - 1;
        let (mask, heads) = if LEN == 2 {
            (0xc0e0_c0e0, 0x80c0_80c0)
        } else {
            (0xc0c0_f0c0_c0f0, 0x8080_e080_80e0)
        };
        while num < most
            && let Some(word) = pretoken[at - LEN..].first_chunk()
        {
            let word = u64::from_le_bytes(*word);
            if word & mask != heads {
                break;
            }
            // Written in any case: which borders are joints cannot be foreseen.
            ends[num] = at;
            num += usize::from(self.is_joint(word & (u64::MAX >> (64 - 16 * LEN)), LEN));
            at += LEN;
        }
        (at, num)
    }

    /// Whether no token reaches across the border of a pair of characters, the first of so many bytes.
    #[inline]
    fn is_joint(&self, pair: u64, len: usize) -> bool {
        let (characters, bytes) = (pair_bit(pair), (pair >> (8 * (len - 1))) as u16 as usize);
        let whole = self.characters[characters / 64] >> (characters % 64);
        let in_part = self.bytes[bytes / 64] >> (bytes % 64);
        (whole | in_part) & 1 == 0
    }
}

/// Whether a character begins here, and not an ASCII one behind another.
#[inline]
fn is_border(bytes: &[u8], at: usize) -> bool {
    bytes[at] & 0xc0 != 0x80 && (bytes[at - 1] | bytes[at]) >= 0x80
}

/// The characters before and behind a border as numbers, if they are there whole.
fn around(bytes: &[u8], at: usize) -> (Option<Spelled>, Option<Spelled>) {
    let tail = bytes[..at].iter().rev().take_while(|b| **b & 0xc0 == 0x80);
    let left = at.checked_sub(tail.count() + 1).and_then(|start| {
        let left = character(bytes, start);
        (left.0 != NO_CHARACTER && start + left.1 == at).then_some(left)
    });
    let right = character(bytes, at);
    (left, (right.0 != NO_CHARACTER).then_some(right))
}

/// Whether a token holds whole the characters before and behind a place, if there is a border that is not inside ASCII.
pub fn whole_sides(token: &[u8], at: usize) -> (bool, bool) {
    if is_border(token, at) {
        let (left, right) = around(token, at);
        (left.is_some(), right.is_some())
    } else {
        (true, true)
    }
}

/// In place of the number of a character; also that of a zero byte, beside which nothing is cut.
const NO_CHARACTER: u32 = 0;

/// The bytes of a character as one number, the first one lowest, and how many they are.
type Spelled = (u32, usize);

/// The character that begins at a place; if none is there whole, [`NO_CHARACTER`] and 1.
#[inline]
pub(super) fn character(bytes: &[u8], at: usize) -> Spelled {
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

/// The bytes of two characters as one number.
#[inline]
fn pair(left: Spelled, right: Spelled) -> u64 {
    u64::from(left.0) | u64::from(right.0) << (8 * left.1)
}

#[inline]
fn pair_bit(pair: u64) -> usize {
    (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS.trailing_zeros())) as usize
}

/// The bytes around a place as a number.
#[inline]
pub fn border_index(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes([bytes[at - 1], bytes[at]]).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As [`Joints::cut`] does, one character after the other.
    fn cut_one_by_one(joints: &Joints, pretoken: &[u8], start: usize) -> Vec<usize> {
        let mut ends = Vec::new();
        let (mut left, mut at) = ((NO_CHARACTER, 1), start);
        while at < pretoken.len() {
            let right = character(pretoken, at);
            let are_there = left.0 != NO_CHARACTER && right.0 != NO_CHARACTER;
            if are_there && left.0 | right.0 >= 0x80 && joints.is_joint(pair(left, right), left.1) {
                ends.push(at);
            }
            (left, at) = (right, at + right.1);
        }
        ends.push(pretoken.len());
        ends
    }

    proptest! {
        #[test]
        fn runs_are_cut_as_single_characters_are(
            words in prop::collection::vec("[жи]{1,20}|[世界の]{1,20}|[aж世\u{1f600}\\x00]{1,5}", 1..9),
            bad in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            (start, behind) in (0usize..4, 0usize..9),
        ) {
            let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
            // Tokens жи and 世界, both with the first byte of another one, and all that they are made of.
            let mut merges = Vec::new();
            for bytes in ["жиж", "世界世"].map(ids) {
                let mut made = bytes[0];
                for right in &bytes[1..=bytes.len() * 2 / 3] {
                    merges.push((made, *right));
                    made = 255 + merges.len() as u32;
                }
            }
            let joints = Joints::new(&Vocab::trained(&merges, &[]).unwrap());
            let mut text = words.concat().into_bytes();
            if let Some((at, byte)) = bad {
                text[at.index(words.concat().len())] = byte;
            }
            let (start, end) = (start.min(text.len() - 1), text.len());
            text.resize(end + behind, 0x80);
            let want = cut_one_by_one(&joints, &text[..end], start);
            let mut ends = [0; 24];
            let num = joints.cut(&text, start, end, &mut ends);
            prop_assert_eq!(&ends[..num], &want[..num]);
            prop_assert!(num == want.len() || num == ends.len() - 1 && num < want.len());
        }
    }
}
