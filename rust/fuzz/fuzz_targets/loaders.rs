//! Hostile files: no loader panics, hangs or takes memory without bound, and what loads encodes, saves and loads back.
//!
//! The files begin as ones that the library wrote and are edited, since bytes at random fail at the first brace.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nanobpe::encode::{Encoder, decode};
use nanobpe::format::{folder, gpt2, hf, tiktoken};
use nanobpe::pretokenize::Pattern;
use nanobpe::vocab::Vocab;
use tempfile::TempDir;

/// A file of one of the formats.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Target {
    Tiktoken,
    Hf,
    Gpt2Vocab,
    Gpt2Merges,
    FolderMeta,
    FolderTokenizer,
    FolderRanks,
}

/// Bytes in place of others.
#[derive(Arbitrary, Debug)]
struct Edit {
    at: u16,
    removed: u8,
    written: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Input {
    Edited(Target, Vec<Edit>),
    Raw(Target, Vec<u8>),
}

/// A folder with every format, as the library writes them.
static FILES: LazyLock<TempDir> = LazyLock::new(|| {
    let merges = [(116, 104), (256, 101), (32, 257), (195, 169), (97, 32)];
    let vocab = Vocab::trained(&merges, &["<|bos|>".into()]).unwrap();
    let pattern = Pattern::new("gpt2").unwrap();
    // In memory where the system has such a folder: writing to disk would be most of the time.
    let made = TempDir::new_in("/dev/shm")
        .or_else(|_| TempDir::new())
        .unwrap();
    tiktoken::save(&vocab, &made.path().join("a.tiktoken")).unwrap();
    // A pattern that is written out, unlike GPT-2's.
    let nano = Pattern::new("nano").unwrap();
    hf::save(&vocab, &nano, &made.path().join("hf")).unwrap();
    gpt2::save(&vocab, &made.path().join("gpt2")).unwrap();
    let meta = folder::meta(&vocab, &pattern, None);
    folder::save(&vocab, &pattern, &meta, &made.path().join("tok")).unwrap();
    made
});

fn place(target: Target) -> PathBuf {
    FILES.path().join(match target {
        Target::Tiktoken => "a.tiktoken",
        Target::Hf => "hf/tokenizer.json",
        Target::Gpt2Vocab => "gpt2/vocab.json",
        Target::Gpt2Merges => "gpt2/merges.txt",
        Target::FolderMeta => "tok/meta.json",
        Target::FolderTokenizer => "tok/tokenizer.json",
        Target::FolderRanks => "tok/vocab.tiktoken",
    })
}

fn load(target: Target) -> nanobpe::Result<(Vocab, Pattern)> {
    let path = place(target);
    let parent = path.parent().unwrap();
    let specials = ["<|bos|>".to_string()];
    match target {
        Target::Tiktoken => Ok((tiktoken::load(&path, &[])?, Pattern::new("gpt2")?)),
        Target::Hf => hf::load(&path),
        Target::Gpt2Vocab | Target::Gpt2Merges => {
            let (vocab, merges) = (parent.join("vocab.json"), parent.join("merges.txt"));
            Ok((
                gpt2::load(&vocab, &merges, &specials)?,
                Pattern::new("gpt2")?,
            ))
        }
        _ => folder::load(parent).map(|loaded| (loaded.vocab, loaded.pattern)),
    }
}

fn check(vocab: &Vocab, pattern: &Pattern) {
    let text = "the cat \u{e9} <|bos|> 123\n\n  x".as_bytes();
    let mut ids = Vec::new();
    // A custom regex may lose text or give up on it.
    if Encoder::new(vocab, pattern)
        .encode_into(text, &mut ids)
        .is_ok()
    {
        let mut back = Vec::new();
        decode::decode_into(vocab, &ids, &mut back).unwrap();
        assert_eq!(back, text);
    }
    let again = FILES.path().join("again");
    let meta = folder::meta(vocab, pattern, None);
    folder::save(vocab, pattern, &meta, &again).unwrap();
    if let Ok(loaded) = folder::load(&again) {
        assert_eq!(&loaded.vocab, vocab);
        assert_eq!(loaded.pattern.regex(), pattern.regex());
    }
}

fn edited(path: &Path, edits: &[Edit]) -> Vec<u8> {
    let mut content = fs::read(path).unwrap();
    for edit in edits {
        let at = usize::from(edit.at) % (content.len() + 1);
        let end = (at + usize::from(edit.removed)).min(content.len());
        content.splice(at..end, edit.written.iter().copied());
    }
    content
}

fuzz_target!(|input: Input| {
    let target = match &input {
        Input::Edited(target, _) | Input::Raw(target, _) => *target,
    };
    let path = place(target);
    let whole = fs::read(&path).unwrap();
    let content = match &input {
        Input::Edited(_, edits) => edited(&path, edits),
        Input::Raw(_, bytes) => bytes.clone(),
    };
    fs::write(&path, content).unwrap();
    let loaded = load(target);
    fs::write(&path, whole).unwrap();
    match loaded {
        Ok((vocab, pattern)) => check(&vocab, &pattern),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
