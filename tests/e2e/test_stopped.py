"""`nanobpe train` stopped at any moment, by SIGKILL and by Ctrl-C, and what it leaves."""

import json
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import nanobpe

SCRIPT = Path(sysconfig.get_path("scripts")) / "nanobpe"
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "nanobpe"]


def start(folder, *argv):
    return subprocess.Popen(
        [*COMMAND, "train", *map(str, argv)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def files(folder):
    """Every file's bytes; None if the folder is absent."""
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else None


def changed(folder):
    """When a folder or its list of files last changed; None if it is absent."""
    try:
        return folder.stat().st_ctime_ns
    except FileNotFoundError:
        return None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, library_text):
    path = tmp_path_factory.mktemp("corpus") / "a.txt"
    path.write_text(library_text, encoding="utf-8")
    return path


def test_training_twice_gives_the_same_bytes(corpus, tmp_path):
    made = []
    for name, threads in (("one", 1), ("two", 2)):
        process = start(tmp_path, corpus, "--vocab", 800, "--out", name, "--threads", threads)
        assert process.wait(timeout=60) == 0
        made.append(files(tmp_path / name))
    assert set(made[0]) == {"tokenizer.json", "vocab.tiktoken", "meta.json"}
    assert made[0] == made[1]


def test_killed_at_any_moment_it_leaves_the_old_or_the_new(corpus, tmp_path):
    # The files that complete runs make.
    argv = (corpus, "--vocab", 1000, "--out", "tok", "--counts-out", "counts.parquet")
    began = time.monotonic()
    out, _ = start(tmp_path, *argv, "--json").communicate(timeout=60)
    seconds, writing = time.monotonic() - began, json.loads(out)["seconds"]["write"]
    new, counts = files(tmp_path / "tok"), (tmp_path / "counts.parquet").read_bytes()
    nanobpe.train(corpus, 300).save(tmp_path / "tok")
    assert pq.read_table(tmp_path / "counts.parquet").num_rows > 1000

    rng = random.Random(0)
    partial = tmp_path / ".tok.partial"
    seen = Counter()
    for kill in range(20):
        before, touched = files(tmp_path / "tok"), changed(partial)
        (tmp_path / "counts.parquet").unlink(missing_ok=True)
        process = start(tmp_path, *argv)
        if kill % 4:
            # The few milliseconds in which files are written and folders change places.
            while process.poll() is None and changed(partial) in (None, touched):
                time.sleep(0.0001)
            time.sleep(rng.uniform(0, 1.5 * writing))
        else:
            time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.communicate()
        after = files(tmp_path / "tok")
        assert after in (before, new)
        if (tmp_path / "counts.parquet").exists():
            assert (tmp_path / "counts.parquet").read_bytes() == counts
        left = {p.name for p in tmp_path.iterdir()} - {"tok", "counts.parquet"}
        # Under one name each, which inputs and the next run pass over.
        assert left <= {".tok.partial", ".counts.parquet.partial"}
        state = "absent" if after is None else "new" if after == new else "old"
        seen[state, bool(left)] += 1
        if after == new:
            # From there on half of the runs find an older tokenizer, half none.
            shutil.rmtree(tmp_path / "tok")
            if rng.random() < 0.5:
                nanobpe.train(corpus, 300).save(tmp_path / "tok")
    # Kills in the middle of the writing and at other moments.
    assert len(seen) > 1, seen

    process = start(tmp_path, *argv)
    assert process.wait(timeout=60) == 0
    assert files(tmp_path / "tok") == new
    assert {p.name for p in tmp_path.iterdir()} == {"tok", "counts.parquet"}


@pytest.mark.parametrize("pattern", ["nano", r"\w+|\W+"])
def test_ctrl_c_ends_the_command_and_leaves_nothing(corpus, tmp_path, pattern):
    inputs = [corpus] * 5000
    for delay in (0.4, 0.8):
        process = start(tmp_path, *inputs, "--vocab", 30_000, "--out", "tok", "--pattern", pattern)
        time.sleep(delay)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        # 100 ms is what is promised; the interpreter's end and a busy machine add theirs.
        assert time.monotonic() - sent < 1
        assert process.returncode in (130, -signal.SIGINT)
        if process.returncode == 130:
            assert errors.splitlines()[-1] == b"interrupted"
        assert not list(tmp_path.iterdir())
