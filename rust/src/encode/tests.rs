//! The merge loops against the definition, and every way of encoding against the plain one.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{bounded, unbounded};
use proptest::prelude::*;

use super::chunks::Cutter;
use super::lockstep::LONG;
use super::merge::merge_all;
use super::special::{Piece, Rule};
use super::stream::Stream;
use super::*;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Merges over few letters, so that pairs overlap and tokens nest.
fn vocab() -> Vocab {
    let byte = u32::from;
    let mut merges = vec![
        (byte(b'a'), byte(b'a')),
        (byte(b'a'), byte(b'b')),
        (byte(b'b'), byte(b'c')),
    ];
    merges.extend([
        (256, 256),
        (257, 257),
        (256, byte(b'b')),
        (258, 257),
        (byte(b' '), byte(b'a')),
    ]);
    merges.extend([(259, byte(b'a')), (260, byte(b'c')), (260, 260), (259, 259)]);
    Vocab::trained(
        &merges,
        &["<|a|>".into(), "<|a|><|b|>".into(), "<|b|>".into()],
    )
    .unwrap()
}

/// Lowest rank first, the leftmost of equals, one merge at a time.
fn by_definition(vocab: &Vocab, bytes: &[u8]) -> Vec<u32> {
    let mut ids: Vec<u32> = bytes.iter().map(|&b| vocab.id(&[b]).unwrap()).collect();
    loop {
        let rank = |pair: &[u32]| {
            vocab
                .merges()
                .iter()
                .position(|m| [m.left, m.right] == pair)
        };
        let ranked = ids
            .windows(2)
            .enumerate()
            .filter_map(|(i, pair)| Some((rank(pair)?, i)));
        let Some((rank, i)) = ranked.min() else {
            return ids;
        };
        ids.splice(i..i + 2, [vocab.merges()[rank].id]);
    }
}

fn encoder(pattern: &str) -> Encoder {
    Encoder::new(&vocab(), &Pattern::new(pattern).unwrap())
}

fn encode(encoder: &Encoder, text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode_into(text, &mut ids).unwrap();
    ids
}

/// Built in, and such that have to be run: looking on, in steps, with normalisation.
const STREAMED: [&str; 6] = [
    "nano",
    r"\S+|\s+",
    r"[ab]+| ?[^\s]+|\s+(?!\S)|\s+",
    r"(?#nfc) ?\w+| ?[^\s\w]+|\s+",
    r"(?#split)\s+(?#split)[ab]+",
    r"(?#nfc)(?#split)[.|]+(?#split)a\S*",
];

