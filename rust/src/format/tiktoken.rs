//! `.tiktoken` files: a token in base64 and its rank on each line. No pattern and no special tokens.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{check_ids, files, in_file};
use crate::error::{Error, Result};
use crate::vocab::{Vocab, shown};

/// Tokens and ranks of a file.
///
/// # Errors
/// `Error::Io`, or `Error::Format` with the number of the line that is broken.
pub fn read(path: &Path) -> Result<Vec<(Vec<u8>, u32)>> {
    parse(&files::read(path)?).map_err(in_file(path))
}

fn parse(content: &[u8]) -> Result<Vec<(Vec<u8>, u32)>> {
    let mut ranks = Vec::new();
    for (number, line) in (1..).zip(content.split(|&byte| byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let broken = |what: &str| Error::value(format!("line {number}: {what}: {}", shown(line)));
        let mut fields = line.split(|&byte| byte == b' ');
        let (Some(token), Some(rank), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(broken("want a token in base64, a space and its rank"));
        };
        let token = STANDARD
            .decode(token)
            .map_err(|_| broken("the token is not base64"))?;
        if token.is_empty() {
            return Err(broken("the token is empty"));
        }
        let rank = std::str::from_utf8(rank)
            .ok()
            .filter(|rank| rank.bytes().all(|b| b.is_ascii_digit()));
        let rank = rank.and_then(|rank| rank.parse().ok());
        ranks.push((
            token,
            rank.ok_or_else(|| broken("the rank is not a number below 2**32"))?,
        ));
    }
    check_ids(ranks.len(), ranks.iter().map(|(_, rank)| *rank))?;
    Ok(ranks)
}

/// The vocabulary of a file.
///
/// # Errors
/// As [`read`] and [`Vocab::from_ranks`], naming the file.
pub fn load(path: &Path, specials: &[(String, u32)]) -> Result<Vocab> {
    let ranks = read(path)?;
    check_ids(ranks.len(), specials.iter().map(|(_, id)| *id))?;
    Vocab::from_ranks(&ranks, specials).map_err(in_file(path))
}

/// The file of a vocabulary, its ids as ranks.
pub fn content(vocab: &Vocab) -> Vec<u8> {
    let mut text = String::new();
    for (id, bytes) in vocab.tokens() {
        STANDARD.encode_string(bytes, &mut text);
        let _ = writeln!(text, " {id}");
    }
    text.into_bytes()
}

/// Writes a vocabulary for readers that take ids as ranks.
///
/// # Errors
/// `Error::Io`, or `Error::Value` if the ids do not order the merges as this vocabulary does, or if it emits tokens
/// by its merges alone.
pub fn save(vocab: &Vocab, path: &Path) -> Result<()> {
    if vocab.only_merges() {
        return Err(Error::value(
            "readers of a .tiktoken file emit a token wherever a pretoken spells it, and this vocabulary has tokens \
             that its merges do not make\n\
             hint: tokenizer.json (--to hf) keeps the rule",
        ));
    }
    let in_order = vocab.merges().is_sorted_by_key(|merge| merge.id);
    let ranks: Vec<_> = vocab
        .tokens()
        .map(|(id, bytes)| (bytes.to_vec(), id))
        .collect();
    let mut listed = vocab.merges().to_vec();
    let order = |merge: &crate::vocab::Merge| (merge.left, merge.right, merge.id);
    listed.sort_unstable_by_key(order);
    let recovered = Vocab::from_ranks(&ranks, &[])?;
    let has = |merge| listed.binary_search_by_key(&order(merge), order).is_ok();
    if !in_order || !recovered.merges().iter().all(has) {
        return Err(Error::value(
            "a .tiktoken file takes ids as ranks, and this vocabulary merges in another order than that of its ids\n\
             hint: tokenizer.json (--to hf) keeps the order",
        ));
    }
    files::write(path, &content(vocab))
}
