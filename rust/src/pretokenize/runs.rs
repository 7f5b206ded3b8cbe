//! What the scanners share: how far a run of one kind of character reaches.
//!
//! All take UTF-8 and a position at a character's start, and give the position behind the run.

use super::unicode::{Classes, LETTER, NEWLINE, NUMBER, SPACE, is_other};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// How many of the eight bytes (lowest first) are ASCII letters before the first that is not.
#[inline]
fn leading_letters(word: u64) -> usize {
    // Folded to lower case, adding 0x1f sets the high bit from `a` on, adding 5 only beyond `z`.
    let folded = (word & !HIGH) | (0x20 * ONES);
    let letters = (folded + 0x1f * ONES) & !(folded + 0x05 * ONES) & !word & HIGH;
    ((letters ^ HIGH).trailing_zeros() / 8) as usize
}

/// Behind the `\p{L}*` at `i`.
#[inline]
pub(super) fn letters(classes: &Classes, text: &[u8], mut i: usize) -> usize {
    loop {
        while let Some(eight) = text.get(i..i + 8) {
            let n = leading_letters(u64::from_le_bytes(eight.try_into().expect("eight bytes")));
            i += n;
            if n < 8 {
                break;
            }
        }
        // At most seven ASCII letters are left here, or the first character is not ASCII.
        loop {
            let Some(&byte) = text.get(i) else { return i };
            let (class, len) = classes.at(text, i);
            if class & LETTER == 0 {
                return i;
            }
            i += len;
            if byte < 0x80 && i + 8 <= text.len() {
                break;
            }
        }
    }
}

/// Behind the run of characters whose class `keep` accepts.
#[inline]
fn run(classes: &Classes, text: &[u8], mut i: usize, keep: impl Fn(u8) -> bool) -> usize {
    while i < text.len() {
        let (class, len) = classes.at(text, i);
        if !keep(class) {
            break;
        }
        i += len;
    }
    i
}

/// Behind the `\p{N}{0,most}` at `i`.
#[inline]
pub(super) fn numbers(classes: &Classes, text: &[u8], mut i: usize, most: usize) -> usize {
    for _ in 0..most {
        if i >= text.len() {
            break;
        }
        let (class, len) = classes.at(text, i);
        if class & NUMBER == 0 {
            break;
        }
        i += len;
    }
    i
}

/// Behind the `[^\s\p{L}\p{N}]*` at `i`.
#[inline]
pub(super) fn others(classes: &Classes, text: &[u8], i: usize) -> usize {
    run(classes, text, i, is_other)
}

/// Behind the run of characters that have one of the flags.
#[inline]
pub(super) fn flagged(classes: &Classes, text: &[u8], i: usize, flags: u8) -> usize {
    run(classes, text, i, |class| class & flags != 0)
}

/// A run of white space.
pub(super) struct Spaces {
    /// Behind the run.
    pub end: usize,
    /// Where its last character begins.
    pub last: usize,
    /// Behind its last `\r` or `\n`; its start if it has none.
    pub after_newline: usize,
}

/// The `\s*` at `i`.
#[inline]
pub(super) fn spaces(classes: &Classes, text: &[u8], i: usize) -> Spaces {
    let mut found = Spaces {
        end: i,
        last: i,
        after_newline: i,
    };
    while found.end < text.len() {
        let (class, len) = classes.at(text, found.end);
        if class & SPACE == 0 {
            break;
        }
        found.last = found.end;
        found.end += len;
        if class & NEWLINE != 0 {
            found.after_newline = found.end;
        }
    }
    found
}

/// `\s+(?!\S)|\s+` without going back: the whole run at the end of the text, else all but its last character, which
/// goes to what follows; a single one stands alone.
#[inline]
pub(super) fn space_token(text: &[u8], start: usize, run: &Spaces) -> usize {
    if run.end == text.len() || run.last == start {
        run.end
    } else {
        run.last
    }
}

/// Behind the contraction at the apostrophe at `i`, if one is there.
///
/// `FOLD` compares as `(?i)` does, where U+017F (long s) is an s too.
#[inline]
pub(super) fn contraction<const FOLD: bool>(text: &[u8], i: usize) -> Option<usize> {
    let letter = |k: usize| {
        let b = *text.get(i + k).unwrap_or(&0);
        if FOLD { b.to_ascii_lowercase() } else { b }
    };
    match (letter(1), letter(2)) {
        (b's' | b't' | b'd' | b'm', _) => Some(i + 2),
        (b'l', b'l') | (b'v' | b'r', b'e') => Some(i + 3),
        (0xc5, 0xbf) if FOLD => Some(i + 3),
        _ => None,
    }
}
