//! The GPT-2 pattern by hand: `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.

use super::runs::{contraction, letters, numbers, others, space_token, spaces};
use super::unicode::{Classes, LETTER, NUMBER, SPACE};

/// Behind the pretoken that starts at `i`.
#[inline]
pub(super) fn next(classes: &Classes, text: &[u8], i: usize) -> usize {
    if text[i] == b'\''
        && let Some(end) = contraction::<false>(text, i)
    {
        return end;
    }
    let start = i + usize::from(text[i] == b' ');
    if start < text.len() {
        let class = classes.class(text, start);
        if class & LETTER != 0 {
            return letters(classes, text, start);
        }
        if class & NUMBER != 0 {
            return numbers(classes, text, start, usize::MAX);
        }
        if class & SPACE == 0 {
            return others(classes, text, start);
        }
    }
    space_token(text, i, &spaces(classes, text, i))
}
