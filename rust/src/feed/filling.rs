//! Parts of documents, copied one behind the other until they are enough for a batch.

use super::{BATCH_BYTES, Batch, Buffer, Cutter, Data, Piece};

/// A batch that is being filled.
#[derive(Default)]
pub(super) struct Filling {
    data: Buffer,
    pieces: Vec<Piece>,
}

impl Filling {
    /// Appends what the limits leave of a document, or of the next part of one.
    pub fn add(&mut self, cutter: &mut Cutter, text: &[u8], ends: bool) {
        let Some(mut piece) = cutter.admit(0..text.len(), text, ends) else {
            return;
        };
        if self.data.capacity() == 0 {
            self.data = cutter.buffer();
            self.data.reserve(BATCH_BYTES + BATCH_BYTES / 8);
        }
        let start = self.data.len();
        self.data.extend_from_slice(&text[piece.range.clone()]);
        piece.range = start..self.data.len();
        self.pieces.push(piece);
    }

    /// Whether it is enough for a batch.
    pub fn is_enough(&self) -> bool {
        self.data.len() >= BATCH_BYTES
    }

    /// The batch, unless it is empty.
    pub fn take(&mut self) -> Option<Batch> {
        let Self { data, pieces } = std::mem::take(self);
        (!pieces.is_empty()).then_some(Batch {
            data: Data::Owned(data),
            pieces,
        })
    }
}
