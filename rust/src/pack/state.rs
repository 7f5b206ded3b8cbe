//! Where a packer is, to go on from there: spans and counters, no tokens.

use serde::{Deserialize, Serialize};

use super::report::Counters;
use super::{Cursor, Drawn, PackOptions, Packer};
use crate::error::{Error, Result};

/// Everything that a restored packer needs besides its data and options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    options: PackOptions,
    data: String,
    cursor: Cursor,
    counters: Counters,
    next_serial: u64,
    /// Best fit's buffer: serial number, epoch and piece.
    buffer: Vec<(u64, Drawn)>,
    /// Contiguous and greedy: what is left of the document begun.
    open: Option<Drawn>,
}

impl Packer {
    /// The state as JSON: spans and counters, no tokens.
    ///
    /// # Panics
    /// Never: all keys are strings.
    pub fn state(&self) -> String {
        let state = State {
            options: self.options.clone(),
            data: self.data.clone(),
            cursor: self.cursor.clone(),
            counters: self.counters.clone(),
            next_serial: self.next_serial,
            buffer: self
                .buffer
                .iter()
                .map(|(key, drawn)| (u64::MAX - key.1, *drawn))
                .collect(),
            open: self.open,
        };
        serde_json::to_string(&state).expect("all keys are strings")
    }

    /// Goes to where [`Packer::state`] was taken.
    ///
    /// # Errors
    /// `Error::Value` if the state is of other data or options, or damaged.
    pub fn restore(&mut self, state: &str) -> Result<()> {
        let state: State = serde_json::from_str(state)
            .map_err(|e| Error::value(format!("this is no packer state: {e}")))?;
        if state.data != self.data {
            return Err(Error::value("the packer state is of other data"));
        }
        if state.options != self.options {
            return Err(Error::value(format!(
                "the packer state is of other options: {:?}, this packer has {:?}",
                state.options, self.options
            )));
        }
        let drawn = state.buffer.iter().map(|(_, d)| d).chain(&state.open);
        for Drawn { piece, .. } in drawn {
            let inside = (piece.array as usize) < self.source.num_arrays() && {
                let tokens =
                    (self.source.bytes(piece.array as usize).len() / self.source.width()) as u64;
                piece
                    .start
                    .checked_add(piece.len)
                    .is_some_and(|end| end <= tokens)
            };
            if !inside || piece.bare && self.options.bos.is_none() {
                return Err(Error::value(
                    "the packer state is damaged: a span lies outside the data",
                ));
            }
        }
        self.buffer.clear();
        for (serial, drawn) in state.buffer {
            self.next_serial = serial;
            self.put(drawn);
        }
        self.cursor = state.cursor;
        self.counters = state.counters;
        self.next_serial = state.next_serial;
        self.open = state.open;
        self.loaded = false;
        Ok(())
    }
}
