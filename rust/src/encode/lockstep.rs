//! Many short pretokens merged side by side: the pair of lowest rank first, of equal ranks the leftmost.
//!
//! A merge waits for memory twice, for the ranks of the two pairs that it makes. One step of each pretoken at hand
//! after the other, all of them wait at the same time.

use super::pairs::PairRanks;
use super::ranks::{Line, NO_RANK, RankTable, Slot};

/// Pretokens at hand.
const LANES: usize = 8;
/// Places of a pretoken's bytes, and one at both ends.
const PLACES: usize = 32;
/// Most bytes of a pretoken.
pub const SHORT: usize = PLACES - 2;

/// Rank and place of a pair in one number, so that the least is of least rank and leftmost. Ranks have 26 bits, and
/// what does not merge is still above all others.
#[inline]
fn entry(rank: u32, at: usize) -> u32 {
    rank << PLACE_BITS | at as u32
}
const PLACE_BITS: u32 = PLACES.trailing_zeros();
const NO_ENTRY: u32 = NO_RANK << PLACE_BITS;

/// A pretoken: a linked list between two ends that merge with nothing.
struct Lane {
    /// Of the pair that begins at each place.
    entries: [u32; PLACES],
    ids: [u32; PLACES],
    next: [u8; PLACES],
    prev: [u8; PLACES],
    /// What the last merge made.
    asked: [Pair; 2],
    /// The place behind the last.
    end: usize,
    /// Which of the pretokens.
    index: usize,
}

/// A pair whose rank is asked for.
#[derive(Clone, Copy, Default)]
struct Pair {
    at: usize,
    left: u32,
    right: u32,
    /// Where the search for it begins.
    line: usize,
}

/// The working memory.
pub struct Lockstep(Box<[Lane; LANES]>);

impl Default for Lockstep {
    fn default() -> Self {
        let lane = || Lane {
            entries: [NO_ENTRY; PLACES],
            ids: [0; PLACES],
            next: [0; PLACES],
            prev: [0; PLACES],
            asked: [Pair::default(); 2],
            end: 0,
            index: 0,
        };
        Self(Box::new(std::array::from_fn(|_| lane())))
    }
}

impl Lockstep {
    /// Merges pretokens of up to [`SHORT`] bytes; `done` is told the number of each and its ids, in any order.
    // Only what is inlined takes on the features of its caller.
    #[expect(clippy::inline_always)]
    #[inline(always)]
    pub fn merge<'a, S: Slot>(
        &mut self,
        pairs: &PairRanks,
        table: &RankTable<S>,
        find: impl Fn(&Line<S>, S) -> u32,
        mut texts: impl Iterator<Item = (usize, &'a [u8])>,
        mut done: impl FnMut(usize, &mut dyn Iterator<Item = u32>),
    ) {
        let lanes = &mut *self.0;
        let mut num = 0;
        while num < LANES
            && let Some((index, bytes)) = texts.next()
        {
            lanes[num].begin(pairs, table, &find, index, bytes);
            num += 1;
        }
        while num > 0 {
            let mut at = 0;
            while at < num {
                let lane = &mut lanes[at];
                if lane.step(pairs, table) {
                    at += 1;
                    continue;
                }
                done(lane.index, &mut lane.result());
                if let Some((index, bytes)) = texts.next() {
                    lane.begin(pairs, table, &find, index, bytes);
                } else {
                    num -= 1;
                    lanes.swap(at, num);
                }
            }
            for lane in &mut lanes[..num] {
                lane.answer(table, &find);
            }
        }
    }
}

