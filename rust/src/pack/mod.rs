//! Rows of a fixed number of tokens, laid out from documents without padding.
//!
//! A [`Packer`] draws documents from a [`Source`] (memory-mapped shards, or documents in memory) and fills rows of
//! exactly `row_tokens` ids. Only spans are moved around; tokens are copied once, into the row. The modes:
//!
//! - [`Mode::BestFit`]: a buffer of documents; the largest one that fits is appended, again and again. Where none fits,
//!   the longest is cut to fill the row and its rest goes back into the buffer, so that no token is lost. A document
//!   longer than a row counts as one of exactly a row: it must be cut anyway, and this way it starts a row of its own.
//! - [`Mode::Greedy`]: documents in order; the one that overflows is cut and its rest dropped.
//! - [`Mode::Contiguous`]: the documents end to end, rows cut wherever they end.
//! - [`Mode::Random`]: windows of the stored tokens at random starts.
//!
//! With a BOS id, each piece of a best-fit or greedy row begins with it: a document that lacks it, or the rest of one
//! that was cut, gets it put before. All modes are deterministic, and [`Packer::state`] holds spans and counters only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod random;
mod report;
mod source;
mod state;

use random::SplitMix;
use report::Counters;
pub use report::PackReport;
use source::Piece;
pub use source::Source;

/// How documents become rows; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Largest document that fits, rests re-used.
    BestFit,
    /// In order, overflow dropped.
    Greedy,
    /// End to end.
    Contiguous,
    /// Windows at random starts.
    Random,
}

impl Mode {
    /// The mode of a name as Python spells it.
    ///
    /// # Errors
    /// `Error::Value` for another name.
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "best_fit" => Self::BestFit,
            "greedy" => Self::Greedy,
            "contiguous" => Self::Contiguous,
            "random" => Self::Random,
            _ => {
                return Err(Error::value(format!(
                    "packing mode {name:?} is not known; best_fit, greedy, contiguous and random are"
                )));
            }
        })
    }
}

/// What a packer does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackOptions {
    /// Ids in each row.
    pub row_tokens: usize,
    /// How documents become rows.
    pub mode: Mode,
    /// The id that pieces begin with.
    pub bos: Option<u32>,
    /// Decides the order of documents (best fit over shards) and the windows (random).
    pub seed: u64,
    /// Documents that best fit chooses from.
    pub buffer_documents: usize,
    /// Passes over the data; `None` goes on for ever.
    pub epochs: Option<u64>,
}

/// Where the packer stands in the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    epoch: u64,
    /// Place in the epoch's order of arrays.
    array: usize,
    /// Place in the array's order of documents.
    document: usize,
}

/// A piece, the epoch that it belongs to, and whether nothing has been cut from it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Drawn {
    epoch: u64,
    whole: bool,
    piece: Piece,
}

/// Fills rows; see the module.
///
/// ```
/// use nanobpe::pack::{Mode, PackOptions, Packer, Source};
/// let bytes: Vec<u8> = (0u16..8).flat_map(u16::to_le_bytes).collect();
/// let source = Source::Documents { bytes, ends: vec![3, 8], width: 2 };
/// let options = PackOptions {
///     row_tokens: 4, mode: Mode::Contiguous, bos: None, seed: 0, buffer_documents: 10, epochs: Some(1),
/// };
/// let mut packer = Packer::new(source, options)?;
/// let mut row = [0u8; 8];
/// assert!(packer.fill(&mut row)?);
/// assert_eq!(row, [0, 0, 1, 0, 2, 0, 3, 0]);
/// # Ok::<(), nanobpe::Error>(())
/// ```
pub struct Packer {
    source: Source,
    options: PackOptions,
    data: String,
    cursor: Cursor,
    counters: Counters,
    /// Pieces of the cursor's array in the epoch's order; empty until they are needed.
    pieces: Vec<Piece>,
    loaded: bool,
    /// Keyed by (row length, serial counted downwards): the last key in a range is the longest, the oldest of equals.
    buffer: BTreeMap<(u64, u64), Drawn>,
    next_serial: u64,
    open: Option<Drawn>,
}

