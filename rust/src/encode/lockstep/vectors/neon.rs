//! NEON, which every 64-bit ARM has.

use std::arch::aarch64::{
    uint32x4_t, uint64x2_t, vaddq_u32, vandq_u64, vbslq_u32, vceqq_u32, vceqzq_u64, vdupq_n_u32,
    vdupq_n_u64, veorq_u64, vgetq_lane_u64, vminq_u32, vminvq_u32, vorrq_u64, vpaddq_u64,
    vshrq_n_u64,
};

use super::{Line, Portable, Vectors};

/// Any processor of this kind.
pub struct Neon;

impl Vectors<u64> for Neon {
    #[inline]
    fn find(line: &Line<u64>, key: u64) -> u32 {
        // SAFETY: the processor has NEON.
        unsafe { find(line, key) }
    }

    #[inline]
    fn settle<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
        // SAFETY: the processor has NEON.
        unsafe { settle(entries, at, new) }
    }

    #[inline]
    fn compact<const N: usize>(ids: &[u32; N], which: u32) -> [u32; N] {
        <Portable as Vectors<u64>>::compact(ids, which)
    }
}

/// Two slots at once.
#[target_feature(enable = "neon")]
#[inline]
fn find(line: &Line<u64>, key: u64) -> u32 {
    // SAFETY: vectors of integers are what any bytes are.
    let slots = unsafe { std::mem::transmute::<Line<u64>, [uint64x2_t; 4]>(*line) };
    let key = vdupq_n_u64(key);
    let [a, b, c, d] = slots.map(|slots| {
        let rest = veorq_u64(slots, key);
        vandq_u64(rest, vceqzq_u64(vshrq_n_u64::<22>(rest)))
    });
    let found = vorrq_u64(vorrq_u64(a, b), vorrq_u64(c, d));
    // One of the two is 0.
    vgetq_lane_u64::<0>(vpaddq_u64(found, found)) as u32
}

/// Four entries at once.
#[target_feature(enable = "neon")]
#[inline]
fn settle<const N: usize>(entries: &mut [u32; N], at: [u32; 3], new: [u32; 3]) -> u32 {
    let all = |number: u32| vdupq_n_u32(number);
    let (at, new) = (at.map(all), new.map(all));
    // SAFETY: vectors of integers are what any bytes are.
    let mut places = unsafe { std::mem::transmute::<[u32; 4], uint32x4_t>([0, 1, 2, 3]) };
    let mut least = all(u32::MAX);
    for some in entries.as_chunks_mut::<4>().0 {
        // SAFETY: as above.
        let mut now = unsafe { std::mem::transmute::<[u32; 4], uint32x4_t>(*some) };
        for (at, new) in at.into_iter().zip(new) {
            now = vbslq_u32(vceqq_u32(places, at), new, now);
        }
        least = vminq_u32(least, now);
        // SAFETY: as above.
        *some = unsafe { std::mem::transmute::<uint32x4_t, [u32; 4]>(now) };
        places = vaddq_u32(places, all(4));
    }
    vminvq_u32(least)
}
