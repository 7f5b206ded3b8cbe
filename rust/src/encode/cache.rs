//! Pretoken -> ids, remembered by each thread within a fixed size.
//!
//! Text repeats its words: on English 99 % of pretokens were seen before. A line of the cache (one line of the
//! processor's) holds two entries, the newer first. An entry is a key of 16 bytes and up to four ids, so that a
//! look-up of a pretoken of up to 15 bytes is one line and no branch but hit or miss. The key of a longer pretoken
//! is its hash and where its bytes lie in an arena; more ids than four lie in another. The arenas are emptied, and the
//! lines with them, when they are full.

use crate::memory::advise_huge_pages;
use crate::pretokenize::key::{Key, prefetch};

/// Two keys, then two lots of four ids.
type Line = [u128; 4];

/// Ids that an entry holds itself.
pub const MOST_IDS: usize = 4;
/// Longer pretokens are rarely seen twice.
const LONGEST: usize = 256;
/// Where a key holds the number of ids.
const COUNT: u32 = 124;
/// That number where the ids lie in the arena.
const IN_ARENA: u128 = 15;

/// What a look-up finds.
#[derive(Clone, Copy)]
pub struct Found {
    /// The ids; those beyond `num` are garbage.
    pub ids: [u32; MOST_IDS],
    /// How many; more than [`MOST_IDS`] where they are in the arena.
    pub num: usize,
}

/// One thread's cache; holds nothing when made with a size of 0.
pub struct Cache {
    mib: usize,
    words: Vec<u128>,
    /// Where the first line starts in `words`, so that no line straddles two.
    first: usize,
    num_lines: usize,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

impl Cache {
    /// A cache of at most `mib` MiB, half of it lines. Memory is touched as it fills.
    pub fn new(mib: usize) -> Self {
        let lines = (mib << 19) / size_of::<Line>();
        // Without lines there are two, in which nothing is put.
        let num_lines = if lines == 0 { 2 } else { 1 << lines.ilog2() };
        let mut words = vec![0u128; (num_lines + 1) * 4];
        advise_huge_pages(&mut words);
        let misplaced = words.as_ptr() as usize % size_of::<Line>();
        let first = (size_of::<Line>() - misplaced) % size_of::<Line>() / size_of::<u128>();
        Self {
            mib,
            words,
            first,
            num_lines,
            bytes: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// The size that it was made with.
    pub fn mib(&self) -> usize {
        self.mib
    }

    /// Where the line of a hash begins.
    #[inline]
    pub fn place(&self, hash: u64) -> usize {
        self.first + (hash as usize & (self.num_lines - 1)) * 4
    }

    /// Loads a line that is needed soon.
    #[inline]
    pub fn prefetch(&self, place: usize) {
        prefetch(&self.words[place]);
    }

    #[inline]
    fn line(&self, place: usize) -> &Line {
        (&self.words[place..place + 4])
            .try_into()
            .expect("a line has four words")
    }

    /// The ids of a short pretoken if they are known.
    #[inline]
    pub fn get(&self, place: usize, key: Key) -> Option<Found> {
        self.get_in(place, key)
            .or_else(|| self.get_in(self.other(place), key))
    }

    #[inline]
    fn get_in(&self, place: usize, key: Key) -> Option<Found> {
        let line = self.line(place);
        let same = |way: usize| (line[way] ^ key.0) << (128 - COUNT) == 0;
        let way = usize::from(!same(0));
        if way == 1 && !same(1) {
            return None;
        }
        Some(found(line, way))
    }

    /// The neighbour of a line, which takes what the line has no room for.
    #[inline]
    fn other(&self, place: usize) -> usize {
        self.first + ((place - self.first) ^ 4)
    }

    /// The ids of a longer pretoken if they are known.
    #[inline]
    pub fn get_long(&self, place: usize, hash: u64, pretoken: &[u8]) -> Option<Found> {
        let line = self.line(place);
        (0..2).find_map(|way| {
            let (low, high) = (line[way] as u64, (line[way] >> 64) as u64);
            // Of shorter ones the bits above the length are not 0.
            if low != hash || (high << 4) >> 36 != pretoken.len() as u64 {
                return None;
            }
            let start = high as u32 as usize;
            (self.bytes.get(start..start + pretoken.len())? == pretoken).then(|| found(line, way))
        })
    }

    /// The ids of an entry that has more than it holds itself.
    #[cold]
    pub fn ids_of(&self, found: Found) -> &[u32] {
        let (start, num) = (found.ids[0] as usize, found.ids[1] as usize);
        &self.ids[start..start + num]
    }

    /// Remembers the ids of a short pretoken.
    pub fn put(&mut self, place: usize, key: Key, ids: &[u32]) {
        if self.mib > 0 && self.make_room(0, ids) {
            self.insert(place, key.0, ids);
        }
    }

    /// Remembers the ids of a longer pretoken.
    pub fn put_long(&mut self, place: usize, hash: u64, pretoken: &[u8], ids: &[u32]) {
        if self.mib == 0 || pretoken.len() > LONGEST || !self.make_room(pretoken.len(), ids) {
            return;
        }
        let start = self.bytes.len() as u64;
        self.bytes.extend_from_slice(pretoken);
        // The length is not 0, so the upper word is not.
        let high = start | (pretoken.len() as u64) << 32;
        self.insert(place, u128::from(high) << 64 | u128::from(hash), ids);
    }

    /// Whether the arenas can take so much more, having been emptied if need be.
    fn make_room(&mut self, num_bytes: usize, ids: &[u32]) -> bool {
        let more = num_bytes
            + if ids.len() > MOST_IDS {
                4 * ids.len()
            } else {
                0
            };
        let most = self.mib << 19;
        if self.bytes.len() + 4 * self.ids.len() + more > most {
            self.words.fill(0);
            self.bytes.clear();
            self.ids.clear();
        }
        more <= most
    }

    fn insert(&mut self, place: usize, key: u128, ids: &[u32]) {
        let mut held = [0; MOST_IDS];
        let num = if ids.len() <= MOST_IDS {
            held[..ids.len()].copy_from_slice(ids);
            ids.len() as u128
        } else {
            (held[0], held[1]) = (self.ids.len() as u32, ids.len() as u32);
            self.ids.extend_from_slice(ids);
            IN_ARENA
        };
        // The older one of the line takes the place of the older one of its neighbour, if that is free; what goes
        // there and is long is only ever found from there.
        let other = self.other(place);
        if self.words[other + 1] == 0 && self.words[place + 1] != 0 {
            self.words[other + 1] = self.words[place + 1];
            self.words[other + 3] = self.words[place + 3];
        }
        let line = &mut self.words[place..place + 4];
        (line[1], line[3]) = (line[0], line[2]);
        line[0] = key | num << COUNT;
        line[2] = held
            .iter()
            .rev()
            .fold(0, |packed, &id| packed << 32 | u128::from(id));
    }
}

#[inline]
fn found(line: &Line, way: usize) -> Found {
    let packed = line[2 + way];
    Found {
        ids: [0, 1, 2, 3].map(|i| (packed >> (32 * i)) as u32),
        num: (line[way] >> COUNT) as usize,
    }
}
