//! What a packer has done.

use serde::{Deserialize, Serialize};

use super::{Mode, Packer};

/// What has been done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) rows: u64,
    pub(super) documents: u64,
    pub(super) documents_cut: u64,
    /// Tokens of the data that stand in rows.
    pub(super) tokens_packed: u64,
    /// Those of them that the first epoch brought.
    pub(super) tokens_first: u64,
    pub(super) tokens_dropped: u64,
}

/// What a packer has done, for logs and reports.
#[derive(Clone, Debug, Serialize)]
pub struct PackReport {
    /// Rows given out.
    pub rows: u64,
    /// Documents drawn, repeated epochs counted.
    pub documents: u64,
    /// Documents of one pass.
    pub documents_total: u64,
    /// Tokens of one pass.
    pub tokens_total: u64,
    /// Tokens of the data that stand in rows.
    pub tokens_packed: u64,
    /// Tokens cut off and never used.
    pub tokens_dropped: u64,
    /// Their share of the tokens used or dropped.
    pub crop_share: f64,
    /// Share of the documents drawn that do not stand whole in one row.
    pub cropped_documents_share: f64,
    /// Passes over the data, packed and dropped tokens counted.
    pub epochs: f64,
    /// Tokens of the data that stood in a row at least once (random: at most so many).
    pub unique_tokens: u64,
}

impl Packer {
    /// What has been done so far.
    pub fn report(&self) -> PackReport {
        let c = &self.counters;
        let total = self.source.num_tokens();
        let used = c.tokens_packed + c.tokens_dropped;
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                part as f64 / whole as f64
            }
        };
        PackReport {
            rows: c.rows,
            documents: c.documents,
            documents_total: self.source.num_documents(),
            tokens_total: total,
            tokens_packed: c.tokens_packed,
            tokens_dropped: c.tokens_dropped,
            crop_share: share(c.tokens_dropped, used),
            cropped_documents_share: share(c.documents_cut, c.documents),
            epochs: share(used, total),
            unique_tokens: match self.options.mode {
                Mode::Random => c.tokens_packed.min(total),
                _ => c.tokens_first,
            },
        }
    }
}
