"""Trackers get every figure under a name of its own; a missing package stops a run in time."""

from __future__ import annotations

import importlib.util

import pytest
import runs

from nanotrain.observe import trackers


def test_figures_have_names_of_their_own():
    rows = [
        {"kind": "step", "step": 3, "loss": 2.5, "lr": 1.0},
        {"kind": "eval", "step": 3, "split": "val", "bpb": 1.5, "loss": 3.0},
        {"kind": "health", "step": 3, "layer": 0, "grad_rms": 0.1, "update_to_data": None},
        {"kind": "event", "step": 3, "event": "resume"},
    ]
    assert [trackers._scalars(row) for row in rows] == [
        {"step/loss": 2.5, "step/lr": 1.0},
        {"val/bpb": 1.5, "val/loss": 3.0},
        {"layer 0/grad_rms": 0.1},
        {},
    ]


def test_a_missing_package_is_told_before_anything_is_written(
    shards, tmp_path, capsys, monkeypatch
):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else real(name)
    )
    assert runs.train(shards, tmp_path / "run", observe__trackers="wandb") == 1
    assert "error: observe.trackers wandb needs the package wandb" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_losses(shards, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert runs.train(shards, tmp_path / "run", observe__trackers="tensorboard") == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    want = [row["loss"] for row in runs.rows(tmp_path / "run", "step")]
    assert [event.value for event in events.Scalars("step/loss")] == pytest.approx(want)
