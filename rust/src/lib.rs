//! Byte-level BPE: train a vocabulary on counted pretokens, encode text exactly, write shards, pack rows.
//!
//! The way of the data: [`feed`] cuts inputs into batches of documents, [`pretokenize`] splits documents into
//! pretokens, [`train`] counts and merges them into a [`vocab::Vocab`], [`encode`] turns text into ids, [`shard`]
//! writes them to disk and [`pack`] lays them out as training rows. Only the `python` module names `pyo3`.

pub mod added;
#[cfg(any(test, feature = "python"))]
mod arena;
pub mod encode;
pub mod error;
pub mod feed;
pub mod format;
mod memory;
pub mod pack;
pub mod pretokenize;
mod processor;
#[cfg(feature = "python")]
mod python;
pub mod shard;
pub mod train;
#[cfg(any(test, feature = "python"))]
mod utf8;
pub mod vocab;

pub use error::{Error, Result};
