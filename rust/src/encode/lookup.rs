//! The two loops in which encoding spends its time: from pretokens to keys, and from keys to ids.
//!
//! Each instruction counts here (English has a pretoken for every 4.5 bytes), so there are no checks of bounds, ids
//! are written eight at a time whatever their number, AVX2 compares both keys of a line at once, and AVX-512 makes eight
//! keys at once.

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::cache::{Cache, Ids, Line, ROOM};
use super::wanted::Wanted;
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::{KEY_BYTES, Key, prefetch};
use crate::processor::Level;

impl Cache {
    /// Wants pretokens as long as they have keys and there is room, and fetches their lines; how many. With AVX-512 it
    /// ends before those that may be cut too: to look for them one by one is a tenth of all.
    ///
    /// By reference, as a copy would read by vectors what the caller has just written word by word, and wait for it.
    pub fn want_some(&self, pretokens: &Pretokens<'_>, wanted: &mut [Wanted]) -> usize {
        self.want_at::<false>(pretokens, 0, wanted)
    }

    /// The same of pieces, 64 at most, that are parts of pretokens where bits of `parts` are set.
    pub fn want_pieces(&self, pieces: &Pretokens<'_>, parts: u64, wanted: &mut [Wanted]) -> usize {
        self.want_at::<true>(pieces, parts, wanted)
    }

    #[inline]
    fn want_at<const ARE_CUT: bool>(
        &self,
        pieces: &Pretokens<'_>,
        parts: u64,
        wanted: &mut [Wanted],
    ) -> usize {
        match self.level {
            Level::Portable => want_some::<ARE_CUT>(self, pieces, parts, wanted),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => want_some::<ARE_CUT>(self, pieces, parts, wanted),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                fn avx2<const ARE_CUT: bool>(
                    cache: &Cache,
                    pieces: &Pretokens<'_>,
                    parts: u64,
                    wanted: &mut [Wanted],
                ) -> usize {
                    want_some::<ARE_CUT>(cache, pieces, parts, wanted)
                }
                // SAFETY: a processor of this level has the features.
                unsafe { avx2::<ARE_CUT>(self, pieces, parts, wanted) }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx512 => unsafe { avx512::want_some::<ARE_CUT>(self, pieces, parts, wanted) },
        }
    }

    /// Appends the ids of pretokens until one is not found at once; how many were.
    ///
    /// # Safety
    /// This cache made them.
    pub unsafe fn get_some(&self, wanted: &[Wanted], out: &mut Vec<u32>) -> usize {
        match self.level {
            // SAFETY: as the caller says.
            Level::Portable => unsafe { get_some(self, wanted, out, entry, Ids::get) },
            // SAFETY: as the caller says.
            #[cfg(target_arch = "aarch64")]
            Level::Neon => unsafe { get_some(self, wanted, out, entry, |ids| neon_ids(ids)) },
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 | Level::Avx512 => {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                unsafe fn avx2(cache: &Cache, wanted: &[Wanted], out: &mut Vec<u32>) -> usize {
                    // A compiler that sees the table looks for misses elsewhere first, and then into it.
                    let by_equal = std::hint::black_box(&BY_EQUAL);
                    let entry = |line: &Line, key| avx2_entry(line, key, by_equal);
                    // SAFETY: as the caller says.
                    unsafe { get_some(cache, wanted, out, entry, |ids| avx2_ids(ids)) }
                }
                // SAFETY: a processor of this level has the features.
                unsafe { avx2(self, wanted, out) }
            }
        }
    }
}

// Only what is inlined takes on the features of its caller.
#[expect(clippy::inline_always)]
#[inline(always)]
fn want_some<const ARE_CUT: bool>(
    cache: &Cache,
    pieces: &Pretokens<'_>,
    mut parts: u64,
    wanted: &mut [Wanted],
) -> usize {
    let &Pretokens { text, start, ends } = pieces;
    let ends = &ends[..ends.len().min(wanted.len())];
    // A key reads 16 bytes, so those near the end of the text wait for another way.
    let near = text.len().saturating_sub(15);
    let ends = match ends.last() {
        Some(&last) if last >= near => &ends[..ends.partition_point(|&end| end < near)],
        _ => ends,
    };
    let mut start = start;
    for (i, &end) in ends.iter().enumerate() {
        let len = end - start;
        if len > KEY_BYTES {
            return i;
        }
        let part = if ARE_CUT {
            Key::part(parts & 1 != 0)
        } else {
            0
        };
        parts >>= 1;
        // SAFETY: 16 bytes behind the end there still is text, the place is one of the cache's, and `ends` is no longer
        // than `wanted`.
        unsafe {
            let key = Key(Key::new_unchecked(text, start, len).0 | part);
            let place = cache.place(key);
            prefetch(cache.line(place));
            *wanted.get_unchecked_mut(i) = Wanted { key, place, start };
        }
        start = end;
    }
    ends.len()
}

