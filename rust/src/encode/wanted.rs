//! Which pretokens are looked up together: one behind the other, long ones in parts.

use std::ops::Range;

use super::cache::Cache;
use super::joints::Joints;
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::{KEY_BYTES, Key, hash_bytes};

/// Pretokens looked up together, so that their lines are fetched at the same time and not one after the other: the
/// wait for memory is half of the whole time otherwise.
pub(super) const AHEAD: usize = 64;

/// First bytes of the characters from U+3000 to U+9FFF, kana and Han: their words are not set apart, and pretokens of
/// a few words are seldom seen twice.
pub(super) const HAN: Range<u8> = 0xe3..0xea;

/// Longest pretoken of such characters that is looked up whole. With all that have a key, 100 MB of mixed scripts take
/// a tenth longer the first time, and half as long again later, as they do not fit in the cache.
pub(super) const UNCUT_BYTES: usize = 9;

/// Whether there is a byte of [`HAN`].
#[inline]
pub(super) fn has_han(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| HAN.contains(byte))
}

/// A pretoken to look up, or a part of one: half a line of the processor's cache.
#[derive(Clone, Copy, Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[repr(C, align(32))]
pub struct Wanted {
    /// Of a longer one, hash and length; the highest bits, in which shorter ones have their length, are 0.
    pub(super) key: Key,
    /// Where its line is in the cache that made this, in bytes.
    pub(super) place: usize,
    /// Where it begins in the text.
    pub(super) start: usize,
}

/// Set in the key of a longer part of a pretoken; what is [`Key::PART`] in shorter ones.
const LONG_PART: u128 = 1 << 64;

impl Wanted {
    fn is_long(&self) -> bool {
        self.key.0 >> 112 == 0
    }

    /// The hash of one that is too long for a key.
    pub fn hash_of_long(&self) -> Option<u64> {
        self.is_long().then_some(self.key.0 as u64)
    }

    /// Whether it is a pretoken and not a part of one.
    pub fn is_whole(&self) -> bool {
        if self.is_long() {
            self.key.0 & LONG_PART == 0
        } else {
            !self.key.is_part()
        }
    }

    /// Its bytes in the text.
    pub fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let len = if self.is_long() {
            (self.key.0 >> 65) as usize
        } else {
            self.key.len()
        };
        &text[self.start..self.start + len]
    }

    /// Whether it is the same as another of another text.
    pub fn is_same(&self, text: &[u8], other: &Self, other_text: &[u8]) -> bool {
        self.key == other.key && (!self.is_long() || self.bytes(text) == other.bytes(other_text))
    }
}

/// Pieces that are cut together.
const PIECES: usize = 64;
/// Room without which no other pretoken is cut: parts that fill it are surely more than one.
const LEAST_ROOM: usize = 16;
/// Whole pretokens between two that are cut together.
const MOST_WHOLE: usize = 3;

/// The pretokens not yet looked up.
pub struct Rest<'a> {
    pretokens: Pretokens<'a>,
    /// Whether the first is cut, and its parts up to `start` are among the pieces.
    is_cut: bool,
    pieces: Pieces,
}

/// Pretokens and parts of some, to be looked up before the others.
struct Pieces {
    start: usize,
    /// Which of `ends` are left.
    left: Range<usize>,
    ends: [usize; PIECES],
    /// Which of them are parts, as bits.
    parts: u64,
}

impl<'a> Rest<'a> {
    /// All of some pretokens.
    pub fn new(pretokens: Pretokens<'a>) -> Self {
        Self {
            pretokens,
            is_cut: false,
            pieces: Pieces {
                start: 0,
                left: 0..0,
                ends: [0; PIECES],
                parts: 0,
            },
        }
    }

    /// Takes the next ones, and fetches their lines; how many.
    pub fn take(&mut self, joints: &Joints, cache: &Cache, wanted: &mut [Wanted; AHEAD]) -> usize {
        let mut num = 0;
        loop {
            let room = &mut wanted[num..];
            let are_cut = !self.pieces.left.is_empty();
            let taken = if are_cut {
                self.pieces.take(self.pretokens.text, cache, room)
            } else if self.is_cut {
                0
            } else {
                cache.want_some(&self.pretokens, room)
            };
            num += taken;
            self.pass(are_cut, taken);
            if num == AHEAD {
                break;
            }
            // The next one may be cut, is too long for a key, or is near the end of the text.
            let text = self.pretokens.text;
            let (start, end, is_part) = if are_cut {
                let Some(piece) = self.pieces.first() else {
                    continue;
                };
                piece
            } else if let Some(&end) = self.pretokens.ends.first() {
                let start = self.pretokens.start;
                if (self.is_cut || may_be_cut(&text[start..end])) && self.cut(joints) {
                    continue;
                }
                (start, end, false)
            } else {
                break;
            };
            wanted[num] = one(text, start, end, is_part, cache);
            num += 1;
            self.pass(are_cut, 1);
        }
        num
    }

    /// Passes over pieces or pretokens.
    #[inline]
    fn pass(&mut self, are_cut: bool, num: usize) {
        let Some(last) = num.checked_sub(1) else {
            return;
        };
        if are_cut {
            self.pieces.start = self.pieces.ends[self.pieces.left.start + last];
            self.pieces.left.start += num;
        } else {
            let Pretokens { start, ends, .. } = &mut self.pretokens;
            *start = ends[last];
            *ends = &ends[num..];
        }
    }

