//! The o200k pattern by hand: words are split where a capital follows a small letter.
//!
//! With `U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, `V = [\p{Ll}\p{Lm}\p{Lo}\p{M}]` and `C` a contraction in any case:
//! `[^\r\n\p{L}\p{N}]?U*V+C?|[^\r\n\p{L}\p{N}]?U+V*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`.

use super::runs::{contraction, flagged, numbers, others, space_token, spaces};
use super::unicode::{Classes, LETTER, LOWER, NEWLINE, NUMBER, SPACE, UPPER};

/// Behind the pretoken that starts at `i`.
#[inline]
pub(super) fn next(classes: &Classes, text: &[u8], i: usize) -> usize {
    let (class, len) = classes.at(text, i);
    if let Some(end) = word(classes, text, i, class, len) {
        return match text.get(end) {
            Some(b'\'') => contraction::<true>(text, end).unwrap_or(end),
            _ => end,
        };
    }
    if class & NUMBER != 0 {
        return numbers(classes, text, i + len, 2);
    }
    if class & SPACE == 0 {
        return others_and_line_ends(classes, text, i);
    }
    let run = spaces(classes, text, i);
    if text[i] == b' ' && run.last == i && run.end < text.len() {
        // One space, and what follows is neither a word (tried above) nor white space.
        if classes.class(text, run.end) & (LETTER | NUMBER) == 0 {
            return others_and_line_ends(classes, text, run.end);
        }
    }
    if run.after_newline > i {
        return run.after_newline;
    }
    space_token(text, i, &run)
}

/// `[^\s\p{L}\p{N}]+[\r\n/]*` at `i`.
#[inline]
fn others_and_line_ends(classes: &Classes, text: &[u8], i: usize) -> usize {
    let end = others(classes, text, i);
    end + text[end..]
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n' | b'/'))
        .count()
}

/// The word alternatives in the order in which an engine tries them: `U*V+`, then `U+V*`, each first behind the
/// optional leading character and then without it.
#[inline]
fn word(classes: &Classes, text: &[u8], i: usize, class: u8, len: usize) -> Option<usize> {
    let may_lead = class & (LETTER | NUMBER | NEWLINE) == 0;
    let mut starts = [None, None];
    if may_lead {
        starts[0] = Some(i + len);
    }
    if class & (UPPER | LOWER) != 0 {
        starts[1] = Some(i);
    }
    for start in starts.into_iter().flatten() {
        if let Some(end) = ending_lower(classes, text, start) {
            return Some(end);
        }
    }
    // No V can follow U+ here, or the first form would have matched.
    starts.into_iter().flatten().find_map(|start| {
        let end = flagged(classes, text, start, UPPER);
        (end > start).then_some(end)
    })
}

/// `U*V+` at `start`. When no V follows the run of U, the engine gives back to the last character that is both.
#[inline]
fn ending_lower(classes: &Classes, text: &[u8], start: usize) -> Option<usize> {
    let (mut i, mut both) = (start, None);
    while i < text.len() {
        let (class, len) = classes.at(text, i);
        if class & UPPER == 0 {
            break;
        }
        i += len;
        if class & LOWER != 0 {
            both = Some(i);
        }
    }
    let end = flagged(classes, text, i, LOWER);
    if end > i { Some(end) } else { both }
}
