"""Ctrl-C in every phase of training: a KeyboardInterrupt at once, whatever is under way."""

import gzip
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nanobpe
from nanobpe import inspect, sources
from nanobpe.encode import Reading

# 100 ms is what is promised, and 10 to 60 ms is what is measured; a busy machine adds its own.
SECONDS = 0.5


def seconds_to_interrupt(work, delay=0.2):
    """How long after the signal `work`, which never ends, raises KeyboardInterrupt."""
    sent = []
    done = threading.Event()

    def interrupt():
        # What is raised in a callback of the garbage collector (hypothesis has one) Python drops.
        while not done.is_set() and len(sent) < 3:
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(4 * SECONDS)

    timer = threading.Timer(delay, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        return time.perf_counter() - sent[-1]
    finally:
        done.set()
        timer.join()


def forever(call):
    def work():
        while True:
            call()

    return work


@pytest.fixture(scope="module")
def files(tmp_path_factory, library_text):
    """One text in every kind of file, each with many distinct words."""
    folder = tmp_path_factory.mktemp("interrupt")
    rng = random.Random(0)
    words = " ".join("".join(rng.choices("etaoin", k=9)) for _ in range(150_000))
    text = library_text + words
    documents = [text[i : i + 3000] for i in range(0, len(text), 3000)]
    (folder / "a.txt").write_text(text, encoding="utf-8")
    (folder / "a.txt.gz").write_bytes(gzip.compress(text.encode(), 1))
    with pa.output_stream(folder / "a.txt.zst", compression="zstd") as stream:
        stream.write(text.encode())
    rows = "".join(json.dumps({"text": d}) + "\n" for d in documents)
    (folder / "a.jsonl").write_text(rows)
    pq.write_table(pa.table({"text": documents}), folder / "a.parquet")
    return folder


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst", "a.jsonl", "a.parquet"])
def test_while_files_are_read_and_counted(files, name):
    inputs = [files / name] * 1000
    assert seconds_to_interrupt(lambda: nanobpe.train(inputs, 300)) < SECONDS


def test_while_pyarrow_decodes_a_large_page():
    # What it does on its thread hears no signal.
    assert seconds_to_interrupt(lambda: sources._waited_for(lambda: time.sleep(2))) < SECONDS


@pytest.mark.parametrize("pattern", [r"\w+|\W+", r" ?\p{L}+|\s+(?!\S)|\s+|[^\s\p{L}]+"])
def test_while_a_custom_regex_counts(files, pattern):
    inputs = [files / "a.txt"] * 1000
    assert seconds_to_interrupt(lambda: nanobpe.train(inputs, 300, pattern=pattern)) < SECONDS


@pytest.mark.parametrize("pattern", ["nano", r"\w+|\W+"])
def test_while_one_pretoken_of_20_mb_is_counted(pattern):
    documents = itertools.repeat("a" * 20_000_000)
    call = lambda: nanobpe.train_from_iterator(documents, 300, pattern=pattern)  # noqa: E731
    assert seconds_to_interrupt(call) < SECONDS


@pytest.mark.parametrize("delay", [0.1, 0.4])
def test_while_pairs_are_listed_and_merged(delay):
    rng = random.Random(1)
    # One pretoken: counting it is nothing, merging it is everything.
    word = "".join(rng.choices("etaoinshrdlu", k=4_000_000))
    call = forever(lambda: nanobpe.train_from_iterator([word], 100_000))
    assert seconds_to_interrupt(call, delay) < SECONDS


def test_while_counts_are_taken():
    counts = {b"w%d" % i: i + 1 for i in range(300_000)}
    call = forever(lambda: nanobpe.train_from_counts(counts, 300))
    assert seconds_to_interrupt(call) < SECONDS


@pytest.mark.parametrize("delay", [0.15, 0.2, 0.25, 0.3])
def test_while_counts_are_added_up_and_written(files, tmp_path, delay):
    call = forever(lambda: nanobpe.count(files / "a.txt", tmp_path / "counts.parquet"))
    assert seconds_to_interrupt(call, delay) < SECONDS
    assert {p.name for p in tmp_path.iterdir()} <= {"counts.parquet"}


def test_while_a_tokenizer_is_saved(files, tmp_path):
    tok = nanobpe.train(files / "a.txt", 5000)
    assert seconds_to_interrupt(forever(lambda: tok.save(tmp_path / "tok"))) < SECONDS
    assert nanobpe.Tokenizer.load(tmp_path / "tok") == tok
    assert [p.name for p in tmp_path.iterdir()] == ["tok"]


@pytest.mark.parametrize("text", ["a" * 20_000_000, "of the cat " * 2_000_000])
def test_while_the_round_trip_is_checked(files, tmp_path, text):
    tok = nanobpe.train(files / "a.txt", 2000)
    (tmp_path / "b.txt").write_text(text)
    found = sources.find(tmp_path / "b.txt")
    call = forever(lambda: inspect.tally(tok, found, Reading("text")))
    assert seconds_to_interrupt(call) < SECONDS


def test_while_millions_of_ids_become_a_list_and_bytes(files):
    tok = nanobpe.train(files / "a.txt", 2000)
    text = (files / "a.txt").read_text(encoding="utf-8") * 4
    ids = tok.encode(text)
    assert len(ids) > 1_000_000
    assert tok.decode_bytes(ids) == text.encode()
    assert seconds_to_interrupt(forever(lambda: tok.encode(text))) < SECONDS
    assert seconds_to_interrupt(forever(lambda: tok.decode_bytes(ids))) < SECONDS


@pytest.mark.parametrize("text", ["\u4e16" * 20_000_000, "of the \u4e16 cat " * 2_000_000])
def test_while_the_utf8_of_a_long_str_is_made(files, text):
    tok = nanobpe.train(files / "a.txt", 2000)
    assert seconds_to_interrupt(forever(lambda: tok.count(text))) < SECONDS


SAVING = """
import itertools, sys
import nanobpe

def tok(size):
    pairs = [bytes(pair) for pair in itertools.product(range(256), repeat=2)]
    ranks = {bytes([i]): i for i in range(256)} | {p: 256 + i for i, p in enumerate(pairs[:size])}
    return nanobpe.Tokenizer.from_ranks(ranks, pattern="nano")

both = tok(30_000), tok(40_000)
both[0].save(sys.argv[1])
print("saved", flush=True)
for each in itertools.cycle(both):
    each.save(sys.argv[1])
"""


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.12])
def test_an_interrupted_save_leaves_a_whole_tokenizer(delay, tmp_path):
    folder = tmp_path / "tok"
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "saved\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert nanobpe.Tokenizer.load(folder).vocab_size in (30_256, 40_256)
    assert [path.name for path in tmp_path.iterdir()] == ["tok"]
