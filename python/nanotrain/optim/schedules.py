"""What changes from step to step: learning rates, Muon's momentum and the weight decay.

Steps count from 1 to the last, which ends at the final learning rate. Values are written into the
optimizers' groups before each step, never passed to compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch.optim import Optimizer

from nanotrain.schema import Optim

# Muon's momentum rises over this many steps, and falls while the trapezoid comes down.
_MOMENTUM_STEPS = 400
_MOMENTUM = (0.85, 0.97, 0.90)


def lr_factor(optim: Optim, step: int, steps: int) -> float:
    """The learning rate at a step as a share of its peak.

    Args:
        optim: Kind of schedule, warm-up, warm-down and final share.
        step: From 1 to `steps`.
        steps: All steps of the run.
    """
    if step < optim.warmup_steps:
        return step / optim.warmup_steps
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "trapezoid":
        return 1 + (optim.final_lr - 1) * _descent(optim, step, steps)
    part = min(1.0, (step - optim.warmup_steps) / max(1, steps - optim.warmup_steps))
    if optim.schedule == "linear":
        return 1 + (optim.final_lr - 1) * part
    return optim.final_lr + (1 - optim.final_lr) * 0.5 * (1 + math.cos(math.pi * part))


def _descent(optim: Optim, step: int, steps: int) -> float:
    """How far the trapezoid has come down, 0 to 1."""
    if not optim.warmdown:
        return 0.0
    return min(1.0, max(0.0, (step - steps * (1 - optim.warmdown)) / (steps * optim.warmdown)))


def muon_momentum(optim: Optim, step: int, steps: int) -> float:
    """Muon's momentum: 0.85 to 0.97 over 400 steps, then to 0.90 over the warm-down.

    In a run whose warm-down begins earlier, the descent starts from what was reached.
    """
    first, peak, last = _MOMENTUM
    descent = _descent(optim, step, steps) if optim.schedule == "trapezoid" else 0.0
    turn = steps * (1 - optim.warmdown) if descent else step
    reached = first + (peak - first) * min(1.0, turn / _MOMENTUM_STEPS)
    return reached + (last - reached) * descent


def decay_factor(step: int, steps: int) -> float:
    """Muon's weight decay at a step as a share of its first: a half cosine to 0."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def set_step(optimizers: Iterable[Optimizer], optim: Optim, step: int, steps: int) -> float:
    """Writes the values of this step into all groups; gives back the learning rate's share.

    Args:
        optimizers: Made by `groups.optimizers`.
        optim: The schedule.
        step: The step about to be taken, from 1.
        steps: All steps of the run.
    """
    factor = lr_factor(optim, step, steps)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
            if "momentum" in group:
                group["momentum"] = muon_momentum(optim, step, steps)
                group["weight_decay"] = group["initial_weight_decay"] * decay_factor(step, steps)
    return factor
