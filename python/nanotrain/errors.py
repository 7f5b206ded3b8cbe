"""Mistakes and accidents that end a command, with the line and the hint that the user sees.

A wrong flag or value is a `config.ConfigError`; what the system refuses stays an `OSError`.
"""

from __future__ import annotations


class UsageError(ValueError):
    """A command line that cannot be understood (exit code 2)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RunError(ValueError):
    """Data, run folders or devices that do not fit together (exit code 1)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class DivergedError(RuntimeError):
    """A loss that is no finite number (exit code 4)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
