//! A regex as automata that are built while they run: what the general engine finds, many times faster.
//!
//! The regexes of pretokenizers are nearly regular. What is not is `\s+(?!\S)`, which this file knows by heart, and
//! possessive repetition, which is the greedy one where nothing that follows can begin with what is repeated. A regex
//! that has more than that, or repeats what may match nothing, is left to the general engine.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use regex_automata::Anchored;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::start;

use crate::error::Result;

mod regular;
#[cfg(test)]
mod tests;

use regular::{alternatives, compiled};

/// All white space but the last character before something else, as every descendant of GPT-2's pattern has it.
const SPACES: &str = r"\s+(?!\S)";

/// Bytes that a search for a cut may look at, for each byte of the text.
const MOST_LOOKS: usize = 16;

/// Neighbouring alternatives of a regex.
#[derive(Debug)]
enum Step {
    /// Some that are regular.
    Regular(Box<DFA>),
    /// [`SPACES`].
    Spaces,
}

/// Finds what a regex matches at a position of a text.
#[derive(Debug)]
pub(super) struct Automaton {
    /// In order of preference.
    steps: Vec<Step>,
    /// Whether a step asserts something about what stands around a match, [`SPACES`] aside.
    asserts: bool,
    /// States that threads have built, while no thread uses them.
    idle: Mutex<Vec<States>>,
}

/// The states of each regular step, as far as they are built.
type States = Vec<Cache>;

impl Automaton {
    /// The automaton of a regex; None if it is not regular enough.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let alternatives = alternatives(pattern)?;
        let (mut steps, mut asserts) = (Vec::new(), false);
        for run in alternatives.chunk_by(|a, b| *a != SPACES && *b != SPACES) {
            steps.push(if run == [SPACES] {
                Step::Spaces
            } else {
                let dfa = compiled(&run.join("|"))?;
                asserts |= !dfa.get_nfa().look_set_any().is_empty();
                Step::Regular(Box::new(dfa))
            });
        }
        Some(Self {
            steps,
            asserts,
            idle: Mutex::default(),
        })
    }

    /// Calls `f` with each match from the beginning on, until it says false.
    pub(super) fn for_each_while(&self, text: &str, f: &mut impl FnMut(&[u8]) -> bool) -> Ended {
        let mut at = 0;
        self.with_states(|states| {
            while at < text.len() {
                let Some(end) = self.end(states, text, at, &mut 0) else {
                    return Ended::Unmatched(at);
                };
                if !f(&text.as_bytes()[at..end]) {
                    return Ended::Unwanted;
                }
                at = end;
            }
            Ended::Text
        })
    }

    /// Calls `f` with each match and each stretch between matches, until it says false. Whether it said true to the
    /// end.
    pub(super) fn split_while(
        &self,
        text: &str,
        f: &mut dyn FnMut(&str) -> Result<bool>,
    ) -> Result<bool> {
        self.with_states(|states| {
            let (mut at, mut begun) = (0, 0);
            while at < text.len() {
                let Some(end) = self.end(states, text, at, &mut 0) else {
                    at += text[at..].chars().next().map_or(1, char::len_utf8);
                    continue;
                };
                if begun < at && !f(&text[begun..at])? || !f(&text[at..end])? {
                    return Ok(false);
                }
                (at, begun) = (end, end);
            }
            Ok(begun == at || f(&text[begun..])?)
        })
    }

    /// The last position in `1..=near` at which the text may be cut: on both sides by themselves the matches, and the
    /// stretches between them, are those of the whole, and more text behind `text` changes nothing. None if there is
    /// none that `allow` allows.
    ///
    /// `between` gives a cut of the stretch in which no match begins any more, up to so many bytes: that is exact too
    /// if the stretch is split further by what finds it.
    ///
    /// Without assertions a match depends on what stands before its end, and on what else begins like it; cut behind
    /// it, the text has fewer of the latter. [`SPACES`] asks for the end of the text: no run of white space may be
    /// there.
    pub(super) fn cut(
        &self,
        text: &str,
        near: usize,
        allow: &dyn Fn(usize) -> bool,
        between: &dyn Fn(Range<usize>, usize) -> Option<usize>,
    ) -> Option<usize> {
        if self.asserts {
            return None;
        }
        let (mut at, mut begun, mut cut) = (0, 0, None);
        // A search that looks far at each position would cost the square of the text.
        let mut left = near.saturating_mul(MOST_LOOKS);
        let searched = &text.as_bytes()[..near.min(text.len())];
        self.with_states(|states| {
            let begins = self.first_bytes(states);
            while let Some(rest) = searched.get(at..).filter(|rest| !rest.is_empty()) {
                let next = rest.iter().position(|byte| begins[usize::from(*byte)]);
                at += next.unwrap_or(rest.len());
                if next.is_none() {
                    // The last character may go beyond.
                    while !text.is_char_boundary(at) {
                        at -= 1;
                    }
                    break;
                }
                let mut seen = at;
                let end = self.end(states, text, at, &mut seen);
                left = left.saturating_sub(seen - at);
                if seen > text.len() || left == 0 {
                    break;
                }
                match end {
                    None => at += text[at..].chars().next().map_or(1, char::len_utf8),
                    Some(end) if end > near => break,
                    Some(end) => {
                        (at, begun) = (end, end);
                        if !text[..at].ends_with(char::is_whitespace) && allow(at) {
                            cut = Some(at);
                        }
                    }
                }
            }
        });
        between(begun..at, near.min(at) - begun).or(cut)
    }

    /// With which bytes a match may begin, where nothing is asserted. Passing over the others takes a sixth of the time
    /// of a search at each (60 MB of code, digits as the first step: 0.05 s).
    fn first_bytes(&self, states: &mut States) -> [bool; 256] {
        let mut begins = [false; 256];
        for byte in 0..=u8::MAX {
            let mut caches = states.iter_mut();
            begins[usize::from(byte)] = self.steps.iter().any(|step| match (step, byte) {
                (Step::Regular(dfa), _) => {
                    caches.next().is_some_and(|cache| goes_on(dfa, cache, byte))
                }
                (Step::Spaces, ..0x80) => char::from(byte).is_whitespace(),
                (Step::Spaces, 0x80..) => true,
            });
        }
        begins
    }

    fn with_states<R>(&self, work: impl FnOnce(&mut States) -> R) -> R {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states = idle().pop().unwrap_or_else(|| self.states());
        let result = work(&mut states);
        idle().push(states);
        result
    }

    fn states(&self) -> States {
        let regular = self.steps.iter().filter_map(|step| match step {
            Step::Regular(dfa) => Some(dfa.create_cache()),
            Step::Spaces => None,
        });
        regular.collect()
    }

    /// Where the match at a position ends; None if nothing, or the empty string, matches. `seen` becomes the end of
    /// what was looked at, if that is more: up to the text's end, it is so whatever follows the text.
    fn end(&self, states: &mut States, text: &str, at: usize, seen: &mut usize) -> Option<usize> {
        let mut caches = states.iter_mut();
        let end = self.steps.iter().find_map(|step| match step {
            Step::Regular(dfa) => search(dfa, caches.next()?, text.as_bytes(), at, seen),
            Step::Spaces => spaces(text, at, seen),
        });
        end.filter(|end| *end > at)
    }
}