#[expect(clippy::inline_always)]
#[inline(always)]
unsafe fn get_some(
    cache: &Cache,
    wanted: &[Wanted],
    out: &mut Vec<u32>,
    entry: impl Fn(&Line, Key) -> usize,
    get: impl Fn(Ids) -> [u32; ROOM],
) -> usize {
    out.reserve(ROOM * wanted.len());
    let (mut len, to) = (out.len(), out.as_mut_ptr());
    let mut rest = wanted.iter();
    let mut num_left = 0;
    while let Some(want) = rest.next() {
        // SAFETY: the place is one of the cache's, which made `want`.
        let line = unsafe { cache.line(want.place) };
        let entry = entry(line, want.key);
        if entry == MISS {
            num_left = rest.len() + 1;
            break;
        }
        // SAFETY: the line's ids are there, and each of `wanted` has room for as many ids as are written.
        unsafe {
            let ids = *std::ptr::from_ref(line).byte_add(entry).cast::<Ids>();
            to.add(len).cast::<[u32; ROOM]>().write_unaligned(get(ids));
            len += ids.num();
        }
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
    wanted.len() - num_left
}

/// In place of where an entry's ids are in a line.
const MISS: usize = 0;
/// Where each of the two entries' ids are in a line, in bytes.
const ENTRIES: [usize; 2] = {
    let first = std::mem::offset_of!(Line, ids);
    [first, first + size_of::<Ids>()]
};

/// Where the ids of a line's entry with the key are, in bytes.
#[inline]
fn entry(line: &Line, key: Key) -> usize {
    let [first, second] = line.keys.map(|known| known == key.0);
    // Which of the two cannot be foreseen, so there is no branch for it.
    if first | second {
        ENTRIES[usize::from(second)]
    } else {
        MISS
    }
}

/// Of the halves that are equal, which entry they make.
#[cfg(target_arch = "x86_64")]
static BY_EQUAL: [u8; 16] = {
    let mut found = [MISS as u8; 16];
    let mut equal = 0;
    while equal < 16 {
        if equal & 3 == 3 {
            found[equal] = ENTRIES[0] as u8;
        } else if equal >> 2 == 3 {
            found[equal] = ENTRIES[1] as u8;
        }
        equal += 1;
    }
    found
};

/// [`entry`], both keys at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn avx2_entry(line: &Line, key: Key, by_equal: &[u8; 16]) -> usize {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm256_broadcastsi128_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi64,
        _mm256_movemask_pd,
    };
    // SAFETY: vectors of integers are what any bytes are.
    let keys = unsafe { std::mem::transmute::<[u128; 2], __m256i>(line.keys) };
    // SAFETY: as above.
    let key = unsafe { std::mem::transmute::<u128, __m128i>(key.0) };
    let equal = _mm256_cmpeq_epi64(keys, _mm256_broadcastsi128_si256(key));
    let halves = _mm256_movemask_pd(_mm256_castsi256_pd(equal)).cast_unsigned();
    usize::from(by_equal[halves as usize & 15])
}

/// [`Ids::get`]: each id lies in four bytes, and begins at their first bit or their fifth.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn avx2_ids(ids: Ids) -> [u32; ROOM] {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_set1_epi32,
        _mm256_setr_epi8, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_srlv_epi32,
    };
    // SAFETY: vectors of integers are what any bytes are.
    let packed = unsafe { std::mem::transmute::<u128, __m128i>(ids.0) };
    let bytes = _mm256_setr_epi8(
        0, 1, 2, 3, 2, 3, 4, 5, 5, 6, 7, 8, 7, 8, 9, 10, //
        10, 11, 12, 13, 12, 13, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1,
    );
    let apart = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(packed), bytes);
    let shifted = _mm256_srlv_epi32(apart, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 0));
    let mask = _mm256_set1_epi32((1 << Ids::BITS) - 1);
    // SAFETY: as above.
    unsafe { std::mem::transmute::<__m256i, [u32; ROOM]>(_mm256_and_si256(shifted, mask)) }
}

