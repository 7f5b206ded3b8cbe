//! The scanners against the general engine, and what `cut` promises.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use fancy_regex::Regex;
use proptest::prelude::*;

use super::blocks::{BLOCK, Bytes, Masks};
use super::unicode::LETTER;
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

const KINDS: [Kind; 6] = [
    Kind::Gpt2,
    Kind::Cl100k,
    Kind::Llama3,
    Kind::Nano,
    Kind::Qwen2,
    Kind::O200k,
];

/// By the scanner of one pretoken alone, which is compared with the engine on short strings.
fn one_by_one(kind: Kind, text: &[u8]) -> Vec<usize> {
    let classes = Classes::get();
    let mut ends = Vec::new();
    let mut i = 0;
    while i < text.len() {
        i = match kind {
            Kind::Gpt2 => gpt2::next(classes, text, i),
            Kind::Cl100k => cl100k::next::<3, true>(classes, text, i),
            Kind::Llama3 => cl100k::next::<3, false>(classes, text, i),
            Kind::Nano => cl100k::next::<2, false>(classes, text, i),
            Kind::Qwen2 => cl100k::next::<1, false>(classes, text, i),
            Kind::O200k => o200k::next(classes, text, i),
        };
        ends.push(i);
    }
    ends
}

fn in_windows(kind: Kind, level: Level, text: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    scan(kind, level, text, &mut |some| {
        ends.extend_from_slice(some.ends);
        true
    });
    ends
}

fn check_windows(text: &str) {
    for kind in KINDS {
        let want = one_by_one(kind, text.as_bytes());
        for level in Level::all() {
            assert_eq!(
                in_windows(kind, level, text.as_bytes()),
                want,
                "{kind:?}, {level:?} on {text:?}"
            );
        }
    }
}

/// Every string of this length, with text before and behind that makes windows of it.
fn check_all_windows(length: usize) {
    let behind = "z".repeat(BLOCK);
    let mut digits = vec![0; length];
    for number in 0..CLASSES.len().pow(length as u32) {
        let mut rest = number;
        for d in &mut digits {
            (*d, rest) = (rest % CLASSES.len(), rest / CLASSES.len());
        }
        let middle: String = digits.iter().map(|&d| CLASSES[d]).collect();
        check_windows(&format!("{middle}{behind}"));
        // Across the border of a window, and between runs.
        check_windows(&format!(
            "{}{middle}  x {behind}",
            " y".repeat(BLOCK / 2 - 1)
        ));
    }
}

#[test]
fn windows_equal_the_scanner_on_all_strings_up_to_two() {
    (1..=2).for_each(check_all_windows);
}

#[test]
#[ignore = "minutes"]
fn windows_equal_the_scanner_on_all_strings_of_three_and_four() {
    (3..=4).for_each(check_all_windows);
}

/// The masks by one look-up per character.
fn masks_by_character(text: &str, num_bytes: usize) -> Masks {
    let mut masks = Masks::default();
    for (at, c) in text.char_indices() {
        if at + c.len_utf8() > num_bytes.min(BLOCK) {
            break;
        }
        let class = Classes::get().at(text.as_bytes(), at).0;
        for bit in at..at + c.len_utf8() {
            let set = |mask: &mut u64, yes: bool| *mask |= u64::from(yes) << bit;
            let (upper, lower) = (class & unicode::UPPER != 0, class & unicode::LOWER != 0);
            set(&mut masks.letter, class & LETTER != 0);
            set(&mut masks.number, class & unicode::NUMBER != 0);
            set(&mut masks.space, class & unicode::SPACE != 0);
            set(&mut masks.newline, matches!(c, '\r' | '\n'));
            set(&mut masks.blank, c == ' ');
            set(&mut masks.apostrophe, c == '\'');
            set(&mut masks.slash, c == '/');
            set(&mut masks.upper, upper && !lower);
            set(&mut masks.lower, lower && !upper);
            set(&mut masks.mark, upper && lower && class & LETTER == 0);
            set(&mut masks.high, !c.is_ascii());
            set(&mut masks.tail, bit > at);
            set(&mut masks.valid, true);
        }
    }
    masks
}

