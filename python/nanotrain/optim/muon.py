"""Muon: momentum whose matrices are made orthogonal, with NorMuon's second moment.

Of each gradient: Nesterov momentum; rows scaled to one norm; orthogonal factor (`polar.py`), its
Frobenius norm set to sqrt(min(m, n)); rows (or columns) divided by the root of their running mean
square, norm preserved (Li et al. 2025, arXiv:2510.05491); cautious decay, which acts only where
update and weight agree in sign. The rate grows by sqrt(max(1, rows / columns)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from nanotrain.optim.polar import orthogonalize


class Muon(Optimizer):
    """Muon for matrices.

    Args:
        params: Matrices (m, n), or groups of them.
        lr: Learning rate before the factor for the shape.
        momentum: Share of the older gradients in the running mean.
        beta2: Share of the older squares in the second moment.
        weight_decay: Decay per step, times the learning rate.

    Raises:
        ValueError: If a parameter is no matrix or a setting is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        beta2: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value, high in (
            ("lr", lr, math.inf),
            ("momentum", momentum, 1),
            ("beta2", beta2, 1),
            ("weight_decay", weight_decay, math.inf),
        ):
            if not 0 <= value < high:
                raise ValueError(f"Muon: {name} is {value}, allowed: 0 to below {high}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "beta2": beta2,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise ValueError(f"Muon: a parameter is {tuple(p.shape)}, want a matrix")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Moves every matrix that has a gradient; gives back the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[tuple[Any, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault((p.shape, p.dtype, p.device), []).append(p)
            for params in by_shape.values():
                self._step(params, group)
        return loss

    def _step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices of one shape, stacked so that each product is one call."""
        rows, columns = params[0].shape
        dim = -1 if rows >= columns else -2
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
                self.state[p]["second"] = torch.zeros_like(p.mean(dim, keepdim=True))
        momentum, beta2 = group["momentum"], group["beta2"]
        buffers = [self.state[p]["momentum"] for p in params]
        grads = [p.grad for p in params if p.grad is not None]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        update = torch.stack(grads).lerp_(torch.stack(buffers), momentum)
        update = _equal_rows(update)
        # bf16 products are what a GPU is fast at; a CPU without AMX is slower in bf16.
        work = torch.bfloat16 if update.is_cuda else torch.float32
        update = orthogonalize(update.to(work)).float()
        update = _with_norm(update, math.sqrt(min(rows, columns)))
        seconds = [self.state[p]["second"] for p in params]
        torch._foreach_lerp_(
            seconds, list(update.square().mean(dim, keepdim=True).unbind()), 1 - beta2
        )
        scaled = update * torch.stack(seconds).clamp(min=1e-30).rsqrt()
        update = _with_norm(scaled, torch.linalg.matrix_norm(update, keepdim=True))
        lr = group["lr"] * math.sqrt(max(1.0, rows / columns))
        for p, u in zip(params, update.unbind(), strict=True):
            if group["weight_decay"]:
                u = u.addcmul(p, u * p >= 0, value=group["weight_decay"])
            p.sub_(u, alpha=lr)


def _equal_rows(x: Tensor) -> Tensor:
    """Every row at the mean norm of the rows; rows of zeros stay."""
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    equal: Tensor = x * (norms.mean(-2, keepdim=True) / norms.clamp(min=1e-30))
    return equal


def _with_norm(x: Tensor, norm: float | Tensor) -> Tensor:
    """Every matrix at this Frobenius norm; matrices of zeros stay."""
    own = torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-30)
    scaled: Tensor = x * (norm / own)
    return scaled
