"""Rows on their way to the metrics file and the trackers, from one process only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanotrain.observe.metrics import RowLog
from nanotrain.observe.trackers import Tracker


class Writer:
    """Takes rows; does nothing with them in processes but the first.

    Args:
        path: The metrics file, None where nothing is to be written.
        trackers: Also take each row.
    """

    def __init__(self, path: Path | None, trackers: Sequence[Tracker] = ()) -> None:
        self._rows = None if path is None else RowLog(path)
        self._trackers = trackers

    def row(self, row: dict[str, Any]) -> None:
        """One row."""
        if self._rows is not None:
            self._rows.write(row)
            for tracker in self._trackers:
                tracker.write(row)

    def event(self, step: int, event: str, **facts: Any) -> None:
        """One row of kind "event"."""
        self.row({"kind": "event", "step": step, "event": event, **facts})

    def close(self) -> None:
        """Ends file and trackers."""
        if self._rows is not None:
            self._rows.close()
            for tracker in self._trackers:
                tracker.close()
