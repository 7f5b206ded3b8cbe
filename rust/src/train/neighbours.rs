//! What a merge changes for the pairs on one side of it.

/// Per neighbour: how often it stood beside a merge, weighted by words, and at which positions.
#[derive(Default)]
pub(super) struct Neighbours {
    /// By id: weighted count, and number of positions.
    sums: Vec<(u64, u32)>,
    /// The neighbours that have a sum.
    seen: Vec<u32>,
    /// Neighbour and position of each pair, in order of position.
    hits: Vec<(u32, u32)>,
}

/// In place of the index of a neighbour whose positions are not kept.
const NOT_KEPT: u32 = u32::MAX;

/// One neighbour: how often the merged token stands beside it, and where if that is worth knowing.
pub(super) struct Beside {
    pub id: u32,
    pub count: u64,
    pub positions: Option<Vec<u32>>,
}

impl Neighbours {
    /// Makes room for ids below `num_ids`.
    pub(super) fn resize(&mut self, num_ids: usize) {
        self.sums.resize(num_ids, (0, 0));
    }

    #[inline]
    pub(super) fn add(&mut self, id: u32, at: u32, count: u64) {
        let sum = &mut self.sums[id as usize];
        if sum.1 == 0 {
            self.seen.push(id);
        }
        sum.0 += count;
        sum.1 += 1;
        self.hits.push((id, at));
    }

    /// What several threads found in words one after another; positions of those that `keep` wants (id, count).
    pub(super) fn together(
        threads: &mut [&mut Self],
        keep: impl Fn(u32, u64) -> bool,
    ) -> Vec<Beside> {
        let Some((first, more)) = threads.split_first_mut() else {
            return Vec::new();
        };
        for other in &mut *more {
            for id in other.seen.drain(..) {
                let (count, positions) = std::mem::take(&mut other.sums[id as usize]);
                let sum = &mut first.sums[id as usize];
                if sum.1 == 0 {
                    first.seen.push(id);
                }
                sum.0 += count;
                sum.1 += positions;
            }
        }
        let mut found = Vec::with_capacity(first.seen.len());
        for &id in &first.seen {
            let (count, place) = &mut first.sums[id as usize];
            let kept = keep(id, *count);
            let positions = kept.then(|| Vec::with_capacity(*place as usize));
            // From here on the place among those found.
            *place = if kept { found.len() as u32 } else { NOT_KEPT };
            found.push(Beside {
                id,
                count: *count,
                positions,
            });
        }
        let others = more.iter_mut().flat_map(|other| other.hits.drain(..));
        for (id, at) in first.hits.drain(..).chain(others) {
            let beside = found.get_mut(first.sums[id as usize].1 as usize);
            if let Some(positions) = beside.and_then(|beside| beside.positions.as_mut()) {
                positions.push(at);
            }
        }
        for id in first.seen.drain(..) {
            first.sums[id as usize] = (0, 0);
        }
        found
    }
}
