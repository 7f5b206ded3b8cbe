//! What merging side by side does with many numbers at once, by instructions.

use crate::encode::ranks::{self, Line, Slot};

/// The operations for slots of a kind.
pub trait Vectors<S: Slot> {
    /// The rank + 1 of a line's slot of the same pair as `key`, 0 if there is none.
    fn find(line: &Line<S>, key: S) -> u32;
    /// Puts entries at the places where there are such; the least of all.
    fn settle<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32;
    /// The ids whose bits are set, and zeroes behind them.
    fn compact<const N: usize>(ids: &[u32; N], which: u32) -> [u32; N];
}

/// Any processor.
pub struct Portable;

impl<S: Slot> Vectors<S> for Portable {
    #[inline]
    fn find(line: &Line<S>, key: S) -> u32 {
        ranks::find(line, key)
    }

    #[inline]
    fn settle<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
        for (at, new) in at.into_iter().zip(new) {
            if let Some(entry) = entries.get_mut(at as usize) {
                *entry = new;
            }
        }
        entries.iter().copied().fold(u32::MAX, u32::min)
    }

    #[inline]
    fn compact<const N: usize>(ids: &[u32; N], mut which: u32) -> [u32; N] {
        let mut some = [0; N];
        for id in &mut some[..which.count_ones() as usize] {
            *id = ids[which.trailing_zeros() as usize];
            which &= which - 1;
        }
        some
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[expect(clippy::inline_always)]
mod x86 {
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
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::processor::Level;

    /// What the operations give, as one value.
    fn all_of<V: Vectors<u64>, const N: usize>(
        line: Line<u64>,
        key: u64,
        (entries, at, new): ([u32; N], [u32; 3], [u32; 3]),
        which: u32,
    ) -> (u32, [u32; N], u32, [u32; N]) {
        let mut settled = entries;
        let least = V::settle(&mut settled, at, new);
        (
            V::find(&line, key),
            settled,
            least,
            V::compact(&entries, which),
        )
    }

    fn at_all_levels<const N: usize>(
        line: Line<u64>,
        key: u64,
        settling: ([u32; N], [u32; 3], [u32; 3]),
        which: u32,
    ) -> Vec<(u32, [u32; N], u32, [u32; N])> {
        let which = which & u32::MAX >> (32 - N);
        Level::all()
            .map(|level| match level {
                Level::Portable => all_of::<Portable, N>(line, key, settling, which),
                Level::Avx2 => all_of::<Avx2, N>(line, key, settling, which),
                Level::Avx512 => all_of::<Avx512, N>(line, key, settling, which),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn levels_are_alike(
            pairs in prop::array::uniform8((0u32..3, 0u32..1 << 21, 0u32..1 << 21)),
            free in 0usize..9,
            (left, right) in (0u32..3, 0u32..1 << 21),
            same in prop::option::of(0usize..8),
            entries in prop::array::uniform32(any::<u32>()),
            at in Just((0u32..=32).collect::<Vec<_>>()).prop_shuffle(),
            new in prop::array::uniform3(any::<u32>()),
            which: u32,
        ) {
            let mut line = pairs.map(|(left, right, rank)| u64::key(left, right).with_rank(rank));
            line[free..].fill(0);
            let key = same.map_or(u64::key(left, right), |at| u64::key(pairs[at].0, pairs[at].1));
            let at = [at[0], at[1], at[2]];
            let all = at_all_levels::<32>(line, key, (entries, at, new), which);
            prop_assert!(all.iter().all(|one| *one == all[0]), "{:?}", all);
            let (least, rank) = (all[0].1.iter().min().copied(), all[0].0);
            prop_assert_eq!(Some(all[0].2), least);
            let known = same.filter(|at| *at < free).map_or(0, |at| pairs[at].2 + 1);
            prop_assert_eq!(rank, known);
            let kept: Vec<u32> = (0..32).filter(|i| which >> i & 1 != 0).map(|i| entries[i]).collect();
            prop_assert_eq!(&all[0].3[..kept.len()], &kept[..]);
            prop_assert!(all[0].3[kept.len()..].iter().all(|id| *id == 0));
            for (i, entry) in (0u32..).zip(all[0].1) {
                let placed = at.iter().position(|at| *at == i).map(|place| new[place]);
                prop_assert_eq!(entry, placed.unwrap_or(entries[i as usize]));
            }
            let short = entries.first_chunk::<16>().copied().unwrap_or_default();
            let all = at_all_levels::<16>(line, key, (short, at, new), which);
            prop_assert!(all.iter().all(|one| *one == all[0]), "{:?}", all);
        }
    }
}
