//! Memory for arrays of a few pages, on large pages.
//!
//! The first write to a page of 4 KiB costs 1.5 µs (Linux 6.18, a virtual machine): for the ids of English, a sixth of
//! encoding it. A page of 2 MiB costs a sixth of that for each byte. What is given back is used again as by any
//! allocator; a chunk of which nothing is used goes back to the system, but for a few.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::Table;

/// Bytes of a chunk: a large page.
const CHUNK: usize = 1 << 21;
/// Bytes that are given out together.
const UNIT: usize = 1 << 10;
const UNITS: usize = CHUNK / UNIT;
/// Most bytes of a block: larger ones are as well on memory of their own.
pub const MOST_BYTES: usize = CHUNK / 8;
/// Unused chunks that are kept.
const SPARE: usize = 16;
/// Used units from which on a chunk is not worth a search, but for the one where the last block was.
const NEARLY_FULL: usize = UNITS / 4 * 3;

/// Chunks, and which units of them are used. Of Python's threads only one at a time comes here, so that no lock is held
/// at a fork.
pub struct Arena(Mutex<Chunks>);

struct Chunks {
    all: Vec<Option<Chunk>>,
    /// Where the last block was.
    at: usize,
    num_unused: usize,
}

struct Chunk {
    memory: Table<u64>,
    used: [u64; UNITS / 64],
    num_used: usize,
    /// No unit before is free.
    least: usize,
}

/// Bytes of an arena, until it is dropped.
pub struct Block {
    arena: &'static Arena,
    start: *mut u8,
    chunk: usize,
    first: usize,
    num: usize,
}

// SAFETY: nobody else has its memory, and the arena has a lock.
unsafe impl Send for Block {}
// SAFETY: a reference to it gives an address only.
unsafe impl Sync for Block {}

impl Arena {
    /// One without chunks.
    pub const fn new() -> Self {
        Self(Mutex::new(Chunks {
            all: Vec::new(),
            at: 0,
            num_unused: 0,
        }))
    }

    /// A block of so many bytes, [`MOST_BYTES`] at most, with anything in it.
    pub fn block(&'static self, num_bytes: usize) -> Block {
        assert!(num_bytes <= MOST_BYTES);
        let num = num_bytes.div_ceil(UNIT).max(1);
        let mut chunks = self.chunks();
        let (chunk, first) = chunks.take(num);
        let memory = chunks.all[chunk].as_mut().expect("a chunk with a block");
        // SAFETY: the units lie in it.
        let start = unsafe { memory.memory.as_mut_ptr().cast::<u8>().add(first * UNIT) };
        Block {
            arena: self,
            start,
            chunk,
            first,
            num,
        }
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// Where it begins: aligned as any number.
    pub fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.arena
            .chunks()
            .give_back(self.chunk, self.first, self.num);
    }
}

impl Chunks {
    /// The chunk and first unit of so many that were free.
    fn take(&mut self, num: usize) -> (usize, usize) {
        let free = |at: usize| {
            let chunk = self.all[at].as_ref()?;
            let is_searched = at == self.at || chunk.num_used < NEARLY_FULL;
            Some((at, chunk.free(num).filter(|_| is_searched)?))
        };
        let mut all = (self.at..self.all.len()).chain(0..self.at);
        let (at, first) = all.find_map(free).unwrap_or_else(|| (self.add(), 0));
        let chunk = self.all[at].as_mut().expect("a chunk with free units");
        self.num_unused -= usize::from(chunk.num_used == 0);
        chunk.set(first, num);
        self.at = at;
        (at, first)
    }

    /// A new chunk.
    fn add(&mut self) -> usize {
        let at = self
            .all
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.all.push(None);
                self.all.len() - 1
            });
        self.all[at] = Some(Chunk {
            memory: Table::new(CHUNK / size_of::<u64>()),
            used: [0; UNITS / 64],
            num_used: 0,
            least: 0,
        });
        self.num_unused += 1;
        at
    }

    fn give_back(&mut self, at: usize, first: usize, num: usize) {
        let chunk = self.all[at].as_mut().expect("a chunk with a block");
        chunk.unset(first, num);
        if chunk.num_used == 0 {
            if self.num_unused < SPARE {
                self.num_unused += 1;
            } else {
                self.all[at] = None;
            }
        }
    }
}

impl Chunk {
    /// The first of so many free units side by side.
    fn free(&self, num: usize) -> Option<usize> {
        let (mut first, mut end) = (self.least, self.least);
        while end - first < num {
            if end == UNITS {
                return None;
            }
            // Up to the next change, or the end of a word.
            let word = self.used[end / 64] >> (end % 64);
            let (is_used, rest) = (word & 1 != 0, 64 - end % 64);
            let run = if is_used {
                word.trailing_ones()
            } else {
                word.trailing_zeros()
            };
            end += (run as usize).min(rest);
            if is_used {
                first = end;
            }
        }
        Some(first)
    }

    fn set(&mut self, first: usize, num: usize) {
        for unit in first..first + num {
            self.used[unit / 64] |= 1 << (unit % 64);
        }
        self.num_used += num;
        if first == self.least {
            self.least += num;
        }
    }

    fn unset(&mut self, first: usize, num: usize) {
        for unit in first..first + num {
            self.used[unit / 64] &= !(1 << (unit % 64));
        }
        self.num_used -= num;
        self.least = self.least.min(first);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn blocks_are_apart_and_used_again(sizes in prop::collection::vec((0usize..=MOST_BYTES, any::<prop::sample::Index>(), 0u8..3), 1..400)) {
            let arena: &'static Arena = Box::leak(Box::new(Arena::new()));
            let mut blocks: Vec<(Block, usize, u8)> = Vec::new();
            let mut most = 0;
            for (i, (size, other, what)) in sizes.into_iter().enumerate() {
                if what > 0 && !blocks.is_empty() {
                    let (block, size, byte) = blocks.swap_remove(other.index(blocks.len()));
                    // SAFETY: so many bytes are the block's, and were written.
                    let bytes = unsafe { std::slice::from_raw_parts(block.start(), size) };
                    prop_assert!(bytes.iter().all(|b| *b == byte));
                }
                if what < 2 {
                    let block = arena.block(size);
                    prop_assert!(block.start().addr().is_multiple_of(UNIT));
                    // SAFETY: so many bytes are the block's.
                    unsafe { block.start().write_bytes(i as u8, size) };
                    blocks.push((block, size, i as u8));
                }
                most = most.max(blocks.iter().map(|(block, ..)| block.num).sum());
                let chunks = arena.chunks();
                let all = chunks.all.iter().flatten();
                let num_used: usize = all.clone().map(|chunk| chunk.num_used).sum();
                prop_assert_eq!(num_used, blocks.iter().map(|(block, ..)| block.num).sum::<usize>());
                prop_assert_eq!(chunks.num_unused, all.filter(|chunk| chunk.num_used == 0).count());
            }
            // Three quarters of a chunk are used, or a block more has no room in it.
            prop_assert!(arena.chunks().all.len() <= most / (NEARLY_FULL - UNITS / 8) + 2);
            drop(blocks);
            prop_assert!(arena.chunks().all.iter().flatten().count() <= SPARE);
        }
    }
}
