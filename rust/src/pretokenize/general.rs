//! Any other regex: automata where it is regular (almost every one is), else a backtracking engine.

use std::sync::Arc;

use fancy_regex::Regex;

use super::automaton::{Automaton, Ended};
use crate::error::{Error, Result};
use crate::vocab::shown;

/// One character of each class that patterns tell apart.
const PROBES: &[&str] = &[
    "a",
    "s",
    "S",
    "\u{e9}",
    "\u{17f}",
    "\u{1c5}",
    "\u{2b0}",
    "\u{4e2d}",
    "\u{301}",
    "1",
    "\u{bd}",
    "\u{663}",
    " ",
    "\t",
    "\n",
    "\r",
    "\u{a0}",
    "\u{3000}",
    "'",
    "!",
    "/",
    "_",
    "\u{1f642}",
    "\0",
    "\u{85}",
];

/// A user's regex.
#[derive(Clone, Debug)]
pub(super) struct General {
    regex: Regex,
    automaton: Option<Arc<Automaton>>,
}

impl General {
    /// Compiles a regex and tries it on every pair of character classes.
    pub(super) fn new(pattern: &str) -> Result<Self> {
        let regex = Regex::new(pattern).map_err(|e| {
            Error::value(format!(
                "pattern {pattern:?} is neither a built-in name ({}) nor a regex that compiles: {e}",
                super::PATTERNS
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
        })?;
        let mut automaton = Automaton::new(pattern);
        for a in PROBES {
            for b in PROBES {
                let text = format!("{a}{b}");
                let mut ends = Vec::new();
                for_each_while(&regex, &text, &mut |piece| {
                    ends.push(piece.len());
                    true
                })?;
                // A regex that the two engines read differently is the slower one's.
                automaton = automaton.filter(|automaton| {
                    let mut same = ends.iter();
                    let ended = automaton
                        .for_each_while(&text, &mut |piece| same.next() == Some(&piece.len()));
                    matches!(ended, Ended::Text) && same.next().is_none()
                });
            }
        }
        Ok(Self {
            regex,
            automaton: automaton.map(Arc::new),
        })
    }

    /// Calls `f` with each match until it says false; refuses gaps. Whether `f` said true to the end.
    pub(super) fn for_each_while(
        &self,
        text: &str,
        f: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<bool> {
        let Some(automaton) = &self.automaton else {
            return for_each_while(&self.regex, text, f);
        };
        match automaton.for_each_while(text, f) {
            Ended::Text => Ok(true),
            Ended::Unwanted => Ok(false),
            Ended::Unmatched(at) => Err(loses_text(&self.regex, &text[at..])),
        }
    }

    /// As [`super::Pattern::cut_from_start`] in UTF-8, of the cuts that `allow` allows.
    pub(super) fn cut(
        &self,
        text: &str,
        near: usize,
        allow: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        // Where nothing matches, the text is lost anyway.
        let between = |_, _| None;
        self.automaton.as_ref()?.cut(text, near, allow, &between)
    }
}

/// As [`General::for_each_while`], by the backtracking engine.
pub(super) fn for_each_while(
    regex: &Regex,
    text: &str,
    f: &mut impl FnMut(&[u8]) -> bool,
) -> Result<bool> {
    let mut end = 0;
    while end < text.len() {
        let found = regex.find_from_pos(text, end).map_err(|e| {
            Error::value(format!(
                "pattern {:?} gives up at byte {end} of a text ({}): {e}",
                regex.as_str(),
                shown(&text.as_bytes()[end..])
            ))
        })?;
        match found {
            Some(m) if m.start() == end && m.end() > end => {
                if !f(&text.as_bytes()[end..m.end()]) {
                    return Ok(false);
                }
                end = m.end();
            }
            _ => return Err(loses_text(regex, &text[end..])),
        }
    }
    Ok(true)
}

fn loses_text(regex: &Regex, rest: &str) -> Error {
    Error::value(format!(
        "pattern {:?} loses text: nothing matches at {}; add an alternative that takes the rest, such as |.+ in (?s)",
        regex.as_str(),
        shown(rest.as_bytes())
    ))
}
