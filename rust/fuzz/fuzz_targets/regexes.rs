//! Any regexes and any bytes: a custom regex, or several as steps, gives what the plain engine gives, whether it runs
//! in automata or not, behind normalisation too; and both sides of a cut pretokenise as the whole does, whatever
//! follows.

#![no_main]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use arbitrary::Arbitrary;
use fancy_regex::{Regex, RegexBuilder};
use libfuzzer_sys::fuzz_target;
use nanobpe::pretokenize::{NFC, Pattern, SPLIT};
use unicode_normalization::UnicodeNormalization;

/// Regexes of files, and such as the automata come near their limits with.
const FIXED: &[&str] = &[
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?:'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}{1,4}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    r"[!-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\p{N}{1,3}",
    r"\p{N}",
    r"[\r\n]",
    r"\s?[A-Za-z]+",
    r"\s+$",
    r"[\u{4e00}-\u{9fa5}\u{3040}-\u{30ff}]+",
    r" ?[^(\s|[.,!?\u{2026}\u{3002}])]+",
    r"\s+(?!\S)|\S++|\s",
    r"(?i:ab|ac)|\p{Lu}?+\p{Ll}++|\p{N}{2}+|\s++$|(?s:.)",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++|(?s:.)",
    r"\w+|[^\w\s]+|\s+",
    r"^a|b$|(?s).",
    r"(?i)a|\s+(?!\S)|(?s).",
    r"(?<=a)b|a\. |(?s:.)",
];

const CLASSES: &[&str] = &[
    "a",
    "b",
    "A",
    "1",
    " ",
    "\\n",
    "'",
    "\u{e9}",
    "[ab]",
    "[^a]",
    "[\\r\\n]",
    "[|\\]a]",
    "\\s",
    "\\S",
    "\\w",
    "\\W",
    "\\d",
    "\\p{L}",
    "\\p{Lu}",
    "\\p{M}",
    "\\p{N}",
    "[^\\s\\p{L}\\p{N}]",
    ".",
    "(?s:.)",
    "(?i:s)",
    "(?i:ab|k)",
];
const TIMES: &[&str] = &["", "", "?", "*", "+", "{1,2}", "{2}", "{2,}"];
const MODES: &[&str] = &["", "", "+", "?"];
const BEHIND: &[&str] = &["", "", "", "(?!\\S)", "(?=\\s)", "(?!a)", "$", "\\b"];
const CHARS: &[char] = &[
    'a',
    'b',
    'A',
    's',
    'k',
    '1',
    '2',
    ' ',
    ' ',
    '\n',
    '\r',
    '\t',
    '\'',
    '|',
    ']',
    '.',
    '\u{e9}',
    '\u{17f}',
    '\u{212a}',
    '\u{1c5}',
    '\u{2b0}',
    '\u{4e2d}',
    '\u{3002}',
    '\u{a0}',
    '\u{85}',
    '\u{301}',
    '\u{323}',
    '\u{344}',
    '\u{1100}',
    '\u{1161}',
    '\u{11a8}',
    '\u{ac00}',
    '\u{f900}',
    '\u{958}',
    '\u{1f642}',
    '\0',
];

#[derive(Arbitrary, Debug)]
enum Alternative {
    /// What the automata know by heart.
    Spaces,
    Parts {
        parts: Vec<Part>,
        behind: u8,
    },
}

/// A class, or a group of alternatives of classes, so often.
#[derive(Arbitrary, Debug)]
struct Part {
    group: Vec<(u8, u8)>,
    times: u8,
    mode: u8,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Fixed(u8),
    Made(Vec<Alternative>),
}

#[derive(Arbitrary, Debug)]
enum Chunk {
    Chars(Vec<u8>),
    Again(u8, u8),
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    normalizes: bool,
    first: Step,
    /// Without any, the first may be a custom regex.
    others: Vec<Step>,
    is_custom: bool,
    text: Vec<Chunk>,
    more: Vec<Chunk>,
    near: [u8; 3],
}

fn of<'a, T: ?Sized>(list: &[&'a T], index: u8) -> &'a T {
    list[usize::from(index) % list.len()]
}

fn written(alternative: &Alternative) -> String {
    let Alternative::Parts { parts, behind } = alternative else {
        return r"\s+(?!\S)".into();
    };
    let mut regex = String::new();
    for Part { group, times, mode } in parts.iter().take(3) {
        let one =
            |(class, times): &(u8, u8)| format!("{}{}", of(CLASSES, *class), of(TIMES, *times));
        match group.as_slice() {
            [] => continue,
            [(class, _)] => regex += of(CLASSES, *class),
            some => {
                let some: Vec<_> = some.iter().take(3).map(one).collect();
                regex += &format!("(?:{})", some.join("|"));
            }
        }
        let times = of(TIMES, *times);
        regex += times;
        regex += if times.is_empty() {
            ""
        } else {
            of(MODES, *mode)
        };
    }
    if !regex.is_empty() {
        regex += of(BEHIND, *behind);
    }
    regex
}

fn regex_of(step: &Step, is_custom: bool) -> String {
    let mut alternatives: Vec<String> = match step {
        Step::Fixed(index) => vec![of(FIXED, *index).into()],
        Step::Made(alternatives) => alternatives.iter().take(4).map(written).collect(),
    };
    alternatives.retain(|regex| !regex.is_empty());
    // A custom regex must not lose text.
    alternatives.extend(is_custom.then(|| "(?s:.)".into()));
    alternatives.join("|")
}