/// [`Ids::get`], as by AVX2.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
#[inline]
fn neon_ids(ids: Ids) -> [u32; ROOM] {
    use std::arch::aarch64::{
        int32x4_t, uint8x16_t, uint32x4_t, vandq_u32, vdupq_n_u32, vqtbl1q_u8,
        vreinterpretq_u32_u8, vshlq_u32,
    };
    // From where each byte comes; from 16 on it is 0.
    const BYTES: [[u8; 16]; 2] = [
        [0, 1, 2, 3, 2, 3, 4, 5, 5, 6, 7, 8, 7, 8, 9, 10],
        [
            10, 11, 12, 13, 12, 13, 14, 15, 16, 16, 16, 16, 16, 16, 16, 16,
        ],
    ];
    // To the left.
    const SHIFTS: [[i32; 4]; 2] = [[0, -4, 0, -4], [0, -4, 0, 0]];
    // SAFETY: vectors of integers are what any bytes are.
    let (packed, bytes, shifts) = unsafe {
        (
            std::mem::transmute::<u128, uint8x16_t>(ids.0),
            std::mem::transmute::<[[u8; 16]; 2], [uint8x16_t; 2]>(BYTES),
            std::mem::transmute::<[[i32; 4]; 2], [int32x4_t; 2]>(SHIFTS),
        )
    };
    let mask = vdupq_n_u32((1 << Ids::BITS) - 1);
    let four = |i: usize| {
        let apart = vreinterpretq_u32_u8(vqtbl1q_u8(packed, bytes[i]));
        vandq_u32(vshlq_u32(apart, shifts[i]), mask)
    };
    // SAFETY: as above.
    unsafe { std::mem::transmute::<[uint32x4_t; 2], [u32; ROOM]>([four(0), four(1)]) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cache::few;
    use super::*;

    proptest! {
        #[test]
        fn ids_come_back_from_entries(ids in prop::collection::vec(0u32..1 << Ids::BITS, 1..=6)) {
            let held = Ids::new(&few(&ids).unwrap(), ids.len()).unwrap();
            prop_assert_eq!(held.num(), ids.len());
            prop_assert_eq!(&held.get::<ROOM>()[..ids.len()], &ids[..]);
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the processor has NEON.
            prop_assert_eq!(unsafe { neon_ids(held) }, held.get());
            #[cfg(target_arch = "x86_64")]
            if Level::all().any(|level| level == Level::Avx2) {
                // SAFETY: the processor has AVX2.
                prop_assert_eq!(unsafe { avx2_ids(held) }, held.get());
            }
        }

        #[test]
        fn a_key_is_found_where_it_is(words in prop::array::uniform2(0u64..3), known in prop::array::uniform4(0u64..3)) {
            let word = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
            let keys = [word(known[0], known[1]), word(known[2], known[3])];
            let line = Line { keys, ..Line::default() };
            let key = Key(word(words[0], words[1]));
            let found = |at: usize| ENTRIES.iter().position(|entry| *entry == at).map(|way| keys[way]);
            let known = keys.contains(&key.0).then_some(key.0);
            prop_assert_eq!(found(entry(&line, key)), known);
            #[cfg(target_arch = "x86_64")]
            if Level::all().any(|level| level == Level::Avx2) {
                // SAFETY: the processor has AVX2.
                prop_assert_eq!(found(unsafe { avx2_entry(&line, key, &BY_EQUAL) }), known);
            }
        }
    }

    proptest! {
        #[test]
        fn every_level_wants_alike(
            lens in prop::collection::vec(prop_oneof![30 => 1usize..=KEY_BYTES, 1 => 16usize..40], 0..80),
            bytes in prop::collection::vec(prop_oneof![50 => 0u8..0xe3, 1 => 0xe0u8..], 2000),
            start in 0usize..70,
            behind in 0usize..20,
            room in 0usize..=64,
            parts in prop::option::of(any::<u64>()),
        ) {
            let ends: Vec<usize> = lens
                .iter()
                .scan(start, |at, len| {
                    *at += len;
                    Some(*at)
                })
                .collect();
            let text = &bytes[..ends.last().map_or(start, |last| last + behind)];
            let pretokens = Pretokens { text, start, ends: &ends };
            let want = |level| {
                let cache = Cache::new(1, level);
                let mut wanted = vec![Wanted::default(); room];
                let num = match parts {
                    None => cache.want_some(&pretokens, &mut wanted),
                    Some(parts) => cache.want_pieces(&pretokens, parts, &mut wanted),
                };
                wanted.truncate(num);
                wanted
            };
            // Those before the first that is long or too near the end of the text.
            let fits = |(len, end): (&usize, &usize)| *len <= KEY_BYTES && end + 16 <= text.len();
            let num = lens.iter().zip(&ends).take(room).take_while(|both| fits(*both)).count();
            // The first that may be cut.
            let han = lens.iter().zip(&ends).position(|(&len, &end)| {
                parts.is_none() && len > 9 && text[end - len..end].iter().any(|b| (0xe3..=0xe9).contains(b))
            });
            let mut at = start;
            let by_hand: Vec<Wanted> = lens[..num]
                .iter()
                .enumerate()
                .map(|(i, &len)| {
                    let part = u128::from(parts.is_some_and(|parts| parts >> i & 1 != 0)) << 124;
                    let key = Key(Key::new(text, at, len).0 | part);
                    let want = Cache::new(1, Level::Portable).want(key, at);
                    at += len;
                    want
                })
                .collect();
            for level in Level::all() {
                let got = want(level);
                // Those that are taken eight at a time end before it.
                let by_eight = !one_by_one(level);
                let stops = han.filter(|han| by_eight && han / 8 * 8 + 8 <= num);
                let may_stop = by_eight && Some(got.len()) == han;
                prop_assert!(stops.map_or(got.len() == num || may_stop, |han| got.len() == han), "{:?}", level);
                prop_assert_eq!(&got, &by_hand[..got.len()], "{:?}", level);
            }
        }
    }

    fn one_by_one(level: Level) -> bool {
        match level {
            Level::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Level::Neon => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => false,
        }
    }

    #[test]
    fn more_or_larger_ids_have_no_room() {
        let held = |ids: &[u32]| Ids::new(&few(ids).unwrap(), ids.len());
        assert!(held(&[1; 7]).is_none() && held(&[1 << Ids::BITS]).is_none());
        assert!(held(&[1; 6]).is_some() && few(&[1; 17]).is_none());
    }
}
