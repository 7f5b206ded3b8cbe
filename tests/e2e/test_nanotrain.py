"""`nanotrain` as a user drives it: console script, own processes, kills, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = {
    "model.depth": 2,
    "model.width": 64,
    "model.heads": 1,
    "data.row_tokens": 32,
    "train.micro_rows": 4,
    "train.batch_tokens": 256,
    "train.steps": 30,
    "eval.every": 10,
    "eval.tokens": 1000,
    "checkpoint.every": 5,
    "checkpoint.keep": 3,
    "observe.every": 10,
}
PREFIX = Path(sys.executable).parent


def command(program: str, *arguments: object) -> list[str]:
    """The installed console script, or the module where only the sources are there."""
    script = PREFIX / program
    start = [str(script)] if script.exists() else [sys.executable, "-m", program]
    return [*start, *map(str, arguments)]


def run(folder: Path, program: str, *arguments: object, **environment: str) -> str:
    done = subprocess.run(
        command(program, *arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def train(out: str, *more: object) -> list[object]:
    flags = [part for key, value in TINY.items() for part in (f"--{key}", value)]
    return ["run", "cpu-demo", "--data", "shards", "--out", out, *flags, *more]


def course(run: Path) -> list[tuple[float, float, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"], r["grad_norm"]) for r in rows if r["kind"] == "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, library_text) -> Path:
    """Shards and a finished run, from text files on."""
    folder = tmp_path_factory.mktemp("user")
    for number in range(40):
        text = library_text[2000 * number : 2000 * (number + 1)]
        (folder / f"{number:02}.txt").write_text(text, encoding="utf-8")
    texts = sorted(path.name for path in folder.glob("*.txt"))
    run(folder, "nanobpe", "train", *texts, "--vocab", 400, "--out", "tok")
    split = ("--bos", "--split", "0.8,0.1,0.1")
    run(folder, "nanobpe", "encode", *texts, "--tok", "tok", "--out", "shards", *split)
    result = json.loads(run(folder, "nanotrain", *train("run", "--json")))
    assert result["step"] == 30
    assert Path(folder / result["report"]).exists()
    assert result["val_bpb"] < 0.97 * first_bpb(folder / "run")
    return folder


def first_bpb(run: Path) -> float:
    rows = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return next(float(row["bpb"]) for row in rows if row["kind"] == "eval" and row["step"] == 0)


def test_a_run_can_be_evaluated_sampled_and_reported(folder):
    score = json.loads(run(folder, "nanotrain", "eval", "run", "--json"))
    assert 0 < score["val_bpb"] < first_bpb(folder / "run")
    options = ("--prompt", "def ", "--max", 12, "--n", 2, "--json")
    lines = run(folder, "nanotrain", "sample", "run", *options).splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == ["def ", "def "]
    assert run(folder, "nanotrain", "sample", "run", *options).splitlines() == lines
    shown = run(folder, "nanotrain", "sample", "run", "--prompt", "def ", "--max", 12)
    assert shown.startswith("def ")
    (folder / "run" / "report.html").unlink()
    assert run(folder, "nanotrain", "report", "run") == "run/report.html\n"
    assert "data:image/svg+xml" in (folder / "run" / "report.html").read_text()


def test_a_killed_run_goes_on_to_the_same_end(folder):
    process = subprocess.Popen(
        command("nanotrain", *train("killed")), cwd=folder, stderr=subprocess.DEVNULL
    )
    metrics = folder / "killed" / "metrics.jsonl"
    end = time.monotonic() + 100
    while not metrics.exists() or '"step": 12,' not in metrics.read_text():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run(folder, "nanotrain", *train("killed", "--resume"))
    assert course(folder / "killed") == course(folder / "run")


def test_the_module_is_the_script_and_pipes_may_close(folder):
    listed = run(folder, "nanotrain", "presets")
    module = subprocess.run(
        [sys.executable, "-m", "nanotrain", "presets"], capture_output=True, text=True, check=True
    )
    assert module.stdout == listed
    reader = f"{sys.executable} -m nanotrain presets list | true"
    done = subprocess.run(["sh", "-c", reader], capture_output=True, text=True)
    assert done.stderr == ""


def test_without_torch_the_extra_is_named(folder):
    broken = folder / "no_torch" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('no torch', name='torch')\n")
    done = subprocess.run(
        command("nanotrain", "run", "cpu-demo"),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(broken.parent)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: nanotrain needs the package torch\n")
    assert 'pip install "nanobpe[train]"' in done.stderr


@pytest.mark.slow
def test_two_processes_go_on_with_the_run_of_one(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copytree(folder / "run", folder / "two")
    for path in (folder / "two" / "checkpoints").iterdir():
        if int(path.name[5:]) > 20:
            shutil.rmtree(path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "nanotrain"]
    arguments = [*launcher, *map(str, train("two", "--resume"))]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2x" in done.stderr
    got, want = course(folder / "two"), course(folder / "run")
    assert [row[0] for row in got] == [row[0] for row in want]
    for (_, loss, norm), (_, want_loss, want_norm) in zip(got, want, strict=True):
        # float32 sums in another order, carried through Muon for 10 steps.
        assert loss == pytest.approx(want_loss, rel=2e-3)
        assert norm == pytest.approx(want_norm, rel=2e-2)
