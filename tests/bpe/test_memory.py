"""Training and counting within `memory`: the result of any amount, and nothing left on the disk."""

import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter

import naive
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nanobpe

LEAST = 2**20


@pytest.fixture
def temp(tmp_path, monkeypatch):
    """The folder for temporary files, here and in processes started here."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """60,000 distinct pretokens and frequent ones; a table within `LEAST` has room for 6,000."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(3)
    for i in range(4):
        words = (
            "".join(rng.choices("abcdefghé", k=rng.choice((1, 2, 3, 6, 20)))) for _ in range(40_000)
        )
        (folder / f"{i}.txt").write_text(" ".join(words))
    return folder


@pytest.mark.parametrize("tie_break", ["id", "bytes", "hf"])
@pytest.mark.parametrize("threads", [1, 3])
def test_spilled_equals_whole(corpus, temp, threads, tie_break):
    options = {"threads": threads, "tie_break": tie_break, "min_frequency": 2, "max_token_bytes": 9}
    free = nanobpe.train(corpus, 900, **options)
    assert nanobpe.train(corpus, 900, memory=LEAST, **options) == free


def test_spilled_equals_the_definition(temp):
    rng = random.Random(4)
    counts = Counter(
        {
            "".join(rng.choices("abcde", k=rng.randint(1, 9))).encode(): rng.randint(1, 9)
            for _ in range(9_000)
        }
    )
    bounded = nanobpe.train_from_counts(counts, 256 + 12, special_tokens=(), memory=LEAST)
    assert bounded.merges == naive.train(counts, 12, tie="id")


def test_resuming_and_documents_from_memory(corpus, temp):
    documents = [p.read_text() for p in sorted(corpus.iterdir())]
    first = nanobpe.train_from_iterator(documents[:1], 500, special_tokens=())
    whole = nanobpe.train_from_iterator(documents, 800, special_tokens=(), resume=first)
    spilled = nanobpe.train_from_iterator(
        documents, 800, special_tokens=(), resume=first, memory=LEAST
    )
    assert spilled == whole
    assert spilled.merges[: len(first.merges)] == first.merges


def test_counts_are_the_same_file(corpus, temp, tmp_path):
    free = nanobpe.count(corpus, tmp_path / "free.parquet")
    bounded = nanobpe.count(corpus, tmp_path / "bounded.parquet", memory=LEAST)
    assert bounded.pretokens_distinct == free.pretokens_distinct > 60_000
    assert bounded.pretokens_total == free.pretokens_total
    table = pq.read_table(tmp_path / "bounded.parquet")
    assert table == pq.read_table(tmp_path / "free.parquet")
    pretokens = table["pretoken"].to_pylist()
    assert pretokens == sorted(pretokens)


def test_large_counts_survive_spilling_and_count_files(temp, tmp_path):
    keys = [str(i) * (1 + i % 7) for i in range(30_000)]
    numbers = [2**33 + i for i in range(len(keys))]
    table = pa.table({"pretoken": keys, "count": pa.array(numbers, pa.uint64())})
    for name, order in (("a", 1), ("b", -1)):
        pq.write_table(table.take(list(range(len(keys)))[::order]), tmp_path / f"{name}.parquet")
    found = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    report = nanobpe.count(found, tmp_path / "sum.parquet", memory=LEAST)
    added = pq.read_table(tmp_path / "sum.parquet").to_pydict()
    want = {key.encode(): 2 * number for key, number in zip(keys, numbers, strict=True)}
    assert dict(zip(added["pretoken"], added["count"], strict=True)) == want
    assert report.pretokens_total == sum(want.values())
    assert nanobpe.train(found, 400, memory=LEAST) == nanobpe.train_from_counts(want, 400)


@pytest.mark.parametrize("memory", [None, LEAST])
def test_sums_beyond_the_limit_are_refused(temp, tmp_path, memory):
    # 10,000 distinct pretokens: more than a table of `LEAST` has room for.
    keys = [f"{i:06}" for i in range(10_000)]
    each = (2**64 - 2) // (5 * len(keys))
    halves = [each // 2, each - each // 2]
    for name, number in zip("ab", halves, strict=True):
        table = pa.table({"pretoken": keys, "count": pa.array([number] * len(keys), pa.uint64())})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    options = {"memory": memory, "special_tokens": ()}
    exact = nanobpe.train(found, 256 + 9, **options)
    assert exact.merges == naive.train(dict.fromkeys(map(str.encode, keys), each), 9)
    for more, what in (([found[0]], "pairs of neighbouring bytes"), (found * 5, "pretokens")):
        for work in (
            lambda more: nanobpe.train(more, 300, **options),
            lambda more: nanobpe.count(more, tmp_path / "sum.parquet", **options),
        ):
            with pytest.raises(ValueError, match=f"the counts add up to .*{what}; up to"):
                work([*found, *more])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "temp"]


def test_an_error_leaves_nothing(corpus, temp, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{")
    with pytest.raises(nanobpe.FormatError):
        nanobpe.train([corpus, bad], 900, memory=LEAST)
    with pytest.raises(ValueError, match=r"memory is 1000; whole numbers from 1048576 to .* are"):
        nanobpe.train(corpus, 900, memory=1000)


# A process is charged what its parent had when it started, so a small one stands between.
LAUNCHER = """
import os, subprocess, sys
_, status, usage = os.wait4(subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL).pid, 0)
print(status, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def peak_mib(tmp_path, *command):
    command = [sys.executable, "-m", "nanobpe", *command, "--progress", "off"]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], cwd=tmp_path, capture_output=True, check=True
    )
    status, peak = done.stdout.split()
    assert status == b"0"
    return float(peak)


def test_it_takes_less_memory(temp, tmp_path):
    # Tables of 600,000 distinct pretokens have 48 MB, their words as much again.
    numbers = random.Random(5).sample(range(26**5), 600_000)
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join("".join(letters[n // 26**i % 26] for i in range(5)) for n in numbers)
    (tmp_path / "many.txt").write_text(text)
    for out, command in (("n", ["count"]), ("tok", ["train", "--vocab", "600"])):
        command = [*command, "many.txt", "--out", out]
        free = peak_mib(tmp_path, *command)
        bounded = peak_mib(tmp_path, *command, "--memory", "8M")
        assert bounded < free - 15, (command[0], bounded, free)


def start(corpus, tmp_path, **more):
    command = [sys.executable, "-m", "nanobpe", "train", str(corpus), "--vocab", "2000"]
    more = {"stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, **more}
    return subprocess.Popen(
        [*command, "--memory", "1.1M", "--out", "tok", "--progress", "json"], **more
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_nothing(corpus, temp, tmp_path, sent):
    process = start(corpus, tmp_path)
    for line in process.stderr:
        # By then the words lie on disk.
        if '"merge"' in line:
            break
    process.send_signal(sent)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    if sent == signal.SIGINT:
        assert said.splitlines()[-1] == "interrupted"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["temp"]


def test_a_full_disk_is_one_line(corpus, temp, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start(corpus, tmp_path, preexec_fn=limit)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert said.splitlines()[-1] == f"error: {temp}: File too large"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["temp"]


def test_a_folder_that_takes_nothing_is_named(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="missing"):
        nanobpe.count(corpus, tmp_path / "counts.parquet", memory=LEAST)
    assert list(tmp_path.iterdir()) == []