impl Packer {
    /// A packer at the first row.
    ///
    /// # Errors
    /// `Error::Value` if a row or the buffer would be empty, or if there is too little data to fill any row.
    pub fn new(source: Source, options: PackOptions) -> Result<Self> {
        if options.row_tokens == 0 || options.buffer_documents == 0 {
            return Err(Error::value(format!(
                "row_tokens {} and buffer_documents {} must both be at least 1",
                options.row_tokens, options.buffer_documents
            )));
        }
        let in_pieces = matches!(options.mode, Mode::BestFit | Mode::Greedy);
        if in_pieces && options.row_tokens == 1 && options.bos.is_some() {
            return Err(Error::value(
                "a row of 1 token holds BOS alone; at least 2 are needed",
            ));
        }
        let tokens = source.num_tokens();
        if options.mode == Mode::Random && tokens < options.row_tokens as u64 {
            return Err(Error::value(format!(
                "the data has {tokens} tokens, a row of {} cannot be filled",
                options.row_tokens
            )));
        }
        if tokens == 0 {
            return Err(Error::value(
                "there is nothing to pack: the data has 0 tokens",
            ));
        }
        Ok(Self {
            data: source.fingerprint(),
            source,
            options,
            cursor: Cursor::default(),
            counters: Counters::default(),
            pieces: Vec::new(),
            loaded: false,
            buffer: BTreeMap::new(),
            next_serial: 0,
            open: None,
        })
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.options.row_tokens * self.source.width()
    }

    /// Writes the next row into `row` ([`Packer::row_bytes`] long); false when the data is at its end.
    ///
    /// # Errors
    /// A shard that cannot be read, or data that holds nothing but empty documents.
    pub fn fill(&mut self, row: &mut [u8]) -> Result<bool> {
        debug_assert_eq!(row.len(), self.row_bytes());
        let full = match self.options.mode {
            Mode::BestFit => self.fill_best(row)?,
            Mode::Greedy | Mode::Contiguous => self.fill_in_order(row)?,
            Mode::Random => self.fill_random(row),
        };
        self.counters.rows += u64::from(full);
        Ok(full)
    }

    fn fill_best(&mut self, row: &mut [u8]) -> Result<bool> {
        let mut at = 0;
        while at < self.options.row_tokens {
            while self.buffer.len() < self.options.buffer_documents {
                let Some(drawn) = self.draw()? else { break };
                self.put(drawn);
            }
            let space = (self.options.row_tokens - at) as u64;
            let fitting = self.buffer.range(..(space + 1, 0)).next_back();
            let Some((&key, _)) = fitting.or_else(|| self.buffer.last_key_value()) else {
                return Ok(false);
            };
            let drawn = self.buffer.remove(&key).expect("the key was just found");
            if let Some(rest) = self.place(row, &mut at, drawn) {
                self.put(rest);
            }
        }
        Ok(true)
    }

    fn put(&mut self, drawn: Drawn) {
        // A document longer than a row fills one exactly: it fits, as the largest, where a row begins.
        let len = drawn.piece.row_len().min(self.options.row_tokens as u64);
        self.buffer
            .insert((len, u64::MAX - self.next_serial), drawn);
        self.next_serial += 1;
    }

    fn fill_in_order(&mut self, row: &mut [u8]) -> Result<bool> {
        let mut at = 0;
        while at < self.options.row_tokens {
            let drawn = match self.open.take() {
                Some(drawn) => drawn,
                None => match self.draw()? {
                    Some(drawn) => drawn,
                    None => return Ok(false),
                },
            };
            match self.place(row, &mut at, drawn) {
                Some(mut rest) if self.options.mode == Mode::Contiguous => {
                    rest.piece.bare = false;
                    self.open = Some(rest);
                }
                // Only BOS found room: nothing of the text stands in this row, so it begins the next one.
                Some(rest) if rest == drawn => self.open = Some(rest),
                Some(rest) => self.counters.tokens_dropped += rest.piece.len,
                None => {}
            }
        }
        Ok(true)
    }

    fn fill_random(&mut self, row: &mut [u8]) -> bool {
        let rows_per_epoch = self.source.num_tokens() / self.options.row_tokens as u64;
        if self
            .options
            .epochs
            .is_some_and(|epochs| self.counters.rows >= epochs * rows_per_epoch)
        {
            return false;
        }
        let starts = self.source.num_tokens() - self.options.row_tokens as u64 + 1;
        let mut random = SplitMix::new(&[self.options.seed, self.counters.rows]);
        let mut skip = random.below(starts) as usize * self.source.width();
        let mut filled = 0;
        for index in 0..self.source.num_arrays() {
            let bytes = self.source.bytes(index);
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            let take = (bytes.len() - skip).min(row.len() - filled);
            row[filled..filled + take].copy_from_slice(&bytes[skip..skip + take]);
            filled += take;
            skip = 0;
            if filled == row.len() {
                break;
            }
        }
        self.counters.tokens_packed += self.options.row_tokens as u64;
        true
    }

