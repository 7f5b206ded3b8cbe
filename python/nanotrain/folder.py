"""The folder of a run: where its files are, which checkpoints it has, and loading one.

>>> run = load("runs/d12", step="best")
>>> run.model(ids)
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanotrain.errors import RunError
from nanotrain.observe.metrics import is_score, read_rows

if TYPE_CHECKING:
    import os

    from nanobpe import Tokenizer
    from nanotrain.config import Resolved
    from nanotrain.models import LanguageModel

_STEP = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Folder:
    """The files of a run by name."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def record(self) -> Path:
        """Versions, machine, data and kernels."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """A row per step, evaluation, layer and event."""
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """What was written to the terminal."""
        return self.path / "log.txt"

    @property
    def samples(self) -> Path:
        """Texts that the model wrote while it was trained."""
        return self.path / "samples.jsonl"

    @property
    def report(self) -> Path:
        """The page with plots, figures and samples."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        """The page's plots as single files."""
        return self.path / "plots"

    @property
    def tokenizer(self) -> Path:
        """A copy of the tokenizer."""
        return self.path / "tok"

    @property
    def checkpoints(self) -> Path:
        """One folder per checkpoint."""
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint's folder."""
        return self.checkpoints / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints on disk, damaged ones included, in order."""
        if not self.checkpoints.is_dir():
            return []
        found = (_STEP.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def best(self) -> int | None:
        """The checkpoint with the least bits per byte on the evaluation split, if one has any."""
        kept = set(self.steps())
        scores = [
            (row["bpb"], row["step"])
            for row in read_rows(self.metrics)
            if is_score(row) and row["step"] in kept
        ]
        return min(scores)[1] if scores else None

    def facts(self) -> dict[str, Any]:
        """The content of `run.json`."""
        try:
            content = json.loads(self.record.read_text("utf-8"))
        except ValueError:
            raise RunError(f"{self.record} is damaged: not JSON") from None
        if not isinstance(content, dict):
            raise RunError(f"{self.record} is damaged: not an object")
        return content

    def require(self) -> Folder:
        """This folder, if it is a run.

        Raises:
            RunError: If it is missing or holds no run.
        """
        if not self.path.is_dir():
            raise RunError(f"no run folder {self.path}")
        if not self.config.is_file() or not self.record.is_file():
            raise RunError(f"{self.path} is not a run: no {self.config.name} and run.json in it")
        return self


@dataclass(frozen=True)
class Run:
    """A trained model with what it needs.

    Attributes:
        model: With the weights of `step`, in evaluation mode.
        tokenizer: The one it was trained with.
        config: The run's resolved configuration.
        step: The checkpoint's step.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    config: Resolved
    step: int


def load(
    run_folder: str | os.PathLike[str],
    *,
    step: int | Literal["best"] | None = None,
    device: str = "cpu",
) -> Run:
    """Opens a run at a checkpoint.

    Args:
        run_folder: The run's folder.
        step: A step that has a checkpoint, "best" for the least bits per byte among them, None for
            the newest.
        device: Where the model goes: auto, cpu, cuda, cuda:N or mps. Off the device that it was
            trained on it computes in that device's own type.

    Raises:
        RunError: If there is no such run or checkpoint.
        ValueError: If the checkpoint is damaged.
    """
    import torch

    from nanobpe import Tokenizer
    from nanotrain import checkpoint, models
    from nanotrain import device as devices
    from nanotrain.config import resolve

    folder = Folder(Path(run_folder)).require()
    chosen = find_step(folder, step)
    target = devices.choose(device)
    config = resolve(folder.config)
    if target.type != config.train.device.partition(":")[0]:
        # A GPU's bf16 is slow on a CPU, whose results are then the more exact ones.
        train = {"train.device": str(target), "train.dtype": devices.compute_dtype(target)}
        config = resolve(folder.config, train)
    state = checkpoint.load(folder.checkpoint(chosen), keys={"model"})
    with torch.device(target):
        model = models.build(config)
    model.load_state_dict(state["model"])
    return Run(model.eval(), Tokenizer.load(folder.tokenizer), config, chosen)


def find_step(folder: Folder, step: int | Literal["best"] | None) -> int:
    """The checkpoint that is meant.

    Raises:
        RunError: If the run does not have it; the message names those it has.
    """
    steps = folder.steps()
    if not steps:
        raise RunError(f"{folder.path} has no checkpoint yet")
    if step is None:
        return steps[-1]
    if step == "best":
        best = folder.best()
        if best is None:
            raise RunError(f"{folder.path} has no checkpoint of an evaluated step")
        return best
    if step not in steps:
        raise RunError(
            f"{folder.path} has no checkpoint of step {step}, allowed: {', '.join(map(str, steps))}"
        )
    return step
