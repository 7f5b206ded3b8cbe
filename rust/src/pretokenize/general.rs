//! Any other regex: a backtracking engine for what needs look-around, automata for the rest (fancy-regex).

use fancy_regex::Regex;

use crate::error::{Error, Result};
use crate::vocab::shown;

/// One character of each class that patterns tell apart.
pub(super) const PROBES: &[&str] = &[
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

/// Compiles a user's regex and tries it on every pair of character classes.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
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
    for a in PROBES {
        for b in PROBES {
            for_each_while(&regex, &format!("{a}{b}"), &mut |_| true)?;
        }
    }
    Ok(regex)
}

/// Calls `f` with each match until it says false; refuses gaps. Whether `f` said true to the end.
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
            _ => {
                return Err(Error::value(format!(
                    "pattern {:?} loses text: nothing matches at {}; add an alternative that takes the rest, such as |.+ in (?s)",
                    regex.as_str(),
                    shown(&text.as_bytes()[end..])
                )));
            }
        }
    }
    Ok(true)
}
