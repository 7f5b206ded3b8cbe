//! Our own folder: tokenizer.json, vocab.tiktoken and meta.json, which say the same and are checked against each other.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{files, hf, in_file, tiktoken};
use crate::error::{Error, Result};
use crate::pretokenize::{PATTERNS, Pattern, UNICODE_VERSION};
use crate::vocab::Vocab;

/// The version of the folder's format that this library writes and reads.
const VERSION: u64 = 1;

/// A tokenizer as its folder holds it.
pub struct Loaded {
    /// Ids, merges, special tokens.
    pub vocab: Vocab,
    /// How text is split.
    pub pattern: Pattern,
    /// The whole of meta.json.
    pub meta: Value,
}

/// What meta.json says of a tokenizer; `training` is how it was made.
pub fn meta(vocab: &Vocab, pattern: &Pattern, training: Option<&Value>) -> Value {
    let specials: Map<String, Value> = vocab
        .specials()
        .map(|(text, id)| (text.to_string(), json!(id)))
        .collect();
    json!({
        "format_version": VERSION,
        "library_version": env!("CARGO_PKG_VERSION"),
        "pattern": {"name": pattern.name(), "regex": pattern.regex()},
        "unicode_version": UNICODE_VERSION,
        "special_tokens": specials,
        "vocab_size": vocab.len(),
        "merges": vocab.merges().len(),
        "hash": vocab.hash(pattern.regex()),
        "training": training,
    })
}

/// Writes the folder, in place of an older one only when complete.
///
/// # Errors
/// As [`files::write_folder`].
pub fn save(vocab: &Vocab, pattern: &Pattern, meta: &Value, folder: &Path) -> Result<()> {
    let meta =
        serde_json::to_string_pretty(meta).map_err(|error| Error::value(error.to_string()))?;
    let files = [
        ("tokenizer.json", hf::content(vocab, pattern)?),
        ("vocab.tiktoken", tiktoken::content(vocab)),
        ("meta.json", (meta + "\n").into_bytes()),
    ];
    files::write_folder(folder, &files)
}

/// Reads the folder.
///
/// # Errors
/// `Error::Io`, or `Error::Format` that names the file which is broken or does not agree with the others.
pub fn load(folder: &Path) -> Result<Loaded> {
    let path = folder.join("meta.json");
    let meta: Value = serde_json::from_slice(&files::read(&path)?)
        .map_err(|error| in_file(&path)(Error::value(error.to_string())))?;
    let pattern = read_pattern(&meta).map_err(in_file(&path))?;

    let path = folder.join("tokenizer.json");
    let content = files::read(&path)?;
    let vocab = hf::parse(&content)
        .and_then(hf::read_vocab)
        .map_err(in_file(&path))?;
    let found = self::meta(&vocab, &pattern, None);
    for key in ["hash", "special_tokens", "vocab_size", "merges"] {
        if meta[key] != found[key] {
            let message =
                format!("not the tokenizer that meta.json beside it describes: {key} differs");
            return Err(in_file(&path)(Error::value(message)));
        }
    }

    let path = folder.join("vocab.tiktoken");
    let mut ranks = tiktoken::read(&path)?;
    ranks.sort_unstable_by_key(|(_, id)| *id);
    if !vocab
        .tokens()
        .eq(ranks.iter().map(|(bytes, id)| (*id, bytes.as_slice())))
    {
        return Err(in_file(&path)(Error::value(
            "not the vocabulary of tokenizer.json beside it",
        )));
    }
    Ok(Loaded {
        vocab,
        pattern,
        meta,
    })
}

fn read_pattern(meta: &Value) -> Result<Pattern> {
    if meta["format_version"] != VERSION {
        return Err(Error::value(format!(
            "format version {}, want {VERSION}",
            meta["format_version"]
        )));
    }
    let (name, regex) = (&meta["pattern"]["name"], &meta["pattern"]["regex"]);
    let Some(regex) = regex.as_str() else {
        return Err(Error::value("names no pattern"));
    };
    // A built-in pattern of another version of the library may differ: the regex counts.
    let known = PATTERNS
        .iter()
        .find(|(other, ours)| name == *other && regex == *ours);
    Pattern::new(known.map_or(regex, |(name, _)| name))
}
