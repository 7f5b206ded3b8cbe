//! Pretoken -> ids, remembered by each thread within a fixed size.
//!
//! Text repeats its words: on English 99 % of pretokens were seen before. A line of the cache (one line of the
//! processor's) holds two entries; a new one that it has no room for goes to a free place of its neighbours, as the older
//! ones come more often. Those are read later, when they have arrived ([`unknown`](super::unknown)). An entry is a key of
//! 16 bytes and up to six ids, so that a look-up of a pretoken of up to 15 bytes is one line and no branch but hit or
//! miss ([`lookup`](super::lookup)). The key of a longer one is its hash and where its bytes lie in an arena; more ids
//! than six lie in another. The arenas are emptied, and the lines with them, when they are full.

use super::lockstep::SHORT;
use super::wanted::Wanted;
use crate::memory::{Plain, Table};
use crate::pretokenize::key::{Key, prefetch};
use crate::processor::Level;

/// Ids that an entry holds itself, and those that are written for it: whole words, of which the last are zeroes.
const MOST_IDS: usize = 6;
pub(super) const ROOM: usize = 8;
/// Longer pretokens are rarely seen twice.
const LONGEST: usize = 256;
/// Set in the key of a short pretoken whose ids lie in the arena: the fast look-up takes it for another.
const FAR: u128 = 1 << 127;

/// Where lines are full, one new entry in so many gets in: a text with more pretokens than fit would otherwise push
/// each out before it comes again (a fifth of all look-ups of mixed scripts).
const ADMIT: u32 = 8;

/// A few ids, and zeroes behind them.
pub type Few = [u32; SHORT];

/// Ids with zeroes behind them; `None` if they are more than that.
#[inline]
pub fn few(ids: &[u32]) -> Option<Few> {
    let mut few = [0; SHORT];
    few.get_mut(..ids.len())?.copy_from_slice(ids);
    Some(few)
}

/// Two entries.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Line {
    pub keys: [u128; 2],
    pub ids: [Ids; 2],
}

// SAFETY: numbers only.
unsafe impl Plain for Line {}

impl Line {
    fn is_full(&self) -> bool {
        self.keys[1] != 0
    }

    fn entry(&self, way: usize) -> (u128, Ids) {
        (self.keys[way], self.ids[way])
    }

    fn set(&mut self, way: usize, entry: (u128, Ids)) {
        (self.keys[way], self.ids[way]) = entry;
    }
}

/// Lines that share their places.
const NEAR: usize = 4;

/// The lines that take what has no room in one.
fn beside(at: usize) -> impl Iterator<Item = usize> {
    (1..NEAR).map(move |i| at ^ i)
}

/// A line and one of its entries.
#[derive(Clone, Copy)]
pub struct Place {
    line: u32,
    way: u32,
}

/// Of a pretoken that its own line did not have.
pub enum Beside {
    /// Its ids.
    Held(Ids),
    /// Where it is to be put, if there is room.
    New(Option<Place>),
}

/// An entry's ids, 20 bits each, lowest first, and their number in the highest byte. Where they lie in the arena, the
/// lower half is their place there and the upper one how many they are.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Ids(pub(super) u128);

impl Ids {
    /// Bits of an id.
    pub(super) const BITS: u32 = 20;
    /// Where their number is.
    const NUM: u32 = 120;
    /// In the place of the number where the ids lie in the arena.
    const IN_ARENA: u128 = 15;

    /// So many ids, if they are few and small enough.
    #[inline]
    pub(super) fn new(ids: &Few, num: usize) -> Option<Self> {
        let (mut held, mut all) = ((num as u128) << Self::NUM, 0);
        for (i, &id) in ids[..MOST_IDS].iter().enumerate() {
            held |= u128::from(id) << Self::place(i);
            all |= id;
        }
        (num <= MOST_IDS && all >> Self::BITS == 0).then_some(Self(held))
    }

    /// Where the bits of the i-th begin.
    const fn place(i: usize) -> u32 {
        i as u32 * Self::BITS
    }

    /// How many they are.
    #[inline]
    pub(super) fn num(self) -> usize {
        (self.0 >> Self::NUM) as usize
    }

    /// The ids, and zeroes behind them: for [`ROOM`] or more.
    #[inline]
    pub(super) fn get<const N: usize>(self) -> [u32; N] {
        let id = |i: usize| (self.0 >> Self::place(i)) as u32 & ((1 << Self::BITS) - 1);
        let mut ids = [0; N];
        for (i, to) in ids[..MOST_IDS].iter_mut().enumerate() {
            *to = id(i);
        }
        ids
    }
}

