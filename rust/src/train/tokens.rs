//! The tokens that a training has made so far, and the order in which equally frequent pairs are merged.

use rustc_hash::FxHashMap;

use super::merge::Candidate;
use super::{TieBreak, TrainOptions, byte_level_order};
use crate::vocab::Vocab;

pub(super) struct Tokens {
    /// The bytes of every id; empty where an older vocabulary has none.
    bytes: Vec<Vec<u8>>,
    /// How many bytes each id has.
    lens: Vec<u32>,
    ids: FxHashMap<Vec<u8>, u32>,
    /// What the tie rule compares instead of an id.
    places: Vec<u32>,
}

impl Tokens {
    /// The bytes, or the tokens of the vocabulary to extend.
    pub(super) fn new(options: &TrainOptions) -> Self {
        let bytes: Vec<Vec<u8>> = match &options.resume {
            Some(vocab) => old_tokens(vocab),
            None => (0..=255u8).map(|b| vec![b]).collect(),
        };
        let ids: FxHashMap<_, _> = bytes
            .iter()
            .zip(0u32..)
            .filter(|(bytes, _)| !bytes.is_empty())
            .map(|(bytes, id)| (bytes.clone(), id))
            .collect();
        let mut places: Vec<u32> = (0..bytes.len() as u32).collect();
        if options.tie_break == TieBreak::Hf {
            for (place, byte) in (0u32..).zip(byte_level_order()) {
                places[ids[[byte].as_slice()] as usize] = place;
            }
        }
        Self {
            lens: bytes.iter().map(|b| b.len() as u32).collect(),
            bytes,
            ids,
            places,
        }
    }

    /// How many ids there are.
    pub(super) fn num_ids(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes an id has.
    #[inline]
    pub(super) fn len(&self, id: u32) -> u32 {
        self.lens[id as usize]
    }

    /// The id of two tokens together: a new one, unless a token has these bytes.
    pub(super) fn joined(&mut self, left: u32, right: u32) -> u32 {
        let joined = [
            self.bytes[left as usize].as_slice(),
            &self.bytes[right as usize],
        ]
        .concat();
        let next = self.bytes.len() as u32;
        let id = *self.ids.entry(joined.clone()).or_insert(next);
        if id == next {
            self.lens.push(joined.len() as u32);
            self.bytes.push(joined);
            self.places.push(next);
        }
        id
    }

    /// The order of the queue.
    pub(super) fn order(&self, tie_break: TieBreak) -> Order<'_> {
        Order {
            tie_break,
            tokens: self,
        }
    }

    /// The bytes of every id.
    pub(super) fn into_bytes(self) -> Vec<Vec<u8>> {
        self.bytes
    }
}

/// The order of the queue: the higher count first, among equals what the tie rule says.
pub(super) struct Order<'a> {
    tie_break: TieBreak,
    tokens: &'a Tokens,
}

impl Order<'_> {
    pub(super) fn before(&self, a: &Candidate, b: &Candidate) -> bool {
        if a.count != b.count {
            return a.count > b.count;
        }
        if self.tie_break == TieBreak::Bytes {
            let bytes = |c: &Candidate| {
                (
                    &self.tokens.bytes[c.left as usize],
                    &self.tokens.bytes[c.right as usize],
                )
            };
            return bytes(a) > bytes(b);
        }
        let places = |c: &Candidate| {
            (
                self.tokens.places[c.left as usize],
                self.tokens.places[c.right as usize],
            )
        };
        places(a) < places(b)
    }
}

/// The tokens of a vocabulary by id up to the last ordinary one; what is no ordinary token is empty.
fn old_tokens(vocab: &Vocab) -> Vec<Vec<u8>> {
    let mut tokens = Vec::new();
    for (id, bytes) in vocab.tokens() {
        tokens.resize(id as usize, Vec::new());
        tokens.push(bytes.to_vec());
    }
    tokens
}
