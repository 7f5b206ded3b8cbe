"""Everything that a run must remember to go on as if it had never stopped."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nanotrain.data import Loader
from nanotrain.models import LanguageModel


@dataclass
class Counters:
    """How far a run has come.

    Attributes:
        flops: Floating-point operations of the model so far.
        seconds: Time spent in the run, evaluations included, interruptions not.
        best_bpb: Least bits per byte of an evaluation after step 0, infinite before one.
        best_step: Its step.
    """

    step: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    best_bpb: float = math.inf
    best_step: int = 0


@dataclass
class LossScaler:
    """The factor that keeps float16 gradients from vanishing.

    It doubles after many good steps and halves when a gradient overflows; that step is skipped. The
    gradients are averaged over the processes before they are looked at, so all skip together.

    Attributes:
        scale: The factor; 1 where it is not needed.
        good_steps: Steps since it last changed.
    """

    enabled: bool
    scale: float = 1.0
    good_steps: int = 0

    def __post_init__(self) -> None:
        if self.enabled and self.scale == 1.0:
            self.scale = 2.0**16

    def update(self, finite: bool) -> None:
        """Takes note of a step's gradients."""
        if not self.enabled:
            return
        self.good_steps += 1
        if not finite:
            self.scale, self.good_steps = max(self.scale / 2, 2.0**-14), 0
        elif self.good_steps == 2000:
            self.scale, self.good_steps = self.scale * 2, 0


@dataclass
class TrainState:
    """What a checkpoint holds."""

    model: LanguageModel
    optimizers: list[Optimizer]
    loader: Loader
    scaler: LossScaler
    counters: Counters = field(default_factory=Counters)

    @property
    def _on_cuda(self) -> bool:
        return next(self.model.parameters()).is_cuda

    def state_dict(self, *, copy: bool = False) -> dict[str, Any]:
        """The whole state as nested dicts for `checkpoint.save`.

        Args:
            copy: Copy tensors, so that training may go on while they are written.
        """
        random: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if self._on_cuda:
            random["cuda"] = torch.cuda.get_rng_state()
        state = {
            "model": self.model.state_dict(),
            "optim": [optimizer.state_dict() for optimizer in self.optimizers],
            "loader": self.loader.state_dict(),
            "random": random,
            "scaler": {"scale": self.scaler.scale, "good_steps": self.scaler.good_steps},
            "counters": asdict(self.counters),
        }
        return _copied(state) if copy else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state, the loader's excepted (rows may be packed anew)."""
        self.model.load_state_dict(state["model"])
        for optimizer, content in zip(self.optimizers, state["optim"], strict=True):
            optimizer.load_state_dict(content)
        self.scaler.scale = state["scaler"]["scale"] if self.scaler.enabled else 1.0
        self.scaler.good_steps = state["scaler"]["good_steps"]
        self.counters = Counters(**state["counters"])
        torch.set_rng_state(state["random"]["cpu"])
        if "cuda" in state["random"] and self._on_cuda:
            torch.cuda.set_rng_state(state["random"]["cuda"])


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(entry) for entry in value)
    return value
