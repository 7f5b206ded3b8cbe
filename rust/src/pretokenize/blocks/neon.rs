//! NEON, which every 64-bit ARM has: 64 bytes in four vectors.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vbicq_u8, vceqq_u8, vcgeq_u8, vcleq_u8, vdupq_n_u8, vgetq_lane_u64,
    vorrq_u8, vpaddq_u8, vqtbl1q_u8, vreinterpretq_u64_u8, vsubq_u8,
};

use super::{BLOCK, Beyond, Bytes, CASELESS, HIRAGANA, LETTERS, Masks};

/// The ASCII part of the masks.
#[target_feature(enable = "neon")]
#[inline]
pub fn neon(bytes: &Bytes) -> Masks {
    let all = vectors(bytes, 0);
    Masks {
        letter: to_bits(all.map(|v| within(vorrq_u8(v, vdupq_n_u8(0x20)), b'a', b'z'))),
        number: to_bits(all.map(|v| within(v, b'0', b'9'))),
        space: to_bits(all.map(|v| vorrq_u8(within(v, 9, 13), is(v, b' ')))),
        newline: to_bits(all.map(|v| vorrq_u8(is(v, b'\n'), is(v, b'\r')))),
        blank: to_bits(all.map(|v| is(v, b' '))),
        apostrophe: to_bits(all.map(|v| is(v, b'\''))),
        slash: to_bits(all.map(|v| is(v, b'/'))),
        upper: to_bits(all.map(|v| within(v, b'A', b'Z'))),
        lower: to_bits(all.map(|v| within(v, b'a', b'z'))),
        high: to_bits(all.map(|v| within(v, 0x80, 0xff))),
        ..Masks::default()
    }
}

/// What the bytes beyond ASCII are.
#[target_feature(enable = "neon")]
#[inline]
pub fn neon_beyond(bytes: &Bytes) -> Beyond {
    let [first, second, third] = [0, 1, 2].map(|at| vectors(bytes, at));
    let mut of_each = [[vdupq_n_u8(0); 4]; 3];
    for i in 0..4 {
        let (v, second, third) = (first[i], second[i], third[i]);
        let low = vandq_u8(v, vdupq_n_u8(0xf));
        let of = |table: [u8; 16]| vqtbl1q_u8(vector(table), low);
        let is_within = vandq_u8(
            vcgeq_u8(second, of(LETTERS.least)),
            vcleq_u8(second, of(LETTERS.most)),
        );
        let is_never = vceqq_u8(vandq_u8(second, vdupq_n_u8(!0x20)), of(LETTERS.never));
        let is_known = vandq_u8(
            vceqq_u8(v, of(LETTERS.first)),
            vbicq_u8(is_within, is_never),
        );
        let is_hiragana = vbicq_u8(
            vandq_u8(is(v, HIRAGANA.0), is(second, HIRAGANA.1)),
            is(third, HIRAGANA.2),
        );
        let letter = vorrq_u8(is_known, is_hiragana);
        let is_lower = vcgeq_u8(second, of(LETTERS.lower));
        let is_lower_or_none = vorrq_u8(is_lower, vcgeq_u8(v, vdupq_n_u8(CASELESS)));
        of_each[0][i] = letter;
        of_each[1][i] = vbicq_u8(letter, is_lower_or_none);
        of_each[2][i] = vandq_u8(letter, is_lower);
    }
    let [letter, upper, lower] = of_each.map(|found| to_bits(found));
    Beyond {
        tail: to_bits(first.map(|v| within(v, 0x80, 0xbf))),
        letter,
        upper,
        lower,
    }
}

/// The bytes of a block from a place on.
#[target_feature(enable = "neon")]
#[inline]
fn vectors(bytes: &Bytes, at: usize) -> [uint8x16_t; 4] {
    let block: [u8; BLOCK] = *bytes[at..].first_chunk().expect("a block");
    // SAFETY: vectors of integers are what any bytes are.
    unsafe { std::mem::transmute::<[u8; BLOCK], [uint8x16_t; 4]>(block) }
}

/// A bit of each byte, which is all ones or all zeroes: each keeps its own and neighbours are added, three times.
#[target_feature(enable = "neon")]
#[inline]
fn to_bits(found: [uint8x16_t; 4]) -> u64 {
    let bits = vector([1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]);
    let [a, b, c, d] = found.map(|v| vandq_u8(v, bits));
    let fours = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(fours, fours)))
}

/// Bytes as a vector.
#[target_feature(enable = "neon")]
#[inline]
fn vector(bytes: [u8; 16]) -> uint8x16_t {
    // SAFETY: vectors of integers are what any bytes are.
    unsafe { std::mem::transmute::<[u8; 16], uint8x16_t>(bytes) }
}

/// All ones in the bytes that are this one.
#[target_feature(enable = "neon")]
#[inline]
fn is(v: uint8x16_t, byte: u8) -> uint8x16_t {
    vceqq_u8(v, vdupq_n_u8(byte))
}

/// All ones in the bytes from `first` to `last`.
#[target_feature(enable = "neon")]
#[inline]
fn within(v: uint8x16_t, first: u8, last: u8) -> uint8x16_t {
    vcleq_u8(vsubq_u8(v, vdupq_n_u8(first)), vdupq_n_u8(last - first))
}
