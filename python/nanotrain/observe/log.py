"""Lines for people: on stderr and in the run's log, always in the same layout."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TextIO

_COLOURS = {"warning": "\033[33m", "eval": "\033[36m"}


class Log:
    """Writes lines to stderr and, once it is opened, to a file. Silent in processes but the first.

    Args:
        enabled: Whether this process is the one that speaks.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._file: TextIO | None = None
        self._held: list[str] = []

    def open(self, path: Path) -> None:
        """Goes on in a file, what was said before included."""
        if self._enabled:
            self._file = path.open("a", encoding="utf-8")
            self._file.writelines(line + "\n" for line in self._held)
            self._file.flush()
            self._held.clear()

    def line(self, text: str = "") -> None:
        """One line, or several."""
        if not self._enabled:
            return
        word = re.match(r"\w+", text)
        colour = _COLOURS.get(word[0]) if word and coloured(sys.stderr) else None
        print(f"{colour}{text}\033[0m" if colour else text, file=sys.stderr, flush=True)
        if self._file is None:
            self._held.append(text)
        else:
            self._file.write(text + "\n")
            self._file.flush()

    def warning(self, text: str) -> None:
        """Something that the user should look at."""
        self.line(f"warning: {text}")

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def coloured(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which colour is wanted."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def figures(value: float) -> str:
    """Three significant digits without exponent: 0.0123, 5.81, 548."""
    if value == 0:
        return "0"
    if not abs(value) < float("inf"):
        return str(value)
    digits = max(0, 2 - int(f"{abs(value):.2e}".partition("e")[2]))
    return f"{value:.{digits}f}" if digits < 8 else f"{value:.2e}"


def scaled(value: float) -> str:
    """Three digits with a letter for the thousands: 548 K, 1.16 B."""
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(value) >= size * 0.9995:
            return f"{figures(value / size)} {letter}"
    return figures(value) if value % 1 else str(int(value))


def duration(seconds: float) -> str:
    """34:20, or 2:05:00 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def milliseconds(value: float) -> str:
    """Three digits, for step times."""
    return f"{value:.0f}" if value >= 100 else figures(value)


def step_line(row: dict[str, float], steps: int, *, eta: float) -> str:
    """One step: `step     50/2205  loss 5.812  lr 1.00 ...`."""
    place = f"{row['step']}/{steps}"
    return (
        f"step{place:>{2 * len(str(steps)) + 4}}  loss {row['loss']:.3f}  lr {row['lr']:.2f}"
        f"  grad {figures(row['grad_norm'])}  {milliseconds(row['step_ms'])} ms"
        f"  {scaled(row['tokens_per_s'])} tok/s  MFU {100 * row['mfu']:.1f} %"
        f"  mem {row['peak_mib'] / 1024:.1f}  eta {duration(eta)}"
    )


def eval_line(
    step: int, steps: int, split: str, bpb: float, *, best: bool, tokens: int, seconds: float
) -> str:
    """One evaluation: `eval    250/2205  val 1.0903 bpb (best) ...`."""
    place = f"{step}/{steps}"
    return (
        f"eval{place:>{2 * len(str(steps)) + 4}}  {split} {bpb:.4f} bpb{' (best)' if best else ''}"
        f"   {scaled(tokens)} tokens   {seconds:.1f} s"
    )
