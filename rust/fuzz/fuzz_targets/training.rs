//! Any counts and options: the merges are those of the definition, which counts every pair anew at every step, with
//! the words in memory and on disk.

#![no_main]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nanobpe::train::{
    BoundedCounts, Counted, Counts, Memory, TieBreak, TrainOptions, byte_level_order, train,
    train_counted,
};
use nanobpe::vocab::Vocab;

type Pair = (Vec<u8>, Vec<u8>);

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Tie {
    Id,
    Bytes,
    Hf,
}

#[derive(Arbitrary, Debug)]
struct Input {
    words: Vec<(Vec<u8>, u32)>,
    /// Bytes are taken modulo this, so that pairs repeat.
    alphabet: u8,
    num_merges: u8,
    tie: Tie,
    min_frequency: u8,
    max_token_bytes: Option<u8>,
    /// Bytes of memory for words that lie on disk.
    memory: Option<u16>,
}

fn joined((left, right): &Pair) -> Vec<u8> {
    [left.as_slice(), right].concat()
}

fn naive(words: &BTreeMap<Vec<u8>, u64>, num_merges: usize, options: &TrainOptions) -> Vec<Pair> {
    let first: Vec<u8> = match options.tie_break {
        TieBreak::Hf => byte_level_order().into(),
        _ => (0..=255).collect(),
    };
    let mut order: BTreeMap<Vec<u8>, usize> = first.into_iter().map(|b| vec![b]).zip(0..).collect();
    let mut rows: Vec<(Vec<Vec<u8>>, u64)> = words
        .iter()
        .map(|(word, n)| (word.iter().map(|b| vec![*b]).collect(), *n))
        .collect();
    let mut merges: Vec<Pair> = Vec::new();
    while merges.len() < num_merges {
        let mut pairs: BTreeMap<Pair, u64> = BTreeMap::new();
        for (tokens, n) in &rows {
            for pair in tokens.windows(2) {
                *pairs.entry((pair[0].clone(), pair[1].clone())).or_default() += n;
            }
        }
        let most = options.max_token_bytes.unwrap_or(usize::MAX);
        pairs.retain(|pair, n| {
            *n >= options.min_frequency.max(1) && pair.0.len() + pair.1.len() <= most
        });
        let ids = |pair: &Pair| (order[&pair.0], order[&pair.1]);
        let best = pairs
            .into_iter()
            .max_by(|(p, m), (q, n)| match options.tie_break {
                TieBreak::Bytes => m.cmp(n).then_with(|| p.cmp(q)),
                _ => m.cmp(n).then_with(|| ids(q).cmp(&ids(p))),
            });
        let Some((pair, _)) = best else { break };
        for (tokens, _) in &mut rows {
            let mut i = 0;
            while i + 1 < tokens.len() {
                if tokens[i] == pair.0 && tokens[i + 1] == pair.1 {
                    tokens[i] = joined(&pair);
                    tokens.remove(i + 1);
                }
                i += 1;
            }
        }
        let next = order.len();
        order.entry(joined(&pair)).or_insert(next);
        merges.push(pair);
    }
    merges
}

/// The merges with the words on disk.
fn on_disk(
    words: &BTreeMap<Vec<u8>, u64>,
    size: usize,
    options: &TrainOptions,
    bytes: usize,
) -> Vocab {
    let folder = ["/dev/shm", "/tmp"]
        .map(PathBuf::from)
        .into_iter()
        .find(|f| f.is_dir());
    let memory = Memory {
        bytes,
        folder: folder.unwrap(),
    };
    let mut counts = BoundedCounts::new(Some(&memory), 1);
    words
        .iter()
        .for_each(|(word, n)| counts.table().add(word, *n));
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let counted = Counted::from_tables(vec![counts], Some(&memory), &stop).unwrap();
    assert!(matches!(counted, Counted::Sorted(_)));
    train_counted(&counted, size, &[], options, &progress, &stop)
        .unwrap()
        .vocab
}

fn pairs(vocab: &Vocab) -> Vec<Pair> {
    let bytes = |id| vocab.bytes(id).to_vec();
    vocab
        .merges()
        .iter()
        .map(|m| (bytes(m.left), bytes(m.right)))
        .collect()
}

fuzz_target!(|input: Input| {
    let modulus = input.alphabet.max(1);
    let mut words = BTreeMap::new();
    for (word, n) in input.words.into_iter().take(20) {
        let word: Vec<u8> = word.into_iter().take(60).map(|b| b % modulus).collect();
        // Sums of a few 32-bit numbers times 2^16 go far beyond 32 bits.
        *words.entry(word).or_default() += u64::from(n) << 16;
    }
    words.retain(|word, n| !word.is_empty() && *n > 0);
    if words.is_empty() {
        return;
    }
    let options = TrainOptions {
        tie_break: match input.tie {
            Tie::Id => TieBreak::Id,
            Tie::Bytes => TieBreak::Bytes,
            Tie::Hf => TieBreak::Hf,
        },
        min_frequency: u64::from(input.min_frequency) << 16,
        max_token_bytes: input.max_token_bytes.map(usize::from),
        resume: None,
        threads: 1,
    };
    let mut counts = Counts::default();
    words.iter().for_each(|(word, n)| counts.add(word, *n));
    let num_merges = usize::from(input.num_merges % 64);
    let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let size = 256 + num_merges;
    let want = naive(&words, num_merges, &options);
    let trained = train(&counts, size, &[], &options, &progress, &stop).unwrap();
    assert_eq!(pairs(&trained.vocab), want, "{words:?} {options:?}");
    if let Some(bytes) = input.memory {
        let vocab = on_disk(&words, size, &options, usize::from(bytes % 8192).max(1));
        assert_eq!(
            pairs(&vocab),
            want,
            "on disk within {bytes}: {words:?} {options:?}"
        );
    }
});
