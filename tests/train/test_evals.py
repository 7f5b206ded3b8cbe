"""Bits per byte against its definition, and the recorded figures against a second evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import runs
import torch

import nanotrain
from nanobpe import Shards
from nanotrain import cli
from nanotrain.evals import bits_per_byte


def lengths(shards: Shards) -> torch.Tensor:
    return torch.from_numpy(shards.tokenizer.byte_lengths.astype("int64"))


@pytest.mark.parametrize("tokens", [100, 10**9])
def test_a_uniform_model_needs_log2_v_bits_per_token(shards, tokens):
    data = Shards(shards, "val")

    def uniform(ids, targets, *, reduction):
        assert reduction == "none"
        return torch.full(targets.shape, math.log(384))

    got = bits_per_byte(uniform, data, lengths(data), row_tokens=16, rows=3, tokens=tokens)
    scored = lengths(data)[np.concatenate(data.arrays)[:tokens].astype("int64")]
    count, size = int((scored > 0).sum()), int(scored.sum())
    assert (got.tokens, got.bytes) == (count, size)
    assert got.loss == pytest.approx(math.log(384), rel=1e-6)
    assert got.bpb == pytest.approx(math.log2(384) * count / size, rel=1e-6)


def test_losses_are_weighed_by_token_and_specials_left_out(shards):
    data = Shards(shards, "val")
    stream = torch.from_numpy(np.concatenate(data.arrays).astype("int64"))

    def by_id(ids, targets, *, reduction):
        # A special token would cost a thousand nats.
        return torch.where(targets == data.bos_id, 1000.0, targets.clamp(min=0) / 7)

    got = bits_per_byte(by_id, data, lengths(data), row_tokens=16, rows=3, tokens=10**9)
    text = stream[lengths(data)[stream] > 0]
    nats = float((text.double() / 7).sum())
    assert got.bpb == pytest.approx(nats / math.log(2) / int(lengths(data)[text].sum()), rel=1e-6)
    assert got.loss == pytest.approx(nats / len(text), rel=1e-6)


def test_the_shape_of_the_batches_does_not_matter(base, shards):
    run, data = nanotrain.load(base), Shards(shards, "val")
    got = [
        bits_per_byte(run.model, data, lengths(data), row_tokens=32, rows=rows, tokens=500).bpb
        for rows in (1, 2, 5)
    ]
    assert got == pytest.approx([got[0]] * 3, rel=1e-6)


def test_an_evaluation_can_be_given_up(base, shards):
    run, data = nanotrain.load(base), Shards(shards, "val")
    options = {"row_tokens": 32, "rows": 1, "tokens": 500, "stop": lambda: True}
    assert bits_per_byte(run.model, data, lengths(data), **options) is None


def test_the_command_gives_the_recorded_figures(base, capsys):
    recorded = {(step, split): bpb for step, split, bpb in runs.scores(base)}
    for step, key in ((None, 8), (4, 4), ("best", 8)):
        more = [] if step is None else ["--step", str(step)]
        assert cli.main(["eval", str(base), "--split", "val,train", "--json", *more]) == 0
        got = runs.last_json(capsys.readouterr().out)
        assert got["step"] == key
        assert got["val_bpb"] == pytest.approx(recorded[key, "val"], rel=1e-6)
        if key == 8:
            assert got["train_bpb"] == pytest.approx(recorded[8, "train"], rel=1e-6)
