//! Code points to UTF-8, sixteen at a time: with the copy that Python makes of them, twice as fast as Python's own.

use crate::processor::Level;

/// Bytes of a code point at most.
const MOST_BYTES: usize = 4;

/// Appends code points as UTF-8; false if one is none or a surrogate, and what was appended is of no use.
pub(crate) fn append(level: Level, points: &[u32], out: &mut Vec<u8>) -> bool {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            let (chunks, rest) = points.as_chunks();
            // SAFETY: a processor of this level has the features.
            unsafe { append_avx512(chunks, out) && append_one_by_one(rest, out) }
        }
        _ => append_one_by_one(points, out),
    }
}

fn append_one_by_one(points: &[u32], out: &mut Vec<u8>) -> bool {
    out.reserve(MOST_BYTES * points.len());
    for &point in points {
        let Some(character) = char::from_u32(point) else {
            return false;
        };
        let mut bytes = [0; MOST_BYTES];
        let num_bytes = character.encode_utf8(&mut bytes).len();
        out.extend_from_slice(&bytes);
        out.truncate(out.len() - MOST_BYTES + num_bytes);
    }
    true
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt")]
fn append_avx512(chunks: &[[u32; 16]], out: &mut Vec<u8>) -> bool {
    #[allow(clippy::wildcard_imports, reason = "thirty intrinsics")]
    use std::arch::x86_64::*;
    let all = |number: u32| _mm512_set1_epi32(number.cast_signed());
    out.reserve(64 * chunks.len() + 64);
    let mut len = out.len();
    let mut are_valid = true;
    for chunk in chunks {
        // SAFETY: vectors of integers are what any bytes are.
        let points = unsafe { std::mem::transmute::<[u32; 16], __m512i>(*chunk) };
        let two = _mm512_cmpge_epu32_mask(points, all(0x80));
        // SAFETY: there is room for 64 bytes of each chunk.
        let to = unsafe { out.as_mut_ptr().add(len) };
        if two == 0 {
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(points)) };
            len += 16;
            continue;
        }
        let three = _mm512_cmpge_epu32_mask(points, all(0x800));
        let four = _mm512_cmpge_epu32_mask(points, all(0x1_0000));
        let surrogates = _mm512_and_si512(points, all(0xffff_f800));
        are_valid &= _mm512_cmpeq_epu32_mask(surrogates, all(0xd800)) == 0;
        are_valid &= _mm512_cmpge_epu32_mask(points, all(0x11_0000)) == 0;
        // The marks of the bytes that are there, the last one highest.
        let mut marks = _mm512_mask_mov_epi32(all(0x8000_0000), two, all(0x80c0_0000));
        marks = _mm512_mask_mov_epi32(marks, three, all(0x8080_e000));
        marks = _mm512_mask_mov_epi32(marks, four, all(0x8080_80f0));
        // Six bits in each byte, from which on in a pair of code points.
        let from = _mm512_set1_epi64(0x2026_2c32_0006_0c12);
        let bits = _mm512_multishift_epi64_epi8(from, points);
        let bytes = _mm512_or_si512(_mm512_and_si512(bits, all(0x3f3f_3f3f)), marks);
        let bytes = _mm512_mask_slli_epi32::<24>(bytes, !two, points);
        let kept = _mm512_movepi8_mask(marks);
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_maskz_compress_epi8(kept, bytes)) };
        len += kept.count_ones() as usize;
    }
    // SAFETY: so many were written.
    unsafe { out.set_len(len) };
    are_valid
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_point() -> impl Strategy<Value = u32> {
        prop_oneof![
            20 => 0u32..0x80,
            10 => 0u32..0x1000,
            10 => 0x800u32..0xd800,
            5 => 0xe000u32..0x11_0000,
        ]
    }

    proptest! {
        #[test]
        fn it_is_utf8(
            points in prop::collection::vec(code_point(), 0..100),
            bad in prop::option::weighted(0.2, (any::<prop::sample::Index>(), prop_oneof![0xd800u32..0xe000, 0x11_0000u32..])),
            ascii: bool,
        ) {
            let mut points = points;
            if ascii {
                points.iter_mut().for_each(|point| *point &= 0x7f);
            }
            if let Some((at, bad)) = bad {
                points.insert(at.index(points.len() + 1), bad);
            }
            let text: Option<String> = points.iter().map(|point| char::from_u32(*point)).collect();
            for level in Level::all() {
                let mut out = b"before".to_vec();
                prop_assert_eq!(append(level, &points, &mut out), text.is_some(), "{:?}", level);
                if let Some(text) = &text {
                    prop_assert_eq!(&out[6..], text.as_bytes(), "{:?}", level);
                }
            }
        }
    }
}
