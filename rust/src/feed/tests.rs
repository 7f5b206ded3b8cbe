//! Documents arrive whole, in order and in pieces that pretokenise by themselves, however they come.

use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::file::LocalFile;
use super::json::JsonStream;
use super::text::{TextFile, TextStream};
use aho_corasick::{AhoCorasick, MatchKind};

use super::*;
use crate::Error;
use crate::train::{CountWork, Counted};

/// Keeps what it gets.
struct Keep(Arc<Mutex<Vec<(u64, Vec<(Piece, Vec<u8>)>)>>>);

impl Work for Keep {
    type Output = ();

    fn batch(&mut self, index: u64, batch: Batch, _: &AtomicBool) -> Result<()> {
        let pieces = batch.iter().map(|(p, b)| (p.clone(), b.to_vec())).collect();
        self.0.lock().unwrap().push((index, pieces));
        Ok(())
    }

    fn finish(self) -> Result<()> {
        Ok(())
    }
}

/// Feeds and gives the documents with their counts.
fn fed(
    options: FeedOptions,
    feed_it: impl FnOnce(&mut Feed<()>, Poll<'_>) -> Result<()>,
) -> (Vec<Vec<u8>>, u64, u64, usize) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let pool = Pool::start((0..3).map(|_| Keep(kept.clone())).collect());
    let mut feed = Feed::new(pool, Arc::new(Pattern::new("nano").unwrap()), options).unwrap();
    let mut poll = || Ok(());
    feed_it(&mut feed, &mut poll).unwrap();
    let counters = feed.fed().clone();
    feed.finish(&mut poll).unwrap();
    let mut batches = std::mem::take(&mut *kept.lock().unwrap());
    batches.sort_by_key(|(index, _)| *index);
    let (mut documents, mut open, mut num_pieces) = (Vec::new(), None, 0);
    for (piece, bytes) in batches.into_iter().flat_map(|(_, pieces)| pieces) {
        num_pieces += 1;
        assert_eq!(
            piece.begins,
            open.is_none(),
            "a piece begins a document exactly when none is open"
        );
        open.get_or_insert_with(Vec::new).extend(bytes);
        if piece.ends {
            documents.push(open.take().unwrap());
        }
    }
    assert!(open.is_none(), "the last document has no end");
    let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
    (
        documents,
        load(&counters.documents),
        load(&counters.bytes),
        num_pieces,
    )
}

fn plain(path: &Path) -> LocalFile {
    LocalFile {
        path: path.to_path_buf(),
        compression: None,
    }
}

