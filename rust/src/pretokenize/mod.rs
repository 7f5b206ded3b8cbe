//! Splitting text into pretokens, the pieces that merges never cross.
//!
//! The built-in patterns are scanned by hand (a table of classes and words of eight bytes). Any other regex runs in
//! lazily built automata if it is regular enough, else in a backtracking engine, about ten times slower. The tests
//! compare all three on every string of up to four characters over one character per class.
//!
//! ```
//! let pattern = nanobpe::pretokenize::Pattern::new("gpt2")?;
//! let mut pretokens = Vec::new();
//! pattern.for_each(b"It's 12 o'clock", |p| pretokens.push(String::from_utf8_lossy(p).into_owned()))?;
//! assert_eq!(pretokens, ["It", "'s", " 12", " o", "'", "clock"]);
//! # Ok::<(), nanobpe::Error>(())
//! ```

use std::ops::Range;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use crate::error::Result;
use crate::processor::Level;

mod automaton;
mod blocks;
mod cl100k;
mod cut;
mod general;
mod gpt2;
pub(crate) mod key;
mod normal;
mod o200k;
mod places;
mod runs;
mod steps;
#[cfg(test)]
mod tests;
mod unicode;
mod windows;

use general::General;
use normal::is_normalized;
use steps::Steps;
use unicode::Classes;
pub use unicode::UNICODE_VERSION;
use windows::{Ends, FEW_PLACES, Kind, PLACES, fill_for};

