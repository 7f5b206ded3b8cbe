//! The automata against the backtracking engine, and what `cut` promises.

use proptest::prelude::*;

use super::*;
use crate::pretokenize::{PATTERNS, general};

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

fn cut(automaton: &Automaton, text: &str, near: usize) -> Option<usize> {
    automaton.cut(text, near, &|_| true, &|_, _| None)
}

fn both() -> Vec<(Automaton, fancy_regex::Regex)> {
    let built_in = PATTERNS.iter().map(|(_, regex)| *regex);
    let all = built_in.chain(REGULAR.iter().copied());
    let regular = |regex| Automaton::new(regex).unwrap_or_else(|| panic!("{regex} is left out"));
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
            let Some(at) = cut(&automaton, &text, near) else { continue };
            prop_assert!((1..=near).contains(&at));
            let whole = format!("{text}{more}");
            let halves = [&whole[..at], &whole[at..]].map(|half| ends(&automaton, half));
            let halves = halves.into_iter().collect::<Option<Vec<_>>>().map(|halves| halves.concat());
            prop_assert_eq!(halves, ends(&automaton, &whole), "{} cut at {}", regex, at);
        }
    }
}

/// Regexes of a few parts each: classes and groups, repeated, and what stands behind them.
fn made() -> impl Strategy<Value = String> {
    let class = prop::sample::select(
        &[
            "a",
            "b",
            " ",
            "[ab]",
            "[^a]",
            r"\s",
            r"\S",
            r"\w",
            r"\p{L}",
            r"\p{Lu}",
            r"\p{N}",
            r"[\r\n]",
            r"[|\]a]",
            r"[^\s\p{L}]",
            "(?s:.)",
            "(?i:s)",
            "(?:ab|a)",
            "(?:a|ab)",
            r"(?:a*|\s)",
            "(?i:ab|k)",
        ][..],
    );
    let times = prop::sample::select(
        &[
            "", "", "?", "*", "+", "{1,2}", "{2}", "++", "?+", "*+", "{1,2}+", "+?",
        ][..],
    );
    let part = (class, times).prop_map(|(class, times)| format!("{class}{times}"));
    let behind = prop::sample::select(&["", "", "", "$", r"(?!\S)", "(?=a)", r"\b"][..]);
    let parts = (prop::collection::vec(part, 1..4), behind)
        .prop_map(|(parts, behind)| parts.concat() + behind);
    let alternative = prop_oneof![4 => parts, 1 => Just(SPACES.to_string())];
    prop::collection::vec(alternative, 1..5).prop_map(|alternatives| alternatives.join("|"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_regex_that_becomes_one_equals_the_engine(
        made in made(),
        texts in prop::collection::vec("([abAsk1 \n\r\u{17f}\u{e9}\u{a0}|\\]]|a{2,9}|[ \n]{2,5}){0,12}", 8),
        near in 0usize..20,
    ) {
        let Some(automaton) = Automaton::new(&made) else { return Ok(()) };
        let regex = fancy_regex::Regex::new(&made).unwrap();
        for text in texts {
            let want = defined(&regex, &text);
            prop_assert_eq!(ends(&automaton, &text), want.clone(), "{} on {:?}", made, text);
            let (Some(want), Some(at)) = (want, cut(&automaton, &text, near)) else { continue };
            let halves = [&text[..at], &text[at..]].map(|half| ends(&automaton, half).unwrap());
            prop_assert_eq!(halves.concat(), want, "{} on {:?} cut at {}", made, text, at);
        }
    }
}

#[test]
fn cuts_where_there_is_a_boundary() {
    let automaton = Automaton::new(REGULAR[0]).unwrap();
    assert_eq!(cut(&automaton, "one two three four", 9), Some(7));
    assert_eq!(
        cut(&automaton, "one two", 7),
        Some(3),
        "the last word may go on"
    );
    assert_eq!(cut(&automaton, "one   ", 6), Some(3));
    assert_eq!(
        cut(&Automaton::new(r"\w+|\W+$|(?s:.)").unwrap(), "one two", 5),
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
        r"(?:a*|\s)*[^a]++|(?s).",
    ] {
        assert!(Automaton::new(regex).is_none(), "{regex}");
    }
}
