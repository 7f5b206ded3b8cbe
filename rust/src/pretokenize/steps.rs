//! Several regexes one after another, each splitting what the one before left: what a sequence of pre-tokenizers in
//! Hugging Face's files does. What a step's regex does not match is a piece as well, so no text is lost.

use std::ops::Range;

use fancy_regex::Regex;

use super::automaton::Automaton;
use super::cut::behind_letter;
use super::windows::Kind;
use super::{built_in, scan};
use crate::error::{Error, Result};
use crate::processor::Level;
use crate::vocab::shown;

/// Files have up to seven.
const MAX_STEPS: usize = 16;

/// The steps of a pattern.
#[derive(Debug)]
pub(super) struct Steps(Vec<Step>);

#[derive(Debug)]
enum Step {
    BuiltIn(Kind),
    /// Regular but for what the automaton knows by heart.
    Automaton(Box<Automaton>),
    /// Regular, in linear time, or else by backtracking; with an automaton for cuts if regular.
    Regex(Box<Regex>, Option<Box<Automaton>>),
}

impl Steps {
    /// Compiles the regex of each step.
    ///
    /// # Errors
    /// `Error::Value` for one that does not compile or is empty, or for too many.
    pub(super) fn new<'a>(regexes: impl Iterator<Item = &'a str>) -> Result<Self> {
        let steps = regexes
            .take(MAX_STEPS + 1)
            .map(Step::new)
            .collect::<Result<Vec<_>>>()?;
        if steps.len() > MAX_STEPS {
            return Err(Error::value(format!(
                "the pattern has more than {MAX_STEPS} steps"
            )));
        }
        Ok(Self(steps))
    }

    /// Calls `f` with each piece that the last step leaves, until it says false. Whether it said true to the end.
    ///
    /// # Errors
    /// `Error::Value` if a regex that has to backtrack gives up.
    pub(super) fn for_each_while(
        &self,
        text: &str,
        f: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool> {
        split(&self.0, text, f)
    }

    /// As [`super::Pattern::cut_from_start`] in UTF-8, of the cuts that `allow` allows.
    ///
    /// A later step sees the pieces of the one before and nothing around them. So a cut between pieces of the first
    /// step is exact, and one inside a piece if it is so for the other steps on that piece.
    pub(super) fn cut(
        &self,
        text: &str,
        near: usize,
        allow: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        cut(&self.0, text, near, allow)
    }
}

fn cut(steps: &[Step], text: &str, near: usize, allow: &dyn Fn(usize) -> bool) -> Option<usize> {
    let (step, rest) = steps.split_first()?;
    let automaton = match step {
        Step::BuiltIn(_) => return behind_letter(text.as_bytes(), near, |at, _| allow(at)),
        Step::Automaton(automaton) => automaton,
        Step::Regex(_, automaton) => automaton.as_ref()?,
    };
    let between = |stretch: Range<usize>, near| {
        let start = stretch.start;
        let allow = |at| allow(start + at);
        cut(rest, &text[stretch], near, &allow).map(|at| start + at)
    };
    automaton.cut(text, near, allow, &between)
}

fn split(steps: &[Step], text: &str, f: &mut dyn FnMut(&[u8]) -> bool) -> Result<bool> {
    let Some((step, rest)) = steps.split_first() else {
        return Ok(text.is_empty() || f(text.as_bytes()));
    };
    if rest.is_empty() {
        return step.for_each_while(text, &mut |piece| Ok(f(piece.as_bytes())));
    }
    step.for_each_while(text, &mut |piece| split(rest, piece, f))
}

impl Step {
    fn new(regex: &str) -> Result<Self> {
        if let Some((_, _, kind)) = built_in(regex) {
            return Ok(Self::BuiltIn(kind));
        }
        let compiled = Regex::new(regex).map_err(|error| {
            Error::value(format!("step {regex:?} is no regex that compiles: {error}"))
        })?;
        if regex.is_empty() || compiled.is_match("").unwrap_or(true) {
            return Err(empty_match(regex));
        }
        // A search for the next match is linear in a regular one; the automaton tries at each position.
        let automaton = Automaton::new(regex).map(Box::new);
        Ok(match automaton {
            Some(automaton) if regex_syntax::parse(regex).is_err() => Self::Automaton(automaton),
            automaton => Self::Regex(Box::new(compiled), automaton),
        })
    }

    /// Calls `f` with each match and each stretch between matches, until it says false.
    fn for_each_while(&self, text: &str, f: &mut dyn FnMut(&str) -> Result<bool>) -> Result<bool> {
        match self {
            Self::BuiltIn(kind) => {
                let mut failed = None;
                let wanted = scan(*kind, Level::best(), text.as_bytes(), &mut |some| {
                    let mut start = some.start;
                    some.ends.iter().all(|&end| {
                        let piece = &text[std::mem::replace(&mut start, end)..end];
                        f(piece).unwrap_or_else(|error| {
                            failed = Some(error);
                            false
                        })
                    })
                });
                failed.map_or(Ok(wanted), Err)
            }
            Self::Automaton(automaton) => automaton.split_while(text, f),
            Self::Regex(regex, _) => {
                let mut at = 0;
                while at < text.len() {
                    let found = regex.find_from_pos(text, at).map_err(|error| {
                        Error::value(format!(
                            "step {:?} gives up at {}: {error}",
                            regex.as_str(),
                            shown(&text.as_bytes()[at..])
                        ))
                    })?;
                    let (start, end) =
                        found.map_or((text.len(), text.len()), |m| (m.start(), m.end()));
                    if start == end && end < text.len() {
                        return Err(empty_match(regex.as_str()));
                    }
                    for piece in [&text[at..start], &text[start..end]] {
                        if !piece.is_empty() && !f(piece)? {
                            return Ok(false);
                        }
                    }
                    at = end;
                }
                Ok(true)
            }
        }
    }
}

fn empty_match(regex: &str) -> Error {
    Error::value(format!(
        "step {regex:?} matches the empty string, which splits nothing off"
    ))
}