fn bytes_of(chunks: &[Chunk]) -> Vec<u8> {
    let mut text = Vec::new();
    for chunk in chunks.iter().take(12) {
        let some = match chunk {
            Chunk::Raw(bytes) => {
                text.extend(bytes.iter().take(8));
                continue;
            }
            Chunk::Chars(indices) => indices.iter().take(40).copied().collect(),
            Chunk::Again(index, times) => vec![*index; usize::from(times % 40)],
        };
        let chars = some
            .iter()
            .map(|index| CHARS[usize::from(*index) % CHARS.len()]);
        text.extend(chars.collect::<String>().bytes());
    }
    text
}

/// What the definition finds, or that it loses text or does not say.
enum Defined {
    Pieces(Vec<Vec<u8>>),
    Loses,
    Unknown,
}

fn pieces_of(engine: &Regex, text: &str, tiles: bool) -> Result<Vec<String>, Defined> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let found = engine
            .find_from_pos(text, at)
            .map_err(|_| Defined::Unknown)?;
        let (start, end) = found.map_or((text.len(), text.len()), |m| (m.start(), m.end()));
        if tiles && (start > at || end == start) {
            return Err(Defined::Loses);
        }
        if start == end && end < text.len() {
            return Err(Defined::Unknown);
        }
        let parts = [&text[at..start], &text[start..end]];
        pieces.extend(
            parts
                .iter()
                .filter(|p| !p.is_empty())
                .map(|p| (*p).to_string()),
        );
        at = end;
    }
    Ok(pieces)
}

/// As the definition reads: valid stretches, normalised, through the engines; each maximal run of invalid bytes as is.
fn defined(engines: &[Regex], tiles: bool, normalizes: bool, text: &[u8]) -> Defined {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut open = false;
    for chunk in text.utf8_chunks() {
        open &= chunk.valid().is_empty();
        let valid: String = match normalizes {
            true => chunk.valid().nfc().collect(),
            false => chunk.valid().into(),
        };
        let mut pieces = if valid.is_empty() {
            vec![]
        } else {
            vec![valid]
        };
        for engine in engines {
            let mut next = Vec::new();
            for piece in &pieces {
                match pieces_of(engine, piece, tiles) {
                    Ok(some) => next.extend(some),
                    Err(why) => return why,
                }
            }
            pieces = next;
        }
        found.extend(pieces.into_iter().map(String::into_bytes));
        if chunk.invalid().is_empty() {
            continue;
        }
        match found.last_mut().filter(|_| open) {
            Some(run) => run.extend_from_slice(chunk.invalid()),
            None => found.push(chunk.invalid().into()),
        }
        open = true;
    }
    Defined::Pieces(found)
}

fn pieces(pattern: &Pattern, text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    pattern.for_each(text, |p| found.push(p.to_vec())).ok()?;
    Some(found)
}

/// A pattern and the engines that define it.
type Both = Option<(Pattern, Vec<Regex>)>;

fn compiled(regex: &str, regexes: &[String]) -> Both {
    let pattern = match Pattern::new(regex) {
        Ok(pattern) => pattern,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    // Low, so that no input takes seconds.
    let engine = |regex: &String| {
        RegexBuilder::new(regex)
            .backtrack_limit(20_000)
            .build()
            .unwrap()
    };
    Some((pattern, regexes.iter().map(engine).collect()))
}

/// Compiling takes longer than all else.
static KNOWN: LazyLock<Mutex<HashMap<String, Both>>> = LazyLock::new(Mutex::default);

fuzz_target!(|input: Input| {
    let is_custom = input.is_custom && input.others.is_empty();
    let steps = std::iter::once(&input.first).chain(input.others.iter().take(3));
    let regexes: Vec<_> = steps.map(|step| regex_of(step, is_custom)).collect();
    let mark = if is_custom { "" } else { SPLIT };
    let regex: String = regexes
        .iter()
        .map(|regex| format!("{mark}{regex}"))
        .collect();
    let regex = format!("{}{regex}", if input.normalizes { NFC } else { "" });
    let mut known = KNOWN.lock().unwrap();
    if known.len() > 500 {
        known.clear();
    }
    let both = known
        .entry(regex.clone())
        .or_insert_with(|| compiled(&regex, &regexes));
    let Some((pattern, engines)) = both else {
        return;
    };

    let text = bytes_of(&input.text);
    let whole = [text.as_slice(), &bytes_of(&input.more)].concat();
    let got = pieces(pattern, &whole);
    match defined(engines, is_custom, input.normalizes, &whole) {
        Defined::Unknown => return,
        Defined::Loses => assert!(got.is_none(), "{regex} loses text on {whole:?}"),
        Defined::Pieces(want) => assert_eq!(got.as_ref(), Some(&want), "{regex} on {whole:?}"),
    }
    let Some(got) = got else { return };
    for near in input.near {
        let near = usize::from(near) % (text.len() + 1);
        let Some(at) = pattern.cut_from_start(&text, near) else {
            continue;
        };
        assert!(at > 0 && at <= near && at < text.len());
        let halves = [&whole[..at], &whole[at..]].map(|half| pieces(pattern, half).unwrap());
        assert_eq!(
            halves.concat(),
            got,
            "{regex} cut at {at} of {text:?} in {whole:?}"
        );
    }
});
