//! Pretoken -> ids, remembered by each thread within a fixed size.
//!
//! Text repeats its words: on English 99 % of pretokens were seen before. Pretokens of up to 15 bytes that give up to
//! four ids are keys of 16 bytes (the text and its length), two to a cache line, the newer first; a lookup is one
//! line. All others lie in an arena that is emptied when full.

use super::whole::{Key, fold};

const UNUSED: u32 = u32::MAX;
/// Bytes of one line: two keys, then two lots of four ids.
const LINE_BYTES: usize = 64;
const LINE_WORDS: usize = 4;
/// Longer pretokens are rarely seen twice.
const LONGEST: usize = 256;
/// Ids that a short pretoken's entry holds.
pub const MOST_IDS: usize = 4;

/// One thread's cache; holds nothing when made with a size of 0.
pub struct Cache {
    mib: usize,
    words: Vec<u128>,
    /// Where the first line starts in `words`, so that no line straddles two.
    first: usize,
    num_lines: usize,
    long: LongCache,
}

impl Cache {
    /// A cache of at most `mib` MiB, half of it for each kind. Memory is touched as it fills.
    pub fn new(mib: usize) -> Self {
        let half = mib << 19;
        let num_lines = if half == 0 {
            0
        } else {
            1 << (half / LINE_BYTES).ilog2()
        };
        let words = vec![
            0u128;
            if num_lines == 0 {
                0
            } else {
                (num_lines + 1) * LINE_WORDS
            }
        ];
        let first = (words.as_ptr() as usize).wrapping_neg() % LINE_BYTES / size_of::<u128>();
        Self {
            mib,
            words,
            first,
            num_lines,
            long: LongCache::new(half),
        }
    }

    /// The size that it was made with.
    pub fn mib(&self) -> usize {
        self.mib
    }

    /// Loads the lines of keys that are looked up next; the loads wait for none of each other.
    #[inline]
    pub fn touch(&mut self, keys: &[Key]) {
        if self.num_lines > 0 {
            let loaded = keys
                .iter()
                .fold(0, |loaded, key| loaded ^ self.line(*key)[0]);
            std::hint::black_box(loaded);
        }
    }

    /// Appends the ids of a short pretoken if they are known.
    #[inline]
    pub fn get(&mut self, key: Key, out: &mut Vec<u32>) -> bool {
        if self.num_lines == 0 {
            return false;
        }
        let line = self.line(key);
        let packed = if line[0] == key.0 {
            line[2]
        } else if line[1] == key.0 {
            line[3]
        } else {
            return false;
        };
        out.push(packed as u32);
        for i in 1..MOST_IDS {
            let id = (packed >> (32 * i)) as u32;
            if id == UNUSED {
                break;
            }
            out.push(id);
        }
        true
    }

    /// Remembers up to four ids of a short pretoken, in place of the line's older one.
    #[inline]
    pub fn put(&mut self, key: Key, ids: &[u32]) {
        if self.num_lines == 0 {
            return;
        }
        let packed = (0..MOST_IDS).rev().fold(0u128, |packed, i| {
            packed << 32 | u128::from(ids.get(i).copied().unwrap_or(UNUSED))
        });
        let line = self.line(key);
        (line[1], line[3]) = (line[0], line[2]);
        (line[0], line[2]) = (key.0, packed);
    }

    #[inline]
    fn line(&mut self, key: Key) -> &mut [u128; LINE_WORDS] {
        let at = self.first + (key.hash() as usize & (self.num_lines - 1)) * LINE_WORDS;
        (&mut self.words[at..at + LINE_WORDS])
            .try_into()
            .expect("a line has four words")
    }

    /// Appends the ids of any other pretoken if they are known.
    pub fn get_long(&self, bytes: &[u8], out: &mut Vec<u32>) -> bool {
        self.long.get(bytes, out)
    }

    /// Remembers the ids of any other pretoken.
    pub fn put_long(&mut self, bytes: &[u8], ids: &[u32]) {
        self.long.put(bytes, ids);
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    bytes_start: u32,
    ids_start: u32,
    /// 0: free.
    bytes_len: u16,
    ids_len: u16,
}

/// Direct mapped slots into an arena of bytes and one of ids.
struct LongCache {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

impl LongCache {
    fn new(size: usize) -> Self {
        let num_slots = if size == 0 {
            0
        } else {
            1 << (size / 128).ilog2()
        };
        Self {
            slots: vec![Slot::default(); num_slots],
            bytes: Vec::new(),
            ids: Vec::new(),
        }
    }

    fn get(&self, bytes: &[u8], out: &mut Vec<u32>) -> bool {
        if self.slots.is_empty() || bytes.len() > LONGEST {
            return false;
        }
        let hash = hash_bytes(bytes);
        let slot = self.slots[hash as usize & (self.slots.len() - 1)];
        let start = slot.bytes_start as usize;
        let found = slot.hash == hash
            && self.bytes.get(start..start + usize::from(slot.bytes_len)) == Some(bytes);
        if found {
            let start = slot.ids_start as usize;
            out.extend_from_slice(&self.ids[start..start + usize::from(slot.ids_len)]);
        }
        found
    }

    fn put(&mut self, bytes: &[u8], ids: &[u32]) {
        if self.slots.is_empty() || bytes.len() > LONGEST {
            return;
        }
        // Slots of 24 bytes, so 104 of each 128 are left for the arenas.
        let room = self.slots.len() * 104;
        if self.bytes.len() + 4 * self.ids.len() + bytes.len() + 4 * ids.len() > room {
            self.slots.fill(Slot::default());
            self.bytes.clear();
            self.ids.clear();
        }
        let hash = hash_bytes(bytes);
        let at = hash as usize & (self.slots.len() - 1);
        self.slots[at] = Slot {
            hash,
            bytes_start: self.bytes.len() as u32,
            ids_start: self.ids.len() as u32,
            bytes_len: bytes.len() as u16,
            ids_len: ids.len() as u16,
        };
        self.bytes.extend_from_slice(bytes);
        self.ids.extend_from_slice(ids);
    }
}

#[inline]
fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        hash = fold(hash ^ word, 0x9e37_79b9_7f4a_7c15);
    }
    let mut tail = [0; 8];
    tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    fold(hash ^ u64::from_le_bytes(tail), 0xa076_1d64_78bd_642f)
}
