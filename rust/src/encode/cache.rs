//! Pretoken -> ids, remembered by each thread within a fixed size.
//!
//! Text repeats its words: on English 99 % of pretokens were seen before. A line of the cache (one line of the
//! processor's) holds two entries, the newer first; what it has no room for goes to free places of its neighbour. An
//! entry is a key of 16 bytes and up to four ids, so that a look-up of a pretoken of up to 15 bytes is one line and no
//! branch but hit or miss. The key of a longer one is its hash and where its bytes lie in an arena; more ids than four
//! lie in another. The arenas are emptied, and the lines with them, when they are full.

use crate::memory::{Plain, Table};
use crate::pretokenize::key::{Key, prefetch};

/// Ids that an entry holds itself.
pub const MOST_IDS: usize = 4;
/// Longer pretokens are rarely seen twice.
const LONGEST: usize = 256;
/// Where a key holds the number of ids.
const COUNT: u32 = 124;
/// That number where the ids lie in the arena.
const IN_ARENA: u128 = 15;

/// Where lines are full, one new entry in so many gets in: a text with more pretokens than fit would otherwise push
/// each out before it comes again (a fifth of all look-ups of mixed scripts).
const ADMIT: u32 = 8;

/// Two entries.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    keys: [u128; 2],
    ids: [[u32; MOST_IDS]; 2],
}

// SAFETY: numbers only.
unsafe impl Plain for Line {}

/// What a look-up finds: the ids, of which those beyond the number are garbage, and how many there are; more than
/// [`MOST_IDS`] where they are in the arena.
pub type Found<'a> = (&'a [u32; MOST_IDS], usize);

/// One thread's cache; holds nothing when made with a size of 0.
pub struct Cache {
    mib: usize,
    lines: Table<Line>,
    /// New entries that found their lines full.
    refused: u32,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

impl Cache {
    /// A cache of at most `mib` MiB, three quarters of it lines. Memory is touched as it fills.
    pub fn new(mib: usize) -> Self {
        // Without a size there is one pair of lines, in which nothing is put.
        let num_lines = ((3 * mib) << 18) / size_of::<Line>();
        Self {
            mib,
            lines: Table::new(num_lines.max(2)),
            refused: 0,
            bytes: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// The size that it was made with.
    pub fn mib(&self) -> usize {
        self.mib
    }

    /// Entries that the lines hold at most.
    pub fn num_entries(&self) -> usize {
        2 * self.lines.len()
    }

    /// The line of a hash.
    #[inline]
    pub fn place(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    /// Loads a line that is needed soon.
    #[inline]
    pub fn prefetch(&self, place: usize) {
        prefetch(&self.lines[place]);
    }

    /// The ids of a short pretoken if they are known.
    #[inline]
    pub fn get(&self, place: usize, key: Key) -> Option<Found<'_>> {
        let line = &self.lines[place];
        let same = |way: usize| (line.keys[way] ^ key.0) << (128 - COUNT) == 0;
        let (first, second) = (same(0), same(1));
        if first | second {
            let way = usize::from(second);
            return Some((&line.ids[way], (line.keys[way] >> COUNT) as usize));
        }
        // Only a full line sends entries to its neighbour.
        if line.keys[1] == 0 {
            return None;
        }
        self.get_beside(place ^ 1, key)
    }

    #[inline(never)]
    fn get_beside(&self, place: usize, key: Key) -> Option<Found<'_>> {
        let line = &self.lines[place];
        let way = (0..2).find(|&way| (line.keys[way] ^ key.0) << (128 - COUNT) == 0)?;
        Some((&line.ids[way], (line.keys[way] >> COUNT) as usize))
    }

    /// The ids of a longer pretoken, or part of one, if they are known.
    pub fn get_long(&self, place: usize, hash: u64, pretoken: &[u8]) -> Option<Found<'_>> {
        let line = &self.lines[place];
        (0..2).find_map(|way| {
            let (low, high) = (line.keys[way] as u64, (line.keys[way] >> 64) as u64);
            // Of shorter ones the bits above the length are not 0.
            if low != hash || (high << 4) >> 36 != pretoken.len() as u64 {
                return None;
            }
            let start = high as u32 as usize;
            let same = self.bytes.get(start..start + pretoken.len())? == pretoken;
            same.then_some((&line.ids[way], (high >> 60) as usize))
        })
    }

    /// The ids of an entry that has more than it holds itself.
    #[inline]
    pub fn ids_of<'a>(&'a self, found: Found<'a>) -> &'a [u32] {
        match found {
            (ids, num) if num <= MOST_IDS => &ids[..num],
            (&[start, num, ..], _) => &self.ids[start as usize..(start + num) as usize],
        }
    }

    /// Remembers the ids of a short pretoken.
    pub fn put(&mut self, place: usize, key: Key, ids: &[u32]) {
        if self.mib > 0 && self.admits(place) && self.make_room(0, ids) {
            self.remember(place, key.0, ids);
        }
    }

    /// Remembers the ids of a longer pretoken.
    pub fn put_long(&mut self, place: usize, hash: u64, pretoken: &[u8], ids: &[u32]) {
        if self.mib == 0 || pretoken.len() > LONGEST || !self.admits(place) {
            return;
        }
        if !self.make_room(pretoken.len(), ids) {
            return;
        }
        let start = self.bytes.len() as u64;
        self.bytes.extend_from_slice(pretoken);
        // The length is not 0, so the upper word is not.
        let high = start | (pretoken.len() as u64) << 32;
        self.remember(place, u128::from(high) << 64 | u128::from(hash), ids);
    }

    /// Whether a new entry gets in.
    fn admits(&mut self, place: usize) -> bool {
        let is_full = |line: &Line| line.keys[1] != 0;
        if !is_full(&self.lines[place]) || !is_full(&self.lines[place ^ 1]) {
            return true;
        }
        self.refused = self.refused.wrapping_add(1);
        self.refused.is_multiple_of(ADMIT)
    }

    /// Whether the arenas can take so much more, having been emptied if need be.
    fn make_room(&mut self, num_bytes: usize, ids: &[u32]) -> bool {
        let more = num_bytes
            + if ids.len() > MOST_IDS {
                4 * ids.len()
            } else {
                0
            };
        let most = self.mib << 18;
        if self.bytes.len() + 4 * self.ids.len() + more > most {
            let zero = Line {
                keys: [0; 2],
                ids: [[0; MOST_IDS]; 2],
            };
            self.lines.fill(zero);
            self.bytes.clear();
            self.ids.clear();
        }
        more <= most
    }

    fn remember(&mut self, place: usize, key: u128, ids: &[u32]) {
        let mut held = [0; MOST_IDS];
        let num = if ids.len() <= MOST_IDS {
            held[..ids.len()].copy_from_slice(ids);
            ids.len() as u128
        } else {
            (held[0], held[1]) = (self.ids.len() as u32, ids.len() as u32);
            self.ids.extend_from_slice(ids);
            IN_ARENA
        };
        self.insert(place, key | num << COUNT, held);
    }

    fn insert(&mut self, place: usize, key: u128, ids: [u32; MOST_IDS]) {
        let line = self.lines[place];
        if line.keys[1] != 0 {
            // A longer pretoken is not looked for there, which costs nothing but its being forgotten.
            let beside = &mut self.lines[place ^ 1];
            if let Some(way) = (0..2).find(|&way| beside.keys[way] == 0) {
                (beside.keys[way], beside.ids[way]) = (line.keys[1], line.ids[1]);
            }
        }
        self.lines[place] = Line {
            keys: [key, line.keys[0]],
            ids: [ids, line.ids[0]],
        };
    }
}
