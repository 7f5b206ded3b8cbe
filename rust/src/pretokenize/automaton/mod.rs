//! A regex as automata that are built while they run: what the general engine finds, many times faster.
//!
//! The regexes of pretokenizers are nearly regular. What is not is `\s+(?!\S)`, which this file knows by heart, and
//! possessive repetition, which is the greedy one where nothing that follows can begin with what is repeated. A regex
//! that has more than that is left to the general engine.

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
                let Some((end, _)) = self.end(states, text, at) else {
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
                let Some((end, _)) = self.end(states, text, at) else {
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

    /// The last position in `1..=near` at which a text that begins with a match may be cut: both sides match by
    /// themselves as the whole does, and more text behind `text` changes nothing. None if there is none.
    ///
    /// Without assertions a match depends on what stands before its end, and on what else begins like it; cut behind
    /// it, the text has fewer of the latter. [`SPACES`] asks for the end of the text: no run of white space may be
    /// there.
    pub(super) fn cut(&self, text: &str, near: usize) -> Option<usize> {
        if self.asserts {
            return None;
        }
        let (mut at, mut cut) = (0, None);
        self.with_states(|states| {
            while let Some((end, true)) = self.end(states, text, at).filter(|(end, _)| *end <= near)
            {
                at = end;
                if !text[..at].ends_with(char::is_whitespace) {
                    cut = Some(at);
                }
            }
        });
        cut
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

    /// Where the match at a position ends, and whether that is so whatever follows the text; None if nothing, or the
    /// empty string, matches.
    fn end(&self, states: &mut States, text: &str, at: usize) -> Option<(usize, bool)> {
        let mut caches = states.iter_mut();
        let mut sure = true;
        let end = self.steps.iter().find_map(|step| match step {
            Step::Regular(dfa) => search(dfa, caches.next()?, text.as_bytes(), at, &mut sure),
            Step::Spaces => spaces(text, at, &mut sure),
        });
        end.filter(|end| *end > at).map(|end| (end, sure))
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

/// The end of the leftmost-first match that begins at a position; `sure` no more if the end of the text was seen.
fn search(dfa: &DFA, cache: &mut Cache, text: &[u8], at: usize, sure: &mut bool) -> Option<usize> {
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
                return found;
            }
        }
    }
    *sure = false;
    state = dfa.next_eoi_state(cache, state).ok()?;
    if state.is_match() {
        Some(text.len())
    } else {
        found
    }
}

/// The end of [`SPACES`] at a position; `sure` no more if the end of the text was seen.
fn spaces(text: &str, at: usize, sure: &mut bool) -> Option<usize> {
    let rest = &text[at..];
    let run = rest.len() - rest.trim_start().len();
    *sure &= run < rest.len();
    let last = rest[..run].chars().next_back()?;
    match at + run {
        end if end == text.len() => Some(end),
        end => Some(end - last.len_utf8()).filter(|end| *end > at),
    }
}
