//! Short pretokens as numbers, and the hashes by which pretokens are looked up.

/// Longest pretoken that a [`Key`] holds.
pub(crate) const KEY_BYTES: usize = 15;

/// For each number of bytes, ones where they lie.
const BYTES: [u128; 16] = {
    let mut masks = [0; 16];
    let mut len = 1;
    while len < 16 {
        masks[len] = u128::MAX >> (128 - 8 * len);
        len += 1;
    }
    masks
};

/// What [`Key::spread`] multiplies the halves of a key by.
pub(crate) const SPREAD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xa076_1d64_78bd_642f];

/// Up to 15 bytes, and how many in the highest byte; never 0, since pretokens are not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(pub u128);

impl Key {
    /// The key of 1 to 15 bytes from `start` on. Reading 16 bytes there and masking is faster than a copy whose length
    /// is different each time.
    #[inline]
    pub fn new(text: &[u8], start: usize, len: usize) -> Self {
        let word = if let Some(window) = text.get(start..start + 16) {
            u128::from_le_bytes(window.try_into().expect("sixteen bytes")) & BYTES[len & 15]
        } else {
            let mut window = [0; 16];
            window[..len].copy_from_slice(&text[start..start + len]);
            u128::from_le_bytes(window)
        };
        Self(word | (len as u128) << 120)
    }

    /// As [`Key::new`].
    ///
    /// # Safety
    /// The text goes on for 16 bytes from `start` on.
    #[inline]
    pub unsafe fn new_unchecked(text: &[u8], start: usize, len: usize) -> Self {
        debug_assert!(start + 16 <= text.len() && len <= KEY_BYTES);
        // SAFETY: the caller says so.
        let word = unsafe { text.as_ptr().add(start).cast::<[u8; 16]>().read() };
        let word = u128::from_le_bytes(word) & BYTES[len & 15];
        Self(word | (len as u128) << 120)
    }

    /// The key of a pretoken by itself.
    pub fn of(pretoken: &[u8]) -> Self {
        Self::new(pretoken, 0, pretoken.len())
    }

    /// Set in the key of a part of a pretoken, which is never that of a pretoken.
    pub const PART: u128 = 1 << 124;

    /// [`Key::PART`] or 0.
    #[inline]
    pub fn part(is_part: bool) -> u128 {
        u128::from(is_part) << Self::PART.ilog2()
    }

    /// Whether it is that of a part.
    #[inline]
    pub fn is_part(self) -> bool {
        self.0 & Self::PART != 0
    }

    /// Number of bytes.
    #[inline]
    pub fn len(self) -> usize {
        (self.0 >> 120) as usize & 15
    }

    /// The bytes, in the buffer given.
    pub fn bytes(self, buffer: &mut [u8; 16]) -> &[u8] {
        *buffer = self.0.to_le_bytes();
        &buffer[..self.len()]
    }

    /// Mixes all bits of the key into the upper 32, and for those only: a sum of two products, so that vectors can do it
    /// too.
    #[inline]
    pub fn spread(self) -> u64 {
        let (low, high) = (self.0 as u64, (self.0 >> 64) as u64);
        low.wrapping_mul(SPREAD[0])
            .wrapping_add(high.wrapping_mul(SPREAD[1]))
    }

    /// Mixes all bits of the key.
    #[inline]
    pub fn hash(self) -> u64 {
        let (low, high) = (self.0 as u64, (self.0 >> 64) as u64);
        fold(low ^ 0x9e37_79b9_7f4a_7c15, high ^ 0xa076_1d64_78bd_642f)
    }
}

/// Both halves of a 128-bit product, together.
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Mixes any number of bytes.
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), 0x9e37_79b9_7f4a_7c15);
    }
    // The last eight bytes, some of them once more, or all if there are fewer.
    let last = bytes.last_chunk().copied().unwrap_or_else(|| {
        let mut last = [0; 8];
        last[..bytes.len()].copy_from_slice(bytes);
        last
    });
    fold(hash ^ u64::from_le_bytes(last), 0xa076_1d64_78bd_642f)
}

/// Asks for the cache line of a value that is needed soon. Encoding gains 22 % on English and 51 % on mixed scripts
/// (warm, Zen 5).
#[inline]
pub(crate) fn prefetch<T>(value: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint about an address; it reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(value.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) value, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_hold_the_bytes(text in prop::collection::vec(any::<u8>(), 1..60), start in 0usize..60, len in 1usize..=KEY_BYTES) {
            let start = start % text.len();
            let len = len.min(text.len() - start);
            let key = Key::new(&text, start, len);
            let mut buffer = [0; 16];
            prop_assert_eq!(key.bytes(&mut buffer), &text[start..start + len]);
            let part = Key(key.0 | Key::PART);
            prop_assert!(part.is_part() && !key.is_part());
            prop_assert_eq!(part.bytes(&mut buffer), &text[start..start + len]);
            prop_assert_eq!(key, Key::of(&text[start..start + len]));
        }
    }
}