const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The built-in patterns: name and defining regex, as their owners publish them.
pub const PATTERNS: &[(&str, &str)] = &[
    ("gpt2", GPT2),
    ("r50k", GPT2),
    ("p50k", GPT2),
    (
        "cl100k",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    (
        "llama3",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "o200k",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "qwen2",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    (
        "nano",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ),
];

/// Before a pattern: the text is brought to normalisation form C first.
pub const NFC: &str = "(?#nfc)";
/// Before each of a pattern's steps, the first too: a step splits what the one before left, and what its regex does
/// not match is a pretoken as well. Both marks are comments to any regex engine.
pub const SPLIT: &str = "(?#split)";

/// How a text is split into pretokens.
#[derive(Clone, Debug)]
pub struct Pattern {
    name: Option<&'static str>,
    regex: String,
    engine: Engine,
    normalizes: bool,
}

#[derive(Clone, Debug)]
enum Engine {
    Scanner(Kind),
    General(Box<General>),
    Steps(Arc<Steps>),
}

/// A text that is known to be UTF-8, or bytes, which cost a look at all of them: a twentieth of encoding mixed scripts.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// UTF-8.
    Str(&'a str),
    /// Perhaps not.
    Bytes(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// A part of the text.
    #[must_use]
    pub fn part(self, part: &'a [u8]) -> Self {
        let Self::Str(text) = self else {
            return Self::Bytes(part);
        };
        let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        let end = start.wrapping_add(part.len());
        text.get(start..end).map_or(Self::Bytes(part), Self::Str)
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

/// Some pretokens, one behind the other in a text.
#[derive(Clone, Copy, Debug)]
pub struct Pretokens<'a> {
    /// What they were cut from.
    pub text: &'a [u8],
    /// Where the first begins.
    pub start: usize,
    /// Where each ends.
    pub ends: &'a [usize],
}

impl<'a> Pretokens<'a> {
    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut start = self.start;
        self.ends.iter().map(move |&end| {
            let pretoken = &self.text[start..end];
            start = end;
            pretoken
        })
    }
}

impl Pattern {
    /// The built-in pattern of this name or with this regex, else the regex itself; the marks [`NFC`] and [`SPLIT`]
    /// may stand in it.
    ///
    /// # Errors
    /// `Error::Value` if the regex does not compile, matches the empty string or loses text.
    pub fn new(name_or_regex: &str) -> Result<Self> {
        let Some(rest) = name_or_regex.strip_prefix(NFC) else {
            return Self::unmarked(name_or_regex);
        };
        let pattern = Self::unmarked(rest)?;
        if pattern.normalizes {
            return Ok(pattern);
        }
        Ok(Self {
            name: None,
            regex: format!("{NFC}{}", pattern.regex),
            normalizes: true,
            ..pattern
        })
    }

    /// As [`Pattern::new`] without [`NFC`].
    fn unmarked(name_or_regex: &str) -> Result<Self> {
        if let Some(steps) = name_or_regex.strip_prefix(SPLIT) {
            return Ok(Self {
                name: None,
                regex: name_or_regex.into(),
                engine: Engine::Steps(Arc::new(Steps::new(steps.split(SPLIT))?)),
                normalizes: false,
            });
        }
        let Some((name, regex, kind)) = built_in(name_or_regex) else {
            return Ok(Self {
                name: None,
                regex: name_or_regex.into(),
                engine: Engine::General(Box::new(General::new(name_or_regex)?)),
                normalizes: false,
            });
        };
        Ok(Self {
            name: Some(name),
            regex: regex.into(),
            engine: Engine::Scanner(kind),
            normalizes: matches!(kind, Kind::Qwen2),
        })
    }

    /// The regex that defines the pattern.
    pub fn regex(&self) -> &str {
        &self.regex
    }

    /// The regex of each step without marks; of most patterns the one regex that they are.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        let regex = self.regex.strip_prefix(NFC).unwrap_or(&self.regex);
        regex.strip_prefix(SPLIT).unwrap_or(regex).split(SPLIT)
    }

    /// The name of a built-in pattern.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Whether the text is brought to normalisation form C first (qwen2, or marked [`NFC`]), so that pretokens are not
    /// slices of it.
    pub fn normalizes(&self) -> bool {
        self.normalizes
    }

    /// Calls `f` with each pretoken in order; together they are the (normalised) text.
    ///
    /// Where the text is not UTF-8 it splits: each valid stretch is pretokenised by itself, and each maximal run of
    /// invalid bytes is one pretoken.
    ///
    /// # Errors
    /// `Error::Value` if a custom regex loses text or gives up on it.
    #[inline]
    pub fn for_each(&self, text: &[u8], mut f: impl FnMut(&[u8])) -> Result<()> {
        self.for_each_while(text, |pretoken| {
            f(pretoken);
            true
        })
    }

    /// As [`Pattern::for_each`], until `f` says false.
    ///
    /// # Errors
    /// As [`Pattern::for_each`].
    #[inline]
    pub fn for_each_while(&self, text: &[u8], mut f: impl FnMut(&[u8]) -> bool) -> Result<()> {
        self.for_some_while(Text::Bytes(text), |some| some.iter().all(&mut f))
    }

    /// As [`Pattern::for_each_while`], some hundred pretokens at a time.
    ///
    /// # Errors
    /// As [`Pattern::for_each`].
    #[inline]
    pub fn for_some_while(
        &self,
        text: Text<'_>,
        mut f: impl FnMut(Pretokens<'_>) -> bool,
    ) -> Result<()> {
        let text = match text {
            Text::Str(text) => Ok(text),
            Text::Bytes(bytes) => simdutf8::basic::from_utf8(bytes).map_err(|_| bytes),
        };
        match text {
            Ok(text) => self.in_str(text, &mut f).map(drop),
            Err(bytes) => self.in_broken(bytes, &mut f),
        }
    }

    #[cold]
    fn in_broken(&self, text: &[u8], f: &mut dyn FnMut(Pretokens<'_>) -> bool) -> Result<()> {
        let mut invalid = 0..0;
        let mut at = 0;
        for chunk in text.utf8_chunks() {
            let valid = chunk.valid();
            if !valid.is_empty() {
                if !invalid.is_empty() && !f(one(text, &std::mem::take(&mut invalid))) {
                    return Ok(());
                }
                if !self.in_str(valid, &mut |some| f(some))? {
                    return Ok(());
                }
                at += valid.len();
            }
            if invalid.is_empty() {
                invalid.start = at;
            }
            at += chunk.invalid().len();
            invalid.end = at;
        }
        if !invalid.is_empty() {
            f(one(text, &invalid));
        }
        Ok(())
    }

    /// Whether `f` said true to the end.
    fn in_str(&self, text: &str, f: &mut impl FnMut(Pretokens<'_>) -> bool) -> Result<bool> {
        if self.normalizes && !is_normalized(text) {
            let normalized: String = text.nfc().collect();
            return self.in_normalized(&normalized, f);
        }
        self.in_normalized(text, f)
    }

    fn in_normalized(&self, text: &str, f: &mut impl FnMut(Pretokens<'_>) -> bool) -> Result<bool> {
        Ok(match &self.engine {
            Engine::Scanner(kind) => scan(*kind, Level::best(), text.as_bytes(), f),
            Engine::General(general) => {
                collect(text, f, |mut one| general.for_each_while(text, &mut one))?
            }
            Engine::Steps(steps) => collect(text, f, |one| steps.for_each_while(text, one))?,
        })
    }
}

/// Name, regex and scanner of the built-in pattern with this name or regex.
fn built_in(name_or_regex: &str) -> Option<(&'static str, &'static str, Kind)> {
    let mut known = PATTERNS.iter();
    let &(name, regex) =
        known.find(|(name, regex)| *name == name_or_regex || *regex == name_or_regex)?;
    let kind = match name {
        "cl100k" => Kind::Cl100k,
        "llama3" => Kind::Llama3,
        "nano" => Kind::Nano,
        "qwen2" => Kind::Qwen2,
        "o200k" => Kind::O200k,
        _ => Kind::Gpt2,
    };
    Some((name, regex, kind))
}

/// The stretch as one pretoken.
fn one<'a>(text: &'a [u8], range: &'a Range<usize>) -> Pretokens<'a> {
    Pretokens {
        text,
        start: range.start,
        ends: std::slice::from_ref(&range.end),
    }
}

/// Whether `f` said true to the end; `text` is UTF-8.
#[inline]
fn scan(kind: Kind, level: Level, text: &[u8], f: &mut impl FnMut(Pretokens<'_>) -> bool) -> bool {
    if text.len() < FEW_PLACES {
        scan_with(kind, level, text, &mut [0; FEW_PLACES], f)
    } else {
        scan_with(kind, level, text, &mut [0; PLACES], f)
    }
}

/// As [`scan`], from an engine that gives `text`'s pretokens one by one.
fn collect(
    text: &str,
    f: &mut impl FnMut(Pretokens<'_>) -> bool,
    each: impl FnOnce(&mut dyn FnMut(&[u8]) -> bool) -> Result<bool>,
) -> Result<bool> {
    let mut places = [0; PLACES];
    let (mut num_places, mut start, mut end) = (0, 0, 0);
    let bytes = text.as_bytes();
    let wanted = each(&mut |pretoken| {
        end += pretoken.len();
        places[num_places] = end;
        num_places += 1;
        if num_places < PLACES {
            return true;
        }
        num_places = 0;
        let ends = &places;
        let start = std::mem::replace(&mut start, end);
        f(Pretokens {
            text: bytes,
            start,
            ends,
        })
    })?;
    let ends = &places[..num_places];
    Ok(wanted
        && (ends.is_empty()
            || f(Pretokens {
                text: bytes,
                start,
                ends,
            })))
}

#[inline]
fn scan_with(
    kind: Kind,
    level: Level,
    text: &[u8],
    places: &mut [usize],
    f: &mut impl FnMut(Pretokens<'_>) -> bool,
) -> bool {
    let (classes, fill) = (Classes::get(), fill_for(kind, level));
    let mut ends = Ends::new(places);
    let mut start = 0;
    while start < text.len() {
        fill(classes, text, start, &mut ends);
        let ends = ends.as_slice();
        if !f(Pretokens { text, start, ends }) {
            return false;
        }
        start = ends.last().copied().unwrap_or(text.len());
    }
    true
}
