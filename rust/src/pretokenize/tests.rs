//! The scanners against the general engine, and what `cut` promises.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use fancy_regex::Regex;
use proptest::prelude::*;

use super::*;
use crate::error::Error;

/// One code point for each class that a built-in pattern tells apart, and more where a class has characters of one
/// byte and of several: 29, 732,540 strings of up to four.
const CLASSES: &[char] = &[
    'a',
    's',
    'l',
    'v',
    'e',
    'A',
    'S',
    'L',
    'V',
    'E',
    '\u{e9}',
    '\u{17f}',
    '\u{1c5}',
    '\u{2b0}',
    '\u{4e2d}',
    '\u{301}',
    '1',
    '\u{bd}',
    ' ',
    '\t',
    '\n',
    '\r',
    '\u{a0}',
    '\'',
    '!',
    '/',
    '\u{1f642}',
    '\u{3002}',
    '\u{85}',
];

fn pieces(pattern: &Pattern, text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    pattern
        .for_each(text.as_bytes(), |p| found.push(p.to_vec()))
        .unwrap();
    found
}

/// Each built-in pattern by hand and as its defining regex in the general engine.
static BOTH: LazyLock<Vec<(Pattern, Regex)>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .map(|(name, regex)| (Pattern::new(name).unwrap(), Regex::new(regex).unwrap()))
        .collect()
});

fn defined(regex: &Regex, text: &str, normalizes: bool) -> Vec<Vec<u8>> {
    let text: String = if normalizes {
        text.nfc().collect()
    } else {
        text.into()
    };
    let mut found = Vec::new();
    let keep = &mut |pretoken: &[u8]| {
        found.push(pretoken.to_vec());
        true
    };
    general::for_each_while(regex, &text, keep).unwrap();
    found
}

/// Compares on all strings of a length, each pattern on a thread of its own.
fn check_all_strings(length: usize) {
    std::thread::scope(|scope| {
        for (scanner, regex) in BOTH.iter() {
            // r50k and p50k are gpt2 by another name.
            if !matches!(scanner.name(), Some("r50k" | "p50k")) {
                scope.spawn(move || check_strings(length, scanner, regex));
            }
        }
    });
}

fn check_strings(length: usize, scanner: &Pattern, regex: &Regex) {
    for number in 0..CLASSES.len().pow(length as u32) {
        let digit = |place| CLASSES[number / CLASSES.len().pow(place) % CLASSES.len()];
        let text: String = (0..length as u32).map(digit).collect();
        assert_eq!(
            pieces(scanner, &text),
            defined(regex, &text, scanner.normalizes()),
            "{:?} on {text:?}",
            scanner.name()
        );
    }
}

/// What the patterns can tell of a character: its classes, and its place in their literals.
fn told_apart(c: char) -> (u8, char) {
    let literal = match c {
        ' ' | '\'' | '/' | '\r' | '\n' | '\u{17f}' | 'l' | 'e' | 'L' | 'E' => c,
        's' | 'd' | 'm' | 't' => 's',
        'S' | 'D' | 'M' | 'T' => 'S',
        'v' | 'r' => 'v',
        'V' | 'R' => 'V',
        _ => '-',
    };
    let mut buffer = [0; 4];
    let bytes = c.encode_utf8(&mut buffer).as_bytes();
    (Classes::get().at(bytes, 0).0, literal)
}

#[test]
fn every_class_has_its_code_point() {
    let covered: BTreeSet<_> = CLASSES.iter().map(|c| told_apart(*c)).collect();
    let all: BTreeSet<_> = (0..=0x10_ffff)
        .filter_map(char::from_u32)
        .map(told_apart)
        .collect();
    assert_eq!(covered, all);
    assert_eq!((all.len(), CLASSES.len()), (21, 29));
}

#[test]
fn scanners_equal_the_engine_on_all_strings_up_to_four() {
    (1..=4).for_each(check_all_strings);
}

fn text() -> impl Strategy<Value = String> {
    let class = prop::sample::select(CLASSES);
    let chunk = prop_oneof![
        class.prop_map(String::from),
        "[a-zA-Z]{1,12}",
        "[ \n\t]{1,4}",
        "'(s|T|ll|VE|x)",
        "[0-9]{1,5}",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(chunk, 0..30).prop_map(|chunks| chunks.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn scanners_equal_the_engine(text in text()) {
        for (scanner, regex) in BOTH.iter() {
            let want = defined(regex, &text, scanner.normalizes());
            prop_assert_eq!(pieces(scanner, &text), want, "{:?}", scanner.name());
        }
    }

    #[test]
    fn a_cut_changes_nothing(text in text(), near in 0usize..200) {
        for (pattern, _) in BOTH.iter() {
            if let Some(at) = pattern.cut(text.as_bytes(), near) {
                prop_assert!(at > 0 && at <= near && at < text.len());
                let (left, right) = text.split_at(at);
                let halves = [pieces(pattern, left), pieces(pattern, right)].concat();
                prop_assert_eq!(halves, pieces(pattern, &text), "{:?} cut at {}", pattern.name(), at);
            }
        }
    }

    #[test]
    fn bytes_tile(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for name in ["gpt2", "nano", "o200k", r"\w+|\W+"] {
            let mut found = Vec::new();
            Pattern::new(name).unwrap().for_each(&bytes, |p| found.push(p.to_vec())).unwrap();
            prop_assert_eq!(&found.concat(), &bytes);
        }
    }
}

#[test]
fn no_cut_behind_a_letter_that_normalisation_takes_apart() {
    assert_eq!(
        Pattern::new("qwen2")
            .unwrap()
            .cut("\u{5f2}\u{5b7}\u{fb1f}\n".as_bytes(), 9),
        None
    );
    assert_eq!(
        Pattern::new("nano")
            .unwrap()
            .cut("\u{fb1f}\n".as_bytes(), 9),
        Some(3)
    );
}

#[test]
fn stops_when_told() {
    for pattern in ["nano", r"\w+|\W+"] {
        for text in [&b"one two\xff three"[..], b"\xff\xff one two three"] {
            let mut seen = 0;
            let two = |_: &[u8]| {
                seen += 1;
                seen < 2
            };
            Pattern::new(pattern)
                .unwrap()
                .for_each_while(text, two)
                .unwrap();
            assert_eq!(seen, 2, "{pattern} on {text:?}");
        }
    }
}

#[test]
fn invalid_bytes_are_one_pretoken_between_valid_stretches() {
    let mut found = Vec::new();
    let text = b"ab \xff\xe4\xb8 c\x80";
    Pattern::new("gpt2")
        .unwrap()
        .for_each(text, |p| found.push(p.to_vec()))
        .unwrap();
    assert_eq!(found, [&b"ab"[..], b" ", b"\xff\xe4\xb8", b" c", b"\x80"]);
}

#[test]
fn lossy_and_broken_regexes_are_refused() {
    for bad in ["(", "[a-z", r"\p{L}+", "x?", "gpt5", ".", r"\p{Nonsense}"] {
        assert!(matches!(Pattern::new(bad), Err(Error::Value(_))), "{bad}");
    }
    assert!(Pattern::new("(?s).").is_ok());
}
