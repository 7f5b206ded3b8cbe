//! A regex as automata that are built while they run: what the general engine finds, many times faster.
//!
//! The regexes of pretokenizers are nearly regular. What is not is `\s+(?!\S)`, which this file knows by heart, and
//! possessive repetition, which is the greedy one where nothing that follows can begin with what is repeated. A regex
//! that has more than that is left to the general engine.

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::ast::{AssertionKind, Ast, Repetition, RepetitionKind, RepetitionRange, Span};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use crate::error::Result;

/// Bytes that one thread's states may take; beyond, they are forgotten and built anew.
const CACHE_BYTES: usize = 8 << 20;

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

/// The alternatives of the outermost level; the whole where flags in one would hold for later ones too.
fn alternatives(pattern: &str) -> Option<Vec<&str>> {
    let bytes = pattern.as_bytes();
    let (mut parts, mut start, mut i) = (Vec::new(), 0, 0);
    let (mut groups, mut classes) = (0usize, 0usize);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'[' => {
                classes += 1;
                i += usize::from(bytes.get(i + 1) == Some(&b'^'));
                // At its beginning a bracket is one of the characters.
                i += usize::from(bytes.get(i + 1) == Some(&b']'));
            }
            b']' => classes = classes.saturating_sub(1),
            _ if classes > 0 => {}
            b'(' => {
                let flags = pattern[i + 1..].strip_prefix('?').unwrap_or("");
                let rest = flags.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-');
                if groups == 0 && rest.starts_with(')') {
                    return Some(vec![pattern]);
                }
                groups += 1;
            }
            b')' => groups = groups.checked_sub(1)?,
            b'|' if groups == 0 => {
                parts.push(&pattern[start..i]);
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    parts.push(&pattern[start..]);
    Some(parts)
}

/// The automaton of a regular pattern.
fn compiled(pattern: &str) -> Option<DFA> {
    let greedy = without_possessives(pattern)?;
    DFA::builder()
        .configure(
            DFA::config()
                .match_kind(MatchKind::LeftmostFirst)
                .cache_capacity(CACHE_BYTES)
                .skip_cache_capacity_check(true),
        )
        .build(&greedy)
        .ok()
}

/// The same pattern with greedy repetitions in place of possessive ones; None where that may not be the same.
fn without_possessives(pattern: &str) -> Option<String> {
    let ast = regex_syntax::ast::parse::Parser::new()
        .parse(pattern)
        .ok()?;
    let mut marks: Vec<Span> = Vec::new();
    let mut flagged = false;
    for alternative in parts(&ast) {
        let sequence = match alternative {
            Ast::Concat(concat) => concat.asts.as_slice(),
            one => std::slice::from_ref(one),
        };
        flagged |= sequence
            .iter()
            .any(|element| matches!(element, Ast::Flags(_)));
        for (i, element) in sequence.iter().enumerate() {
            if let Some(inner) = possessive(element) {
                let class = class(pattern, &inner.ast).filter(|_| inner.greedy)?;
                if !apart(pattern, &class, &sequence[i + 1..]) {
                    return None;
                }
                if let Ast::Repetition(outer) = element {
                    marks.push(outer.op.span);
                }
            } else if holds_possessive(element) {
                return None;
            }
        }
    }
    // Flags may change which characters a class has.
    if flagged && !marks.is_empty() {
        return None;
    }
    let mut greedy = pattern.to_string();
    for mark in marks.iter().rev() {
        greedy.replace_range(mark.start.offset..mark.end.offset, "");
    }
    Some(greedy)
}

fn parts(ast: &Ast) -> &[Ast] {
    match ast {
        Ast::Alternation(alternation) => &alternation.asts,
        one => std::slice::from_ref(one),
    }
}

/// What is repeated possessively: to this parser, `++` is a repetition of a repetition.
fn possessive(ast: &Ast) -> Option<&Repetition> {
    match ast {
        Ast::Repetition(outer) if outer.op.kind == RepetitionKind::OneOrMore => {
            match outer.ast.as_ref() {
                Ast::Repetition(inner) => Some(inner),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a repetition of a repetition is anywhere inside.
fn holds_possessive(ast: &Ast) -> bool {
    match ast {
        Ast::Repetition(outer) => {
            matches!(outer.ast.as_ref(), Ast::Repetition(_)) || holds_possessive(&outer.ast)
        }
        Ast::Group(group) => holds_possessive(&group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter().any(holds_possessive),
        Ast::Concat(concat) => concat.asts.iter().any(holds_possessive),
        _ => false,
    }
}

/// Whether nothing in `after` can begin with a character of `repeated`, as far as that is simple to tell.
fn apart(pattern: &str, repeated: &ClassUnicode, after: &[Ast]) -> bool {
    for element in after {
        let (one, optional) = match (element, possessive(element)) {
            (Ast::Assertion(a), _) => {
                // Behind fewer repetitions the text goes on.
                return matches!(a.kind, AssertionKind::EndLine | AssertionKind::EndText);
            }
            (_, Some(inner)) => (inner.ast.as_ref(), is_optional(inner)),
            (Ast::Repetition(repetition), _) => (repetition.ast.as_ref(), is_optional(repetition)),
            _ => (element, false),
        };
        let Some(mut class) = class(pattern, one) else {
            return false;
        };
        class.intersect(repeated);
        if !class.ranges().is_empty() {
            return false;
        }
        if !optional {
            return true;
        }
    }
    true
}

fn is_optional(repetition: &Repetition) -> bool {
    match &repetition.op.kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore => true,
        RepetitionKind::OneOrMore => false,
        RepetitionKind::Range(range) => matches!(
            range,
            RepetitionRange::Exactly(0)
                | RepetitionRange::AtLeast(0)
                | RepetitionRange::Bounded(0, _)
        ),
    }
}

/// The characters that a part of a pattern stands for, if it stands for one character.
fn class(pattern: &str, ast: &Ast) -> Option<ClassUnicode> {
    let span = ast.span();
    let hir = regex_syntax::parse(&pattern[span.start.offset..span.end.offset]).ok()?;
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Literal(literal) => {
            let mut chars = std::str::from_utf8(&literal.0).ok()?.chars();
            let only = chars.next().filter(|_| chars.next().is_none())?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(only, only)]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{PATTERNS, general};
    use super::*;

    /// Regexes that must run as automata, beside the built-in ones.
    const REGULAR: &[&str] = &[
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}{1,4}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"\w+|[^\w\s]+|\s+",
        r"\s+(?!\S)|\S++|\s",
        r"[|\]a]+|(?:b|c)d*|(?s:.)",
        r"(?i:ab|ac)|\p{Lu}?+\p{Ll}++|\p{N}{2}+|\s++$|(?s:.)",
        r"^a|b$|(?s).",
    ];

    /// The ends of a text's matches; None where a part of it matches nothing.
    fn ends(automaton: &Automaton, text: &str) -> Option<Vec<usize>> {
        let mut lengths = Vec::new();
        let ended = automaton.for_each_while(text, &mut |piece| {
            lengths.push(piece.len());
            true
        });
        matches!(ended, Ended::Text).then_some(lengths)
    }

    fn defined(regex: &fancy_regex::Regex, text: &str) -> Option<Vec<usize>> {
        let mut lengths = Vec::new();
        let found = general::for_each_while(regex, text, &mut |piece| {
            lengths.push(piece.len());
            true
        });
        found.ok().map(|_| lengths)
    }

    fn both() -> Vec<(Automaton, fancy_regex::Regex)> {
        let built_in = PATTERNS.iter().map(|(_, regex)| *regex);
        let all = built_in.chain(REGULAR.iter().copied());
        let regular =
            |regex| Automaton::new(regex).unwrap_or_else(|| panic!("{regex} is left out"));
        all.map(|regex| (regular(regex), fancy_regex::Regex::new(regex).unwrap()))
            .collect()
    }

    #[test]
    fn equals_the_engine_on_all_strings_up_to_three() {
        const CHARS: &[&str] = &[
            "a",
            "b",
            "A",
            "\u{17f}",
            "\u{2b0}",
            "\u{4e2d}",
            "\u{301}",
            "1",
            "\u{bd}",
            " ",
            "\n",
            "\r",
            "\u{a0}",
            "'",
            "|",
            "]",
            "/",
            "\u{1f642}",
        ];
        let mut texts = vec![String::new()];
        let mut last = texts.clone();
        for _ in 0..3 {
            last = last
                .iter()
                .flat_map(|head| CHARS.iter().map(move |c| format!("{head}{c}")))
                .collect();
            texts.extend_from_slice(&last);
        }
        for (automaton, regex) in both() {
            for text in &texts {
                assert_eq!(
                    ends(&automaton, text),
                    defined(&regex, text),
                    "{regex} on {text:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn equals_the_engine(text in "([a-zA-Z]{1,9}|[0-9]{1,6}|[ \n\r\t]{1,3}|'(s|LL|x)|[|\\]/!]|\\PC){0,20}") {
            for (automaton, regex) in both() {
                prop_assert_eq!(ends(&automaton, &text), defined(&regex, &text), "{}", regex);
            }
        }
    }

    proptest! {
        #[test]
        fn a_cut_changes_nothing(
            text in "([a-zA-Z]{1,9}|[0-9]{1,6}|[ \n\r\t]{1,3}|'(s|LL|x)|[|\\]/!]|\\PC){0,20}",
            near in 0usize..80,
            more in "[a ]{0,3}",
        ) {
            for (automaton, regex) in both() {
                let Some(at) = automaton.cut(&text, near) else { continue };
                prop_assert!((1..=near).contains(&at));
                let whole = format!("{text}{more}");
                let halves = [&whole[..at], &whole[at..]].map(|half| ends(&automaton, half));
                let halves = halves.into_iter().collect::<Option<Vec<_>>>().map(|halves| halves.concat());
                prop_assert_eq!(halves, ends(&automaton, &whole), "{} cut at {}", regex, at);
            }
        }
    }

    #[test]
    fn cuts_where_there_is_a_boundary() {
        let automaton = Automaton::new(REGULAR[0]).unwrap();
        assert_eq!(automaton.cut("one two three four", 9), Some(7));
        assert_eq!(
            automaton.cut("one two", 7),
            Some(3),
            "the last word may go on"
        );
        assert_eq!(automaton.cut("one   ", 6), Some(3));
        assert_eq!(
            Automaton::new(r"\w+|\W+$|(?s:.)")
                .unwrap()
                .cut("one two", 5),
            None
        );
    }

    #[test]
    fn leaves_out_what_is_not_regular() {
        for regex in [
            r"(?=a)b|(?s).",
            r"(a)\1|(?s).",
            r"a++a|(?s).",
            r"[ab]?+\w+|(?s).",
            r"(?:a++b)+|(?s).",
            r"(?>a|ab)c|(?s).",
            r"(?i)a|\s+(?!\S)|(?s).",
            r"a++|(?s).",
            r"\w+(?!\S)|(?s).",
        ] {
            assert!(Automaton::new(regex).is_none(), "{regex}");
        }
    }
}
