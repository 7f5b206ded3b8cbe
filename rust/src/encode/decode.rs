//! Ids back to bytes.

use std::fmt::Display;

use crate::error::{Error, Result};
use crate::vocab::Vocab;

/// Appends the bytes that the ids stand for, special tokens as their text.
///
/// # Errors
/// `Error::Value` that names an id which the vocabulary does not have.
pub fn decode_into(vocab: &Vocab, ids: &[u32], out: &mut Vec<u8>) -> Result<()> {
    out.reserve(4 * ids.len());
    for &id in ids {
        let bytes = vocab.bytes(id);
        if bytes.is_empty() {
            return Err(unknown(vocab, id));
        }
        out.extend_from_slice(bytes);
    }
    Ok(())
}

/// The refusal of an id that the vocabulary does not have.
pub fn unknown(vocab: &Vocab, id: impl Display) -> Error {
    Error::value(format!(
        "id {id} is not in the vocabulary of {} ids",
        vocab.len()
    ))
}
