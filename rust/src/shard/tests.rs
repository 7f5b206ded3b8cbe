//! A document that comes in parts, or in a resumed run, ends up as one that comes whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::encode::{Encoded, EncodedPiece, ShardSink, Sink, Splitter};
use super::shuffle::ShuffleSink;
use super::write::{Part, ShardWriter, Start};
use super::{JOURNAL, MANIFEST, Manifest, Shards, verify};
use crate::vocab::Vocab;

static GO: AtomicBool = AtomicBool::new(false);

fn plan(bos: Option<u32>) -> Manifest {
    Manifest {
        format: "nanobpe shards".into(),
        version: 1,
        tokenizer_hash: "hash".into(),
        vocab_size: 1 << 16,
        dtype: "uint16".into(),
        bos_id: bos,
        eos_id: None,
        options: serde_json::json!({}),
        sources: Vec::new(),
        documents: 0,
        tokens: 0,
        bytes: 0,
        splits: BTreeMap::new(),
    }
}

/// Writes documents, each cut into parts of at most `part` ids.
fn write(
    folder: &Path,
    bos: Option<u32>,
    documents: &[Vec<u32>],
    part: usize,
    limit: u64,
    resume: bool,
) {
    let start = ShardWriter::start(folder, plan(bos), &["train"], limit, resume).unwrap();
    let Start::Writer(mut writer) = start else {
        return;
    };
    for document in documents {
        let whole: Vec<u32> = bos.into_iter().chain(document.iter().copied()).collect();
        let mut begins = true;
        for ids in whole
            .chunks(part)
            .chain(whole.is_empty().then_some(&[][..]))
        {
            let bytes = ids.iter().filter(|id| Some(**id) != bos).count() as u64;
            let length = |id: u32| u64::from(Some(id) != bos);
            writer
                .part(0, Part { ids, bytes, begins }, &length)
                .unwrap();
            begins = false;
        }
    }
    writer.finish().unwrap();
}

fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parts_and_resumed_runs_equal_whole_documents(
        lengths in prop::collection::vec(0usize..30, 1..12),
        part in 1usize..9,
        limit in 5u64..40,
        bos in prop::option::of(Just(60_000u32)),
        kept in 0usize..4,
    ) {
        let mut next = 0;
        let documents: Vec<Vec<u32>> = lengths
            .iter()
            .map(|&length| (0..length).map(|_| { next += 1; next }).collect())
            .collect();
        prop_assume!(next > 0 || bos.is_some());
        let [whole, parts] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        write(whole.path(), bos, &documents, usize::MAX, limit, false);
        write(parts.path(), bos, &documents, part, limit, false);
        let want = content(whole.path());
        prop_assert_eq!(&content(parts.path()), &want);
        prop_assert!(verify(whole.path(), &mut |_| true).unwrap().errors.is_empty());

        let shards = Shards::open(whole.path(), "train").unwrap();
        let starts: usize = (0..shards.len()).map(|i| shards.starts(i).unwrap().len()).sum();
        prop_assert_eq!(starts, documents.len());
        prop_assert!(shards.infos().iter().all(|info| info.tokens <= limit));

        // As a killed run leaves it: the first shards and the journal.
        let mut manifest = Manifest::read(&parts.path().join(MANIFEST)).unwrap();
        let split = manifest.splits.get_mut("train").unwrap();
        for info in split.shards.split_off(kept.min(split.shards.len())) {
            fs::remove_file(parts.path().join(&info.name)).unwrap();
        }
        fs::remove_file(parts.path().join(MANIFEST)).unwrap();
        fs::write(parts.path().join(JOURNAL), manifest.to_json()).unwrap();
        write(parts.path(), bos, &documents, part, limit, true);
        prop_assert_eq!(&content(parts.path()), &want);
    }
}

/// Shuffles 500 documents of two parts each, and one of many, with files of at most `sorted_bytes` at once.
fn shuffled(folder: &Path, sorted_bytes: u64) -> BTreeMap<String, Vec<u8>> {
    let start = ShardWriter::start(folder, plan(Some(0)), &["train"], 1 << 20, false).unwrap();
    let Start::Writer(writer) = start else {
        panic!("the folder was empty");
    };
    let sink = ShardSink {
        writer: *writer,
        vocab: Arc::new(Vocab::trained(&[], &[]).unwrap()),
        split: 0,
    };
    let mut sink = ShuffleSink::with_sorted_bytes(sink, folder, 7, sorted_bytes);
    for document in 1..=500u32 {
        let last = if document == 100 { 400 } else { 2 };
        for part in 1..=last {
            let ids = if part == 1 {
                vec![0, document]
            } else {
                vec![document; part]
            };
            let piece = EncodedPiece {
                ids: 0..ids.len(),
                bytes: 1,
                begins: part == 1,
                ends: part == last,
                split: (part == 1).then_some(0),
                words: 0,
                same: true,
            };
            let encoded = Encoded {
                ids,
                pieces: vec![piece],
            };
            sink.take(&encoded, &GO).unwrap();
        }
    }
    sink.finish(&GO).unwrap();
    content(folder)
}

#[test]
fn shuffling_is_the_same_in_small_files() {
    let [large, small] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let want = shuffled(large.path(), 1 << 30);
    assert_eq!(want.len(), 2, "a shard and a manifest: {:?}", want.keys());
    assert_eq!(shuffled(small.path(), 100), want);
}

#[test]
fn splits_follow_the_shares_and_the_text_alone() {
    let splitter = Splitter::new(&[0.8, 0.1, 0.1], 7).unwrap();
    let mut counts = [0; 3];
    for i in 0..10_000u32 {
        let document = i.to_string();
        let split = splitter.split(document.as_bytes());
        assert_eq!(split, splitter.split(document.as_bytes()));
        counts[split] += 1;
    }
    // Five standard deviations of a binomial.
    for (count, share) in counts.into_iter().zip([0.8f64, 0.1, 0.1]) {
        let deviation = (10_000.0 * share * (1.0 - share)).sqrt();
        assert!(
            (f64::from(count) - 10_000.0 * share).abs() < 5.0 * deviation,
            "{counts:?}"
        );
    }
    let all = Splitter::new(&[1.0, 0.0, 0.0], 7).unwrap();
    assert!((0..1000u32).all(|i| all.split(&i.to_le_bytes()) == 0));
    for shares in [[0.5, 0.5, 0.5], [1.5, -0.5, 0.0], [f64::NAN, 0.5, 0.5]] {
        assert!(Splitter::new(&shares, 0).is_err());
    }
}
