//! GPT-2's vocab.json (token -> id) and merges.txt (a pair on each line), tokens spelt byte by byte.
//!
//! Neither file says which pattern splits the text; it is GPT-2's.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use super::hf_model::{Entries, Text, push_vocab};
use super::{byte_level, files, in_file, merged_only, named_specials, vocab_of};
use crate::encode::unmade;
use crate::error::{Error, Result};
use crate::vocab::{Vocab, shown};

const VERSION: &str = "#version: 0.2";

/// The vocabulary of the two files. Special tokens are those named; what vocab.json lacks gets the next free ids.
///
/// # Errors
/// `Error::Io`, or `Error::Format` with the place that is broken.
pub fn load(vocab_json: &Path, merges_txt: &Path, specials: &[String]) -> Result<Vocab> {
    let content = files::read(vocab_json)?;
    let entries: Entries = serde_json::from_slice(&content)
        .map_err(|error| in_file(vocab_json)(Error::value(error.to_string())))?;
    let mut tokens = entries.0;
    let specials = named_specials(&mut tokens, specials);
    let tokens = byte_level_tokens(&tokens).map_err(in_file(vocab_json))?;
    let content = files::read(merges_txt)?;
    let merges = parse_merges(&content).map_err(in_file(merges_txt))?;
    let vocab = vocab_of(&tokens, merges.into_iter(), specials).map_err(in_file(merges_txt))?;
    Ok(merged_only(vocab))
}

/// Tokens with their bytes read.
pub(super) fn byte_level_tokens<'a>(
    tokens: &'a [(Text<'_>, u32)],
) -> Result<Vec<(Cow<'a, [u8]>, u32)>> {
    let read = |(spelt, id): &'a (Text<'_>, u32)| {
        let bytes = byte_level::read(&spelt.0).filter(|bytes| !bytes.is_empty());
        bytes.map(|bytes| (bytes, *id)).ok_or_else(|| {
            Error::value(format!(
                "token {id}, {}, is neither spelt in the byte-level alphabet nor a special token",
                shown(spelt.as_ref())
            ))
        })
    };
    tokens.iter().map(read).collect()
}

fn parse_merges(content: &[u8]) -> Result<Vec<(Cow<'_, [u8]>, Cow<'_, [u8]>)>> {
    let mut merges = Vec::new();
    for (number, line) in (1..).zip(content.split(|&byte| byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || number == 1 && line.starts_with(b"#version") {
            continue;
        }
        let pair = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.split_once(' '));
        let pair =
            pair.and_then(|(left, right)| byte_level::read(left).zip(byte_level::read(right)));
        merges.push(pair.ok_or_else(|| {
            Error::value(format!(
                "line {number}: want two tokens with a space between: {}",
                shown(line)
            ))
        })?);
    }
    Ok(merges)
}

/// Writes vocab.json and merges.txt into a folder.
///
/// # Errors
/// `Error::Io`, or `Error::Value` if the vocabulary emits tokens that merges do not make, which readers would not.
pub fn save(vocab: &Vocab, folder: &Path) -> Result<()> {
    if let Some(id) = unmade(vocab).first().filter(|_| !vocab.only_merges()) {
        return Err(Error::value(format!(
            "merges do not make token {id}, {}, and readers of merges.txt would never emit it\n\
             hint: tokenizer.json (--to hf) tells them to",
            shown(vocab.bytes(*id))
        )));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut json = "{".to_string();
    push_vocab(vocab, "", ":", &mut json);
    json.push('}');
    let mut merges = format!("{VERSION}\n");
    for merge in vocab.merges() {
        merges += &byte_level::spell(vocab.bytes(merge.left));
        merges.push(' ');
        merges += &byte_level::spell(vocab.bytes(merge.right));
        merges.push('\n');
    }
    files::write(&folder.join("vocab.json"), json.as_bytes())?;
    files::write(&folder.join("merges.txt"), merges.as_bytes())
}
