//! Pretokens that are themselves a token: nine of ten in running text, found by one lookup.

use rustc_hash::FxHashMap;

use crate::vocab::Vocab;

/// Longest pretoken that a [`Key`] holds.
pub const KEY_BYTES: usize = 15;

/// Up to 15 bytes and their number in one word; never 0, since pretokens are not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u128);

impl Key {
    /// The key of nothing.
    pub const NONE: Self = Self(0);

    /// The key of a pretoken of up to 15 bytes. `text` is what it was cut from, if it was: reading 16 bytes there
    /// and masking is faster than copying a variable number.
    #[inline]
    pub fn new(piece: &[u8], text: &[u8]) -> Self {
        let at = (piece.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let word = if at < text.len() && text.len() - at >= 16 {
            let window: [u8; 16] = text[at..at + 16].try_into().expect("sixteen bytes");
            u128::from_le_bytes(window) & (u128::MAX >> (128 - 8 * piece.len()))
        } else {
            let mut window = [0; 16];
            window[..piece.len()].copy_from_slice(piece);
            u128::from_le_bytes(window)
        };
        Self(word | (piece.len() as u128) << 120)
    }

    /// The pretoken, in the buffer given.
    pub fn bytes(self, buffer: &mut [u8; 16]) -> &[u8] {
        *buffer = self.0.to_le_bytes();
        &buffer[..usize::from(buffer[KEY_BYTES])]
    }

    /// Mixes all bits of the key.
    #[inline]
    pub fn hash(self) -> u64 {
        let (low, high) = (self.0 as u64, (self.0 >> 64) as u64);
        fold(low ^ 0x9e37_79b9_7f4a_7c15, high ^ 0xa076_1d64_78bd_642f)
    }
}

/// Both halves of a 128-bit product, together.
#[inline]
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Bytes -> id of the ordinary tokens.
pub struct WholeTokens {
    keys: Box<[Key]>,
    ids: Box<[u32]>,
    long: FxHashMap<Box<[u8]>, u32>,
    longest: usize,
}

impl WholeTokens {
    /// The tokens of a vocabulary.
    pub fn new(vocab: &Vocab) -> Self {
        let num_slots = (2 * vocab.len()).next_power_of_two();
        let mut whole = Self {
            keys: vec![Key::NONE; num_slots].into(),
            ids: vec![0; num_slots].into(),
            long: FxHashMap::default(),
            longest: 0,
        };
        for (id, bytes) in vocab.tokens() {
            whole.longest = whole.longest.max(bytes.len());
            if bytes.len() <= KEY_BYTES {
                let key = Key::new(bytes, bytes);
                let at = whole.slot(key);
                whole.keys[at] = key;
                whole.ids[at] = id;
            } else {
                whole.long.insert(bytes.into(), id);
            }
        }
        whole
    }

    #[inline]
    fn slot(&self, key: Key) -> usize {
        let mask = self.keys.len() - 1;
        let mut at = key.hash() as usize & mask;
        while self.keys[at] != key && self.keys[at] != Key::NONE {
            at = (at + 1) & mask;
        }
        at
    }

    /// The token with this key.
    #[inline]
    pub fn get(&self, key: Key) -> Option<u32> {
        let at = self.slot(key);
        (self.keys[at] == key).then(|| self.ids[at])
    }

    /// The token with these bytes, more than 15 of them.
    pub fn get_long(&self, bytes: &[u8]) -> Option<u32> {
        if bytes.len() > self.longest {
            return None;
        }
        self.long.get(bytes).copied()
    }
}