/// How a walk over a text's matches ended.
pub(super) enum Ended {
    /// At the end of the text.
    Text,
    /// Nothing matches at this position.
    Unmatched(usize),
    /// Whoever took the matches wanted no more.
    Unwanted,
}

/// Whether a match may begin with a byte.
fn goes_on(dfa: &DFA, cache: &mut Cache, byte: u8) -> bool {
    let start = dfa.start_state(cache, &start::Config::new().anchored(Anchored::Yes));
    let next = start.map(|state| dfa.next_state(cache, state, byte));
    !matches!(next, Ok(Ok(state)) if state.is_dead())
}

/// The end of the leftmost-first match that begins at a position; `seen` as in [`Automaton::end`].
fn search(dfa: &DFA, cache: &mut Cache, text: &[u8], at: usize, seen: &mut usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|i| text[i]);
    let config = start::Config::new()
        .anchored(Anchored::Yes)
        .look_behind(before);
    let mut state = dfa.start_state(cache, &config).ok()?;
    let mut found = None;
    for (i, &byte) in text.iter().enumerate().skip(at) {
        state = dfa.next_state(cache, state, byte).ok()?;
        // A match is known one byte late.
        if state.is_tagged() {
            if state.is_match() {
                found = Some(i);
            } else if state.is_dead() || state.is_quit() {
                *seen = (i + 1).max(*seen);
                return found;
            }
        }
    }
    *seen = text.len() + 1;
    state = dfa.next_eoi_state(cache, state).ok()?;
    if state.is_match() {
        Some(text.len())
    } else {
        found
    }
}

/// The end of [`SPACES`] at a position; `seen` as in [`Automaton::end`].
fn spaces(text: &str, at: usize, seen: &mut usize) -> Option<usize> {
    let rest = &text[at..];
    let run = rest.len() - rest.trim_start().len();
    *seen = (at + run + 1).max(*seen);
    let last = rest[..run].chars().next_back()?;
    match at + run {
        end if end == text.len() => Some(end),
        end => Some(end - last.len_utf8()).filter(|end| *end > at),
    }
}