/// One thread's cache; holds nothing when made with a size of 0.
pub struct Cache {
    mib: usize,
    pub(super) lines: Table<Line>,
    pub(super) level: Level,
    /// New entries that found their lines full.
    refused: u32,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

impl Cache {
    /// A cache of at most `mib` MiB, three quarters of it lines. Memory is touched as it fills.
    pub fn new(mib: usize, level: Level) -> Self {
        // Without a size there are as few lines as can be, in which nothing is put.
        let num_lines = ((3 * mib) << 18) / size_of::<Line>() / NEAR * NEAR;
        Self {
            mib,
            // Their number times 32 bits of a hash is to fit in 64.
            lines: Table::new(num_lines.clamp(NEAR, 1 << 31)),
            level,
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

    /// Where the line of a key is, in bytes.
    #[inline]
    pub(super) fn place(&self, key: Key) -> usize {
        let line = ((key.spread() >> 32) * self.lines.len() as u64) >> 32;
        line as usize * size_of::<Line>()
    }

    /// The line at a place.
    ///
    /// # Safety
    /// The place is one that [`Cache::place`] gave.
    #[inline]
    pub(super) unsafe fn line(&self, place: usize) -> &Line {
        debug_assert!(place / size_of::<Line>() < self.lines.len());
        // SAFETY: as the caller says.
        unsafe { &*self.lines.as_ptr().byte_add(place) }
    }

    /// A pretoken that is to be looked up soon, whose line is fetched.
    #[inline]
    pub fn want(&self, key: Key, start: usize) -> Wanted {
        let place = self.place(key);
        let want = Wanted { key, place, start };
        self.fetch(&want);
        want
    }

    /// Fetches the line of a pretoken.
    #[inline]
    pub fn fetch(&self, want: &Wanted) {
        prefetch(&raw const self.lines[want.place / size_of::<Line>()]);
    }

    /// The ids of a pretoken of a text if its line, which was fetched, has them; else fetches the lines beside if they
    /// may have them.
    #[inline]
    pub fn get(&self, want: &Wanted, text: &[u8]) -> Option<Ids> {
        let at = want.place / size_of::<Line>();
        let found = self.get_in(at, want, text);
        if found.is_none() && self.lines[at].is_full() {
            beside(at).for_each(|at| prefetch(&raw const self.lines[at]));
        }
        found.map(|(ids, _)| ids)
    }

    /// The same from the lines beside, and where to put what none of them has. An entry that they have changes places with
    /// the second one of its own line, where another pretoken that was looked for may have come to lie just so.
    #[inline]
    pub fn look_beside(&mut self, want: &Wanted, text: &[u8]) -> Beside {
        let at = want.place / size_of::<Line>();
        // Only a full line sends entries to the next one.
        if let Some(place) = self.free(at) {
            return Beside::New(Some(place));
        }
        if let Some((ids, _)) = self.get_in(at, want, text) {
            return Beside::Held(ids);
        }
        let found = |at| self.get_in(at, want, text).map(|(ids, way)| (ids, at, way));
        let Some((ids, there, way)) = beside(at).find_map(found) else {
            return Beside::New(self.place_beside(at));
        };
        let (second, own) = (self.lines[at].entry(1), self.lines[there].entry(way));
        self.lines[at].set(1, own);
        self.lines[there].set(way, second);
        Beside::Held(ids)
    }

    #[inline]
    fn get_in(&self, at: usize, want: &Wanted, text: &[u8]) -> Option<(Ids, usize)> {
        let hash = want.hash_of_long();
        let mask = hash.map_or(!FAR, |_| u64::MAX.into());
        let line = &self.lines[at];
        let [first, second] = line.keys.map(|key| (key ^ want.key.0) & mask == 0);
        if !(first | second) {
            return None;
        }
        let way = usize::from(!first);
        // That two have the same hash may happen; then one of them is not found.
        let is_it = hash.is_none() || self.bytes_of(line.keys[way]) == Some(want.bytes(text));
        is_it.then(|| (line.ids[way], way))
    }

    /// The bytes of a long pretoken whose key this is; None or nonsense of any other key.
    fn bytes_of(&self, key: u128) -> Option<&[u8]> {
        let (start, len) = ((key >> 64) as u32 as usize, (key >> 96) as usize);
        self.bytes.get(start..start + len)
    }

    /// Appends the ids of an entry.
    #[inline]
    pub fn append(&self, ids: Ids, out: &mut Vec<u32>) {
        if let Some(ids) = self.in_arena(ids) {
            out.extend_from_slice(ids);
        } else {
            let end = out.len() + ids.num();
            out.extend_from_slice(&ids.get::<ROOM>());
            out.truncate(end);
        }
    }

    /// The ids of an entry that does not hold them itself.
    #[inline]
    pub fn in_arena(&self, ids: Ids) -> Option<&[u32]> {
        let (start, num) = (ids.0 as u64 as usize, (ids.0 >> 64) as u32 as usize);
        (ids.num() == Ids::IN_ARENA as usize).then(|| &self.ids[start..start + num])
    }

    /// Remembers a few ids as those of a pretoken of a text, which must not be known, at the place that it was given. Two
    /// that were given the same one lose the first; rarely, as places are given for a few hundred at a time.
    #[inline]
    pub fn put(&mut self, place: Place, want: &Wanted, text: &[u8], ids: &Few, num: usize) {
        if self.mib == 0 {
            return;
        }
        match Ids::new(ids, num) {
            Some(held) if want.hash_of_long().is_none() => self.set(place, (want.key.0, held)),
            held => self.put_in_arena(place, want, text, &ids[..num], held),
        }
    }

    /// The same of more ids.
    pub fn put_many(&mut self, place: Place, want: &Wanted, text: &[u8], ids: &[u32]) {
        if self.mib > 0 {
            self.put_in_arena(place, want, text, ids, None);
        }
    }

    /// The same of a pretoken whose bytes or ids lie in the arenas.
    #[inline(never)]
    fn put_in_arena(
        &mut self,
        place: Place,
        want: &Wanted,
        text: &[u8],
        ids: &[u32],
        held: Option<Ids>,
    ) {
        let long = want.hash_of_long();
        let bytes = long.map_or(&[][..], |_| want.bytes(text));
        let ids = if held.is_some() { &[] } else { ids };
        if bytes.len() > LONGEST || !self.make_room(bytes.len(), ids.len()) {
            return;
        }
        let mut key = want.key.0;
        if let Some(hash) = long {
            // The highest bits, in which shorter ones have their length, are 0, and the length is not.
            let high = self.bytes.len() as u64 | (bytes.len() as u64) << 32;
            key = u128::from(high) << 64 | u128::from(hash);
        } else if held.is_none() {
            key |= FAR;
        }
        let (at, num) = (self.ids.len() as u128, ids.len() as u128);
        let held = held.unwrap_or(Ids(at | num << 64 | Ids::IN_ARENA << Ids::NUM));
        self.set(place, (key, held));
        self.bytes.extend_from_slice(bytes);
        self.ids.extend_from_slice(ids);
    }

    #[inline]
    fn set(&mut self, place: Place, entry: (u128, Ids)) {
        self.lines[place.line as usize].set(place.way as usize, entry);
    }

    /// Where a new entry goes: to a free place of its line, else of those near it, else now and then to that of another.
    pub fn place_for_new(&mut self, want: &Wanted) -> Option<Place> {
        let at = want.place / size_of::<Line>();
        self.free(at).or_else(|| self.place_beside(at))
    }

    /// A free place of a line.
    #[inline]
    fn free(&self, at: usize) -> Option<Place> {
        let [first, second] = self.lines[at].keys.map(|key| key == 0);
        (first | second).then_some(Place {
            line: at as u32,
            way: u32::from(!first),
        })
    }

    /// [`Cache::place_for_new`] of a line that is full.
    fn place_beside(&mut self, at: usize) -> Option<Place> {
        beside(at).find_map(|at| self.free(at)).or_else(|| {
            self.refused = self.refused.wrapping_add(1);
            let way = self.refused / ADMIT % 2;
            let line = at as u32;
            self.refused
                .is_multiple_of(ADMIT)
                .then_some(Place { line, way })
        })
    }

    /// Whether the arenas can take so much more, having been emptied if need be.
    fn make_room(&mut self, num_bytes: usize, num_ids: usize) -> bool {
        let more = num_bytes + 4 * num_ids;
        let most = self.mib << 18;
        if self.bytes.len() + 4 * self.ids.len() + more > most {
            self.lines.fill(Line::default());
            self.bytes.clear();
            self.ids.clear();
        }
        more <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beside_take_what_has_no_room_and_give_it_back() {
        let mut cache = Cache::new(1, Level::best());
        let group = |cache: &Cache, word: u32| {
            cache.place(Key::of(&word.to_le_bytes())) / size_of::<Line>() / NEAR
        };
        let words: Vec<u32> = (1..)
            .filter(|word| group(&cache, *word) == 7)
            .take(9)
            .collect();
        let wanted: Vec<Wanted> = (words.iter())
            .map(|word| cache.want(Key::of(&word.to_le_bytes()), 0))
            .collect();
        // A line sends entries to the others only when it is full.
        let found = |cache: &mut Cache, want: &Wanted| {
            let here = cache.get(want, &[]);
            let ids = here.or_else(|| match cache.look_beside(want, &[]) {
                Beside::Held(ids) => Some(ids),
                Beside::New(_) => None,
            });
            ids.map(|ids| ids.get::<ROOM>()[0])
        };
        for (want, word) in wanted.iter().zip(&words) {
            assert!(cache.get(want, &[]).is_none());
            let Beside::New(place) = cache.look_beside(want, &[]) else {
                panic!("it was not put");
            };
            if let Some(place) = place {
                cache.put(place, want, &[], &few(&[*word]).unwrap(), 1);
            }
        }
        // Again and again, as entries change their places each time; there is no room for the last one.
        for _ in 0..3 {
            for (want, word) in wanted[..8].iter().zip(&words) {
                assert_eq!(found(&mut cache, want), Some(*word));
                assert!(cache.get(want, &[]).is_some(), "it is in its own line now");
            }
            assert_eq!(found(&mut cache, &wanted[8]), None);
        }
    }
}
