//! The merge loop against the definition.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

mod resume;

type Pair = (Vec<u8>, Vec<u8>);

/// Counts all pairs anew at every step, as the definition reads.
fn naive(
    words: &BTreeMap<Vec<u8>, u64>,
    num_merges: usize,
    options: &TrainOptions,
    start: &[Pair],
) -> Vec<Pair> {
    let mut order: BTreeMap<Vec<u8>, usize> = match options.tie_break {
        TieBreak::Hf => byte_level_order()
            .iter()
            .enumerate()
            .map(|(i, b)| (vec![*b], i))
            .collect(),
        _ => (0..=255u8).map(|b| (vec![b], usize::from(b))).collect(),
    };
    let mut words: Vec<(Vec<Vec<u8>>, u64)> = words
        .iter()
        .map(|(w, n)| (w.iter().map(|b| vec![*b]).collect(), *n))
        .collect();
    let mut merges: Vec<Pair> = Vec::new();
    while merges.len() < num_merges + start.len() {
        let mut pairs: BTreeMap<Pair, u64> = BTreeMap::new();
        for (tokens, n) in &words {
            for pair in tokens.windows(2) {
                *pairs.entry((pair[0].clone(), pair[1].clone())).or_default() += n;
            }
        }
        let allowed = |(a, b): &Pair| {
            options
                .max_token_bytes
                .is_none_or(|most| a.len() + b.len() <= most)
        };
        let best = match start.get(merges.len()) {
            Some(pair) => Some(pair.clone()),
            None => pairs
                .into_iter()
                .filter(|(pair, n)| *n >= options.min_frequency && allowed(pair))
                .max_by(|(p, m), (q, n)| {
                    let ids = |(a, b): &Pair| (order[a], order[b]);
                    m.cmp(n).then_with(|| match options.tie_break {
                        TieBreak::Bytes => p.cmp(q),
                        _ => ids(q).cmp(&ids(p)),
                    })
                })
                .map(|(pair, _)| pair),
        };
        let Some((left, right)) = best else { break };
        let joined = [left.clone(), right.clone()].concat();
        let pair = (left, right);
        words
            .iter_mut()
            .for_each(|(tokens, _)| replace(tokens, &pair));
        let id = order.len();
        order.insert(joined, id);
        merges.push(pair);
    }
    merges
}

/// How many tokens the words have after the merges.
fn num_tokens(words: &BTreeMap<Vec<u8>, u64>, merges: &[Pair]) -> u128 {
    let mut all: Vec<Vec<Vec<u8>>> = words
        .keys()
        .map(|w| w.iter().map(|b| vec![*b]).collect())
        .collect();
    merges
        .iter()
        .for_each(|pair| all.iter_mut().for_each(|tokens| replace(tokens, pair)));
    all.iter()
        .zip(words.values())
        .map(|(tokens, n)| tokens.len() as u128 * u128::from(*n))
        .sum()
}

/// Replaces a pair from left to right.
fn replace(tokens: &mut Vec<Vec<u8>>, (left, right): &Pair) {
    let mut i = 0;
    while i + 1 < tokens.len() {
        if tokens[i] == *left && tokens[i + 1] == *right {
            let second = tokens.remove(i + 1);
            tokens[i].extend(second);
        }
        i += 1;
    }
}

/// As [`trained`], but with the words on disk and as good as no memory.
fn trained_on_disk(
    words: &BTreeMap<Vec<u8>, u64>,
    num_merges: usize,
    options: &TrainOptions,
    bytes: usize,
) -> Result<Trained> {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory {
        bytes,
        folder: folder.path().to_path_buf(),
    };
    let mut counts = BoundedCounts::new(Some(&memory), 1);
    words
        .iter()
        .for_each(|(word, n)| counts.table().add(word, *n));
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let counted = Counted::from_tables(vec![counts], Some(&memory), &stop)?;
    assert!(matches!(counted, Counted::Sorted(_)));
    train_counted(&counted, 256 + num_merges, &[], options, &progress, &stop)
}

fn trained(words: &BTreeMap<Vec<u8>, u64>, num_merges: usize, options: &TrainOptions) -> Trained {
    try_trained(words, num_merges, options).unwrap()
}

fn try_trained(
    words: &BTreeMap<Vec<u8>, u64>,
    num_merges: usize,
    options: &TrainOptions,
) -> Result<Trained> {
    let mut counts = Counts::default();
    words.iter().for_each(|(word, n)| counts.add(word, *n));
    train(
        &counts,
        256 + num_merges,
        &[],
        options,
        &AtomicU64::new(0),
        &AtomicBool::new(false),
    )
}

