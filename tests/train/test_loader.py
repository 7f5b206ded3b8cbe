"""Batches: one stream of rows for any number of processes, and evaluation rows without overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nanobpe import Shards
from nanotrain.data import Loader
from nanotrain.data.loader import eval_batches
from nanotrain.distributed import World
from nanotrain.errors import RunError

CPU = torch.device("cpu")


def loader(shards: Shards, *, micro_rows: int = 2, world: World | None = None, **more) -> Loader:
    options = {"row_tokens": 16, "batch_rows": 8, "packing": "best_fit", "seed": 3} | more
    return Loader(shards, micro_rows=micro_rows, device=CPU, world=world or World(), **options)


def whole(batches) -> torch.Tensor:
    return torch.cat([torch.cat((ids, targets[:, -1:]), 1) for ids, targets in batches])


def test_processes_and_micro_batches_share_one_stream(shards):
    data = Shards(shards)
    want = whole(loader(data, micro_rows=8).next_batch())
    assert want.shape == (8, 17)
    assert torch.equal(whole(loader(data, micro_rows=2).next_batch()), want)
    parts = [loader(data, world=World(rank, 2)).next_batch() for rank in range(2)]
    dealt = [part for pair in zip(*parts, strict=True) for part in pair]
    assert torch.equal(whole(dealt), want)


def test_targets_are_the_ids_one_further(shards):
    for ids, targets in loader(Shards(shards)).next_batch():
        assert torch.equal(ids[:, 1:], targets[:, :-1])


def test_a_restored_loader_goes_on_to_the_row(shards):
    first = loader(Shards(shards))
    first.next_batch()
    second, state = loader(Shards(shards)), first.state_dict()
    second.load_state_dict(state)
    for _ in range(40):
        assert torch.equal(whole(first.next_batch()), whole(second.next_batch()))
    assert first.epoch == second.epoch


def test_another_packing_is_refused_and_rows_can_be_skipped(shards):
    state = loader(Shards(shards)).state_dict()
    with pytest.raises(ValueError):
        loader(Shards(shards), row_tokens=32).load_state_dict(state)
    skipped, walked = loader(Shards(shards)), loader(Shards(shards))
    skipped.skip(16)
    walked.next_batch(), walked.next_batch()
    assert torch.equal(whole(skipped.next_batch()), whole(walked.next_batch()))


def test_one_pass_over_few_documents_sees_nearly_all_of_them(shards):
    packed = loader(Shards(shards), batch_rows=1, micro_rows=1)
    while packed.epoch < 1:
        packed.next_batch()
    report = packed._packer.report()
    assert report["unique_tokens"] > 0.95 * report["tokens_total"]


def test_too_little_data_is_said(shards):
    with pytest.raises(RunError, match=r"train split has [\d,]+ tokens, a row needs 100,001"):
        loader(Shards(shards), row_tokens=100_000).crop_share()


@pytest.mark.parametrize("tokens", [1, 15, 16, 100, 777, 10**9])
@pytest.mark.parametrize("with_bos", [True, False])
def test_every_evaluated_token_is_a_target_once(shards, tokens, with_bos):
    data = Shards(shards, "val")
    stream = np.concatenate(data.arrays).astype("int64")
    bos = data.bos_id
    if not with_bos:
        data.bos_id = None
    batches = list(eval_batches(data, row_tokens=16, rows=3, tokens=tokens))
    assert {tuple(ids.shape) for ids, _ in batches} <= {(3, 16)}
    targets = torch.cat([t.flatten() for _, t in batches]) if batches else torch.empty(0)
    want = stream[:tokens] if with_bos else stream[1 : min(tokens, len(stream))]
    assert targets[targets >= 0].tolist() == want.tolist()
    for ids, t in batches:
        rows = t >= 0
        assert torch.equal(ids[:, 1:][rows[:, 1:]], t[:, :-1][rows[:, 1:]])
        if with_bos:
            assert set(ids[:, 0].tolist()) == {bos}
