//! What merging side by side does with many numbers at once, by instructions.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::encode::ranks::{self, Line, Slot};

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

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

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
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
                #[cfg(target_arch = "aarch64")]
                Level::Neon => all_of::<Neon, N>(line, key, settling, which),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => all_of::<Avx2, N>(line, key, settling, which),
                #[cfg(target_arch = "x86_64")]
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
