//! The cl100k family by hand: cl100k, llama3, nano and qwen2 differ in how many digits stand together and in what
//! becomes of white space at the end of a text.
//!
//! `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,DIGITS}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
//! with `\s+$` before `\s*[\r\n]+` where `WHOLE_END`.

use super::runs::{contraction, flagged, letters, numbers, others, space_token, spaces};
use super::unicode::{Classes, LETTER, NEWLINE, NUMBER, SPACE};

/// Behind the pretoken that starts at `i`.
#[inline]
pub(super) fn next<const DIGITS: usize, const WHOLE_END: bool>(
    classes: &Classes,
    text: &[u8],
    i: usize,
) -> usize {
    if text[i] == b'\''
        && let Some(end) = contraction::<true>(text, i)
    {
        return end;
    }
    let (class, len) = classes.at(text, i);
    if class & LETTER != 0 {
        return letters(classes, text, i + len);
    }
    if class & NUMBER != 0 {
        return numbers(classes, text, i + len, DIGITS - 1);
    }
    let after = classes.class(text, i + len);
    if class & NEWLINE == 0 && after & LETTER != 0 {
        return letters(classes, text, i + len);
    }
    if class & SPACE == 0 {
        return flagged(classes, text, others(classes, text, i + len), NEWLINE);
    }
    if text[i] == b' ' && i + 1 < text.len() && after & (LETTER | NUMBER | SPACE) == 0 {
        return flagged(classes, text, others(classes, text, i + 1), NEWLINE);
    }
    let run = spaces(classes, text, i);
    if WHOLE_END && run.end == text.len() {
        return run.end;
    }
    if run.after_newline > i {
        return run.after_newline;
    }
    space_token(text, i, &run)
}