proptest! {
    #[test]
    fn merging_follows_the_definition(text in "[abc ]{0,300}") {
        // The whole text is one pretoken, shorter and longer than the border between the two ways.
        let encoder = encoder("(?s).+");
        prop_assert_eq!(encode(&encoder, text.as_bytes()), by_definition(&vocab(), text.as_bytes()));
    }

    #[test]
    fn many_merge_as_one(texts in prop::collection::vec("[abc ]{1,32}|[\u{e9}\u{4e16}a]{1,10}", 0..60)) {
        let vocab = vocab();
        let mut got = vec![None; texts.len()];
        let all = texts.iter().map(String::as_bytes).enumerate();
        let pairs = PairRanks::new(&vocab);
        merge_all::<LONG>(&pairs, all, |i, merged, num| got[i] = Some(merged[..num].to_vec()));
        for (text, got) in texts.iter().zip(got) {
            prop_assert_eq!(got, Some(by_definition(&vocab, text.as_bytes())));
        }
    }

    #[test]
    fn characters_merge_as_bytes_do(
        pairs in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
        text in "[éж世界a\\x{e3}\\x{fffd}]{1,10}",
        cut in 0usize..3,
    ) {
        // Tokens of the bytes that occur: whole characters, parts of them, and both together.
        let mut ids: Vec<u32> = "éж世界a\u{e3}".bytes().map(u32::from).collect();
        let mut merges: Vec<(u32, u32)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let bytes_of = |id: u32, merges: &[(u32, u32)]| {
            let mut stack = vec![id];
            let mut bytes = Vec::new();
            while let Some(id) = stack.pop() {
                match id.checked_sub(256).map(|i| merges[i as usize]) {
                    Some((left, right)) => stack.extend([right, left]),
                    None => bytes.push(id as u8),
                }
            }
            bytes
        };
        for (left, right) in pairs {
            let pair = (*left.get(&ids), *right.get(&ids));
            let bytes = [bytes_of(pair.0, &merges), bytes_of(pair.1, &merges)].concat();
            if bytes.len() < 9 && seen.insert(bytes) {
                ids.push(256 + merges.len() as u32);
                merges.push(pair);
            }
        }
        let vocab = Vocab::trained(&merges, &[]).unwrap();
        let pairs = PairRanks::new(&vocab);
        // Parts may begin and end within a character.
        let bytes = &text.as_bytes()[cut.min(text.len() - 1)..];
        let mut got = Scratch::default().merge(&pairs, bytes, &GO_ON).to_vec();
        prop_assert_eq!(&got, &by_definition(&vocab, bytes));
        merge_all::<LONG>(&pairs, [(0, bytes)].into_iter(), |_, merged, num| {
            got = merged[..num].to_vec();
        });
        prop_assert_eq!(got, by_definition(&vocab, bytes));
    }

    #[test]
    fn instructions_agree(words in prop::collection::vec("[abc]{1,20}|[é世 a]{1,9}", 0..200), mib in 0usize..2) {
        let text = words.join(" ");
        let by_level: Vec<_> = Level::all()
            .map(|level| {
                let encoder = Encoder::at(level, &vocab(), &Pattern::new("nano").unwrap());
                encoder.set_cache_mib(mib);
                // Not known at first, then known.
                [encode(&encoder, text.as_bytes()), encode(&encoder, text.as_bytes())]
            })
            .collect();
        for both in &by_level {
            prop_assert_eq!(&both[0], &by_level[0][0]);
            prop_assert_eq!(&both[1], &by_level[0][0]);
        }
    }

    #[test]
    fn cache_sizes_agree(words in prop::collection::vec("[abc]{1,40}", 0..200)) {
        let text = words.join(" ");
        let encoder = encoder("nano");
        let want = encode(&encoder, text.as_bytes());
        for mib in [0, 1, 2] {
            encoder.set_cache_mib(mib);
            prop_assert_eq!(&encode(&encoder, text.as_bytes()), &want);
        }
    }

    #[test]
    fn any_bytes_come_back(text in prop::collection::vec(any::<u8>(), 0..200)) {
        for pattern in ["gpt2", "nano", "o200k"] {
            let mut bytes = Vec::new();
            decode::decode_into(&vocab(), &encode(&encoder(pattern), &text), &mut bytes).unwrap();
            prop_assert_eq!(&bytes, &text);
        }
    }

    #[test]
    fn chunks_and_threads_change_nothing(
        pattern in 0..STREAMED.len(),
        text in "([abce\u{301}\u{65e5}]{1,9}[ .\n]|<\\|a\\|>|<\\|b\\|>|<\\|){0,60}",
        times in 1..200usize,
        chunk in 1..5000usize,
    ) {
        let text = text.repeat(times);
        let encoder = Arc::new(encoder(STREAMED[pattern]));
        let rule = Arc::new(Rule::new(&vocab(), None, None).unwrap());
        let mut want = Vec::new();
        encoder.encode_with(text.as_bytes(), &rule, &mut want, &GO_ON).unwrap();
        for threads in [1, 3] {
            let batch = encoder.encode_batch(&[Text::Str(text.as_str()); 2], &rule, threads, &GO_ON, |id| id).unwrap();
            prop_assert_eq!(&batch.lens, &[want.len(); 2]);
            prop_assert_eq!(batch.ids, want.repeat(2));
        }
        let mut stream = Stream::new(encoder.clone(), rule);
        let mut got = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            stream.push(part, &mut got, &GO_ON).unwrap();
        }
        stream.finish(&mut got, &GO_ON).unwrap();
        prop_assert_eq!(&got, &want);
        let rule = Rule::new(&vocab(), None, None).unwrap();
        prop_assert_eq!(while_made(&encoder, &rule, &text, chunk).unwrap(), want);
    }

    #[test]
    fn refused_tokens_are_found_across_parts(before in 0..2000usize, part in 1..700usize) {
        let text = format!("{}<|a|>{}", "ab ".repeat(before), "c ".repeat(before / 2));
        let refusing = Rule::new(&vocab(), Some(&[]), None).unwrap();
        let error = while_made(&encoder("nano"), &refusing, &text, part).unwrap_err();
        prop_assert!(error.to_string().contains("<|a|>"));
    }
}

#[test]
fn what_has_no_place_to_cut_is_held_and_comes_in_order() {
    let rule = Rule::new(&vocab(), None, None).unwrap();
    let text = format!(
        "{0}{1}<|a|>{0}{1}{0}",
        "ab c\n".repeat(300),
        "ab".repeat(2000)
    );
    for pattern in STREAMED {
        let encoder = encoder(pattern);
        let mut want = Vec::new();
        encoder
            .encode_with(text.as_bytes(), &rule, &mut want, &GO_ON)
            .unwrap();
        assert_eq!(
            while_made(&encoder, &rule, &text, 100).unwrap(),
            want,
            "{pattern}"
        );
    }
}

