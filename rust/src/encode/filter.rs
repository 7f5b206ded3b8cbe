//! What is certainly not in a set, from one or two bytes for each that is.

use crate::memory::Table;

/// Two bits in one word for the hash of each member: of others, one in twenty passes.
pub struct Filter(Table<u64>);

impl Filter {
    /// A filter for so many members.
    pub fn new(num: usize) -> Self {
        Self(Table::new((num / 8).next_power_of_two()))
    }

    /// Adds a member.
    pub fn insert(&mut self, hash: u64) {
        let (word, bits) = self.bits(hash);
        self.0[word] |= bits;
    }

    /// Whether it may be a member; it is not if this says no.
    #[inline]
    pub fn may_have(&self, hash: u64) -> bool {
        let (word, bits) = self.bits(hash);
        self.0[word] & bits == bits
    }

    /// The lowest bits of the hash, which tables that use the highest do not see.
    #[inline]
    fn bits(&self, hash: u64) -> (usize, u64) {
        let word = (hash >> 12) as usize & (self.0.len() - 1);
        (word, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
    }
}
