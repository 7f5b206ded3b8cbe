"""The rows of a run: one JSON object per line, on disk as soon as it is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nanotrain import files

Row = dict[str, Any]
# What readers rely on, by kind; samples have none. A damaged row lacks some of it.
_NEEDED = {
    "step": ("tokens", "loss", "lr", "step_ms", "tokens_per_s", "mfu", "seconds"),
    "eval": ("split", "bpb", "loss", "tokens"),
    "event": ("event",),
    "sample": ("prompt", "text"),
}


class RowLog:
    """Appends rows to a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Row) -> None:
        """Appends a row at once, so that a killed run keeps it."""
        self._file.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Waits until the rows are on the disk."""
        files.sync(Path(self._file.name))
        self._file.close()


def _finite(row: Row) -> Row:
    """JSON has no NaN and no infinity: such figures become null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file without those that are not whole, such as one torn by a power cut."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and _is_whole(row):
                yield row


def _is_whole(row: Row) -> bool:
    """Whether a row has what readers of its kind rely on."""
    needed = _NEEDED.get(str(row.get("kind", "sample")), ())
    return isinstance(row.get("step"), int) and all(key in row for key in needed)


def keep_rows(path: Path, keep: Callable[[Row], bool]) -> None:
    """Rewrites a file with the rows that satisfy `keep`, torn ones removed."""
    if path.is_file():
        kept = [json.dumps(row, ensure_ascii=False) + "\n" for row in read_rows(path) if keep(row)]
        files.write(path, "".join(kept))


def is_score(row: Row) -> bool:
    """Whether a row is an evaluation that checkpoints are judged by."""
    return row.get("kind") == "eval" and row.get("split") != "train" and row.get("bpb") is not None
