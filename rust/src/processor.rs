//! Which instructions the hot loops are compiled for, chosen when they run.

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    /// AVX2 and the operations on bits that came with it; `target_feature` has to name them all.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    /// All that this processor has, the best last.
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        let mut levels = [Some(Self::Portable), None];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let bits = has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt");
            levels[1] = (bits && has!("avx2")).then_some(Self::Avx2);
        }
        levels.into_iter().flatten()
    }

    /// The best that this processor has.
    #[inline]
    pub(crate) fn best() -> Self {
        Self::all().next_back().unwrap_or(Self::Portable)
    }
}