#[test]
fn letters_known_by_their_first_bytes() {
    let mut known = 0;
    for c in '\u{80}'..=char::MAX {
        let mut bytes: Bytes = [0; BLOCK + 4];
        let len = c.encode_utf8(&mut bytes).len();
        let class = Classes::get().at(&bytes, 0).0;
        for level in Level::all() {
            let (_, beyond) = windows::classify(level, &bytes);
            if beyond.letter != 0 {
                known += 1;
                let case = class & (unicode::UPPER | unicode::LOWER);
                assert_ne!(class & LETTER, 0, "{c:?} at {level:?}");
                assert_eq!(beyond.letter, 1, "{c:?} at {level:?}");
                let is = |mask: u64| mask & 1 != 0;
                assert_eq!(
                    is(beyond.upper),
                    case == unicode::UPPER,
                    "{c:?} at {level:?}"
                );
                assert_eq!(
                    is(beyond.lower),
                    case == unicode::LOWER,
                    "{c:?} at {level:?}"
                );
            }
            assert_eq!((beyond.upper | beyond.lower) & !beyond.letter, 0);
            assert_eq!(beyond.tail.count_ones() as usize, len - 1);
        }
    }
    // Latin-1, Cyrillic, hiragana, Han and Hangul.
    let all = 62 + 96 + 63 + (8 + 5 * 64) * 64 + (16 + 2 * 64 + 30) * 64;
    assert_eq!(known, all * Level::all().count());
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
    fn windows_equal_the_scanner(texts in prop::collection::vec(text(), 1..8)) {
        check_windows(&texts.concat());
    }

    #[test]
    fn every_level_classifies_alike(text in "([a-zA-Z0-9 \n\r\t'/]|.){0,90}") {
        let mut bytes: Bytes = [0; BLOCK + 4];
        let num_bytes = text.len().min(bytes.len());
        bytes[..num_bytes].copy_from_slice(&text.as_bytes()[..num_bytes]);
        let mut want = masks_by_character(&text, num_bytes);
        for level in Level::all() {
            let (mut masks, beyond) = windows::classify(level, &bytes);
            masks.valid = u64::MAX >> (BLOCK - num_bytes.clamp(1, BLOCK));
            let masks = masks.with::<true>(&beyond, Classes::get(), &bytes);
            // Of a character that the block does not hold whole only these say something.
            (want.high, want.tail) = (masks.high, masks.tail);
            if num_bytes > 0 {
                prop_assert_eq!(masks, want, "{:?}", level);
            }
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

/// Patterns that have to be run for a cut: custom regexes, steps as files have them, normalisation before either.
const RUN: &[&str] = &[
    r"\s+(?!\S)|\S++|\s",
    r"(?#split)\p{N}{1,3}(?#split)[\u{4e00}-\u{9fa5}\u{3040}-\u{30ff}]+(?#split)[!-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?#split)\p{N}(?#split)'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?#split)[\r\n](?#split)\s?[A-Za-z]+(?#split)[!-/]+(?#split)\s+$(?#split)\p{N}",
    r"(?#split)a\. (?#split)\p{N}+(?#split)\w+|\s+(?!\S)|\s",
    r"(?#split)\s+(?!\S)|\p{L}++(?#split)[a-z]{1,2}",
    r"(?#nfc)\w+|\W+",
    r"(?#nfc)\s+(?!\S)|[^\s\p{M}]+|\p{M}|\s",
    r"(?#nfc)(?#split)\p{N}(?#split)'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_cut_found_by_running_is_good_whatever_follows(
        chunks in prop::collection::vec(
            prop_oneof![
                text().prop_map(String::into_bytes),
                "[e\u{301}\u{323} ]{1,4}|[\u{1100}\u{1161}\u{11a8}\u{ac00}]{1,4}|[\u{958}\u{212b}\u{f900}x]{1,3}|a\\. "
                    .prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 1..3),
            ],
            0..5,
        ),
        near in 0usize..120,
        more in text(),
    ) {
        let text = chunks.concat();
        let whole = [text.as_slice(), more.as_bytes()].concat();
        for pattern in RUN_PATTERNS.iter() {
            let all = |text: &[u8]| {
                let mut found = Vec::new();
                pattern.for_each(text, |p| found.push(p.to_vec())).unwrap();
                found
            };
            let Some(at) = pattern.cut_from_start(&text, near) else { continue };
            prop_assert!((1..=near).contains(&at) && at < text.len(), "{} at {}", pattern.regex(), at);
            let halves = [all(&whole[..at]), all(&whole[at..])].concat();
            prop_assert_eq!(halves, all(&whole), "{} cut at {}", pattern.regex(), at);
        }
    }
}

static RUN_PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    RUN.iter()
        .map(|regex| Pattern::new(regex).unwrap())
        .collect()
});

#[test]
fn running_finds_cuts_in_ordinary_text() {
    let text = "In 1999 the caf\u{e9} had e\u{301}clairs, 4 of them.\nThen (a. b) none; and so on";
    for pattern in RUN_PATTERNS.iter() {
        let near = text.len() - 12;
        let cut = pattern.cut_from_start(text.as_bytes(), near);
        assert!(
            cut.is_some_and(|at| at > near - 20),
            "{} at {cut:?}",
            pattern.regex()
        );
    }
    // Where each search goes far, it is given up.
    let slow = Pattern::new("(?#split)a*b(?#split)d").unwrap();
    let text = format!("{}c", "a".repeat(1 << 20));
    assert_eq!(slow.cut_from_start(text.as_bytes(), 1 << 20), None);
    for blind in [r"(?#split)(?<=a)b(?#split)c", r"(?#split)^a(?#split)c"] {
        assert_eq!(
            Pattern::new(blind)
                .unwrap()
                .cut_from_start(b"ab ab ab ab", 9),
            None
        );
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

proptest! {
    #[test]
    fn parts_of_a_str_are_str_between_characters(text: String, at: prop::sample::Index, len: prop::sample::Index) {
        let start = at.index(text.len() + 1);
        let end = start + len.index(text.len() - start + 1);
        let part = &text.as_bytes()[start..end];
        match Text::Str(&text).part(part) {
            Text::Str(got) => prop_assert_eq!(Some(got), text.get(start..end)),
            Text::Bytes(got) => {
                prop_assert_eq!(got, part);
                prop_assert_eq!(None, text.get(start..end));
            }
        }
    }
}
