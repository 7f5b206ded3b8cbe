//! Counts that went to disk against those of a table and of a map.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::error::Error;

fn rows(counted: &Counted, most: usize) -> Vec<(Vec<u8>, u64)> {
    let (mut rows, mut place) = (Vec::new(), counted.rows());
    let mut add = |p: &[u8], n: u64| rows.push((p.to_vec(), n));
    while counted.next_rows(&mut place, most, &mut add).unwrap() > 0 {}
    rows
}

proptest! {
    #[test]
    fn spilled_equals_whole(
        added in prop::collection::vec(
            (prop::collection::vec(0u8..3, 1..40), prop_oneof![1u64..5, Just(1 << 40)]), 0..300),
        tables in 1usize..4,
        spill_every in 1usize..60,
        bytes in 1usize..(2 << 20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory { bytes, folder: folder.path().to_path_buf() };
        let mut parts: Vec<_> = (0..tables).map(|_| BoundedCounts::new(Some(&memory), tables)).collect();
        let (mut whole, mut want) = (Counts::default(), BTreeMap::<_, u64>::new());
        for (i, (pretoken, count)) in added.iter().enumerate() {
            let part = &mut parts[i % tables];
            part.table().add(pretoken, *count);
            if i % spill_every == 0 {
                part.spill().unwrap();
            }
            whole.add(pretoken, *count);
            *want.entry(pretoken.clone()).or_default() += count;
        }
        let counted = Counted::from_tables(parts, Some(&memory), &AtomicBool::new(false)).unwrap();
        prop_assert_eq!(counted.len(), want.len());
        prop_assert_eq!(counted.total(), whole.total());
        prop_assert_eq!(counted.fingerprint(), whole.fingerprint());
        let want: Vec<_> = want.into_iter().collect();
        prop_assert_eq!(&rows(&counted, 7), &want);
        prop_assert_eq!(&rows(&Counted::Table(whole), 7), &want);
        let mut listed = Vec::new();
        counted.for_each(|p, n| { listed.push((p.to_vec(), n)); Ok(()) }).unwrap();
        listed.sort_unstable();
        prop_assert_eq!(&listed, &want);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_table_keeps_to_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory {
        bytes: 4 << 20,
        folder: folder.path().to_path_buf(),
    };
    let mut bounded = BoundedCounts::new(Some(&memory), 2);
    for n in 0u32..400_000 {
        let key = n.to_string().repeat(1 + n as usize % 4);
        bounded.table().add(key.as_bytes(), 1);
        if n % 256 == 0 {
            bounded.keep_bound().unwrap();
            assert!(bounded.table.size() <= 2 << 20);
        }
    }
    assert!(bounded.spilled.as_ref().unwrap().runs.len() > 5);
    let stop = AtomicBool::new(false);
    let counted = Counted::from_tables(vec![bounded], Some(&memory), &stop).unwrap();
    assert!(matches!(counted, Counted::Sorted(_)));
    assert_eq!(counted.total(), 400_000);
}

#[test]
fn a_stop_ends_the_merging_of_runs() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory {
        bytes: 1,
        folder: folder.path().to_path_buf(),
    };
    let mut bounded = BoundedCounts::new(Some(&memory), 1);
    for n in 0u32..20_000 {
        bounded.table().add(&n.to_le_bytes(), 1);
    }
    let stopped = Counted::from_tables(vec![bounded], Some(&memory), &AtomicBool::new(true));
    assert!(matches!(stopped, Err(Error::Interrupted)));
}
