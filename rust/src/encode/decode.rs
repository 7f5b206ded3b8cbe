//! Ids back to bytes.

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
            return Err(unknown(vocab, i128::from(id)));
        }
        out.extend_from_slice(bytes);
    }
    Ok(())
}

/// The refusal of an id that the vocabulary does not have.
pub fn unknown(vocab: &Vocab, id: i128) -> Error {
    let why = if (0..vocab.len() as i128).contains(&id) { "is a hole in" } else { "is outside" };
    Error::value(format!("id {id} {why} the vocabulary of {} ids", vocab.len()))
}
