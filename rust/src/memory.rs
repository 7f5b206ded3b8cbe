//! Large zeroed tables in large pages.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Types for which any bytes are a value.
///
/// # Safety
/// All bit patterns must be valid, all zeroes included, and the alignment at most that of a page.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: numbers.
unsafe impl Plain for u32 {}
// SAFETY: numbers.
unsafe impl Plain for u64 {}
// SAFETY: numbers.
unsafe impl Plain for u128 {}
// SAFETY: as its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Bytes of a large page.
const HUGE: usize = 1 << 21;

/// A table of a fixed length, zeroed, on memory of its own that is touched as it fills.
///
/// Huge pages are asked for where the system gives them on request: random look-ups in megabytes otherwise miss the
/// processor's table of pages as well (encoding English gains 26 % when cold, 4 % warm). An ordinary allocation of this alignment
/// would be zeroed, and so touched, at once.
pub(crate) struct Table<T> {
    memory: MmapMut,
    /// Where it begins, in bytes.
    start: usize,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Table<T> {
    /// A table of `len` zeroes.
    ///
    /// # Panics
    /// If there is no memory, as any allocation does.
    pub fn new(len: usize) -> Self {
        let size = (len * size_of::<T>()).max(1);
        // Only what lies on their borders is put on huge pages.
        let more = if size < HUGE { 0 } else { HUGE };
        let memory = MmapMut::map_anon(size + more).expect("memory for a table");
        let start = if size < HUGE {
            0
        } else {
            (memory.as_ptr() as usize).wrapping_neg() % HUGE
        };
        #[cfg(target_os = "linux")]
        // Where it is refused, nothing changes.
        let _ = memory.advise(memmap2::Advice::HugePage);
        Self {
            memory,
            start,
            len,
            of: PhantomData,
        }
    }

    /// As [`Table::new`], every page touched.
    ///
    /// Where a table is looked up before it is written, a page costs two faults and a word to all processors.
    pub fn touched(len: usize) -> Self {
        const PAGE: usize = 1 << 12;
        let mut table = Self::new(len);
        let end = table.start + len * size_of::<T>();
        for byte in table.memory[table.start..end].iter_mut().step_by(PAGE) {
            // SAFETY: a reference can be written through.
            unsafe { std::ptr::write_volatile(byte, 0) };
        }
        table
    }
}

/// A vector with room for so many elements, on large pages as far as it has any.
pub(crate) fn large_vec<T>(capacity: usize) -> Vec<T> {
    let vec = Vec::<T>::with_capacity(capacity);
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 1 << 12;
        let size = capacity * size_of::<T>();
        if size >= HUGE {
            // SAFETY: this changes neither what is there nor whose it is; where it is refused, nothing changes.
            unsafe {
                let start = vec.as_ptr().cast::<u8>();
                let skip = start.align_offset(PAGE);
                let len = (size - skip) & !(PAGE - 1);
                libc::madvise(start.add(skip).cast_mut().cast(), len, libc::MADV_HUGEPAGE);
            }
        }
    }
    vec
}

impl<T: Plain> Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping is page-aligned, `start` is a multiple of a page, from there on lie `len` values of a plain
        // type, and they are borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.start).cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Table<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed for writing.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory.as_mut_ptr().add(self.start).cast(),
                self.len,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_what_a_vector_is() {
        for len in [0, 1, 1000, 1 << 19] {
            let (mut table, mut vector) = (Table::<u64>::new(len), vec![0; len]);
            assert_eq!(*table, *vector);
            for i in (0..len).step_by(7) {
                (table[i], vector[i]) = (i as u64, i as u64);
            }
            assert_eq!(*table, *vector);
        }
    }
}
