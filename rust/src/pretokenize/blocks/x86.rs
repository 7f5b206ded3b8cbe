//! AVX2, 32 bytes at a time.

#[allow(clippy::wildcard_imports, reason = "twenty intrinsics")]
use std::arch::x86_64::*;

use super::{Beyond, Bytes, CASELESS, HIRAGANA, LETTERS, Masks};

/// The ASCII part of the masks by AVX2.
#[target_feature(enable = "avx2")]
#[inline]
pub fn avx2(bytes: &Bytes) -> Masks {
    let mut masks = Masks::default();
    for k in 0..2 {
        let v = at(bytes, 32 * k);
        let put = |mask: &mut u64, found| *mask |= to_bits(found) << (32 * k);
        let blank = is(v, b' ');
        let folded = _mm256_or_si256(v, _mm256_set1_epi8(0x20));
        put(&mut masks.letter, within(folded, b'a', b'z'));
        put(&mut masks.number, within(v, b'0', b'9'));
        put(&mut masks.space, _mm256_or_si256(within(v, 9, 13), blank));
        let newline = _mm256_or_si256(is(v, b'\n'), is(v, b'\r'));
        put(&mut masks.newline, newline);
        put(&mut masks.blank, blank);
        put(&mut masks.apostrophe, is(v, b'\''));
        put(&mut masks.slash, is(v, b'/'));
        put(&mut masks.upper, within(v, b'A', b'Z'));
        put(&mut masks.lower, within(v, b'a', b'z'));
        put(&mut masks.high, v);
    }
    masks
}

/// What the bytes beyond ASCII are, by AVX2.
#[target_feature(enable = "avx2")]
#[inline]
pub fn avx2_beyond(bytes: &Bytes) -> Beyond {
    let mut beyond = Beyond::default();
    for k in 0..2 {
        let [v, second, third] = [0, 1, 2].map(|i| at(bytes, 32 * k + i));
        let put = |mask: &mut u64, found| *mask |= to_bits(found) << (32 * k);
        let both = |one, other| _mm256_and_si256(one, other);
        let low = both(v, _mm256_set1_epi8(0xf));
        let of = |table: [u8; 16]| _mm256_shuffle_epi8(twice(table), low);
        let is_within = both(
            at_least(second, of(LETTERS.least)),
            at_least(of(LETTERS.most), second),
        );
        let folded = both(second, _mm256_set1_epi8(!0x20));
        let is_never = _mm256_cmpeq_epi8(folded, of(LETTERS.never));
        let is_first = _mm256_cmpeq_epi8(v, of(LETTERS.first));
        let is_hiragana = _mm256_andnot_si256(
            is(third, HIRAGANA.2),
            both(is(v, HIRAGANA.0), is(second, HIRAGANA.1)),
        );
        let is_known = both(is_first, _mm256_andnot_si256(is_never, is_within));
        let letter = _mm256_or_si256(is_known, is_hiragana);
        let is_lower = at_least(second, of(LETTERS.lower));
        let is_lower_or_none =
            _mm256_or_si256(is_lower, at_least(v, _mm256_set1_epi8(CASELESS as i8)));
        // As signed numbers, 0x80 to 0xbf are those below -64.
        put(
            &mut beyond.tail,
            _mm256_cmpgt_epi8(_mm256_set1_epi8(-64), v),
        );
        put(&mut beyond.letter, letter);
        put(
            &mut beyond.upper,
            _mm256_andnot_si256(is_lower_or_none, letter),
        );
        put(&mut beyond.lower, both(letter, is_lower));
    }
    beyond
}

/// A table for each half of a vector.
#[target_feature(enable = "avx2")]
#[inline]
fn twice(table: [u8; 16]) -> __m256i {
    // SAFETY: vectors of integers are what any bytes are.
    _mm256_broadcastsi128_si256(unsafe { std::mem::transmute::<[u8; 16], __m128i>(table) })
}

/// All ones in the bytes that are at least those of another.
#[target_feature(enable = "avx2")]
#[inline]
fn at_least(v: __m256i, least: __m256i) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_max_epu8(v, least), v)
}

/// The 32 bytes at a place.
#[target_feature(enable = "avx2")]
#[inline]
fn at(bytes: &Bytes, place: usize) -> __m256i {
    let some: &[u8; 32] = bytes[place..place + 32].try_into().expect("32 bytes");
    // SAFETY: `some` has the 32 bytes that are read, and the load needs no alignment.
    unsafe { some.as_ptr().cast::<__m256i>().read_unaligned() }
}

/// The highest bit of each byte.
#[target_feature(enable = "avx2")]
#[inline]
fn to_bits(v: __m256i) -> u64 {
    u64::from(_mm256_movemask_epi8(v).cast_unsigned())
}

/// All ones in the bytes that are this one.
#[target_feature(enable = "avx2")]
#[inline]
fn is(v: __m256i, byte: u8) -> __m256i {
    _mm256_cmpeq_epi8(v, _mm256_set1_epi8(byte as i8))
}

/// All ones in the bytes from `first` to `last`.
#[target_feature(enable = "avx2")]
#[inline]
fn within(v: __m256i, first: u8, last: u8) -> __m256i {
    let from_first = _mm256_sub_epi8(v, _mm256_set1_epi8(first as i8));
    let span = _mm256_set1_epi8((last - first) as i8);
    _mm256_cmpeq_epi8(_mm256_min_epu8(from_first, span), from_first)
}
