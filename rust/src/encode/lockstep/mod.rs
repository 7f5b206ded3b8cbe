//! Many short pretokens merged side by side: the pair of lowest rank first, of equal ranks the leftmost.
//!
//! A merge waits for memory twice, for the ranks of the two pairs that it makes. One step of each pretoken at hand
//! after the other, all of them wait at the same time. Where a pretoken has its last merge cannot be foreseen, so each
//! knows its next one a round before: the processor is soon back from a wrong guess (a quarter of all merging).

mod vectors;

use std::hint::select_unpredictable;

use super::pairs::PairRanks;
use super::ranks::{NO_RANK, RankTable, Slot};
#[cfg(target_arch = "aarch64")]
pub use vectors::Neon;
#[cfg(target_arch = "x86_64")]
pub use vectors::{Avx2, Avx512};
pub use vectors::{Portable, Vectors};

/// Pretokens at hand.
const LANES: usize = 24;
/// Most bytes of a pretoken, and of a short one: half the work.
pub const LONG: usize = 32;
pub const SHORT: usize = 16;

/// Rank and place of a pair in one number, so that the least is of least rank and leftmost. Ranks have 27 bits, and
/// what does not merge is still above all others.
#[inline]
fn entry(rank: u32, at: u32) -> u32 {
    rank << PLACE_BITS | at
}
const PLACE_BITS: u32 = LONG.trailing_zeros();
const NO_ENTRY: u32 = NO_RANK << PLACE_BITS;
/// In place of a place.
const NOWHERE: u32 = LONG as u32;

/// A pretoken of up to N bytes: its parts, each at the place of its first byte.
#[repr(align(64))]
struct Lane<S, const N: usize> {
    /// Of the pair that begins at each place.
    entries: [u32; N],
    ids: [u32; N],
    /// The places where parts begin, as bits.
    parts: u32,
    /// The least of the entries: what merges next.
    least: u32,
    /// The pairs that the last merge made.
    asked: [Asked<S>; 2],
    /// The place that it took away.
    gone: u32,
    /// Which of the pretokens.
    index: usize,
}

/// A pair whose rank is asked for: the place where it begins, its key, and the line where the search for it begins.
#[derive(Clone, Copy)]
struct Asked<S> {
    at: u32,
    line: u32,
    key: S,
}

/// Merges pretokens of up to N bytes; `done` is told the number of each, its ids with zeroes behind, and how many they
/// are, in any order.
// Only what is inlined takes on the features of its caller.
#[expect(clippy::inline_always)]
#[inline(always)]
pub fn merge<'a, V: Vectors<S>, S: Slot, const N: usize>(
    pairs: &PairRanks,
    table: &RankTable<S>,
    mut texts: impl Iterator<Item = (usize, &'a [u8])>,
    mut done: impl FnMut(usize, &[u32; N], usize),
) {
    // Without texts, which is common, there is nothing to make.
    let mut next = texts.next();
    if next.is_none() {
        return;
    }
    let mut lanes: [Lane<S, N>; LANES] = std::array::from_fn(|_| Lane::new());
    let mut num = 0;
    // Lanes in which nothing more merges, as bits: a branch for each could not be foreseen.
    let mut ended = 0u32;
    while num < LANES
        && let Some(text) = next.take().or_else(|| texts.next())
    {
        lanes[num].begin::<V>(pairs, table, text);
        ended |= lanes[num].has_ended() << num;
        num += 1;
    }
    while num > 0 {
        // Of those that begin now: to know it takes as long as a few others take to begin.
        let mut ended_at_once = 0;
        while ended != 0 {
            let at = ended.ilog2() as usize;
            let lane = &mut lanes[at];
            let num_ids = lane.parts.count_ones() as usize;
            done(lane.index, &V::compact(&lane.ids, lane.parts), num_ids);
            ended ^= 1 << at;
            if let Some(text) = texts.next() {
                lane.begin::<V>(pairs, table, text);
                ended_at_once |= lane.has_ended() << at;
            } else {
                // The last one takes its place.
                num -= 1;
                lanes.swap(at, num);
                let last = ended_at_once >> num & 1;
                ended_at_once = ended_at_once & !(1 << num) | last << at;
            }
        }
        if ended_at_once != 0 {
            ended = ended_at_once;
            continue;
        }
        for lane in &mut lanes[..num] {
            lane.step(pairs, table);
        }
        for (at, lane) in lanes[..num].iter_mut().enumerate() {
            lane.answer::<V>(table);
            ended |= lane.has_ended() << at;
        }
    }
}

