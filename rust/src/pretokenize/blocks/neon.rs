//! NEON, which every 64-bit ARM has: 64 bytes in four vectors.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vcleq_u8, vdupq_n_u8, vgetq_lane_u64, vorrq_u8, vpaddq_u8,
    vreinterpretq_u64_u8, vsubq_u8,
};

use super::{BLOCK, Beyond, Bytes, LETTERS_ONLY, Masks};

/// The ASCII part of the masks.
#[target_feature(enable = "neon")]
#[inline]
pub fn neon(bytes: &Bytes) -> Masks {
    let all = vectors(bytes);
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
    let all = vectors(bytes);
    let [first, second, third] = LETTERS_ONLY;
    let of = |v, range: &std::ops::RangeInclusive<u8>| within(v, *range.start(), *range.end());
    Beyond {
        tail: to_bits(all.map(|v| within(v, 0x80, 0xbf))),
        ideograph: to_bits(all.map(|v| vorrq_u8(of(v, &first), of(v, &second)))),
        cyrillic: to_bits(all.map(|v| of(v, &third))),
    }
}

/// The bytes of a block.
#[target_feature(enable = "neon")]
#[inline]
fn vectors(bytes: &Bytes) -> [uint8x16_t; 4] {
    let block: [u8; BLOCK] = *bytes.first_chunk().expect("a block");
    // SAFETY: vectors of integers are what any bytes are.
    unsafe { std::mem::transmute::<[u8; BLOCK], [uint8x16_t; 4]>(block) }
}

/// A bit of each byte, which is all ones or all zeroes: each keeps its own and neighbours are added, three times.
#[target_feature(enable = "neon")]
#[inline]
fn to_bits(found: [uint8x16_t; 4]) -> u64 {
    const BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: vectors of integers are what any bytes are.
    let bits = unsafe { std::mem::transmute::<[u8; 16], uint8x16_t>(BITS) };
    let [a, b, c, d] = found.map(|v| vandq_u8(v, bits));
    let fours = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(fours, fours)))
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
