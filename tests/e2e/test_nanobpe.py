"""The installed command as a user drives it: pipes, signals, a full disk."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

import nanobpe

SCRIPT = Path(sysconfig.get_path("scripts")) / "nanobpe"
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "nanobpe"]


def run(folder, *argv, **options):
    return subprocess.run(
        [*COMMAND, *map(str, argv)], cwd=folder, capture_output=True, timeout=60, **options
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, library_text):
    folder = tmp_path_factory.mktemp("e2e")
    (folder / "a.txt").write_text(library_text)
    parts = [library_text[i : i + 2000] for i in range(0, len(library_text), 2000)]
    rows = [json.dumps({"text": f"{copy} {part}"}) + "\n" for copy in range(20) for part in parts]
    (folder / "many.jsonl").write_text("".join(rows))
    done = run(folder, "train", "a.txt", "--vocab", 1000, "--out", "tok", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["vocab_size"] == 1000
    return folder


def test_module_and_script_are_one(corpus):
    module = subprocess.run([sys.executable, "-m", "nanobpe", "--version"], capture_output=True)
    assert module.stdout == run(corpus, "--version").stdout
    assert nanobpe.__version__.encode() in module.stdout


def test_text_goes_through_pipes_unchanged(corpus):
    text = (corpus / "a.txt").read_bytes() + b"\xff\xfe\x00"
    ids = run(corpus, "encode", "-", "--tok", "tok", "--ids", input=text).stdout
    assert run(corpus, "decode", "-", "--tok", "tok", input=ids).stdout == text


def test_a_reader_that_leaves_is_no_error(corpus):
    with subprocess.Popen(
        [*COMMAND, "encode", "many.jsonl", "--tok", "tok", "--ids"],
        cwd=corpus,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 0


def payloads(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.bin"))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_is_resumed_to_the_same_shards(corpus, tmp_path, number):
    argv = ["encode", "many.jsonl", "--tok", "tok", "--bos", "--val", "10%"]
    argv += ["--shard-tokens", "50K", "--out"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(corpus, *argv, whole).returncode == 0
    process = subprocess.Popen(
        [*COMMAND, *argv, str(broken)], cwd=corpus, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    end = time.monotonic() + 30
    while len(list(broken.glob("*.bin"))) < 2 and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    stopped = process.poll() is None
    if stopped:
        os.kill(process.pid, number)
    _, errors = process.communicate(timeout=30)
    if stopped and number == signal.SIGINT and process.returncode:
        assert (process.returncode, errors.splitlines()[-1]) == (130, b"interrupted")
        assert not list(broken.glob(".*.tmp"))
    want = payloads(whole)
    assert payloads(broken).items() <= want.items()
    assert run(corpus, *argv, broken, "--resume").returncode == 0
    assert payloads(broken) == want
    assert sorted(p.name for p in broken.rglob("*")) == sorted(p.name for p in whole.rglob("*"))
    shutil.rmtree(tmp_path)


def test_a_full_disk_leaves_what_was_there(corpus, tmp_path):
    def limit():
        # Writing beyond 6 kB fails, as on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    out = tmp_path / "shards"
    shutil.copytree(corpus / "tok", tmp_path / "tok")
    for argv in (
        ("encode", "a.txt", "--tok", "tok", "--out", out),
        ("train", "a.txt", "--vocab", 900, "--out", tmp_path / "tok"),
        ("count", "a.txt", "--out", tmp_path / "c.parquet"),
    ):
        done = run(corpus, *argv, preexec_fn=limit)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(b"error: ")
        assert b"Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tok"]
    before, after = (nanobpe.Tokenizer.load(f / "tok") for f in (corpus, tmp_path))
    assert before == after


def test_progress_as_json_lines(corpus):
    done = run(
        corpus,
        *("train", "many.jsonl", "--vocab", 2000, "--out", "other"),
        *("--progress", "json", "--json"),
    )
    assert json.loads(done.stdout)["vocab_size"] == 2000
    rows = [json.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{")]
    assert {row["phase"] for row in rows} <= {"count", "merge"}
