//! A binary heap whose order is given from outside: the tie rule `bytes` compares what the vocabulary holds.

/// The entry that `before` puts first comes out first.
pub(super) struct Heap<E> {
    entries: Vec<E>,
}

impl<E> Default for Heap<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<E: Copy> Heap<E> {
    pub(super) fn push(&mut self, entry: E, before: impl Fn(&E, &E) -> bool) {
        self.entries.push(entry);
        let mut i = self.entries.len() - 1;
        while i > 0 {
            let parent = (i - 1) / 2;
            if !before(&entry, &self.entries[parent]) {
                break;
            }
            self.entries[i] = self.entries[parent];
            i = parent;
        }
        self.entries[i] = entry;
    }

    pub(super) fn pop(&mut self, before: impl Fn(&E, &E) -> bool) -> Option<E> {
        let last = self.entries.pop()?;
        let Some(&top) = self.entries.first() else {
            return Some(last);
        };
        let len = self.entries.len();
        let mut i = 0;
        loop {
            let mut child = 2 * i + 1;
            if child >= len {
                break;
            }
            if child + 1 < len && before(&self.entries[child + 1], &self.entries[child]) {
                child += 1;
            }
            if !before(&self.entries[child], &last) {
                break;
            }
            self.entries[i] = self.entries[child];
            i = child;
        }
        self.entries[i] = last;
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn gives_its_entries_in_order(numbers in prop::collection::vec(0u32..50, 0..100)) {
            let mut heap = Heap::default();
            for n in &numbers {
                heap.push(*n, |a, b| a > b);
            }
            let mut want = numbers.clone();
            want.sort_unstable_by(|a, b| b.cmp(a));
            let got: Vec<u32> = std::iter::from_fn(|| heap.pop(|a, b| a > b)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
