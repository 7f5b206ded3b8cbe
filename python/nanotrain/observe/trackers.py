"""Rows sent to TensorBoard or Weights & Biases, beside the files that are always written."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from nanotrain.errors import RunError

_SKIPPED = {"kind", "step", "layer", "split"}


class Tracker(Protocol):
    """Somewhere that shows rows."""

    def write(self, row: dict[str, Any]) -> None:
        """Takes a row of any kind."""

    def close(self) -> None:
        """Sends what is left."""


def require(names: Sequence[str]) -> None:
    """Checks that the trackers can be opened, before a run writes anything.

    Raises:
        RunError: If a tracker's package is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise RunError(
                f"observe.trackers {name} needs the package {name}",
                'pip install "nanobpe[track]"',
            )


def open_trackers(names: Sequence[str], folder: Path, config: dict[str, Any]) -> list[Tracker]:
    """The trackers by name, which is their package's name too."""
    kinds: dict[str, Callable[[Path, dict[str, Any]], Tracker]] = {
        "tensorboard": TensorBoard,
        "wandb": WeightsAndBiases,
    }
    return [kinds[name](folder, config) for name in names]


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    """The row's figures under names such as step/loss, val/bpb, layer 3/grad_rms."""
    kind = row["kind"]
    prefix = {"eval": row.get("split"), "health": f"layer {row.get('layer')}"}.get(kind, kind)
    return {
        f"{prefix}/{name}": float(value)
        for name, value in row.items()
        if name not in _SKIPPED and isinstance(value, (int, float))
    }


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def write(self, row: dict[str, Any]) -> None:
        """Takes a row of any kind."""
        for name, value in _scalars(row).items():
            self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class WeightsAndBiases:
    """A W&B run named after the folder; offline if WANDB_MODE says so."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        # By name: the package is optional, and type checks must pass without it.
        wandb = importlib.import_module("wandb")
        self._run: Any = wandb.init(
            project="nanotrain", name=folder.name, dir=str(folder), config=config, resume="allow"
        )

    def write(self, row: dict[str, Any]) -> None:
        """Takes a row of any kind."""
        self._run.log(_scalars(row), step=row["step"])

    def close(self) -> None:
        """Sends what is left."""
        self._run.finish()
