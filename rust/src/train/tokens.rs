//! The tokens that a training has made so far, and the order in which equally frequent pairs are merged.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{TieBreak, TrainOptions, byte_level_order};
use crate::encode::{PairRanks, Scratch, unmade};
use crate::vocab::{Merge, Vocab};

pub(super) struct Tokens {
    /// The bytes of every id; empty where an older vocabulary has none.
    bytes: Vec<Vec<u8>>,
    /// How many bytes each id has.
    lens: Vec<u32>,
    ids: FxHashMap<Vec<u8>, u32>,
    /// What the tie rule compares instead of an id.
    places: Vec<u32>,
    /// Older tokens that no merge may make.
    shut: FxHashSet<Vec<u8>>,
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
            shut: options
                .resume
                .as_deref()
                .map_or_else(Default::default, shut_tokens),
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

    /// The merge of two tokens: into a new id, or into the token that has their bytes already.
    pub(super) fn merge(&mut self, (left, right): (u32, u32)) -> Merge {
        let joined = self.joined((left, right));
        let next = self.bytes.len() as u32;
        let id = *self.ids.entry(joined.clone()).or_insert(next);
        if id == next {
            self.lens.push(joined.len() as u32);
            self.bytes.push(joined);
            self.places.push(next);
        }
        Merge { left, right, id }
    }

    /// Whether a merge of the pair is allowed at this count.
    pub(super) fn allow(&self, options: &TrainOptions, pair: (u32, u32), count: u64) -> bool {
        count >= options.min_frequency.max(1)
            && self.fits(options, pair)
            && (self.shut.is_empty() || !self.shut.contains(&self.joined(pair)))
    }

    /// Whether two tokens, in whatever order, are short enough to be one.
    pub(super) fn fits(&self, options: &TrainOptions, (a, b): (u32, u32)) -> bool {
        let size = (self.len(a) + self.len(b)) as usize;
        options.max_token_bytes.is_none_or(|most| size <= most)
    }

    fn joined(&self, (left, right): (u32, u32)) -> Vec<u8> {
        [left, right]
            .map(|id| self.bytes[id as usize].as_slice())
            .concat()
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

/// A pair that may be merged next, with its count when it was put into the queue.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub count: u64,
    pub pair: (u32, u32),
}

/// The order of the queue: the higher count first, among equals what the tie rule says.
pub(super) struct Order<'a> {
    tie_break: TieBreak,
    tokens: &'a Tokens,
}

impl Order<'_> {
    pub(super) fn before(&self, a: &Candidate, b: &Candidate) -> bool {
        self.compare(a, b).is_lt()
    }

    pub(super) fn compare(&self, a: &Candidate, b: &Candidate) -> Ordering {
        b.count.cmp(&a.count).then_with(|| {
            if self.tie_break == TieBreak::Bytes {
                let bytes = |id: u32| &self.tokens.bytes[id as usize];
                let bytes = |c: &Candidate| (bytes(c.pair.0), bytes(c.pair.1));
                return bytes(b).cmp(&bytes(a));
            }
            let place = |id: u32| self.tokens.places[id as usize];
            let places = |c: &Candidate| (place(c.pair.0), place(c.pair.1));
            places(a).cmp(&places(b))
        })
    }
}

/// How words are split before anything is learnt: into bytes, or as the vocabulary to extend encodes them.
pub(super) enum Start {
    Bytes,
    Older(Box<Older>),
}

pub(super) struct Older {
    vocab: Arc<Vocab>,
    pairs: PairRanks,
    scratch: Scratch,
}

impl Start {
    pub(super) fn new(options: &TrainOptions) -> Self {
        match &options.resume {
            None => Self::Bytes,
            Some(vocab) => Self::Older(Box::new(Older {
                vocab: vocab.clone(),
                pairs: PairRanks::new(vocab),
                scratch: Scratch::default(),
            })),
        }
    }

    /// Appends the ids that a word starts as; nonsense once `stop` is set.
    pub(super) fn split(&mut self, word: &[u8], ids: &mut Vec<u32>, stop: &AtomicBool) {
        match self {
            Self::Bytes => ids.extend(word.iter().map(|&byte| u32::from(byte))),
            Self::Older(older) => {
                let Older {
                    vocab,
                    pairs,
                    scratch,
                } = &mut **older;
                match vocab.id(word).filter(|_| !vocab.only_merges()) {
                    Some(whole) => ids.push(whole),
                    None => ids.extend_from_slice(scratch.merge(pairs, word, stop)),
                }
            }
        }
    }
}

/// The tokens of a vocabulary that its merges do not make but have as a part: were one made by a merge at the end of
/// the list, encoding would go on with those before, in other places than training has.
fn shut_tokens(vocab: &Vocab) -> FxHashSet<Vec<u8>> {
    let unmade = unmade(vocab);
    let parts = vocab.merges().iter().flat_map(|m| [m.left, m.right]);
    parts
        .filter(|id| unmade.binary_search(id).is_ok())
        .map(|id| vocab.bytes(id).to_vec())
        .collect()
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
