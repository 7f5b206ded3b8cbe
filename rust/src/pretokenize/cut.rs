//! Where a text may be cut: both sides pretokenise by themselves as the whole does.

use unicode_normalization::{IsNormalized, is_nfc_quick};

use super::normal::{Normalized, last_border};
use super::unicode::{Classes, LETTER};
use super::{Engine, Pattern};

impl Pattern {
    /// The last position in `1..=near` at which the text may be cut: both sides pretokenise by themselves as the
    /// whole does. None if there is none, or if the pattern is a custom regex; see [`Pattern::cut_from_start`].
    ///
    /// In every built-in pattern a letter followed by ASCII white space, ASCII punctuation other than an apostrophe
    /// (contractions), or CJK punctuation ends a pretoken, and nothing before the letter looks beyond it. Where the
    /// text is normalised first, the letter must be one that stays as it is.
    pub fn cut(&self, text: &[u8], near: usize) -> Option<usize> {
        if !self.cuts_anywhere() {
            return None;
        }
        let stays =
            |c: char| !self.normalizes() || is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes;
        behind_letter(text, near, |_, letter| stays(letter))
    }

    /// Whether [`Pattern::cut`] finds cuts, from what stands around them.
    pub fn cuts_anywhere(&self) -> bool {
        matches!(self.engine, Engine::Scanner(_))
    }

    /// As [`Pattern::cut`] for a custom regex or several steps, which have to be run: the text must begin where a
    /// pretoken does. The cut is good whatever follows the text.
    pub fn cut_from_start(&self, text: &[u8], near: usize) -> Option<usize> {
        if self.cuts_anywhere() {
            return self.cut(text, near);
        }
        // The text is split where it is not UTF-8: what matters is the last stretch that begins before `near`.
        let (mut at, mut start, mut stretch) = (0, 0, "");
        for chunk in text.utf8_chunks() {
            if at > near {
                break;
            }
            if !chunk.valid().is_empty() {
                (start, stretch) = (at, chunk.valid());
            }
            at += chunk.valid().len() + chunk.invalid().len();
        }
        let cut = self.cut_stretch(stretch, near - start);
        cut.map(|cut| start + cut).or((start > 0).then_some(start))
    }

    fn cut_stretch(&self, text: &str, near: usize) -> Option<usize> {
        if !self.normalizes {
            return self.engine_cut(text, near, &|_| true);
        }
        // What follows a border changes nothing before it.
        let border = last_border(text, near)?;
        let normalized = Normalized::of(&text[..border]);
        let place = |at| normalized.place(at);
        let text = normalized.text();
        place(self.engine_cut(text, text.len(), &|at| place(at).is_some())?)
    }

    /// The last cut of a text that is normalised, if it has to be, of those that `allow` allows.
    fn engine_cut(&self, text: &str, near: usize, allow: &dyn Fn(usize) -> bool) -> Option<usize> {
        match &self.engine {
            Engine::Scanner(_) => behind_letter(text.as_bytes(), near, |at, _| allow(at)),
            Engine::General(general) => general.cut(text, near, allow),
            Engine::Steps(steps) => steps.cut(text, near, allow),
        }
    }
}

/// The last position in `1..=near` behind a letter and before what begins apart, of those that `allow` allows.
pub(super) fn behind_letter(
    text: &[u8],
    near: usize,
    allow: impl Fn(usize, char) -> bool,
) -> Option<usize> {
    (1..=near.min(text.len().saturating_sub(1)))
        .rev()
        .find(|&i| begins_apart(&text[i..]) && last_letter(&text[..i]).is_some_and(|c| allow(i, c)))
}

/// ASCII white space or punctuation but the apostrophe, or U+3001, U+3002, U+FF0C.
fn begins_apart(text: &[u8]) -> bool {
    match text[0] {
        b'\'' => false,
        b if b.is_ascii_punctuation() || b.is_ascii_whitespace() => true,
        0xe3 => text.starts_with("\u{3001}".as_bytes()) || text.starts_with("\u{3002}".as_bytes()),
        0xef => text.starts_with("\u{ff0c}".as_bytes()),
        _ => false,
    }
}

/// The letter that the bytes end in, if they end in one.
fn last_letter(text: &[u8]) -> Option<char> {
    let last = &text[text.len().saturating_sub(4)..];
    let start = last.iter().rposition(|b| b & 0xc0 != 0x80)?;
    let c = std::str::from_utf8(&last[start..]).ok()?.chars().next()?;
    (Classes::get().at(&last[start..], 0).0 & LETTER != 0).then_some(c)
}
