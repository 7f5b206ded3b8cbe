//! Any bytes: each built-in pattern gives what its defining regex gives in the plain engine, by hand and as a custom
//! regex, and both sides of a cut pretokenise as the whole does.

#![no_main]

use std::sync::LazyLock;

use fancy_regex::Regex;
use libfuzzer_sys::fuzz_target;
use nanobpe::pretokenize::{PATTERNS, Pattern};
use unicode_normalization::UnicodeNormalization;

/// A pattern three times: scanned by hand, as a regex of the user's, and in the engine itself.
struct Three {
    name: &'static str,
    by_hand: Pattern,
    custom: Pattern,
    engine: Regex,
}

static ALL: LazyLock<Vec<Three>> = LazyLock::new(|| {
    // r50k and p50k are gpt2 by another name.
    let distinct = PATTERNS
        .iter()
        .filter(|(name, _)| !matches!(*name, "r50k" | "p50k"));
    distinct
        .map(|(name, regex)| Three {
            name,
            by_hand: Pattern::new(name).unwrap(),
            // In a group, a regex is not taken for the built-in pattern.
            custom: Pattern::new(&format!("(?:{regex})")).unwrap(),
            engine: Regex::new(regex).unwrap(),
        })
        .collect()
});

fn pieces(pattern: &Pattern, text: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    pattern.for_each(text, |p| found.push(p.to_vec())).unwrap();
    found
}

/// As the definition reads: valid stretches through the engine, each maximal run of invalid bytes as it is.
fn defined(engine: &Regex, text: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        open &= valid.is_empty();
        let mut end = 0;
        while end < valid.len() {
            let piece = engine.find_from_pos(valid, end).unwrap().unwrap();
            assert_eq!(piece.start(), end);
            found.push(piece.as_str().into());
            end = piece.end();
        }
        if chunk.invalid().is_empty() {
            continue;
        }
        match found.last_mut().filter(|_| open) {
            Some(run) => run.extend_from_slice(chunk.invalid()),
            None => found.push(chunk.invalid().into()),
        }
        open = true;
    }
    found
}

fn normalized(text: &[u8]) -> Vec<u8> {
    let stretches = text
        .utf8_chunks()
        .map(|chunk| (chunk.valid().nfc().collect::<String>(), chunk.invalid()));
    stretches
        .flat_map(|(valid, invalid)| [valid.into_bytes(), invalid.to_vec()].concat())
        .collect()
}

fuzz_target!(|text: &[u8]| {
    let normal = normalized(text);
    for three in ALL.iter() {
        let input = if three.by_hand.normalizes() {
            &normal
        } else {
            text
        };
        let want = defined(&three.engine, input);
        let got = pieces(&three.by_hand, text);
        assert_eq!(got, want, "{} by hand on {text:?}", three.name);
        assert_eq!(
            pieces(&three.custom, input),
            want,
            "{} as a custom regex on {input:?}",
            three.name
        );
        for pattern in [&three.by_hand, &three.custom] {
            let mut near = text.len();
            // From the end back; some cuts of a text are as good as all of them.
            for _ in 0..8 {
                let Some(at) = pattern.cut(text, near) else {
                    break;
                };
                assert!(at > 0 && at <= near && at < text.len());
                let halves = [pieces(pattern, &text[..at]), pieces(pattern, &text[at..])].concat();
                assert_eq!(
                    halves,
                    pieces(pattern, text),
                    "{} cut at {at} of {text:?}",
                    three.name
                );
                near = at - 1;
            }
        }
    }
});
