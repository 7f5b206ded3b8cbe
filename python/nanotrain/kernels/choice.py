"""Which implementation of the kernels this process uses."""

from __future__ import annotations

from typing import Literal

EPS = 2.0**-23
CHOICES = ("auto", "torch")
_choice = "auto"


class use:  # noqa: N801 - called like a function, left like a context
    """Sets the implementation at once; as a context manager, restores the earlier one at its end.

    "torch" is PyTorch everywhere, "auto" the fastest that the tensors' device has.

    Raises:
        ValueError: If the choice is not one of the two.
    """

    def __init__(self, choice: str) -> None:
        global _choice
        if choice not in CHOICES:
            raise ValueError(f"kernels are {choice!r}, allowed: {', '.join(CHOICES)}")
        self._before, _choice = _choice, choice

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> Literal[False]:
        global _choice
        _choice = self._before
        return False


def choice() -> str:
    """The choice in force."""
    return _choice