    /// Writes as much of a piece as fits at token `at` of the row and gives what is left over.
    fn place(&mut self, row: &mut [u8], at: &mut usize, drawn: Drawn) -> Option<Drawn> {
        let width = self.source.width();
        let Drawn {
            epoch,
            whole,
            mut piece,
        } = drawn;
        let room = (self.options.row_tokens - *at) as u64;
        let in_stream = self.options.mode == Mode::Contiguous;
        if let Some(bos) = self.options.bos
            && (piece.bare || room == 1 && !in_stream)
        {
            row[*at * width..(*at + 1) * width].copy_from_slice(&bos.to_le_bytes()[..width]);
            *at += 1;
            if room == 1 {
                return Some(drawn);
            }
        }
        let take = piece.len.min((self.options.row_tokens - *at) as u64);
        let from = piece.start as usize * width;
        let bytes = &self.source.bytes(piece.array as usize)[from..from + take as usize * width];
        row[*at * width..*at * width + bytes.len()].copy_from_slice(bytes);
        *at += take as usize;
        self.counters.tokens_packed += take;
        self.counters.tokens_first += if epoch == 0 { take } else { 0 };
        if take == piece.len {
            return None;
        }
        self.counters.documents_cut += u64::from(whole);
        piece.start += take;
        piece.len -= take;
        piece.bare = self.options.bos.is_some();
        Some(Drawn {
            epoch,
            whole: false,
            piece,
        })
    }

    /// The next document in the epoch's order, empty ones passed over where a row has no use for them.
    fn draw(&mut self) -> Result<Option<Drawn>> {
        let in_stream = self.options.mode == Mode::Contiguous;
        let mut epochs_passed = 0;
        loop {
            if self
                .options
                .epochs
                .is_some_and(|epochs| self.cursor.epoch >= epochs)
            {
                return Ok(None);
            }
            if self.cursor.array >= self.source.num_arrays() {
                self.cursor = Cursor {
                    epoch: self.cursor.epoch + 1,
                    ..Cursor::default()
                };
                self.loaded = false;
                epochs_passed += 1;
                if epochs_passed > 1 {
                    return Err(Error::value(
                        "there is nothing to pack: all documents are empty",
                    ));
                }
                continue;
            }
            if !self.loaded {
                self.load()?;
            }
            let Some(&piece) = self.pieces.get(self.cursor.document) else {
                self.cursor.array += 1;
                self.cursor.document = 0;
                self.loaded = false;
                continue;
            };
            self.cursor.document += 1;
            let mut drawn = Drawn {
                epoch: self.cursor.epoch,
                whole: true,
                piece,
            };
            if !in_stream {
                // The rest of a document from the shard before begins a piece like any other.
                drawn.piece.bare = self
                    .options
                    .bos
                    .is_some_and(|bos| self.source.first(&piece) != Some(bos));
                let only_bos = self.options.bos.is_some() && drawn.piece.row_len() <= 1;
                if piece.len == 0 || only_bos {
                    continue;
                }
            }
            self.counters.documents += 1;
            return Ok(Some(drawn));
        }
    }

    /// Reads the pieces of the cursor's array, in the epoch's order.
    ///
    /// Best fit over shards shuffles the shards and the documents within each: neighbours in the input are alike, and
    /// only one shard's spans are held at a time. Documents given from memory keep the order of their giver.
    fn load(&mut self) -> Result<()> {
        let shuffled =
            self.options.mode == Mode::BestFit && matches!(self.source, Source::Shards(_));
        let (seed, epoch) = (self.options.seed, self.cursor.epoch);
        let mut array = self.cursor.array;
        if shuffled {
            let mut order: Vec<usize> = (0..self.source.num_arrays()).collect();
            SplitMix::new(&[seed, epoch]).shuffle(&mut order);
            array = order[array];
        }
        self.source
            .pieces(array, self.options.bos, &mut self.pieces)?;
        if shuffled {
            SplitMix::new(&[seed, epoch, array as u64]).shuffle(&mut self.pieces);
        }
        self.loaded = true;
        Ok(())
    }
}