/// The ids of a text that is cut on this thread, from parts of about so many bytes, and encoded on two others.
fn while_made(encoder: &Encoder, rule: &Rule, text: &str, part: usize) -> Result<Vec<u32>> {
    let (sender, chunks) = bounded(2);
    let (give_back, spare) = unbounded();
    let mut cutter = Cutter::new(encoder, rule, spare);
    std::thread::scope(|scope| {
        let ids = scope.spawn(move || {
            encoder.encode_chunks(&chunks, &give_back, text.len(), 2, &GO_ON, |id| id)
        });
        let mut rest = text;
        while !rest.is_empty() {
            let mut borders = rest.char_indices().map(|(at, _)| at);
            let at = borders.find(|at| *at >= part).unwrap_or(rest.len());
            let (here, behind) = rest.split_at(at);
            cutter
                .push(here)?
                .map_or(Ok(()), |chunk| sender.send(chunk))
                .unwrap();
            rest = behind;
        }
        cutter
            .finish()?
            .map_or(Ok(()), |chunk| sender.send(chunk))
            .unwrap();
        drop(sender);
        ids.join().unwrap().map(|batch| batch.ids)
    })
}

#[test]
fn more_unknown_than_are_kept_are_resolved_in_order() {
    let encoder = encoder("nano");
    encoder.set_cache_mib(0);
    let long = format!(" {}", "ab".repeat(50_000));
    let words = [" abcab", " cabba", " \u{e9}a", &long, "\n"];
    let mut pieces: Vec<&str> = (0..20_000).map(|i| words[i % 3]).collect();
    pieces.extend(&words[3..]);
    pieces.extend(vec![words[0]; 5_000]);
    let want: Vec<u32> = pieces
        .iter()
        .flat_map(|piece| encode(&encoder, piece.as_bytes()))
        .collect();
    assert_eq!(encode(&encoder, pieces.concat().as_bytes()), want);
}

#[test]
fn any_number_of_parts_comes_out_in_order() {
    let encoder = encoder("(?s).+");
    for num in (0..140).chain([1000]) {
        let text = format!(
            "ab{}abc{}",
            "\u{65e5}".repeat(num),
            "\u{672c}".repeat(num / 2)
        );
        for _ in 0..2 {
            assert_eq!(
                encode(&encoder, text.as_bytes()),
                by_definition(&vocab(), text.as_bytes())
            );
        }
    }
}

/// Merges of any two tokens made so far, over the bytes of few characters: tokens that end within characters, that
/// reach across them, and that no text's merging reaches.
fn random_vocab(choices: &[(u32, u32)], letters: &[u8]) -> Vocab {
    let mut merges = Vec::new();
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
    let mut usable: Vec<u32> = letters.iter().map(|b| u32::from(*b)).collect();
    for (a, b) in choices {
        let pick = |n: u32| usable[n as usize % usable.len()];
        let (left, right) = (pick(*a), pick(*b));
        let joined = [&tokens[left as usize][..], &tokens[right as usize]].concat();
        if joined.len() <= 24 && !tokens.contains(&joined) {
            usable.push(tokens.len() as u32);
            tokens.push(joined);
            merges.push((left, right));
        }
    }
    Vocab::trained(&merges, &[]).unwrap()
}

proptest! {
    #[test]
    fn parts_of_long_pretokens_give_the_ids_of_the_whole(
        choices in prop::collection::vec((any::<u32>(), any::<u32>()), 1..60),
        texts in prop::collection::vec("[\u{65e5}\u{672c}\u{440}\u{443}ab\u{1f642}]{1,30}", 1..30),
    ) {
        let vocab = random_vocab(&choices, "\u{65e5}\u{672c}\u{440}\u{443}ab\u{1f642}".as_bytes());
        let encoder = Encoder::new(&vocab, &Pattern::new("(?s).+").unwrap());
        for text in texts.iter().chain(&texts) {
            // A text that is itself a token is emitted whole.
            let want = vocab.id(text.as_bytes()).map_or_else(|| by_definition(&vocab, text.as_bytes()), |id| vec![id]);
            prop_assert_eq!(encode(&encoder, text.as_bytes()), want, "{:?}", text);
        }
    }

    #[test]
    fn full_caches_agree(words in prop::collection::vec("[abc\u{65e5}\u{672c}]{1,12}", 1..100)) {
        let encoder = encoder("nano");
        let text = words.join(" ");
        let want = encode(&encoder, text.as_bytes());
        encoder.set_cache_mib(1);
        let all: Vec<String> = (0..30_000).map(|i| format!(" {i:x}abc {}", "a\u{65e5}b".repeat(i % 9))).collect();
        encode(&encoder, all.concat().as_bytes());
        for _ in 0..2 {
            prop_assert_eq!(&encode(&encoder, text.as_bytes()), &want);
        }
    }
}

