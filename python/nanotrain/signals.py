"""Asking a run to stop: SIGTERM and Ctrl-C are noted, and obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_NOTED = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Notes signals while its block runs. A second Ctrl-C interrupts at once.

    Attributes:
        received: The signal to obey, 0 for none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def __enter__(self) -> Signals:
        # Python allows handlers in the main thread only; elsewhere signals stay as they are.
        if threading.current_thread() is threading.main_thread():
            for number in _NOTED:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