fn split_options() -> FeedOptions {
    FeedOptions {
        split_on: vec!["<|end|>".into(), "<|end|><|end|>x".into()],
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn streams_equal_the_whole(
        parts in prop::collection::vec(prop_oneof!["[a-z ]{0,9}", Just("<|end|>".to_string()), Just("<|e".into()), Just("x".into())], 0..30),
        chunk in 1usize..9,
    ) {
        let text = parts.concat();
        let want: Vec<Vec<u8>> = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(split_options().split_on)
            .unwrap()
            .replace_all(&text, &["\0", "\0"])
            .split('\0')
            .filter(|d| !d.is_empty())
            .map(|d| d.as_bytes().to_vec())
            .collect();
        let (got, documents, bytes, _) = fed(split_options(), |feed, poll| {
            let mut stream = TextStream::default();
            for part in text.as_bytes().chunks(chunk) {
                stream.pending.extend_from_slice(part);
                feed.cut_off(&mut stream, poll)?;
            }
            feed.end_text(stream, poll)
        });
        prop_assert_eq!(documents, want.len() as u64);
        prop_assert_eq!(bytes, want.iter().map(Vec::len).sum::<usize>() as u64);
        prop_assert_eq!(&got, &want);
        // A whole document without text is one; nothing between two separators is none.
        let want = if text.is_empty() { vec![Vec::new()] } else { want };
        let (got, ..) = fed(split_options(), |feed, poll| feed.document(text.as_bytes(), poll));
        prop_assert_eq!(got, want);
    }
}

#[test]
fn a_large_document_is_cut_and_comes_back() {
    let text = "some words, and more of them ".repeat(200_000);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let (got, documents, bytes, pieces) = fed(FeedOptions::default(), |feed, poll| {
        feed.text_file(plain(file.path()), poll)
    });
    assert_eq!((documents, bytes), (1, text.len() as u64));
    assert!(pieces > 3, "cut into {pieces}");
    assert!(got[0] == text.as_bytes());
    let (got, .., pieces) = fed(FeedOptions::default(), |feed, poll| {
        feed.document(text.as_bytes(), poll)
    });
    assert!(pieces > 3 && got[0] == text.as_bytes());
}

#[test]
fn no_cut_goes_through_what_must_stay_whole() {
    let options = FeedOptions {
        keep_whole: vec!["<|a b|>".into()],
        ..Default::default()
    };
    let text = "<|a b|>".repeat(600_000);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let mut feed = Feed::new(
        Pool::start(vec![Keep(kept.clone())]),
        Arc::new(Pattern::new("nano").unwrap()),
        options,
    )
    .unwrap();
    feed.document(text.as_bytes(), &mut || Ok(())).unwrap();
    feed.finish(&mut || Ok(())).unwrap();
    let batches = kept.lock().unwrap();
    let pieces: Vec<_> = batches.iter().flat_map(|(_, pieces)| pieces).collect();
    assert!(pieces.len() > 3);
    assert!(
        pieces
            .iter()
            .all(|(_, bytes)| bytes.starts_with(b"<|a b|>"))
    );
}

/// The pretokens of a text that comes in blocks, split at "<a b>".
fn counted(pattern: &str, blocks: &[&[u8]]) -> Vec<(Vec<u8>, u64)> {
    let pattern = Arc::new(Pattern::new(pattern).unwrap());
    let specials = vec!["<a b>".to_string()];
    let work = CountWork::for_threads(2, &pattern, &specials, None, &Arc::default()).unwrap();
    let options = FeedOptions {
        keep_whole: specials,
        ..Default::default()
    };
    let mut feed = Feed::new(Pool::start(work), pattern, options).unwrap();
    let (mut stream, poll) = (TextStream::default(), &mut || Ok(()));
    for block in blocks {
        feed.text(&mut stream, block, poll).unwrap();
    }
    feed.end_text(stream, poll).unwrap();
    let tables = feed.finish(poll).unwrap();
    let counts = Counted::from_tables(tables, None, &AtomicBool::new(false)).unwrap();
    let (mut found, mut rows) = (Vec::new(), counts.rows());
    counts
        .next_rows(&mut rows, usize::MAX, |pretoken, count| {
            found.push((pretoken.to_vec(), count));
        })
        .unwrap();
    found
}

#[test]
fn no_cut_goes_through_what_is_not_whole_yet() {
    let filler = "x".repeat(BATCH_BYTES + 10);
    let text = format!("{filler}<a b>yy");
    let want = vec![(filler.into_bytes(), 1), (b"yy".to_vec(), 1)];
    // The end of the first block stands anywhere in the string that must stay whole.
    for end in text.len() - 8..text.len() {
        let (first, second) = text.as_bytes().split_at(end);
        for pattern in ["nano", r"\w+|\W+"] {
            assert_eq!(counted(pattern, &[first, second]), want, "{pattern}, {end}");
        }
    }
}

#[test]
fn a_custom_regex_counts_blocks_as_the_whole() {
    let words = [
        &b"one "[..],
        b"two, ",
        b"<a b>",
        b"3333",
        b" \xff",
        b"\n\n ",
        "\u{4e2d}".as_bytes(),
    ];
    let mut text = Vec::new();
    for n in 0u32..900_000 {
        text.extend_from_slice(words[(n.wrapping_mul(2_654_435_761) >> 16) as usize % words.len()]);
    }
    let pattern = r"\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    let blocks: Vec<&[u8]> = text.chunks(700_001).collect();
    let whole = Pattern::new(pattern).unwrap();
    let mut want: std::collections::BTreeMap<Vec<u8>, u64> = std::collections::BTreeMap::new();
    let splitter = Finder::new(&["<a b>".to_string()], "it").unwrap().unwrap();
    let mut start = 0;
    let ends = splitter
        .find_iter(&text)
        .map(|found| (found.start, found.end));
    for (end, next) in ends.chain([(text.len(), text.len())]) {
        let count = |pretoken: &[u8]| *want.entry(pretoken.to_vec()).or_default() += 1;
        whole.for_each(&text[start..end], count).unwrap();
        start = next;
    }
    assert_eq!(
        counted(pattern, &blocks),
        want.into_iter().collect::<Vec<_>>()
    );
}

#[test]
fn json_lines_give_the_field_and_name_the_bad_line() {
    let lines =
        "{\"n\": [1, {}], \"text\": \"a\\u00e9\\n\"}\n\n{\"text\": \"\"}\r\n{\"text\": \"last\"}";
    for chunk in [1, 7, 1000] {
        let (got, documents, bytes, _) = fed(FeedOptions::default(), |feed, poll| {
            let mut stream = JsonStream::new("x.jsonl", "text");
            for part in lines.as_bytes().chunks(chunk) {
                feed.json(&mut stream, part, poll)?;
            }
            feed.end_json(stream, poll)
        });
        assert_eq!((documents, bytes), (3, 8));
        assert_eq!(got, ["a\u{e9}\n".as_bytes(), b"", b"last"]);
    }
    for (bad, why) in [
        (
            "{\"text\": 5}",
            "line 1: invalid type: integer `5`, expected a string",
        ),
        (
            "{\"body\": \"x\"}",
            "line 1: the object has no field \"text\"",
        ),
        ("{\"text\": \"cut", "line 1: EOF"),
        ("[1]", "line 1: invalid type: sequence, expected an object"),
    ] {
        assert!(
            text_problem(bad).contains(why),
            "{bad}: {}",
            text_problem(bad)
        );
    }
}

fn text_problem(line: &str) -> String {
    let pool = Pool::start(vec![Keep(Arc::default())]);
    let mut feed = Feed::new(
        pool,
        Arc::new(Pattern::new("nano").unwrap()),
        FeedOptions::default(),
    )
    .unwrap();
    let mut stream = JsonStream::new("x.jsonl", "text");
    let fed = feed.json(&mut stream, line.as_bytes(), &mut || Ok(()));
    fed.and_then(|()| feed.end_json(stream, &mut || Ok(())))
        .unwrap_err()
        .to_string()
}

#[test]
fn limits_on_bytes_and_characters() {
    let options = FeedOptions {
        max_bytes: Some(10),
        ..Default::default()
    };
    let (got, _, bytes, _) = fed(options, |feed, poll| {
        ["abcd", "efgh", "\u{4e2d}x", "never"]
            .iter()
            .try_for_each(|d| feed.document(d.as_bytes(), poll))
    });
    assert_eq!((got.concat(), bytes), (b"abcdefgh".to_vec(), 10));
    let options = FeedOptions {
        max_document_chars: Some(3),
        ..Default::default()
    };
    let (got, documents, bytes, _) = fed(options, |feed, poll| {
        ["\u{4e2d}\u{6587}abc", "xy", "wxyz"]
            .iter()
            .try_for_each(|d| feed.document(d.as_bytes(), poll))
    });
    assert_eq!(got, ["\u{4e2d}\u{6587}a".as_bytes(), b"xy", b"wxy"]);
    assert_eq!((documents, bytes), (3, 12));
}

#[test]
fn shared_documents_are_not_copied_and_keep_their_order() {
    let data: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(b"abcdefghij".to_vec());
    let (got, documents, ..) = fed(FeedOptions::default(), |feed, poll| {
        feed.document(b"first", poll)?;
        feed.shared(&data, [0..3, 3..3, 5..10], poll)?;
        feed.document(b"last", poll)
    });
    assert_eq!(got, [&b"first"[..], b"abc", b"", b"fghij", b"last"]);
    assert_eq!(documents, 5);
}

/// Fails at its second batch.
struct Fail(u64);

impl Work for Fail {
    type Output = ();

    fn batch(&mut self, index: u64, _: Batch, _: &AtomicBool) -> Result<()> {
        self.0 = index;
        if index == 1 {
            Err(Error::value("no more"))
        } else {
            Ok(())
        }
    }

    fn finish(self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_failing_worker_and_an_interrupting_poll_stop_the_feed() {
    let pattern = Arc::new(Pattern::new("nano").unwrap());
    let start = || {
        Feed::new(
            Pool::start(vec![Fail(0), Fail(0)]),
            pattern.clone(),
            FeedOptions::default(),
        )
        .unwrap()
    };
    let block = vec![b'x'; BATCH_BYTES];
    let mut feed = start();
    let sent = (0..50).try_for_each(|_| feed.document(&block, &mut || Ok(())));
    let end = sent.and_then(|()| feed.finish(&mut || Ok(())).map(drop));
    assert_eq!(end.unwrap_err().to_string(), "no more");
    let mut feed = start();
    let sent = feed.document(&block, &mut || Err(Error::Interrupted));
    assert!(matches!(sent, Err(Error::Interrupted)));
}

/// Files that the workers read, with documents of all sizes between separators, and a small file between two.
fn documents_in_files() -> (Vec<tempfile::NamedTempFile>, Vec<Vec<u8>>) {
    let (mut files, mut documents) = (Vec::new(), Vec::new());
    for num_documents in [300u32, 2, 300] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for n in 0..num_documents {
            let len =
                1 + n.wrapping_mul(2_654_435_761) as usize % [10, 30_000, 400_000][n as usize % 3];
            let document = format!("{n} some words\n").repeat(len / 10 + 1);
            // Everything that ends a file ends its document, a separator or not.
            let separator = if n % 2 == 0 {
                "<|end|>"
            } else {
                "<|end|><|end|>x"
            };
            write!(file, "{document}{separator}").unwrap();
            documents.push(document.into_bytes());
        }
        files.push(file);
    }
    (files, documents)
}

#[test]
fn what_workers_read_arrives_whole_and_in_order() {
    let (files, want) = documents_in_files();
    let sizes = files.iter().map(|f| f.as_file().metadata().unwrap().len());
    let blocks: Vec<u64> = sizes.map(|size| size / BATCH_BYTES as u64).collect();
    assert!(blocks[0] > 20 && blocks[1] == 0, "{blocks:?}");
    let (got, documents, bytes, _) = fed(split_options(), |feed, poll| {
        feed.document(b"first", poll)?;
        for file in &files {
            feed.text_file(plain(file.path()), poll)?;
        }
        feed.document(b"last", poll)
    });
    assert_eq!(documents, want.len() as u64 + 2);
    assert_eq!(bytes, want.iter().map(Vec::len).sum::<usize>() as u64 + 9);
    assert!(got[1..=want.len()] == want);
    assert_eq!(
        (&got[0][..], &got[want.len() + 1][..]),
        (&b"first"[..], &b"last"[..])
    );
    // The limit falls into the third file.
    let limit = bytes / 4 * 3;
    let options = FeedOptions {
        max_bytes: Some(limit),
        ..split_options()
    };
    let (got, _, bytes, _) = fed(options, |feed, poll| {
        for file in &files {
            feed.text_file(plain(file.path()), poll)?;
        }
        assert!(feed.is_full());
        feed.document(b"never", poll)
    });
    assert_eq!(bytes, limit);
    assert!(got.concat() == want.concat()[..limit as usize]);
}

#[test]
fn reading_on_the_workers_names_its_file_and_hears_the_caller() {
    let pattern = Arc::new(Pattern::new("nano").unwrap());
    let start =
        |workers| Feed::new(Pool::start(workers), pattern.clone(), split_options()).unwrap();
    // A folder can be opened, not read.
    let folder = tempfile::tempdir().unwrap();
    let mut feed = start(vec![Fail(0), Fail(0)]);
    let text = TextFile::open(plain(folder.path())).unwrap().0;
    let error = feed.read(text, true, &mut || Ok(())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&folder.path().display().to_string()),
        "{error}"
    );
    assert!(feed.document(b"more", &mut || Ok(())).is_err());
    let (files, _) = documents_in_files();
    let mut feed = start(vec![Fail(0), Fail(0)]);
    let error = feed
        .text_file(plain(files[0].path()), &mut || Ok(()))
        .unwrap_err();
    assert_eq!(error.to_string(), "no more");
    // Text without an end and without a place to cut: only the caller can stop that.
    let mut feed = start(vec![Fail(0), Fail(0)]);
    let text = TextFile::open(plain("/dev/zero".as_ref())).unwrap().0;
    let mut looks = 0;
    let error = feed.read(text, true, &mut || {
        looks += 1;
        if looks < 5 {
            Ok(())
        } else {
            Err(Error::Interrupted)
        }
    });
    assert!(matches!(error, Err(Error::Interrupted)));
}
