//! AVX2, 32 bytes at a time.

use std::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_min_epu8, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_set1_epi8, _mm256_sub_epi8,
};

use super::{Beyond, Bytes, LETTERS_ONLY, Masks};

/// The ASCII part of the masks by AVX2.
#[target_feature(enable = "avx2")]
#[inline]
pub fn avx2(bytes: &Bytes) -> Masks {
    let mut masks = Masks::default();
    for k in 0..2 {
        let v = half(bytes, k);
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
    let [mut tail, mut ideograph, mut cyrillic] = [0; 3];
    for k in 0..2 {
        let v = half(bytes, k);
        let put = |mask: &mut u64, found| *mask |= to_bits(found) << (32 * k);
        // As signed numbers, 0x80 to 0xbf are those below -64.
        put(&mut tail, _mm256_cmpgt_epi8(_mm256_set1_epi8(-64), v));
        let [first, second, third] =
            LETTERS_ONLY.map(|range| within(v, *range.start(), *range.end()));
        put(&mut ideograph, _mm256_or_si256(first, second));
        put(&mut cyrillic, third);
    }
    Beyond {
        tail,
        ideograph,
        cyrillic,
    }
}

/// The first or second 32 bytes of a block.
#[target_feature(enable = "avx2")]
#[inline]
fn half(bytes: &Bytes, k: usize) -> __m256i {
    let half: &[u8; 32] = bytes[32 * k..32 * k + 32].try_into().expect("32 bytes");
    // SAFETY: `half` has the 32 bytes that are read, and the load needs no alignment.
    unsafe { half.as_ptr().cast::<__m256i>().read_unaligned() }
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
