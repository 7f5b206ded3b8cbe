"""Going on: to the bit, after every kind of end, and never with another run's settings or data."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import runs
import torch

import nanotrain
from nanotrain.loop import Loop
from nanotrain.observe.metrics import read_rows


def cut(base: Path, out: Path, step: int) -> Path:
    """A copy of a run as it was right after a step's checkpoint."""
    shutil.copytree(base, out)
    for path in (out / "checkpoints").iterdir():
        if int(path.name[5:]) > step:
            shutil.rmtree(path)
    for name in ("metrics.jsonl", "samples.jsonl"):
        kept = [json.dumps(row) for row in read_rows(out / name) if row["step"] <= step]
        (out / name).write_text("".join(line + "\n" for line in kept))
    return out


def assert_same(got: Path, want: Path) -> None:
    assert runs.course(got) == runs.course(want)
    assert runs.scores(got) == runs.scores(want)
    a, b = runs.weights(got, 8), runs.weights(want, 8)
    assert a.keys() == b.keys()
    assert [name for name in b if not torch.equal(a[name], b[name])] == []
    assert (got / "samples.jsonl").read_text() == (want / "samples.jsonl").read_text()


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_resumed_run_equals_the_unbroken_one(base, shards, tmp_path, step):
    out = cut(base, tmp_path / "run", step)
    assert runs.train(shards, out, "--resume") == 0
    assert_same(out, base)
    assert [(row["step"], row["event"]) for row in runs.rows(out, "event")] == [(step, "resume")]
    assert not list(out.rglob("*.tmp"))


def test_rows_beyond_the_checkpoint_are_made_again(base, shards, tmp_path):
    out = cut(base, tmp_path / "run", 4)
    shutil.copy(base / "metrics.jsonl", out / "metrics.jsonl")
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    assert runs.train(shards, out, "--resume") == 0
    assert_same(out, base)


def test_a_finished_run_stays_as_it_is(base, shards, tmp_path):
    out = cut(base, tmp_path / "run", 8)
    assert runs.train(shards, out, "--resume") == 0
    assert_same(out, base)
    assert runs.rows(out, "event") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_run_goes_on(base, shards, tmp_path, monkeypatch, number, code):
    real = Loop._step

    def step(self: Loop) -> None:
        real(self)
        if self._state.counters.step == 5:
            signal.raise_signal(number)

    quiet = {"checkpoint__every": 1000}
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", step)
        assert runs.train(shards, tmp_path / "run", **quiet) == code
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000005"]
    assert len(runs.course(tmp_path / "run")) == 5
    assert runs.train(shards, tmp_path / "run", "--resume", **quiet) == 0
    assert_same(tmp_path / "run", base)


@pytest.mark.parametrize("name", ["optim.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over(base, shards, tmp_path, capsys, name):
    out = cut(base, tmp_path / "run", 6)
    path = out / "checkpoints" / "step-000006" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert runs.train(shards, out, "--resume") == 0
    assert "warning: step-000006 is passed over" in capsys.readouterr().err
    assert_same(out, base)


def test_a_run_without_a_readable_checkpoint_is_left_alone(base, shards, tmp_path, capsys):
    out = cut(base, tmp_path / "run", 2)
    (out / "checkpoints" / "step-000002" / "model.safetensors").unlink()
    before = (out / "metrics.jsonl").read_bytes()
    assert runs.train(shards, out, "--resume") == 1
    assert "no checkpoint of" in capsys.readouterr().err
    assert (out / "metrics.jsonl").read_bytes() == before


def test_leftovers_of_a_killed_process_are_removed(base, shards, tmp_path):
    out = cut(base, tmp_path / "run", 4)
    (out / "checkpoints" / ".step-000006.123.tmp").mkdir()
    (out / ".report.html.123.tmp").write_text("half")
    (out / "checkpoints" / "step-000005").mkdir()
    assert runs.train(shards, out, "--resume") == 0
    assert_same(out, base)
    assert not list(out.rglob("*.tmp"))


def test_resume_begins_a_run_that_has_nothing_yet(base, shards, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert runs.train(shards, tmp_path / "run", "--resume") == 0
    assert_same(tmp_path / "run", base)


def test_the_newest_the_best_and_every_nth_checkpoint_stay(shards, tmp_path):
    keys = {"checkpoint__every": 1, "checkpoint__keep": 2, "checkpoint__keep_every": 3}
    assert runs.train(shards, tmp_path / "run", eval__every=2, **keys) == 0
    best = min((bpb, s) for s, split, bpb in runs.scores(tmp_path / "run") if split == "val" and s)
    kept = {int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {3, 6, 7, 8, best[1]}
    assert nanotrain.load(tmp_path / "run", step="best").step == best[1]


def test_steps_can_be_added(base, shards, tmp_path, capsys):
    out = cut(base, tmp_path / "run", 8)
    assert runs.train(shards, out, "--resume", train__steps=10) == 0
    assert "train.steps 8 -> 10" in capsys.readouterr().err
    assert runs.course(out)[:8] == runs.course(base)
    assert len(runs.course(out)) == 10
    assert "steps = 10" in (out / "config.toml").read_text()


def test_the_context_can_grow(base, shards, tmp_path, capsys):
    out = cut(base, tmp_path / "run", 4)
    assert runs.train(shards, out, "--resume", data__row_tokens=64) == 0
    assert "data.row_tokens 32 -> 64" in capsys.readouterr().err
    assert runs.rows(out, "step")[-1]["tokens"] == 8 * 256
    assert nanotrain.load(out).model(torch.zeros(1, 64, dtype=torch.long)).shape == (1, 64, 384)


@pytest.mark.parametrize(
    ("key", "value"), [("model__act", "gelu"), ("train__seed", 8), ("optim__muon_lr", 0.01)]
)
def test_another_runs_settings_are_refused(base, shards, tmp_path, capsys, key, value):
    out = cut(base, tmp_path / "run", 4)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert runs.train(shards, out, "--resume", **{key: value}) == 2
    error = capsys.readouterr().err
    assert key.replace("__", ".") in error
    assert "another run" in error
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_another_tokenizers_shards_are_refused(base, shards, tmp_path, capsys):
    other = shutil.copytree(shards, tmp_path / "other")
    text = (other / "manifest.json").read_text()
    manifest = json.loads(text)
    (other / "manifest.json").write_text(text.replace(manifest["tokenizer_hash"], "0" * 64))
    out = cut(base, tmp_path / "run", 4)
    assert runs.train(other, out, "--resume") == 1
    assert "tokenizer 000000000000" in capsys.readouterr().err
    assert len(runs.course(out)) == 4


def test_a_run_is_not_written_over(base, shards, tmp_path, capsys):
    out = cut(base, tmp_path / "run", 4)
    assert runs.train(shards, out) == 1
    assert "--resume" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for more in ([], ["--resume"]):
        assert runs.train(shards, tmp_path / "mine", *more) == 1
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
