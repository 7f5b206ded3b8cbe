//! Which instructions the hot loops are compiled for, chosen when they run.

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    /// NEON, which every 64-bit ARM has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// AVX2 and the operations on bits that came with it; `target_feature` has to name them all.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// These and AVX-512 as all processors have it that permute bytes (VBMI): Intel from Ice Lake, AMD from Zen 4 on.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// All that this processor has, the best last.
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        #[allow(unused_mut, reason = "other processors have no more")]
        let mut levels = [Some(Self::Portable), None, None];
        #[cfg(target_arch = "aarch64")]
        {
            levels[1] = Some(Self::Neon);
        }
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let bits = has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt");
            let avx2 = bits && has!("avx2");
            let vectors = has!("avx512f") && has!("avx512bw") && has!("avx512vl");
            let more = has!("avx512dq") && has!("avx512vbmi") && has!("avx512vbmi2");
            levels[1] = avx2.then_some(Self::Avx2);
            levels[2] = (avx2 && vectors && more).then_some(Self::Avx512);
        }
        levels.into_iter().flatten()
    }

    /// The best that this processor has.
    #[inline]
    pub(crate) fn best() -> Self {
        Self::all().next_back().unwrap_or(Self::Portable)
    }
}
