"""What progress shows: rows of the callback, and lines that fit the terminal."""

import fcntl
import json
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios

import pytest

import nanobpe
from nanobpe import console


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(console.time, "perf_counter", lambda: now[0])
    return now


def shown(rows, clock, capsys, **options):
    """The facts of JSON lines for rows of (seconds, row)."""
    progress = console.Progress("json", **options)
    for seconds, row in rows:
        clock[0] = 100 + seconds
        progress({"seconds": seconds, **row})
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_reading_at_an_even_rate(clock, capsys):
    rows = [(t, {"phase": "count", "bytes": int(50e6 * t)}) for t in (0.2, 1, 2, 5)]
    facts = shown(rows, clock, capsys, total_bytes=500_000_000)
    assert [f["mb_per_s"] for f in facts] == [50] * 4
    assert [f["share"] for f in facts] == [0.02, 0.1, 0.2, 0.5]
    assert [f["eta_seconds"] for f in facts] == [9.8, 9, 8, 5]


def test_merging_whose_rate_grows_with_what_is_done(clock, capsys):
    # The k-th pair is 1 / k as frequent as the first: merges double every half second.
    times = [0.5 * k / 4 for k in range(1, 49)]
    rows = [
        (t, {"phase": "merge", "merges": int(10 * 2 ** (2 * t)), "total": 40_960}) for t in times
    ]
    facts = shown(rows, clock, capsys)
    assert len(facts) == 48
    for fact in facts[8:-8]:
        # An even rate would say up to 900 times too much.
        assert 1 < fact["eta_seconds"] / (6 - fact["seconds"]) < 2.2


def test_unknown_totals_have_no_eta(clock, capsys):
    [fact] = shown([(1, {"phase": "count", "bytes": 7})], clock, capsys)
    assert not {"share", "eta_seconds"} & fact.keys()


@pytest.mark.parametrize("columns", [79, 59, 39, 10])
def test_lines_fit(columns):
    facts = {
        "phase": "count",
        "share": 0.34,
        "bytes": 123_456_789_012,
        "documents": 12_345_678,
        "distinct": 9_123_456,
        "mb_per_s": 153.2,
        "eta_seconds": 7325,
    }
    line = console._line(facts, columns)
    assert len(line) <= columns
    if columns >= 59:
        assert line.endswith("9.12 M distinct   153 MB/s   eta 2:02:05")
    assert "12.3 M documents" in console._line(facts)


def test_the_callback_hears_of_merges():
    rng = random.Random(0)
    word = "".join(rng.choices("etaoinshrdlu", k=800_000))
    rows = []
    first = nanobpe.train_from_iterator([word[:1000]], 300)
    for resume, base in ((None, 256), (first, 299)):
        rows.clear()
        nanobpe.train_from_iterator([word], 20_000, progress=rows.append, resume=resume)
        merging = [row for row in rows if row["phase"] == "merge"]
        assert merging[-1]["merges"] == merging[-1]["total"]
        assert {row["total"] for row in merging} == {19_999 - base}
        assert all(row["merges"] == max(0, row["ids"] - base) for row in merging)
        assert all(0 <= row["merges"] <= row["total"] for row in merging)


def test_a_terminal_of_80_columns(tmp_path):
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=9)) for _ in range(150_000)]
    (tmp_path / "a.txt").write_text(" ".join(words * 3))
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    # 405 MB, so that there is something to show.
    argv = ["train", *["a.txt"] * 90, "--vocab", "60000", "--out", "tok", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nanobpe", *argv], cwd=tmp_path, stderr=end, stdout=end
    )
    os.close(end)
    written = b""
    try:
        while block := os.read(terminal, 1 << 16):
            written += block
    except OSError:
        # What a terminal says once the other end is closed.
        pass
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    # Each live line begins by clearing the one before.
    live = [line.decode() for line in re.findall(rb"\r\x1b\[K([^\r\n]*)", written)]
    live = [line for line in live if line.startswith(("count ", "merge ")) and "eta" in line]
    assert {line[:5] for line in live} == {"count", "merge"}
    for line in live:
        assert len(line) < 80
        wanted = " distinct   .* MB/s   eta " if line[:5] == "count" else r" merges   .*/s   eta "
        assert re.search(wanted, line), line
