"""What the command line writes: log lines and progress on stderr, numbers as people read them."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections import deque
from typing import Any, Literal

ProgressKind = Literal["auto", "plain", "json", "off"]

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Between two lines of progress in a log.
_PLAIN_SECONDS = 5.0
# The rate that the ETA goes by.
_RECENT_SECONDS = 1.0
_COUNTED = ("bytes", "documents", "distinct", "merges", "tokens", "tasks")
# Left out first where the terminal is too narrow.
_SPARED = ("documents", "bytes", "tokens", "share")


def parse_size(text: str) -> int:
    """The number that "10K", "1.5G", "2GiB" or "300" stands for; K is 1,000 and Ki 1,024.

    Raises:
        ValueError: If it is no such number, or below 1.
    """
    match = re.fullmatch(r"([0-9_]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not match or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is no size; write it as 300, 10K, 1.5M, 2G or 2GiB")
    unit = match[2].upper()
    number = round(
        float(match[1].replace("_", "")) * (_BINARY[unit] if match[3] else _DECIMAL[unit])
    )
    if number < 1:
        raise ValueError(f"{text!r} is below 1")
    return number


def parse_share(text: str) -> float:
    """The share that "0.5%" or "0.005" stands for, between 0 and 1.

    Raises:
        ValueError: If it is no such number.
    """
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        raise ValueError(f"{text!r} is no share; write it as 0.005 or 0.5%") from None
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is no share between 0 and 1")
    return share


def quantity(number: float, unit: str = "") -> str:
    """Three significant digits with K, M, G or T: "2.03 GB", "431 M", "17"."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        # What would round to 1,000 of the smaller unit is 1.00 of this one.
        if number >= factor * 0.9995:
            return f"{significant(number / factor)} {letter}{unit}"
    if number >= 1e4:
        return f"{significant(number / 1e3)} K{unit}"
    plain = f"{number:,}" if isinstance(number, int) else significant(number)
    return f"{plain} {unit}".rstrip()


def significant(number: float) -> str:
    """Three significant digits, thousands apart: "4.76", "12.3", "1,204"."""
    size = abs(number)
    return f"{number:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def duration(seconds: float) -> str:
    """Seconds as 0.31 s, 12.3 s, 2:05 or 1:02:05."""
    if seconds < 100:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def peak_mib() -> float:
    """The most memory that this process has had resident, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def print_json(value: object) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def log(label: str, *parts: str) -> None:
    """One line on stderr: a label, then facts apart from each other."""
    print(f"{label:<8} {'   '.join(part for part in parts if part)}", file=sys.stderr, flush=True)


def plural(number: int, noun: str) -> str:
    """A number and its noun: 1 file, 8 files."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Progress:
    """Shows the dicts of a progress callback: a live line, plain lines, or JSON lines, on stderr.

    Args:
        kind: "auto" is a live line on a terminal and plain lines elsewhere.
        total_bytes: Of the inputs as they are read, where that is known; for percentage and ETA.
    """

    def __init__(self, kind: ProgressKind, total_bytes: int | None = None) -> None:
        live = sys.stderr.isatty() if kind == "auto" else False
        self.kind = "live" if live else "plain" if kind == "auto" else kind
        self.total_bytes = total_bytes
        self._start = time.perf_counter()
        self._shown = self._start
        self._phase = ""
        self._recent: deque[tuple[float, int]] = deque()

    def __call__(self, row: dict[str, Any]) -> None:
        """Takes a row with a phase and whatever is counted in it."""
        now = time.perf_counter()
        phase = str(row.get("phase", ""))
        if phase != self._phase:
            self._phase, self._start = phase, now - float(row.get("seconds", 0.0))
            self._recent = deque([(self._start, 0)])
        seconds = now - self._start
        facts = {**row, "seconds": round(seconds, 3)}
        done = row.get("bytes", row.get("merges", 0))
        whole = self.total_bytes if "bytes" in row else row.get("total")
        if "bytes" in row and seconds > 0:
            facts["mb_per_s"] = round(row["bytes"] / 1e6 / seconds, 1)
        self._recent.append((now, done))
        while now - self._recent[1][0] > _RECENT_SECONDS:
            self._recent.popleft()
        since, before = self._recent[0]
        rate = (done - before) / max(now - since, 1e-9)
        if "merges" in row:
            facts["merges_per_s"] = round(rate)
        if whole and 0 < done <= whole and rate > 0:
            facts["share"] = round(done / whole, 4)
            left = (whole - done) / rate
            if "merges" in row:
                # The k-th pair is about 1 / k as frequent as the first, so the rate grows with k.
                # On 100 MB of mixed text an even rate says 127 s where 4.8 are left, this 5.2.
                left = done / rate * math.log(whole / done)
            facts["eta_seconds"] = round(left, 1)
        self._show(facts, now)

    def _show(self, facts: dict[str, Any], now: float) -> None:
        if self.kind == "json":
            print(json.dumps(facts), file=sys.stderr, flush=True)
        elif self.kind == "live":
            line = _line(facts, _columns() - 1)
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif self.kind == "plain" and now - self._shown >= _PLAIN_SECONDS:
            self._shown = now
            print(_line(facts), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Ends the live line, so that what follows stands alone."""
        if self.kind == "live":
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _columns() -> int:
    """Columns of the terminal that stderr is; 80 where it does not tell."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def _line(facts: dict[str, Any], columns: int | None = None) -> str:
    """What is known, in one line of at most `columns`."""
    parts = {"phase": f"{facts.get('phase', ''):<8}"}
    if "share" in facts:
        parts["share"] = f"{100 * facts['share']:3.0f} %"
    for key in _COUNTED:
        if key in facts:
            number = quantity(facts[key], "B") if key == "bytes" else quantity(facts[key])
            parts[key] = number if key == "bytes" else f"{number} {key}"
    if "mb_per_s" in facts:
        parts["rate"] = f"{significant(facts['mb_per_s'])} MB/s"
    if "merges_per_s" in facts:
        parts["rate"] = f"{quantity(facts['merges_per_s'])}/s"
    if "eta_seconds" in facts:
        parts["eta"] = f"eta {duration(facts['eta_seconds'])}"
    for key in _SPARED:
        if columns is not None and len("   ".join(parts.values())) > columns:
            parts.pop(key, None)
    return "   ".join(parts.values())[:columns]