#[test]
fn long_runs_cost_no_more_than_others() {
    for text in [
        &b"a".repeat(1 << 20),
        &b"ab".repeat(1 << 19),
        &[b" ".repeat(1 << 20), b"a".to_vec()].concat(),
    ] {
        let mut bytes = Vec::new();
        decode::decode_into(&vocab(), &encode(&encoder("nano"), text), &mut bytes).unwrap();
        assert_eq!(&bytes, text);
    }
}

#[test]
fn pieces_are_leftmost_longest_and_tile_the_text() {
    let rule = Rule::new(&vocab(), None, None).unwrap();
    let text = b"x<|a|><|b|><|a|>y";
    let pieces: Vec<_> = rule.pieces(text).collect();
    let want = [
        Piece::Text(b"x"),
        Piece::Special(269, b"<|a|><|b|>"),
        Piece::Special(268, b"<|a|>"),
        Piece::Text(b"y"),
    ];
    assert_eq!(pieces, want);
    let refusing = Rule::new(&vocab(), Some(&[]), None).unwrap();
    assert!(
        refusing
            .check(text)
            .unwrap_err()
            .to_string()
            .contains("<|a|>")
    );
    assert!(refusing.check(b"<|c|>").is_ok());
}

#[test]
fn streams_hold_little() {
    let rule = Arc::new(Rule::new(&vocab(), None, None).unwrap());
    let text = "cab abc<|a|>, aab. e\u{301} <|b|>\n".repeat(100);
    for pattern in STREAMED {
        let mut stream = Stream::new(Arc::new(encoder(pattern)), rule.clone());
        let mut ids = Vec::new();
        for _ in 0..100 {
            stream.push(text.as_bytes(), &mut ids, &GO_ON).unwrap();
            assert!(stream.num_held() < 1 << 14, "{pattern}");
        }
    }
}

#[test]
fn short_and_long_texts_of_a_batch_keep_their_order() {
    let encoder = encoder("nano");
    let rule = Rule::new(&vocab(), None, None).unwrap();
    let long = b"abc aab<|a|> ".repeat(60_000);
    let short: Vec<Vec<u8>> = (0..2000).map(|i| b"<|b|>ab ".repeat(i % 50)).collect();
    let texts: Vec<Text> = short[..700]
        .iter()
        .chain([&long])
        .chain(&short[700..])
        .chain([&long, &long])
        .enumerate()
        .map(|(i, text)| match i % 2 {
            0 => Text::Bytes(text),
            _ => Text::Str(str::from_utf8(text).unwrap()),
        })
        .collect();
    let want: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| {
            let mut ids = Vec::new();
            encoder
                .encode_with(text.bytes(), &rule, &mut ids, &GO_ON)
                .unwrap();
            ids
        })
        .collect();
    for threads in [1, 3] {
        let batch = encoder
            .encode_batch(&texts, &rule, threads, &GO_ON, |id| id)
            .unwrap();
        let lens: Vec<usize> = want.iter().map(Vec::len).collect();
        assert_eq!(batch.lens, lens);
        assert_eq!(batch.ids, want.concat());
    }
}

#[test]
fn the_first_refused_text_of_a_batch_is_named() {
    let encoder = encoder("nano");
    let rule = Rule::new(&vocab(), Some(&[]), None).unwrap();
    let plain = b"abc ".repeat(100);
    let long = b"abc aab<|b|> ".repeat(60_000);
    for (second, named) in [(&b"<|a|>"[..], "<|a|>"), (&plain, "<|b|>")] {
        let mut texts = vec![Text::Bytes(&plain); 3000];
        texts[1000] = Text::Bytes(second);
        texts[2000] = Text::Bytes(&long);
        texts[2500] = Text::Str("<|a|><|b|>");
        for threads in [1, 3] {
            let refused = encoder.encode_batch(&texts, &rule, threads, &GO_ON, |id| id);
            let message = refused.unwrap_err().to_string();
            assert!(
                message.contains(&format!("special token {named:?}")),
                "{message}"
            );
        }
    }
}

#[test]
fn a_set_flag_stops_the_work() {
    let encoder = encoder("nano");
    let stop = AtomicBool::new(true);
    let text = b"abcabc ".repeat(100_000);
    let result = encoder.encode_until(&text, &mut Vec::new(), &stop);
    assert!(matches!(result, Err(Error::Interrupted)));
    // What was cut short must not be remembered.
    assert_eq!(
        encode(&encoder, b"abcabc"),
        by_definition(&vocab(), b"abcabc")
    );
}
