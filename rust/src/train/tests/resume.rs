//! Extending vocabularies whose merges do not make all of their tokens.

use super::*;

/// Lowest rank first, the leftmost of equals, one merge at a time.
fn merged(vocab: &Vocab, word: &[u8]) -> Vec<u32> {
    let mut ids: Vec<u32> = word.iter().map(|&b| vocab.id(&[b]).unwrap()).collect();
    loop {
        let merges = || vocab.merges().iter();
        let rank = |pair: &[u32]| merges().position(|m| [m.left, m.right] == pair);
        let places = (0..).zip(ids.windows(2));
        let ranked = places.filter_map(|(i, pair)| Some((rank(pair)?, i)));
        let Some((rank, i)) = ranked.min() else {
            return ids;
        };
        ids.splice(i..i + 2, [vocab.merges()[rank].id]);
    }
}

/// A pretoken as the vocabulary's owner encodes it.
fn encoded(vocab: &Vocab, word: &[u8]) -> Vec<u32> {
    match vocab.id(word) {
        Some(id) if !vocab.only_merges() => vec![id],
        _ => merged(vocab, word),
    }
}

fn unmade_of(vocab: &Vocab) -> Vec<u32> {
    let unmade = vocab.tokens().filter(|(id, b)| merged(vocab, b) != [*id]);
    unmade.map(|(id, _)| id).collect()
}

/// Every merge that the tokens allow, in no good order.
fn possible_merges(vocab: &Vocab) -> Vec<Merge> {
    let mut possible = Vec::new();
    for (id, bytes) in vocab.tokens() {
        for at in 1..bytes.len() {
            if let (Some(left), Some(right)) = (vocab.id(&bytes[..at]), vocab.id(&bytes[at..])) {
                possible.push(Merge { left, right, id });
            }
        }
    }
    possible
}

/// A vocabulary with some tokens that no merge makes, and some merges that may never come to their turn, as in files
/// that list every split of a token.
fn vocab() -> impl Strategy<Value = Vocab> {
    let unmade = prop::collection::btree_set(
        prop::collection::vec(prop::sample::select(&b"ab"[..]), 2..5),
        0..4,
    );
    let chosen = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let parts = (words(), 0usize..20, unmade, chosen, any::<bool>());
    parts.prop_map(|(words, num_merges, unmade, chosen, only_merges)| {
        let made = trained(&words, num_merges, &TrainOptions::default()).vocab;
        let mut tokens: Vec<_> = made.tokens().map(|(_, bytes)| bytes.to_vec()).collect();
        tokens.extend(unmade.into_iter().filter(|token| made.id(token).is_none()));
        let mut merges = made.merges().to_vec();
        let with = |merges: &[Merge]| {
            let tokens = (0u32..).zip(tokens.iter().map(Vec::as_slice));
            Vocab::new(tokens, merges.to_vec(), &[]).unwrap()
        };
        let possible = possible_merges(&with(&merges));
        for index in chosen.iter().filter(|_| !possible.is_empty()) {
            let merge = index.get(&possible);
            if !merges.contains(merge) {
                merges.push(*merge);
            }
        }
        let mut vocab = with(&merges);
        vocab.set_only_merges(only_merges && !unmade_of(&vocab).is_empty());
        vocab
    })
}

/// The merges after extending a vocabulary, with every pair counted anew at every step.
fn extended(words: &BTreeMap<Vec<u8>, u64>, old: &Vocab, num_ids: usize) -> Vec<Merge> {
    let mut tokens: Vec<_> = old.tokens().map(|(_, bytes)| bytes.to_vec()).collect();
    let mut merges = old.merges().to_vec();
    let unmade = unmade_of(old);
    // Made by a later merge, an older one would go on from it.
    let shut = |joined: &[u8]| {
        let id = old.id(joined).filter(|id| unmade.contains(id));
        id.is_some_and(|id| old.merges().iter().any(|m| m.left == id || m.right == id))
    };
    let mut rows: Vec<_> = words.iter().map(|(w, n)| (encoded(old, w), *n)).collect();
    while tokens.len() < num_ids {
        let mut pairs = BTreeMap::new();
        for (ids, n) in &rows {
            for pair in ids.windows(2) {
                *pairs.entry((pair[0], pair[1])).or_insert(0) += n;
            }
        }
        let joined = |(left, right): (u32, u32)| {
            [left, right]
                .map(|id| tokens[id as usize].as_slice())
                .concat()
        };
        pairs.retain(|pair, _| !shut(&joined(*pair)));
        // The first of the most frequent.
        let best = pairs.into_iter().rev().max_by_key(|(_, n)| *n);
        let Some(((left, right), _)) = best else {
            break;
        };
        let joined = joined((left, right));
        let next = tokens.len();
        let id = tokens
            .iter()
            .position(|token| *token == joined)
            .unwrap_or(next) as u32;
        if id as usize == next {
            tokens.push(joined);
        }
        for (ids, _) in &mut rows {
            let mut i = 0;
            while i + 1 < ids.len() {
                if ids[i..i + 2] == [left, right] {
                    ids.splice(i..i + 2, [id]);
                }
                i += 1;
            }
        }
        merges.push(Merge { left, right, id });
    }
    merges
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn extends_as_defined_and_encodes_as_it_was_trained(
        old in vocab(),
        words in words(),
        more in 1usize..20,
        bytes in 1usize..6000,
    ) {
        let num_ids = old.len() + more;
        let want = extended(&words, &old, num_ids);
        let only_merges = old.only_merges();
        let options = TrainOptions { resume: Some(Arc::new(old)), ..TrainOptions::default() };
        let in_memory = trained(&words, num_ids - 256, &options);
        let on_disk = trained_on_disk(&words, num_ids - 256, &options, bytes).unwrap();
        for Trained { vocab, num_tokens, .. } in [in_memory, on_disk] {
            prop_assert_eq!(vocab.merges(), &want);
            prop_assert_eq!(vocab.only_merges(), only_merges && !unmade_of(&vocab).is_empty());
            let lens = words.iter().map(|(w, n)| encoded(&vocab, w).len() as u128 * u128::from(*n));
            prop_assert_eq!(num_tokens, lens.sum::<u128>());
            let mut pairs: Vec<_> = want.iter().map(|m| (m.left, m.right)).collect();
            pairs.sort_unstable();
            pairs.dedup();
            prop_assert_eq!(pairs.len(), want.len(), "no pair is merged twice");
        }
    }
}