fn pairs(vocab: &Vocab) -> Vec<Pair> {
    vocab
        .merges()
        .iter()
        .map(|m| (vocab.bytes(m.left).to_vec(), vocab.bytes(m.right).to_vec()))
        .collect()
}

fn words() -> impl Strategy<Value = BTreeMap<Vec<u8>, u64>> {
    let word = prop_oneof![
        prop::collection::vec(prop::sample::select(&b"ab"[..]), 1..20),
        prop::collection::vec(prop::sample::select(&b"abc "[..]), 1..12),
        prop::collection::vec(prop::sample::select(&b"a\xa1\xad! \x00"[..]), 1..8),
    ];
    prop::collection::btree_map(word, 1u64..6, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn equals_the_definition(
        words in words(),
        num_merges in 0usize..50,
        tie_break in prop::sample::select(vec![TieBreak::Id, TieBreak::Bytes, TieBreak::Hf]),
        min_frequency in 1u64..4,
        max_token_bytes in prop::option::of(2usize..6),
        threads in 1usize..4,
    ) {
        let options = TrainOptions { tie_break, min_frequency, max_token_bytes, resume: None, threads };
        let want = naive(&words, num_merges, &options, &[]);
        let trained = trained(&words, num_merges, &options);
        prop_assert_eq!(pairs(&trained.vocab), want);
        prop_assert_eq!(trained.num_tokens, num_tokens(&words, &pairs(&trained.vocab)));
    }

    #[test]
    fn words_on_disk_change_nothing(
        words in words(),
        others in words(),
        num_merges in 0usize..50,
        tie_break in prop::sample::select(vec![TieBreak::Id, TieBreak::Bytes, TieBreak::Hf]),
        min_frequency in 1u64..4,
        max_token_bytes in prop::option::of(2usize..6),
        bytes in 1usize..6000,
        unmade in prop::collection::btree_set(
            prop::collection::vec(prop::sample::select(&b"ab"[..]), 2..5), 0..4),
    ) {
        let options = TrainOptions { tie_break, min_frequency, max_token_bytes, resume: None, threads: 1 };
        let want = trained(&words, num_merges, &options);
        let got = trained_on_disk(&words, num_merges, &options, bytes).unwrap();
        prop_assert_eq!(pairs(&got.vocab), pairs(&want.vocab));
        prop_assert_eq!((got.num_tokens, got.last_count), (want.num_tokens, want.last_count));
        // With an older vocabulary, which other words do not fit and which has tokens that no merge of its own makes.
        let old = want.vocab.tokens().map(|(_, bytes)| bytes.to_vec());
        let old: Vec<_> = old.chain(unmade.into_iter().filter(|t| want.vocab.id(t).is_none())).collect();
        let tokens = (0u32..).zip(old.iter().map(Vec::as_slice));
        let old = Vocab::new(tokens, want.vocab.merges().to_vec(), &[]).unwrap();
        let num_merges = old.len() - 256 + 20;
        let options = TrainOptions { resume: Some(Arc::new(old)), ..options };
        let want = trained(&others, num_merges, &options);
        let got = trained_on_disk(&others, num_merges, &options, bytes).unwrap();
        prop_assert_eq!(pairs(&got.vocab), pairs(&want.vocab));
        prop_assert_eq!(got.vocab.merges(), want.vocab.merges());
        prop_assert_eq!((got.num_tokens, got.last_count), (want.num_tokens, want.last_count));
    }

    #[test]
    fn counts_up_to_the_limit_are_exact_and_beyond_it_refused(
        words in words(),
        num_merges in 0usize..30,
        tie_break in prop::sample::select(vec![TieBreak::Id, TieBreak::Bytes, TieBreak::Hf]),
        threads in 1usize..4,
        bytes in 1usize..6000,
    ) {
        let mut words = words;
        let sums = |words: &BTreeMap<Vec<u8>, u64>| {
            let (mut pretokens, mut pairs) = (0, 0);
            for (word, n) in words {
                pretokens += u128::from(*n);
                pairs += (word.len() as u128 - 1) * u128::from(*n);
            }
            pretokens.max(pairs)
        };
        // One of the two sums is at the limit: a word of one pair takes what is left.
        let factor = limit::MOST / u64::try_from(sums(&words)).unwrap();
        words.values_mut().for_each(|n| *n *= factor);
        let left = u64::try_from(u128::from(limit::MOST) - sums(&words)).unwrap();
        *words.entry(b"xy".into()).or_default() += left;
        words.retain(|_, n| *n > 0);
        let options = TrainOptions { tie_break, threads, ..TrainOptions::default() };
        let want = naive(&words, num_merges, &options, &[]);
        let num_tokens = num_tokens(&words, &want);
        for got in [try_trained(&words, num_merges, &options), trained_on_disk(&words, num_merges, &options, bytes)] {
            let got = got.unwrap();
            prop_assert_eq!((pairs(&got.vocab), got.num_tokens), (want.clone(), num_tokens));
        }
        *words.entry(b"xy".into()).or_default() += 1;
        for got in [try_trained(&words, num_merges, &options), trained_on_disk(&words, num_merges, &options, bytes)] {
            let message = got.err().unwrap().to_string();
            prop_assert!(message.contains("add up to 18446744073709551615"), "{}", message);
        }
    }

    #[test]
    fn resuming_equals_training_at_once_and_the_definition_on_other_words(
        words in words(),
        others in words(),
        first in 0usize..20,
        second in 0usize..20,
    ) {
        let options = TrainOptions::default();
        let start = trained(&words, first, &options).vocab;
        let had = start.merges().len();
        let resumed = TrainOptions { resume: Some(Arc::new(start.clone())), ..options.clone() };
        let total = had + second;
        prop_assert_eq!(
            pairs(&trained(&words, total, &resumed).vocab),
            pairs(&trained(&words, total, &options).vocab)
        );
        let got = trained(&others, total, &resumed).vocab;
        if got.merges().len() == got.len() - 256 {
            prop_assert_eq!(pairs(&got), naive(&others, second, &options, &pairs(&start)));
        }
    }

    #[test]
    fn recovered_merges_are_those_learnt(words in words(), num_merges in 0usize..60) {
        let vocab = trained(&words, num_merges, &TrainOptions::default()).vocab;
        let ranks: Vec<_> = vocab.tokens().map(|(id, bytes)| (bytes.to_vec(), id)).collect();
        let recovered = Vocab::from_ranks(&ranks, &[]).unwrap();
        prop_assert_eq!(recovered.merges(), vocab.merges());
    }
}

#[test]
fn counts_beyond_32_and_53_bits_stay_exact() {
    let words: BTreeMap<Vec<u8>, u64> = [
        ("ab", (1 << 53) + 1),
        ("cd", 1 << 53),
        ("ef", (1 << 53) + 2),
        ("gh", 1 << 33),
    ]
    .map(|(w, n)| (w.into(), n))
    .into();
    let options = TrainOptions::default();
    let got = pairs(&trained(&words, 4, &options).vocab);
    assert_eq!(got, naive(&words, 4, &options, &[]));
    assert_eq!(got[0], (b"e".to_vec(), b"f".to_vec()));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let options = TrainOptions::default();
    let special = ["<|a|>".to_string()];
    assert!(check_size(257, &special, &options).is_ok());
    let message = check_size(256, &special, &options).unwrap_err().to_string();
    assert!(
        message.contains("256 ids") && message.contains("257"),
        "{message}"
    );
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    assert!(train(&Counts::default(), 300, &[], &options, &progress, &stop).is_err());
}

#[test]
fn threads_share_large_merges() {
    let mut counts = Counts::default();
    for n in 0u32..120_000 {
        // All have "ab" in some place; how often they occur has no order.
        let word = format!("{:x}ab{:x}", n.wrapping_mul(2_654_435_761) >> 20, n % 97);
        counts.add(word.as_bytes(), u64::from(n % 13 + 1));
    }
    let merges = |threads| {
        let options = TrainOptions {
            threads,
            ..TrainOptions::default()
        };
        let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let trained = train(&counts, 600, &[], &options, &progress, &stop).unwrap();
        (pairs(&trained.vocab), trained.num_tokens)
    };
    let alone = merges(1);
    assert_eq!(merges(2), alone);
    assert_eq!(merges(5), alone);
}

#[test]
fn a_stop_ends_the_merging() {
    let mut counts = Counts::default();
    counts.add(b"abcabd", 1);
    let stopped = train(
        &counts,
        300,
        &[],
        &TrainOptions::default(),
        &AtomicU64::new(0),
        &AtomicBool::new(true),
    );
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