    /// Makes pieces of the first pretoken, or of what is left of it, and of the next ones up to the last that is cut; not
    /// if the first one is whole.
    fn cut(&mut self, joints: &Joints) -> bool {
        let Pretokens { text, start, ends } = self.pretokens;
        let pieces = &mut self.pieces;
        (pieces.start, pieces.parts, pieces.left) = (start, 0, 0..0);
        let (mut at, mut num, mut last) = (start, 0, 0);
        for (i, &end) in ends.iter().enumerate() {
            if num + LEAST_ROOM > PIECES || i - last > MOST_WHOLE {
                break;
            }
            let more = if self.is_cut || may_be_cut(&text[at..end]) {
                joints.cut(text, at, end, &mut pieces.ends[num..])
            } else {
                pieces.ends[num] = end;
                1
            };
            let is_cut = self.is_cut || more > 1;
            if i == 0 && !is_cut {
                return false;
            }
            num += more;
            at = pieces.ends[num - 1];
            self.is_cut = at < end;
            if is_cut {
                last = i;
                pieces.parts |= u64::MAX >> (PIECES - more) << (num - more);
                pieces.left = 0..num;
                let next = if self.is_cut { i } else { i + 1 };
                self.pretokens = Pretokens {
                    text,
                    start: at,
                    ends: &ends[next..],
                };
            }
            if self.is_cut {
                break;
            }
        }
        true
    }
}

impl Pieces {
    /// Wants the next ones; how many.
    #[inline]
    fn take(&self, text: &[u8], cache: &Cache, wanted: &mut [Wanted]) -> usize {
        let pieces = Pretokens {
            text,
            start: self.start,
            ends: &self.ends[self.left.clone()],
        };
        cache.want_pieces(&pieces, self.parts >> self.left.start, wanted)
    }

    /// Where the next one begins and ends, and whether it is a part.
    #[inline]
    fn first(&self) -> Option<(usize, usize, bool)> {
        let at = self.left.start;
        let is_part = || self.parts >> at & 1 != 0;
        (!self.left.is_empty()).then(|| (self.start, self.ends[at], is_part()))
    }
}

/// Whether the parts of a pretoken are worth a search.
#[inline]
fn may_be_cut(pretoken: &[u8]) -> bool {
    match pretoken.len() {
        ..=KEY_BYTES => pretoken.len() > UNCUT_BYTES && has_han(pretoken),
        _ => !pretoken.is_ascii(),
    }
}

/// A pretoken or a part of one.
#[inline]
fn one(text: &[u8], start: usize, end: usize, is_part: bool, cache: &Cache) -> Wanted {
    let len = end - start;
    let key = if len <= KEY_BYTES {
        Key::new(text, start, len).0 | Key::part(is_part)
    } else {
        // A part that spells a token need not be it.
        let hash = hash_bytes(&text[start..end]) ^ u64::from(is_part);
        let part = if is_part { LONG_PART } else { 0 };
        u128::from(hash) | (len as u128) << 65 | part
    };
    cache.want(Key(key), start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::processor::Level;
    use crate::vocab::Vocab;

    proptest! {
        #[test]
        fn pieces_tile_the_text_and_those_of_a_whole_pretoken_are_no_parts(
            words in prop::collection::vec("[世界の]{1,9}|[世界の]{70,150}|[жи]{1,20}|[a世ж]{1,20}|、|[a-z]{1,30}", 1..90),
            behind in 0usize..40,
        ) {
            // A token 世界, so that some characters stay together.
            let ids: Vec<u32> = "世界".bytes().map(u32::from).collect();
            let made = |i: usize| if i == 1 { ids[0] } else { 254 + i as u32 };
            let merges: Vec<_> = (1..ids.len()).map(|i| (made(i), ids[i])).collect();
            let joints = Joints::new(&Vocab::trained(&merges, &[]).unwrap());
            let mut text = words.concat().into_bytes();
            let end = text.len();
            text.resize(end + behind, b'.');
            let ends: Vec<usize> = words.iter().scan(0, |at, word| {
                *at += word.len();
                Some(*at)
            }).collect();
            for level in Level::all() {
                let cache = Cache::new(1, level);
                let mut rest = Rest::new(Pretokens { text: &text, start: 0, ends: &ends });
                let mut wanted = [Wanted::default(); AHEAD];
                let (mut at, mut num_parts) = (0, 0);
                loop {
                    let num = rest.take(&joints, &cache, &mut wanted);
                    for want in &wanted[..num] {
                        let to = at + want.bytes(&text).len();
                        let whole = (at == 0 || ends.binary_search(&at).is_ok()) && ends.iter().find(|end| **end > at) == Some(&to);
                        prop_assert_eq!((want.start, want.is_whole()), (at, whole), "{:?}", level);
                        num_parts += usize::from(!whole);
                        at = to;
                    }
                    if num == 0 {
                        break;
                    }
                }
                prop_assert_eq!(at, end);
                prop_assert!(num_parts > 1 || words.iter().all(|word| word.len() < 100));
            }
        }
    }
}
