"""`nanobpe encode` stopped at any moment, by SIGKILL and by a full disk, and gone on with."""

import json
import random
import resource
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

import nanobpe

SCRIPT = Path(sysconfig.get_path("scripts")) / "nanobpe"
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "nanobpe"]
FLAGS = ["--tok", "tok", "--bos", "--split", "0.8,0.1,0.1", "--shard-tokens", "20K"]


def start(folder, *argv, **options):
    return subprocess.Popen(
        [*COMMAND, "encode", "docs.jsonl", *FLAGS, *argv],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def work(tmp_path_factory, library_text):
    """A folder with documents, a tokenizer, and the shards of an unbroken run for each order."""
    folder = tmp_path_factory.mktemp("work")
    nanobpe.train_from_iterator([library_text], 600).save(folder / "tok")
    pieces = [library_text[i : i + 1500] for i in range(0, len(library_text), 1500)]
    lines = [json.dumps({"text": f"{n} {piece}"}) + "\n" for n in range(25) for piece in pieces]
    (folder / "docs.jsonl").write_text("".join(lines))
    for name, flags in (("in-order", []), ("shuffled", ["--shuffle"])):
        began = time.monotonic()
        process = start(folder, "--out", name, *flags)
        assert process.wait(timeout=60) == 0
        (folder / f"{name}.seconds").write_text(str(time.monotonic() - began))
    return folder


@pytest.mark.parametrize("order", ["in-order", "shuffled"])
def test_killed_at_any_moment_it_goes_on_to_the_same_shards(work, tmp_path, order):
    whole = files(work / order)
    seconds = float((work / f"{order}.seconds").read_text())
    flags = ["--out", str(tmp_path / "out")] + ["--shuffle"] * (order == "shuffled")
    rng, kept = random.Random(order), set()
    for _ in range(25):
        process = start(work, *flags, "--resume")
        time.sleep(rng.uniform(0.3 * seconds, 1.2 * seconds))
        process.kill()
        process.communicate()
        out = tmp_path / "out"
        # What has its final name is complete: it is what the unbroken run has.
        for path in out.glob("*.bin"):
            assert path.read_bytes() == whole[path.name]
        kept.add(len(list(out.glob("*.bin"))))
        if (out / "manifest.json").exists() and rng.random() < 0.7:
            subprocess.run(["rm", "-r", str(out)], check=True)
    assert len(kept) > 2, kept
    process = start(work, *flags, "--resume")
    assert process.wait(timeout=60) == 0
    assert files(tmp_path / "out") == whole
    assert subprocess.run([*COMMAND, "verify", str(tmp_path / "out")], check=False).returncode == 0


@pytest.mark.parametrize("order", ["in-order", "shuffled"])
def test_a_full_disk_is_one_line_and_nothing_is_lost(work, tmp_path, order):
    flags = ["--out", str(tmp_path / "out")] + ["--shuffle"] * (order == "shuffled")
    most = max(map(len, files(work / order).values()))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most // 2, most // 2))

    process = start(work, *flags, preexec_fn=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    [line] = [text for text in errors.decode().splitlines() if text.startswith("error")]
    assert "too large" in line
    assert str(tmp_path / "out") in line
    assert b"Traceback" not in errors
    assert b"panicked" not in errors
    process = start(work, *flags, "--resume")
    assert process.wait(timeout=60) == 0
    assert files(tmp_path / "out") == files(work / order)
