//! AVX2 and AVX-512.
#![expect(clippy::inline_always)]

#[allow(clippy::wildcard_imports, reason = "thirty intrinsics")]
use std::arch::x86_64::*;

use super::{Line, Portable, Vectors};

/// A processor with AVX2; for callers that are compiled for one.
pub struct Avx2;

impl Vectors<u64> for Avx2 {
    #[inline(always)]
    fn find(line: &Line<u64>, key: u64) -> u32 {
        // SAFETY: the processor has AVX2.
        unsafe { find_avx2(line, key) }
    }

    #[inline(always)]
    fn settle<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
        // SAFETY: the processor has AVX2.
        unsafe { settle_avx2(entries, at, new) }
    }

    #[inline(always)]
    fn compact<const N: usize>(ids: &[u32; N], which: u32) -> [u32; N] {
        <Portable as Vectors<u64>>::compact(ids, which)
    }
}

/// A processor with AVX-512; for callers that are compiled for one.
pub struct Avx512;

impl Vectors<u64> for Avx512 {
    #[inline(always)]
    fn find(line: &Line<u64>, key: u64) -> u32 {
        // SAFETY: the processor has AVX-512.
        unsafe { find_avx512(line, key) }
    }

    #[inline(always)]
    fn settle<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
        // SAFETY: the processor has AVX-512.
        unsafe { settle_avx512(entries, at, new) }
    }

    #[inline(always)]
    fn compact<const N: usize>(ids: &[u32; N], which: u32) -> [u32; N] {
        // SAFETY: the processor has AVX-512.
        unsafe { compact_avx512(ids, which) }
    }
}

/// Four slots at once.
#[target_feature(enable = "avx2")]
#[inline]
fn find_avx2(line: &Line<u64>, key: u64) -> u32 {
    // SAFETY: vectors of integers are what any bytes are.
    let halves = unsafe { std::mem::transmute::<Line<u64>, [__m256i; 2]>(*line) };
    let ranks = halves.map(|slots| {
        let rest = _mm256_xor_si256(slots, _mm256_set1_epi64x(key.cast_signed()));
        let same = _mm256_cmpeq_epi64(_mm256_srli_epi64::<22>(rest), _mm256_setzero_si256());
        _mm256_and_si256(rest, same)
    });
    let four = _mm256_or_si256(ranks[0], ranks[1]);
    let two = _mm_or_si128(
        _mm256_castsi256_si128(four),
        _mm256_extracti128_si256::<1>(four),
    );
    _mm_cvtsi128_si32(_mm_or_si128(two, _mm_unpackhi_epi64(two, two))).cast_unsigned()
}

#[target_feature(enable = "avx2")]
#[inline]
fn settle_avx2<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
    let all = |number: u32| _mm256_set1_epi32(number.cast_signed());
    let (at, new) = (at.map(all), new.map(all));
    let mut places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mut least = all(u32::MAX);
    for some in entries.as_chunks_mut::<8>().0 {
        // SAFETY: vectors of integers are what any bytes are.
        let mut now = unsafe { std::mem::transmute::<[u32; 8], __m256i>(*some) };
        for (at, new) in at.into_iter().zip(new) {
            now = _mm256_blendv_epi8(now, new, _mm256_cmpeq_epi32(places, at));
        }
        least = _mm256_min_epu32(least, now);
        // SAFETY: as above.
        *some = unsafe { std::mem::transmute::<__m256i, [u32; 8]>(now) };
        places = _mm256_add_epi32(places, all(8));
    }
    let four = _mm_min_epu32(
        _mm256_castsi256_si128(least),
        _mm256_extracti128_si256::<1>(least),
    );
    let two = _mm_min_epu32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_min_epu32(two, _mm_srli_epi64::<32>(two))).cast_unsigned()
}

/// All eight slots at once.
#[target_feature(enable = "avx512f")]
#[inline]
fn find_avx512(line: &Line<u64>, key: u64) -> u32 {
    // SAFETY: vectors of integers are what any bytes are.
    let slots = unsafe { std::mem::transmute::<Line<u64>, __m512i>(*line) };
    let rest = _mm512_xor_si512(slots, _mm512_set1_epi64(key.cast_signed()));
    let same = _mm512_testn_epi64_mask(rest, _mm512_set1_epi64(-1 << 22));
    let first = _mm512_castsi512_si128(_mm512_maskz_compress_epi64(same, rest));
    _mm_cvtsi128_si32(first).cast_unsigned()
}

#[target_feature(enable = "avx512f")]
#[inline]
fn settle_avx512<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
    let all = |number: u32| _mm512_set1_epi32(number.cast_signed());
    let (at, new) = (at.map(all), new.map(all));
    let mut places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut least = all(u32::MAX);
    for some in entries.as_chunks_mut::<16>().0 {
        // SAFETY: vectors of integers are what any bytes are.
        let mut now = unsafe { std::mem::transmute::<[u32; 16], __m512i>(*some) };
        for (at, new) in at.into_iter().zip(new) {
            now = _mm512_mask_mov_epi32(now, _mm512_cmpeq_epi32_mask(places, at), new);
        }
        least = _mm512_min_epu32(least, now);
        // SAFETY: as above.
        *some = unsafe { std::mem::transmute::<__m512i, [u32; 16]>(now) };
        places = _mm512_add_epi32(places, all(16));
    }
    _mm512_reduce_min_epu32(least)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn compact_avx512<const N: usize>(ids: &[u32; N], mut which: u32) -> [u32; N] {
    let mut some = [0; N];
    let mut num = 0;
    for ids in ids.as_chunks::<16>().0 {
        // SAFETY: vectors of integers are what any bytes are.
        let ids = unsafe { std::mem::transmute::<[u32; 16], __m512i>(*ids) };
        let kept = _mm512_maskz_compress_epi32(which as u16, ids);
        // SAFETY: as above.
        let kept = unsafe { std::mem::transmute::<__m512i, [u32; 16]>(kept) };
        // The zeroes behind go no further than the ids did.
        some[num..num + 16].copy_from_slice(&kept);
        num += (which as u16).count_ones() as usize;
        which >>= 16;
    }
    some
}
