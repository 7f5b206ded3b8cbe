"""AdamW (Loshchilov & Hutter 2019): PyTorch's own fused steps under this package's signature."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class AdamW(torch.optim.AdamW):
    """AdamW that moves all parameters of a group in one fused call.

    Args:
        params: Parameters, or groups of them with settings of their own.
        lr: Learning rate.
        betas: Shares of the older gradients and squares in their running means.
        eps: Added to the root of the squares.
        weight_decay: Decay per step, times the learning rate.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, fused=True)
