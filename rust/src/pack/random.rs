//! Random numbers that depend on their seeds alone, so that a row can be made again.

use xxhash_rust::xxh3::xxh3_64;

/// A small generator whose numbers depend on its seeds alone (Steele et al. 2014, `SplitMix64`).
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn new(seeds: &[u64]) -> Self {
        let bytes: Vec<u8> = seeds.iter().flat_map(|s| s.to_le_bytes()).collect();
        Self(xxh3_64(&bytes))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`, by multiplication; its bias is at most `bound` / 2^64.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}
