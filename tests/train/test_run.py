"""A run: what it leaves, that its figures fit together, and that its course is its own."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import runs
import torch

import nanotrain
from nanobpe import Shards
from nanotrain import cli, config, models, optim
from nanotrain.config import resolve
from nanotrain.observe.health import by_layer
from nanotrain.state import LossScaler, TrainState
from nanotrain.step import backward, update


def test_the_folder_holds_what_it_should(base):
    names = {path.name for path in base.iterdir()}
    files = {"config.toml", "run.json", "metrics.jsonl", "log.txt", "samples.jsonl", "tok"}
    assert names == files | {"checkpoints"}
    steps = sorted(path.name for path in (base / "checkpoints").iterdir())
    assert steps == [f"step-{step:06d}" for step in (2, 4, 6, 8)]
    log = (base / "log.txt").read_text()
    for words in ("nanotrain 0.1.0", "crop", "unique tokens", "step   8/8", "val", "(best)"):
        assert words in log
    record = json.loads((base / "run.json").read_text())
    assert record["versions"]["torch"] == torch.__version__
    assert record["kernels"]["attention"]
    assert len(record["data"]["manifest_sha256"]) == 64


def test_rows_fit_together(base, shards):
    rows = runs.rows(base, "step")
    flops = nanotrain.load(base).model.flops_per_token()
    assert [row["step"] for row in rows] == list(range(1, 9))
    for row in rows:
        assert row["tokens"] == 256 * row["step"]
        assert row["flops"] == flops * row["tokens"]
        assert row["tokens_per_s"] == pytest.approx(256e3 / row["step_ms"])
        assert 0 <= row["mfu"] < 1
        assert 0 <= row["data_ms"] < row["step_ms"]
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(rows))
    assert rows[-1]["epoch"] == pytest.approx(8 * 256 / Shards(shards).num_tokens, rel=0.2)
    assert rows[0]["loss"] == pytest.approx(math.log(384), rel=0.02)
    assert rows[-1]["loss"] < 0.97 * rows[0]["loss"]
    assert [(s, split) for s, split, _ in runs.scores(base)] == [
        (0, "val"),
        (4, "val"),
        (8, "val"),
        (8, "train"),
    ]


def test_every_layer_has_its_health(base):
    rows = runs.rows(base, "health")
    assert {row["step"] for row in rows} == {2, 4, 6, 8}
    assert {0, 1} < {row["layer"] for row in rows}
    for row in rows:
        assert row["weight_rms"] >= 0
        assert row["update_rms"] > 0
    parameters = nanotrain.load(base).model
    assert sum(map(len, by_layer(parameters).values())) == len(list(parameters.parameters()))


def test_the_result_line(shards, tmp_path, capsys):
    assert runs.train(shards, tmp_path / "run", "--json") == 0
    out = capsys.readouterr()
    result = runs.last_json(out.out)
    assert len(out.out.splitlines()) == 1
    assert (result["step"], result["tokens"]) == (8, 2048)
    assert result["best_val_bpb"] <= result["val_bpb"]
    assert result["checkpoint"].endswith("step-000008")
    assert result["report"] is None


def test_the_same_command_gives_the_same_bits(base, shards, tmp_path):
    for seed in (7, 8):
        assert runs.train(shards, tmp_path / str(seed), train__seed=seed) == 0
    assert runs.course(tmp_path / "7") == runs.course(base)
    assert runs.course(tmp_path / "8") != runs.course(base)


def test_observing_leaves_the_course_alone(base, shards, tmp_path):
    quiet = {"eval__every": "off", "checkpoint__every": "off", "observe__every": 1000}
    assert runs.train(shards, tmp_path / "run", **quiet) == 0
    assert runs.course(tmp_path / "run") == runs.course(base)
    assert runs.rows(tmp_path / "run", "health") == []
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000008"]


def test_config_toml_runs_the_same_again(base, tmp_path):
    text = (base / "config.toml").read_text()
    assert config.tomllib.loads(text)["train"]["batch_tokens"] == 256
    assert "# flag" in text
    out = tmp_path / "again"
    assert cli.main(["run", str(base / "config.toml"), "--out", str(out)]) == 0
    assert runs.course(out) == runs.course(base)


@pytest.mark.parametrize("rows", [1, 8])
def test_micro_batches_change_nothing_but_rounding(base, shards, tmp_path, rows):
    assert runs.train(shards, tmp_path / "run", train__micro_rows=rows, train__steps=8) == 0
    got, want = (np.array(runs.course(run)) for run in (tmp_path / "run", base))
    # float32 sums in another order; eight steps of Muon, in bf16, make up to 2.5e-3 of that.
    np.testing.assert_allclose(got, want, rtol=5e-3)


def test_clipping_is_logged_before_it_acts(base, shards, tmp_path):
    assert runs.train(shards, tmp_path / "run", train__grad_clip=1e-4) == 0
    got, want = runs.rows(tmp_path / "run", "step"), runs.rows(base, "step")
    assert got[0]["grad_norm"] == want[0]["grad_norm"]
    assert got[-1]["loss"] != want[-1]["loss"]


def test_asynchronous_checkpoints_are_the_same(base, shards, tmp_path):
    assert runs.train(shards, tmp_path / "run", checkpoint__async="true") == 0
    for step in (2, 8):
        got, want = (runs.weights(run, step) for run in (tmp_path / "run", base))
        assert got.keys() == want.keys()
        assert all(torch.equal(got[name], want[name]) for name in want)


def test_a_diverged_run_exits_4_and_keeps_the_batch(shards, tmp_path, capsys):
    keys = {"optim__muon_lr": "1e30", "model__norm": "none", "model__softcap": "off"}
    assert runs.train(shards, tmp_path / "run", checkpoint__every=1, **keys) == 4
    assert "error:" in capsys.readouterr().err
    [batch] = (tmp_path / "run").glob("bad-batch-*.npy")
    assert np.load(batch).shape[1:] == (8, 33)
    assert all(math.isfinite(row["loss"]) for row in runs.rows(tmp_path / "run", "step"))
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        model = nanotrain.load(tmp_path / "run", step=int(path.name[5:])).model
        assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_without_a_validation_split_it_says_so_and_trains(shards, tmp_path, capsys):
    assert runs.train(shards, tmp_path / "run", eval__split="test") == 0
    assert "has no test split" in capsys.readouterr().err
    assert [split for _, split, _ in runs.scores(tmp_path / "run")] == ["train"]
    assert (tmp_path / "run" / "samples.jsonl").read_text()


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_one_batch_is_learnt_by_heart(dtype):
    keys = {"model.depth": 2, "model.width": 64, "model.heads": 1, "model.vocab_size": 64}
    keys |= {
        "data.row_tokens": 16,
        "train.batch_tokens": 64,
        "train.steps": 60,
        "train.dtype": dtype,
    }
    resolved = resolve(None, keys | {"optim.lr_multiplier": 0.3, "optim.weight_decay": 0})
    model = models.build(resolved)
    optimizers = optim.optimizers(model.parameter_groups(resolved.optim))
    state = TrainState(model, optimizers, None, LossScaler(dtype == "fp16"))
    rows = torch.randint(0, 64, (4, 17), generator=torch.Generator().manual_seed(1))
    batch = [(rows[:, :-1], rows[:, 1:])]
    losses = []
    for step in range(1, 61):
        loss, norm = backward(model, batch, state)
        optim.set_step(optimizers, resolved.optim, step, 60)
        update(state, norm, clip=None)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(64), rel=0.02)
    assert losses[-1] < 0.05


def test_the_scaler_skips_what_overflows_and_comes_back():
    scaler = LossScaler(True)
    assert scaler.scale == 2.0**16
    scaler.update(False)
    assert scaler.scale == 2.0**15
    for _ in range(2000):
        scaler.update(True)
    assert scaler.scale == 2.0**16
    assert LossScaler(False).scale == 1
