//! Shards: token ids on disk, as trainers map them into memory.
//!
//! A folder holds `{split}_{000000}.bin` files, `manifest.json` and a copy of the tokenizer. A `.bin` file is a header
//! of 256 little-endian int32 (magic, version, number of tokens, zeros) and then the ids: uint16 under magic 20240520
//! version 1, as llm.c and modded-nanogpt read them, or uint32 under magic 20240801 version 7. A document stays in one
//! shard unless it is larger than one; then it goes on at the start of the next. Where documents begin is told by the
//! BOS id, or without one by a file `{split}_{000000}.idx` of little-endian uint32 positions.
//!
//! [`write`] makes such folders from inputs, [`shuffle`] changes the order of documents on their way, [`parts`] carries
//! them to another process, [`read`] maps and verifies them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub mod encode;
mod open;
pub mod parts;
pub mod read;
pub mod shuffle;
#[cfg(test)]
mod tests;
pub mod write;

pub use read::{Shards, Verification, verify};

/// Bytes of a shard's header.
pub const HEADER_BYTES: usize = 1024;
/// Most tokens of a shard: the header counts them as int32.
pub const MAX_SHARD_TOKENS: u64 = i32::MAX as u64;
/// The record beside complete shards.
pub const MANIFEST: &str = "manifest.json";
/// The same record while shards are missing; `--resume` reads it.
pub const JOURNAL: &str = "resume.json";

/// Magic and version of ids of `width` bytes.
fn magic(width: usize) -> [i32; 2] {
    if width == 2 {
        [20_240_520, 1]
    } else {
        [20_240_801, 7]
    }
}

/// The header of a shard with `tokens` ids of `width` bytes.
fn header(width: usize, tokens: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let [magic, version] = magic(width);
    for (place, value) in [magic, version, tokens as i32].into_iter().enumerate() {
        bytes[4 * place..4 * place + 4].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// Ids as they lie in shards, little-endian, of `width` bytes each; `bytes` holds as many.
fn lay_out(ids: &[u32], width: usize, bytes: &mut [u8]) {
    if width == 2 {
        for (place, id) in bytes.as_chunks_mut().0.iter_mut().zip(ids) {
            *place = (*id as u16).to_le_bytes();
        }
    } else {
        for (place, id) in bytes.as_chunks_mut().0.iter_mut().zip(ids) {
            *place = id.to_le_bytes();
        }
    }
}

/// What is in a folder of shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always "nanobpe shards".
    pub format: String,
    /// Of this record.
    pub version: u32,
    /// Content hash of the tokenizer.
    pub tokenizer_hash: String,
    /// Highest id + 1.
    pub vocab_size: usize,
    /// "uint16" or "uint32".
    pub dtype: String,
    /// The id that begins each document, if one does.
    pub bos_id: Option<u32>,
    /// The id that ends each document, if one does.
    #[serde(default)]
    pub eos_id: Option<u32>,
    /// What was asked for; another run with `--resume` must ask for the same.
    pub options: serde_json::Value,
    /// Input files and their sizes.
    pub sources: Vec<InputSource>,
    /// Sum over the splits.
    pub documents: u64,
    /// Sum over the splits.
    pub tokens: u64,
    /// Bytes of text, sum over the splits.
    pub bytes: u64,
    /// By name: train, val, test.
    pub splits: BTreeMap<String, Split>,
}

/// An input of the shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSource {
    /// As the user named it.
    pub name: String,
    /// On disk; unknown for streams.
    pub bytes: Option<u64>,
}

/// The documents of one purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Documents.
    pub documents: u64,
    /// Ids on disk, BOS counted.
    pub tokens: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Files in order.
    pub shards: Vec<ShardInfo>,
}

impl Split {
    /// Adds a shard and its counts.
    fn push(&mut self, info: ShardInfo) {
        self.documents += info.documents;
        self.tokens += info.tokens;
        self.bytes += info.bytes;
        self.shards.push(info);
    }
}

/// One file of ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Its name in the folder.
    pub name: String,
    /// Documents that begin in it.
    pub documents: u64,
    /// Ids in it.
    pub tokens: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// SHA-256 of the ids as they lie in the file: the header before them follows from the rest.
    pub ids_sha256: String,
    /// Where documents begin, when no BOS tells it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<IndexInfo>,
}

/// The file of document starts of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexInfo {
    /// Its name in the folder.
    pub name: String,
    /// SHA-256 of the whole file.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// `Error::Io` if it cannot be read, `Error::Format` if it is damaged or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(Error::io(path))?;
        let wrong = |what: String| Error::format(format!("{}: {what}", path.display()));
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|e| wrong(format!("not a manifest of shards ({e})")))?;
        if manifest.format != "nanobpe shards" || manifest.version != 1 {
            return Err(wrong(format!(
                "holds {:?} version {}; \"nanobpe shards\" version 1 can be read",
                manifest.format, manifest.version
            )));
        }
        manifest.width().map_err(|e| wrong(e.to_string()))?;
        let names = manifest.splits.values().flat_map(|s| &s.shards);
        let names = names.flat_map(|s| [Some(&s.name), s.index.as_ref().map(|i| &i.name)]);
        for name in names.flatten() {
            if Path::new(name)
                .file_name()
                .is_none_or(|file| file != name.as_str())
            {
                return Err(wrong(format!(
                    "names the shard {name:?}, which is no plain file name"
                )));
            }
        }
        Ok(manifest)
    }

    /// As JSON.
    ///
    /// # Panics
    /// Never: all keys are strings.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("all keys are strings")
    }

    /// Bytes of an id.
    ///
    /// # Errors
    /// `Error::Format` for another dtype than uint16 and uint32.
    pub fn width(&self) -> Result<usize> {
        match self.dtype.as_str() {
            "uint16" => Ok(2),
            "uint32" => Ok(4),
            other => Err(Error::format(format!(
                "dtype {other:?} is neither uint16 nor uint32"
            ))),
        }
    }
}

/// Writes a file whole: a temporary name, synced, then renamed.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        Error::io(path)(e)
    })
}

/// The name under which a file is written before it is complete.
fn temporary(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    digits.map(|d| char::from(DIGITS[usize::from(d)])).collect()
}
