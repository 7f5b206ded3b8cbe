//! Which class each code point has: a flat table built once from the Unicode tables of Rust's `regex`.
//!
//! One byte per code point, 1.1 MB of which a text touches only the lines of its scripts. A two-stage table was no
//! faster and needs two dependent loads.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// The version of Unicode whose classes the patterns use.
pub const UNICODE_VERSION: &str = "16.0.0";

/// `\p{L}`.
pub(crate) const LETTER: u8 = 1;
/// `\p{N}`.
pub(crate) const NUMBER: u8 = 2;
/// `\s`.
pub(crate) const SPACE: u8 = 4;
/// `\r` and `\n`.
pub(crate) const NEWLINE: u8 = 8;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what may begin a word of o200k.
pub(crate) const UPPER: u8 = 16;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what may end one.
pub(crate) const LOWER: u8 = 32;

/// What the patterns call neither letter, number nor space.
pub(crate) const fn is_other(class: u8) -> bool {
    class & (LETTER | NUMBER | SPACE) == 0
}

const NUM_CODE_POINTS: usize = 0x11_0000;

/// The class flags of every code point.
pub(crate) struct Classes(Box<[u8; NUM_CODE_POINTS]>);

impl Classes {
    /// The table, built by whoever asks first (about 1 ms).
    pub(crate) fn get() -> &'static Self {
        static TABLE: OnceLock<Classes> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut table = vec![0u8; NUM_CODE_POINTS].into_boxed_slice();
            for (pattern, flag) in [
                (r"\p{L}", LETTER),
                (r"\p{N}", NUMBER),
                (r"\s", SPACE),
                (r"[\r\n]", NEWLINE),
                (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
                (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
            ] {
                for (first, last) in ranges(pattern) {
                    for class in &mut table[first as usize..=last as usize] {
                        *class |= flag;
                    }
                }
            }
            Self(table.try_into().expect("one class per code point"))
        })
    }

    /// The class of the character at `i` and its length in bytes.
    ///
    /// `text` must be UTF-8 with a character starting at `i`.
    #[expect(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn at(&self, text: &[u8], i: usize) -> (u8, usize) {
        let b0 = text[i];
        if b0 < 0x80 {
            return (self.0[b0 as usize], 1);
        }
        let low = |k: usize| u32::from(text[i + k] & 0x3f);
        let (code, len) = if b0 < 0xe0 {
            ((u32::from(b0 & 0x1f) << 6) | low(1), 2)
        } else if b0 < 0xf0 {
            ((u32::from(b0 & 0x0f) << 12) | (low(1) << 6) | low(2), 3)
        } else {
            (
                (u32::from(b0 & 0x07) << 18) | (low(1) << 12) | (low(2) << 6) | low(3),
                4,
            )
        };
        (self.0[code as usize], len)
    }

    /// The class of the character at `i`, 0 at the end of the text.
    #[inline]
    pub(crate) fn class(&self, text: &[u8], i: usize) -> u8 {
        if i < text.len() {
            self.at(text, i).0
        } else {
            0
        }
    }
}

/// The code point ranges of a one-character regex.
fn ranges(pattern: &str) -> Vec<(u32, u32)> {
    let hir = regex_syntax::parse(pattern).expect("a fixed pattern");
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class
            .iter()
            .map(|r| (u32::from(r.start()), u32::from(r.end())))
            .collect(),
        HirKind::Class(Class::Bytes(class)) => class
            .iter()
            .map(|r| (u32::from(r.start()), u32::from(r.end())))
            .collect(),
        kind => unreachable!("{pattern} is no class: {kind:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_sizes_are_those_of_the_recorded_unicode_version() {
        let table = &Classes::get().0;
        let count = |flag| table.iter().filter(|c| **c & flag != 0).count();
        assert_eq!(
            [count(LETTER), count(NUMBER), count(SPACE), count(NEWLINE)],
            [141_028, 1_911, 25, 2],
            "letters, numbers, spaces, newlines"
        );
    }

    #[test]
    fn decodes_every_character() {
        let classes = Classes::get();
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(
                classes.at(bytes, 0),
                (classes.0[c as usize], bytes.len()),
                "{c:?}"
            );
        }
    }
}
