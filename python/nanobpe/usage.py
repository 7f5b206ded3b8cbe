"""Mistakes in flags that a command finds where the parser could not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class UsageError(ValueError):
    """A flag that cannot be, found where the parser could not."""


@contextlib.contextmanager
def flags() -> Iterator[None]:
    """Within it a ValueError is about the flags."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