// Only what is inlined takes on the features of its caller.
#[expect(clippy::inline_always)]
impl Lane {
    #[inline(always)]
    fn begin<S: Slot>(
        &mut self,
        pairs: &PairRanks,
        table: &RankTable<S>,
        find: impl Fn(&Line<S>, S) -> u32,
        index: usize,
        bytes: &[u8],
    ) {
        const NEXT: [u8; PLACES] = neighbours(1);
        const PREV: [u8; PLACES] = neighbours(-1);
        assert!(bytes.len() <= SHORT);
        self.index = index;
        self.entries = [NO_ENTRY; PLACES];
        (self.next, self.prev) = (NEXT, PREV);
        self.ids[0] = S::NO_ID;
        match pairs.characters().filter(|_| !bytes.is_ascii()) {
            None => {
                for (id, &byte) in self.ids[1..].iter_mut().zip(bytes) {
                    *id = pairs.byte_id(byte);
                }
                for (at, pair) in (1..).zip(bytes.windows(2)) {
                    self.entries[at] = entry(pairs.byte_rank(pair[0], pair[1]), at);
                }
                self.end = bytes.len() + 1;
            }
            Some(characters) => {
                // Bytes as numbers, 256 for what is more.
                let mut single = [256; PLACES];
                let (mut from, mut at) = (0, 1);
                while from < bytes.len() {
                    if let Some((first, second, num)) = characters.at(pairs.joints(), bytes, from) {
                        self.ids[at] = first;
                        at += 1;
                        if let Some(second) = second {
                            self.ids[at] = second;
                            at += 1;
                        }
                        from += num;
                    } else {
                        let byte = bytes[from];
                        (self.ids[at], single[at]) = (pairs.byte_id(byte), u16::from(byte));
                        at += 1;
                        from += 1;
                    }
                }
                self.end = at;
                // All wait for memory at the same time.
                let mut lines = [0; PLACES];
                let ids = &self.ids[1..self.end];
                for (line, pair) in lines.iter_mut().zip(ids.windows(2)) {
                    *line = table.place(pair[0], pair[1]);
                    table.prefetch(*line);
                }
                let pairs_of_bytes = single[1..self.end].windows(2);
                for (i, (pair, bytes)) in ids.windows(2).zip(pairs_of_bytes).enumerate() {
                    let rank = if bytes[0] | bytes[1] < 256 {
                        pairs.byte_rank(bytes[0] as u8, bytes[1] as u8)
                    } else {
                        table.rank_from(lines[i], pair[0], pair[1], &find)
                    };
                    self.entries[i + 1] = entry(rank, i + 1);
                }
            }
        }
        self.ids[self.end] = S::NO_ID;
    }

    /// Merges a pair and asks for the ranks of the two that this makes; false if none is left.
    #[inline(always)]
    fn step<S: Slot>(&mut self, pairs: &PairRanks, table: &RankTable<S>) -> bool {
        const PLACE: usize = PLACES - 1;
        let least = self.entries.iter().copied().fold(u32::MAX, u32::min);
        if least >= NO_ENTRY {
            return false;
        }
        let id = pairs.result(least >> PLACE_BITS);
        let at = least as usize & PLACE;
        let right = usize::from(self.next[at]) & PLACE;
        let after = usize::from(self.next[right]) & PLACE;
        let before = usize::from(self.prev[at]) & PLACE;
        self.ids[at] = id;
        self.next[at] = after as u8;
        self.prev[after] = at as u8;
        self.entries[right] = NO_ENTRY;
        let ask = |at, left, right| {
            let line = table.place(left, right);
            table.prefetch(line);
            Pair {
                at,
                left,
                right,
                line,
            }
        };
        self.asked = [
            ask(before, self.ids[before], id),
            ask(at, id, self.ids[after]),
        ];
        true
    }

    #[inline(always)]
    fn answer<S: Slot>(&mut self, table: &RankTable<S>, find: impl Fn(&Line<S>, S) -> u32) {
        for Pair {
            at,
            left,
            right,
            line,
        } in self.asked
        {
            self.entries[at & (PLACES - 1)] = entry(table.rank_from(line, left, right, &find), at);
        }
    }

    /// The ids that are left.
    #[inline]
    fn result(&self) -> impl Iterator<Item = u32> {
        let next = |at: &usize| Some(usize::from(self.next[*at]));
        std::iter::successors(Some(1), next)
            .take_while(|at| *at < self.end)
            .map(|at| self.ids[at])
    }
}

/// Each place and so much.
const fn neighbours(by: i8) -> [u8; PLACES] {
    let mut places = [0; PLACES];
    let mut at = 0;
    while at < PLACES {
        places[at] = (at as u8).wrapping_add_signed(by);
        at += 1;
    }
    places
}
