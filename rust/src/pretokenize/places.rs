//! The places of bits, one behind the other.

use super::blocks::BLOCK;

/// Puts `base` and the place of each bit; behind them is garbage.
#[inline]
pub(super) fn portable(base: usize, mut bits: u64, room: &mut [usize; BLOCK]) {
    // Eight at a time whatever the number: a loop that ends at the last bit is mispredicted once per window.
    for eight in room.chunks_exact_mut(8) {
        for place in eight {
            *place = base + bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            break;
        }
    }
}

/// The same, bytes of place 0 to 63 picked at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,avx512f,avx512vbmi2")]
#[inline]
pub(super) fn avx512(base: usize, bits: u64, room: &mut [usize; BLOCK]) {
    use std::arch::x86_64::{
        __m128i, __m512i, _mm_srli_si128, _mm512_add_epi64, _mm512_cvtepu8_epi64,
        _mm512_maskz_compress_epi8, _mm512_set1_epi64, _mm512_storeu_si512,
    };
    static ALL: [u8; BLOCK] = {
        let mut all = [0; BLOCK];
        let mut i = 0;
        while i < BLOCK {
            all[i] = i as u8;
            i += 1;
        }
        all
    };
    // SAFETY: vectors of integers are what any bytes are.
    let all = unsafe { std::mem::transmute::<[u8; BLOCK], __m512i>(ALL) };
    let places = _mm512_maskz_compress_epi8(bits, all);
    // SAFETY: as above.
    let sixteens = unsafe { std::mem::transmute::<__m512i, [__m128i; 4]>(places) };
    let base = _mm512_set1_epi64(base as i64);
    let mut left = bits.count_ones();
    for (sixteen, room) in sixteens.into_iter().zip(room.as_chunks_mut::<16>().0) {
        let low = _mm512_add_epi64(_mm512_cvtepu8_epi64(sixteen), base);
        let high = _mm512_cvtepu8_epi64(_mm_srli_si128::<8>(sixteen));
        let high = _mm512_add_epi64(high, base);
        // SAFETY: sixteen words.
        unsafe {
            _mm512_storeu_si512(room.as_mut_ptr().cast(), low);
            _mm512_storeu_si512(room.as_mut_ptr().add(8).cast(), high);
        }
        // Most windows have no more, which the processor foresees.
        if left <= 16 {
            break;
        }
        left -= 16;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_are_those_of_the_bits(base in 0usize..1 << 40, bits in any::<u64>(), fewer in any::<u64>()) {
            for bits in [bits, bits & fewer, 0, u64::MAX] {
                let want: Vec<usize> = (0..64).filter(|at| bits >> at & 1 == 1).map(|at| base + at).collect();
                let mut room = [0; BLOCK];
                portable(base, bits, &mut room);
                prop_assert_eq!(&room[..want.len()], &want[..]);
                #[cfg(target_arch = "x86_64")]
                if crate::processor::Level::best() == crate::processor::Level::Avx512 {
                    let mut room = [0; BLOCK];
                    // SAFETY: the processor is of this level.
                    unsafe { avx512(base, bits, &mut room) };
                    prop_assert_eq!(&room[..want.len()], &want[..]);
                }
            }
        }
    }
}
