"""A lean trainer of small language models.

`load` opens a finished run; `models`, `optim`, `kernels`, `functional` and `checkpoint` are the
parts for use in other code. Nothing is imported before it is asked for, so that the command line
starts without PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanotrain.folder import Run, load

__version__ = "0.1.0"

__all__ = [
    "Run",
    "__version__",
    "checkpoint",
    "config",
    "functional",
    "kernels",
    "load",
    "models",
    "optim",
]


def __getattr__(name: str) -> Any:
    if name in ("Run", "load"):
        return getattr(importlib.import_module("nanotrain.folder"), name)
    if name in __all__:
        return importlib.import_module(f"nanotrain.{name}")
    raise AttributeError(f"module 'nanotrain' has no attribute {name!r}")
