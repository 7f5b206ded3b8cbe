//! Training: count pretokens, then merge the most frequent adjacent pair until the vocabulary is full.
//!
//! The result depends on the multiset of pretokens and on the options alone: not on threads, input order or chunking.
//!
//! ```
//! use std::sync::atomic::{AtomicBool, AtomicU64};
//! use nanobpe::train::{Counts, TrainOptions, train};
//!
//! let mut counts = Counts::default();
//! counts.add(b"banana", 3);
//! let (progress, stop) = (AtomicU64::new(0), AtomicBool::new(false));
//! let trained = train(&counts, 258, &[], &TrainOptions::default(), &progress, &stop)?;
//! assert_eq!(trained.vocab.bytes(256), b"an");
//! assert_eq!(trained.vocab.bytes(257), b"ban");
//! # Ok::<(), nanobpe::Error>(())
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::encode::unmade;
use crate::error::{Error, Result};
use crate::vocab::{Merge, Vocab};

mod count;
mod counts;
mod external;
mod heap;
mod join;
mod limit;
mod merge;
mod neighbours;
mod scratch;
mod spill;
#[cfg(test)]
mod tests;
mod threads;
mod tokens;
mod words;

pub use count::CountWork;
pub use counts::Counts;
pub use spill::{BoundedCounts, Counted, Memory, Rows, Sorted};

/// Which of several equally frequent pairs is merged first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieBreak {
    /// The smallest (left id, right id).
    #[default]
    Id,
    /// The lexicographically greatest (left bytes, right bytes).
    Bytes,
    /// The smallest ids with the single bytes in `ByteLevel` order, as Hugging Face's trainer has it.
    Hf,
}

impl TieBreak {
    /// The rule of this name.
    ///
    /// # Errors
    /// `Error::Value` for any name but id, bytes and hf.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "id" => Ok(Self::Id),
            "bytes" => Ok(Self::Bytes),
            "hf" => Ok(Self::Hf),
            _ => Err(Error::value(format!(
                "tie_break is {name:?}; id, bytes and hf are allowed"
            ))),
        }
    }
}

/// How merges are chosen.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// Who wins among equals.
    pub tie_break: TieBreak,
    /// Pairs that occur less often are not merged; 0 and 1 allow all.
    pub min_frequency: u64,
    /// Longest token that a merge may make.
    pub max_token_bytes: Option<usize>,
    /// A vocabulary to extend: its merges come first and keep their ids, words start as it encodes them, and whether
    /// tokens that no merge makes are emitted stays as it is.
    pub resume: Option<Arc<Vocab>>,
    /// Threads that may work at the same time; 0 is 1.
    pub threads: usize,
}

/// A trained vocabulary.
pub struct Trained {
    /// The vocabulary.
    pub vocab: Vocab,
    /// How often the last merged pair occurred, 0 without merges.
    pub last_count: u64,
    /// How many tokens the corpus has in this vocabulary.
    pub num_tokens: u128,
}

/// What the merge loop gives back.
struct Learned {
    tokens: Vec<Vec<u8>>,
    merges: Vec<Merge>,
    last_count: u64,
    num_tokens: u128,
}

/// Merges the most frequent pair until `vocab_size` ids exist, special tokens counted, or no pair is left.
///
/// `progress` shows the ids made so far; `stop` ends the work.
///
/// # Errors
/// `Error::Value` if nothing was counted, if the counts add up to more than fits, or if `vocab_size` leaves no room for
/// what must be in the vocabulary, and `Error::Interrupted` after `stop`.
pub fn train(
    counts: &Counts,
    vocab_size: usize,
    specials: &[String],
    options: &TrainOptions,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Trained> {
    limit::check(counts.total(), counts.num_pairs())?;
    train_with(
        counts.is_empty(),
        vocab_size,
        specials,
        options,
        |num_ids| merge::learn(counts, num_ids, options, progress, stop),
    )
}

/// As [`train`], from counts that may lie on disk; then the words stay there and come into memory in batches.
///
/// # Errors
/// Those of [`train`], and `Error::Io` if the disk does not take the words.
pub fn train_counted(
    counted: &Counted,
    vocab_size: usize,
    specials: &[String],
    options: &TrainOptions,
    progress: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Trained> {
    let is_empty = counted.is_empty();
    train_with(
        is_empty,
        vocab_size,
        specials,
        options,
        |num_ids| match counted {
            Counted::Table(counts) => merge::learn(counts, num_ids, options, progress, stop),
            Counted::Sorted(counts) => external::learn(counts, num_ids, options, progress, stop),
        },
    )
}

fn train_with(
    is_empty: bool,
    vocab_size: usize,
    specials: &[String],
    options: &TrainOptions,
    learn: impl FnOnce(usize) -> Result<Learned>,
) -> Result<Trained> {
    check_size(vocab_size, specials, options)?;
    if is_empty {
        return Err(Error::value(
            "the corpus is empty: there is nothing to learn from",
        ));
    }
    let learned = learn(vocab_size - specials.len())?;
    let first = learned.tokens.len() as u32;
    let specials: Vec<_> = specials.iter().cloned().zip(first..).collect();
    let tokens = (0u32..)
        .zip(learned.tokens.iter().map(Vec::as_slice))
        .filter(|(_, b)| !b.is_empty());
    let mut vocab = Vocab::new(tokens, learned.merges, &specials)?;
    // The older vocabulary's rule, as long as it makes a difference.
    let only_merges = options.resume.as_ref().is_some_and(|old| old.only_merges());
    vocab.set_only_merges(only_merges && !unmade(&vocab).is_empty());
    Ok(Trained {
        vocab,
        last_count: learned.last_count,
        num_tokens: learned.num_tokens,
    })
}

/// Refuses sizes that cannot hold the bytes (or the older vocabulary) and the special tokens.
///
/// # Errors
/// `Error::Value` that names the size and the least allowed.
pub fn check_size(vocab_size: usize, specials: &[String], options: &TrainOptions) -> Result<()> {
    let (base, what) = match &options.resume {
        Some(vocab) => (
            vocab.tokens().last().map_or(0, |(id, _)| id as usize + 1),
            "ids of the older vocabulary",
        ),
        None => (256, "bytes"),
    };
    let least = base + specials.len();
    if vocab_size < least {
        return Err(Error::value(format!(
            "vocabulary of {vocab_size} ids is too small: {base} {what} + {} special tokens = {least} are the least",
            specials.len()
        )));
    }
    Ok(())
}

/// The bytes in the order of `ByteLevel` code points: printable ones first.
pub fn byte_level_order() -> [u8; 256] {
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut order = [0; 256];
    let bytes = (0..=255u8)
        .filter(printable)
        .chain((0..=255u8).filter(|b| !printable(b)));
    order
        .iter_mut()
        .zip(bytes)
        .for_each(|(place, byte)| *place = byte);
    order
}