// Only what is inlined takes on the features of its caller.
#[expect(clippy::inline_always)]
impl<S: Slot, const N: usize> Lane<S, N> {
    fn new() -> Self {
        Self {
            entries: [NO_ENTRY; N],
            ids: [0; N],
            parts: 0,
            least: NO_ENTRY,
            asked: [Asked::nothing(); 2],
            gone: NOWHERE,
            index: 0,
        }
    }

    #[inline(always)]
    fn begin<V: Vectors<S>>(
        &mut self,
        pairs: &PairRanks,
        table: &RankTable<S>,
        (index, bytes): (usize, &[u8]),
    ) {
        assert!(bytes.len() <= N);
        self.index = index;
        self.entries = [NO_ENTRY; N];
        let num = match pairs.characters().filter(|_| !bytes.is_ascii()) {
            None => {
                for (id, &byte) in self.ids.iter_mut().zip(bytes) {
                    *id = pairs.byte_id(byte);
                }
                for (at, pair) in (0..).zip(bytes.windows(2)) {
                    self.entries[at as usize] = entry(pairs.byte_rank(pair[0], pair[1]), at);
                }
                bytes.len()
            }
            Some(characters) => {
                let num = characters.begin(pairs, bytes, &mut self.ids);
                let ranked = || self.ids[..num].windows(2);
                // Lines first, so that all of them are waited for at the same time.
                for (line, pair) in self.entries.iter_mut().zip(ranked()) {
                    *line = table.line(pair[0], pair[1]);
                    table.prefetch(*line);
                }
                for (at, (line, pair)) in (0..).zip(self.entries.iter_mut().zip(ranked())) {
                    // SAFETY: it is the table's line.
                    let rank = unsafe { table.rank_from(*line, S::key(pair[0], pair[1]), V::find) };
                    *line = entry(rank, at);
                }
                num
            }
        };
        self.parts = u32::MAX >> (u32::BITS - num as u32);
        self.least = V::settle(&mut self.entries, [NOWHERE; 3], [NO_ENTRY; 3]);
    }

    /// 1 if nothing more merges, else 0.
    #[inline(always)]
    fn has_ended(&self) -> u32 {
        u32::from(self.least >= NO_ENTRY)
    }

    /// Merges the next pair and asks for the ranks of the two that this makes.
    #[inline(always)]
    fn step(&mut self, pairs: &PairRanks, table: &RankTable<S>) {
        let id = pairs.result(self.least >> PLACE_BITS);
        let at = self.least & (N as u32 - 1);
        let before = self.parts & !(u32::MAX << at);
        let behind = self.parts & (u32::MAX << 1) << at;
        self.gone = behind.trailing_zeros();
        let behind = behind & behind.wrapping_sub(1);
        self.parts ^= 1 << self.gone;
        // Beyond the ends any id will do, and there is no pair.
        let last = (before | 1).ilog2();
        let left = self.ids[last as usize & (N - 1)];
        let right = self.ids[behind.trailing_zeros() as usize & (N - 1)];
        self.ids[at as usize] = id;
        let place = select_unpredictable(before != 0, last, NOWHERE);
        self.asked = [
            Asked::new(table, before != 0, place, left, id),
            Asked::new(table, behind != 0, at, id, right),
        ];
    }

    /// Takes the ranks that were asked for.
    #[inline(always)]
    fn answer<V: Vectors<S>>(&mut self, table: &RankTable<S>) {
        let [first, second] = self.asked;
        // SAFETY: [`Asked::new`] of the table gave the lines, in the step before.
        let rank = |asked: Asked<S>| unsafe { table.rank_from(asked.line, asked.key, V::find) };
        let entries = [first, second].map(|asked| entry(rank(asked), asked.at));
        let at = [first.at, second.at, self.gone];
        let [one, two] = entries;
        self.least = V::settle(&mut self.entries, at, [one, two, NO_ENTRY]);
    }
}

impl<S: Slot> Asked<S> {
    /// No pair.
    fn nothing() -> Self {
        Self {
            at: NOWHERE,
            line: 0,
            key: S::default(),
        }
    }

    /// A pair if there is one; the line is fetched.
    #[inline]
    fn new(table: &RankTable<S>, is_there: bool, at: u32, left: u32, right: u32) -> Self {
        let line = select_unpredictable(is_there, table.line(left, right), table.no_line());
        table.prefetch(line);
        let key = S::key(left, right);
        Self { at, line, key }
    }
}
