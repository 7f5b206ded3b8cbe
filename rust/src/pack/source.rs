//! Where documents come from, and the spans that rows are made of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::error::Result;
use crate::shard::Shards;

/// Where the documents lie. Tokens are little-endian ids of `width` bytes.
pub enum Source {
    /// Documents in memory: their tokens end to end, and where each ends (in tokens).
    Documents {
        /// The tokens' bytes.
        bytes: Vec<u8>,
        /// End of each document.
        ends: Vec<u64>,
        /// Bytes of an id, 2 or 4.
        width: usize,
    },
    /// A split of a shard folder.
    Shards(Arc<Shards>),
}

impl Source {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Documents { width, .. } => *width,
            Self::Shards(shards) => shards.width(),
        }
    }

    pub(super) fn num_arrays(&self) -> usize {
        match self {
            Self::Documents { .. } => 1,
            Self::Shards(shards) => shards.len(),
        }
    }

    /// The bytes of array `index`.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        match self {
            Self::Documents { bytes, .. } => bytes,
            Self::Shards(shards) => shards.bytes(index),
        }
    }

    pub(super) fn num_tokens(&self) -> u64 {
        let bytes: usize = (0..self.num_arrays()).map(|i| self.bytes(i).len()).sum();
        (bytes / self.width()) as u64
    }

    pub(super) fn num_documents(&self) -> u64 {
        match self {
            Self::Documents { ends, .. } => ends.len() as u64,
            Self::Shards(shards) => shards.num_documents(),
        }
    }

    /// The pieces of array `index` in order. The first one of a shard may be the rest of a document that began in the
    /// shard before: `bare` is false for it, in so far as a stream end to end needs no BOS there.
    pub(super) fn pieces(
        &self,
        index: usize,
        bos: Option<u32>,
        pieces: &mut Vec<Piece>,
    ) -> Result<()> {
        pieces.clear();
        let mut push = |start: u64, end: u64, continues: bool| {
            let mut piece = Piece {
                array: index as u32,
                start,
                len: end - start,
                bare: false,
            };
            piece.bare = bos.is_some_and(|bos| !continues && self.first(&piece) != Some(bos));
            pieces.push(piece);
        };
        match self {
            Self::Documents { ends, .. } => {
                let mut start = 0;
                for &end in ends {
                    push(start, end, false);
                    start = end;
                }
            }
            Self::Shards(shards) => {
                let starts = shards.starts(index)?;
                let end = shards.tokens(index);
                let first = starts.first().map_or(end, |&s| u64::from(s));
                if first > 0 {
                    push(0, first, true);
                }
                for (i, &start) in starts.iter().enumerate() {
                    push(
                        u64::from(start),
                        starts.get(i + 1).map_or(end, |&s| u64::from(s)),
                        false,
                    );
                }
            }
        }
        Ok(())
    }

    /// The first id of a piece.
    pub(super) fn first(&self, piece: &Piece) -> Option<u32> {
        (piece.len > 0).then(|| {
            let at = piece.start as usize * self.width();
            read_id(&self.bytes(piece.array as usize)[at..at + self.width()])
        })
    }

    /// What tells this data from other data.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = Xxh3::new();
        match self {
            Self::Documents { bytes, ends, .. } => {
                hasher.update(bytes);
                for end in ends {
                    hasher.update(&end.to_le_bytes());
                }
            }
            Self::Shards(shards) => {
                for info in shards.infos() {
                    hasher.update(info.ids_sha256.as_bytes());
                }
            }
        }
        format!("{:016x}", hasher.digest())
    }
}

fn read_id(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |id, &b| id << 8 | u32::from(b))
}

/// A span of tokens that will stand in one row, or in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub array: u32,
    pub start: u64,
    pub len: u64,
    /// A BOS has to be put before it.
    pub bare: bool,
}

impl Piece {
    /// Tokens that it takes in a row.
    pub(super) fn row_len(&self) -> u64 {
        self.len + u64::from(self.bare)
    }
}
