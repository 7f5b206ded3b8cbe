//! Eight pretokens at a time to keys and lines.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_add_epi64, _mm512_alignr_epi64, _mm512_and_si512,
    _mm512_castsi128_si512, _mm512_cmpge_epu8_mask, _mm512_cmpgt_epu64_mask,
    _mm512_cmplt_epu8_mask, _mm512_inserti64x2, _mm512_loadu_si512, _mm512_mask_cmplt_epu8_mask,
    _mm512_mask_or_epi64, _mm512_maskz_mov_epi8, _mm512_max_epu8, _mm512_mul_epu32,
    _mm512_mullo_epi64, _mm512_permutex2var_epi64, _mm512_permutexvar_epi8, _mm512_set1_epi8,
    _mm512_set1_epi64, _mm512_setr_epi64, _mm512_srli_epi64, _mm512_sub_epi64,
    _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _pdep_u64, _pext_u64,
};

use super::super::cache::{Cache, Line};
use super::super::wanted::{HAN, UNCUT_BYTES, Wanted};
use crate::pretokenize::Pretokens;
use crate::pretokenize::key::{KEY_BYTES, Key, SPREAD, prefetch};

/// Pretokens taken together: their ends fill a vector.
const EIGHT: usize = 8;

const LINE_BITS: u32 = size_of::<Line>().ilog2();

/// For each of four keys, their bytes' places.
static IN_KEY: [u8; 64] = {
    let mut places = [0; 64];
    let mut i = 0;
    while i < 64 {
        places[i] = i as u8 % 16;
        i += 1;
    }
    places
};

/// For each byte of the first four keys and of the last four, the lowest byte of the key's word among eight.
static WORDS: [[u8; 64]; 2] = {
    let mut words = [[0; 64]; 2];
    let mut i = 0;
    while i < 128 {
        words[i / 64][i % 64] = i as u8 / 16 * 8;
        i += 1;
    }
    words
};

/// Of a bit for each byte of four keys, which keys have any.
#[target_feature(enable = "bmi2")]
fn keys_with(bytes: u64) -> u8 {
    const HIGHEST: u64 = 0x8000_8000_8000_8000;
    // The other bits of a key carry into its highest one.
    let any = ((bytes & !HIGHEST) + !HIGHEST) | bytes;
    _pext_u64(any, HIGHEST) as u8
}

