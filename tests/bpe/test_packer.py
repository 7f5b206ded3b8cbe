"""Packing: the laws of each mode, restored state, and what is refused."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanobpe

BOS = 60_000
DOCUMENTS = st.lists(st.integers(1, 60), min_size=1, max_size=40)
MODES = ["best_fit", "greedy", "contiguous", "random"]


def numbered(lengths, *, bos=True):
    """Documents in which every token but BOS occurs once, so that each can be followed."""
    starts = np.cumsum([0, *lengths])
    return [
        np.array([BOS] * bos + list(range(a, b)), np.uint16) for a, b in itertools.pairwise(starts)
    ]


def pieces(row):
    """The parts of a row between its BOS ids."""
    cuts = np.flatnonzero(row == BOS)
    return [part[1:].tolist() for part in np.split(row, cuts) if len(part)]


@given(DOCUMENTS, st.integers(2, 40), st.integers(1, 20), st.booleans())
def test_best_fit_loses_only_the_unfinished_last_row(lengths, row_tokens, buffer, with_bos):
    documents = numbered(lengths, bos=with_bos)
    packer = nanobpe.Packer(documents, row_tokens, bos=BOS, buffer_documents=buffer)
    rows = list(packer)
    seen = [t for row in rows for piece in pieces(row) for t in piece]
    assert len(seen) == len(set(seen)), "a token came twice"
    assert all(len(row) == row_tokens and row[0] == BOS for row in rows)
    missing = set(range(sum(lengths))) - set(seen)
    # What is left did not fill a row, with a BOS before each of its pieces.
    assert len(missing) < row_tokens
    for row in rows:
        for piece in pieces(row):
            assert piece == list(range(piece[0], piece[0] + len(piece))) if piece else True
    report = packer.report()
    assert (report["crop_share"], report["tokens_dropped"]) == (0, 0)
    assert report["rows"] == len(rows)


@given(DOCUMENTS, st.integers(2, 40))
def test_greedy_keeps_heads_in_order_and_reports_what_it_drops(lengths, row_tokens):
    documents = numbered(lengths)
    packer = nanobpe.Packer(documents, row_tokens, mode="greedy", bos=BOS)
    rows = list(packer)
    starts = set(np.cumsum([0, *lengths]).tolist())
    seen = [piece for row in rows for piece in pieces(row) if piece]
    assert all(piece[0] in starts for piece in seen), "a piece that begins no document"
    tokens = [t for piece in seen for t in piece]
    assert tokens == sorted(set(tokens))
    upto = max(tokens, default=-1)
    ended = next((s for s in sorted(starts) if s > upto), sum(lengths))
    if rows:
        assert packer.report()["tokens_dropped"] >= ended - len(tokens) - row_tokens


@given(DOCUMENTS, st.integers(1, 40))
def test_contiguous_is_the_documents_end_to_end(lengths, row_tokens):
    documents = numbered(lengths)
    flat = np.concatenate(documents)
    rows = list(nanobpe.Packer(documents, row_tokens, mode="contiguous"))
    assert len(rows) == len(flat) // row_tokens
    if rows:
        assert np.concatenate(rows).tolist() == flat[: len(rows) * row_tokens].tolist()
    bare = numbered(lengths, bos=False)
    same = list(nanobpe.Packer(bare, row_tokens, mode="contiguous", bos=BOS))
    assert [row.tolist() for row in same] == [row.tolist() for row in rows]


def test_best_fit_takes_the_largest_that_fits():
    documents = [[900, *range(k * 10, k * 10 + n - 1)] for k, n in enumerate((4, 7, 3, 6, 8, 2))]
    rows = [row.tolist() for row in nanobpe.Packer(documents, 10, bos=900)]
    assert rows == [
        [*documents[4], *documents[5]],
        [*documents[1], *documents[2]],
        [*documents[3], *documents[0]],
    ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("done", [0, 1, 5, 23])
def test_state_restores_to_the_row(mode, done):
    lengths = np.random.default_rng(1).integers(1, 90, 60)
    documents = numbered(lengths)

    def packer():
        return nanobpe.Packer(
            documents, 32, mode=mode, bos=BOS, seed=3, buffer_documents=7, epochs=3
        )

    whole = np.stack(list(packer()))
    broken = packer()
    if done:
        assert np.array_equal(broken.next_batch(done), whole[:done])
    state = json.loads(json.dumps(broken.state_dict()))
    fresh = packer()
    fresh.load_state_dict(state)
    assert np.array_equal(np.stack(list(fresh)), whole[done:])
    assert fresh.report()["rows"] == len(whole)


def test_states_of_other_data_or_options_are_refused():
    documents = numbered([5, 6, 7])
    state = nanobpe.Packer(documents, 8, bos=BOS).state_dict()
    for other in (
        nanobpe.Packer(documents[:2], 8, bos=BOS),
        nanobpe.Packer(documents, 8, bos=BOS, mode="greedy"),
        nanobpe.Packer(documents, 9, bos=BOS),
        nanobpe.Packer(documents, 8, bos=BOS, seed=1),
    ):
        with pytest.raises(ValueError, match="packer state is of other"):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="no packer state"):
        nanobpe.Packer(documents, 8, bos=BOS).load_state_dict({"rows": 3})
    outside = nanobpe.Packer(documents, 4, bos=BOS)
    next(outside)
    state = outside.state_dict()
    state["buffer"][0][1]["piece"]["start"] = 10**9
    with pytest.raises(ValueError, match="outside the data"):
        outside.load_state_dict(state)


def test_random_windows_depend_on_the_seed_alone():
    documents = numbered([50] * 20)
    flat = np.concatenate(documents)
    windows = {
        seed: np.stack(list(nanobpe.Packer(documents, 16, mode="random", seed=seed)))
        for seed in (1, 2)
    }
    assert not np.array_equal(windows[1], windows[2])
    stored = {flat[i : i + 16].tobytes() for i in range(len(flat) - 15)}
    assert all(row.tobytes() in stored for rows in windows.values() for row in rows)
    assert len(windows[1]) == len(flat) // 16


def test_batches_end_short_and_then_stop():
    packer = nanobpe.Packer([range(25)], 10, mode="contiguous")
    assert packer.next_batch(5).shape == (2, 10)
    with pytest.raises(StopIteration):
        packer.next_batch(1)


@pytest.mark.parametrize(
    ("documents", "dtype"),
    [
        ([[1, 2, 3]], np.uint16),
        ([[1, 70_000, 3]], np.uint32),
        ([np.array([1, 2, 3], np.uint32)], np.uint32),
        ([np.array([1], np.uint16), [2, 3]], np.uint16),
        ([[], [1, 2, 3]], np.uint16),
    ],
)
def test_dtypes_hold_the_ids(documents, dtype):
    row = next(nanobpe.Packer(documents, 3, mode="contiguous"))
    assert row.dtype == dtype
    assert row.tolist() == [int(t) for d in documents for t in d]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (([[1, 2, 3]], 0), {}),
        (([[1, 2, 3]], -4), {}),
        (([[1, 2, 3]], 8), {"mode": "tight"}),
        (([[1, 2, 3]], 8), {"buffer_documents": 0}),
        (([[1, 2, 3]], 8), {"epochs": 0}),
        (([[1, 2, 3]], 8), {"bos": -1}),
        (([[1, 2, 3]], 8), {"mode": "random"}),
        (([[1, 2, 3]], 1), {"bos": 5}),
        (([[-1, 2, 3]], 8), {}),
        (([[1.5, 2]], 8), {}),
        (([[[1, 2]]], 8), {}),
        (([], 8), {}),
        (([[]], 8), {}),
    ],
)
def test_bad_values(arguments, options):
    with pytest.raises(ValueError):
        nanobpe.Packer(*arguments, **options)