/// [`want_some`](super::want_some), eight at a time and the rest one by one.
#[target_feature(
    enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2"
)]
pub(super) fn want_some<const ARE_CUT: bool>(
    cache: &Cache,
    pieces: &Pretokens<'_>,
    parts: u64,
    wanted: &mut [Wanted],
) -> usize {
    let &Pretokens { text, start, ends } = pieces;
    let load = |bytes: &[u8; 64]| {
        // SAFETY: the 64 bytes are there, and no alignment is needed.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    };
    let (in_key, words) = (load(&IN_KEY), WORDS.each_ref().map(load));
    let [low, high] = SPREAD.map(u64::cast_signed);
    let factors = _mm512_setr_epi64(low, high, low, high, low, high, low, high);
    let num_lines = _mm512_set1_epi64(cache.lines.len() as i64);
    let highest = _mm512_setr_epi64(0, 0xff << 56, 0, 0xff << 56, 0, 0xff << 56, 0, 0xff << 56);
    let han = _mm512_set1_epi8(HAN.start.cast_signed());
    let line_begins = _mm512_set1_epi64(-(1 << LINE_BITS));
    let longest = _mm512_set1_epi64(KEY_BYTES as i64);
    let first = _mm512_setr_epi64(0, 8, 2, 9, 4, 10, 6, 11);
    let second = _mm512_setr_epi64(1, 12, 3, 13, 5, 14, 7, 15);
    let front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    let mut before = _mm512_set1_epi64(start as i64);
    let mut start = start;
    let (groups, _) = ends.as_chunks::<EIGHT>();
    let (rooms, _) = wanted.as_chunks_mut::<EIGHT>();
    let mut taken = 0;
    for (ends, room) in groups.iter().zip(rooms) {
        let last = ends[EIGHT - 1];
        // A key reads 16 bytes.
        if last + 16 > text.len() {
            break;
        }
        let starts = [
            start, ends[0], ends[1], ends[2], ends[3], ends[4], ends[5], ends[6],
        ];
        start = last;
        // SAFETY: ends ascend, so behind each start there are 16 bytes of text.
        let bytes = |i: usize| unsafe { _mm_loadu_si128(text.as_ptr().add(starts[i]).cast()) };
        let four = |i: usize| {
            let keys = _mm512_castsi128_si512(bytes(i));
            let keys = _mm512_inserti64x2::<1>(keys, bytes(i + 1));
            let keys = _mm512_inserti64x2::<2>(keys, bytes(i + 2));
            _mm512_inserti64x2::<3>(keys, bytes(i + 3))
        };
        // SAFETY: eight words.
        let ends = unsafe { _mm512_loadu_si512(ends.as_ptr().cast()) };
        let starts = _mm512_alignr_epi64::<7>(ends, before);
        before = ends;
        let lens = _mm512_sub_epi64(ends, starts);
        let mut long = _mm512_cmpgt_epu64_mask(lens, longest);
        let part = _mm512_set1_epi64((Key::PART >> 64) as i64);
        let key = |four: __m512i, words: __m512i, parts: u64| {
            let lens = _mm512_permutexvar_epi8(words, lens);
            let bytes = _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(in_key, lens), four);
            let key = _mm512_ternarylogic_epi64::<0xf8>(bytes, lens, highest);
            if ARE_CUT {
                // The upper halves of the keys.
                let parts = _pdep_u64(parts, 0b1010_1010) as u8;
                _mm512_mask_or_epi64(key, parts, key, part)
            } else {
                key
            }
        };
        let parts = parts >> taken;
        let keys = [
            key(four(0), words[0], parts),
            key(four(4), words[1], parts >> 4),
        ];
        if !ARE_CUT && _mm512_cmpge_epu8_mask(_mm512_max_epu8(keys[0], keys[1]), han) != 0 {
            let [low, high] = keys.map(|keys| {
                let bytes = _mm512_mask_cmplt_epu8_mask(
                    _mm512_cmpge_epu8_mask(keys, han),
                    keys,
                    _mm512_set1_epi8(HAN.end.cast_signed()),
                );
                keys_with(bytes)
            });
            let uncut = _mm512_set1_epi64(UNCUT_BYTES as i64);
            long |= (low | high << 4) & _mm512_cmpgt_epu64_mask(lens, uncut);
        }
        let [a, b] = keys.map(|keys| _mm512_mullo_epi64(keys, factors));
        // Of keys 0, 4, 1, 5, 2, 6, 3, 7.
        let spread = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        let lines = _mm512_mul_epu32(_mm512_srli_epi64::<32>(spread), num_lines);
        // The number of the line times its size.
        let places = _mm512_and_si512(_mm512_srli_epi64::<{ 32 - LINE_BITS }>(lines), line_begins);
        let by_places = |keys, order| {
            let more = _mm512_permutex2var_epi64(places, order, starts);
            [front, back].map(|half| _mm512_permutex2var_epi64(keys, half, more))
        };
        let all = [by_places(keys[0], first), by_places(keys[1], second)];
        // SAFETY: each want is two words of a key, its line and its start.
        *room = unsafe { std::mem::transmute::<[[__m512i; 2]; 2], [Wanted; EIGHT]>(all) };
        // SAFETY: vectors of integers are what any bytes are.
        for place in unsafe { std::mem::transmute::<__m512i, [usize; EIGHT]>(places) } {
            // SAFETY: it is one of the cache's.
            prefetch(unsafe { cache.line(place) });
        }
        if long != 0 {
            return taken + long.trailing_zeros() as usize;
        }
        taken += EIGHT;
    }
    let rest = Pretokens {
        text,
        start,
        ends: &ends[taken..],
    };
    let parts = parts.checked_shr(taken as u32).unwrap_or(0);
    taken + super::want_some::<ARE_CUT>(cache, &rest, parts, &mut wanted[taken..])
}
