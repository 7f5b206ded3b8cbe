"""Linear layers, tables and norms that compute in the type of their input.

Weights are float32 masters without values; `initialize.py` fills them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from nanotrain import kernels

Norm = Literal["rms", "rms_weight", "layernorm", "none"]
# Norms with weights divide by sqrt(x^2 + 1e-5), as GPT-2 and LLaMA do.
_WEIGHTED_EPS = 1e-5


class Linear(nn.Module):
    """x W^T + bias with W cast to the type of x."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., outputs) for x (..., inputs)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, self.weight.to(x.dtype), bias)

    def weight_and_bias(self) -> Tensor:
        """(outputs, inputs + 1): the weight with the bias as its last column."""
        if self.bias is None:
            return self.weight
        return torch.cat((self.weight, self.bias[:, None]), 1)


class Table(nn.Module):
    """A row per id."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """(..., width) in the given type for ids (...)."""
        return kernels.embedding(ids, self.weight).to(dtype)


class Normalize(nn.Module):
    """The norm of a kind over the last dimension; identity for "none"."""

    def __init__(self, kind: Norm, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.kind = kind
        weighted = kind in ("rms_weight", "layernorm")
        self.weight = nn.Parameter(torch.ones(width)) if weighted else None
        has_bias = bias and kind == "layernorm"
        self.bias = nn.Parameter(torch.zeros(width)) if has_bias else None

    @property
    def eps(self) -> float:
        """What is added to the mean square or variance."""
        return kernels.EPS if self.weight is None else _WEIGHTED_EPS

    def forward(self, x: Tensor) -> Tensor:
        """The normed x, in its shape and type."""
        if self.kind == "none":
            return x
        if self.kind != "layernorm":
            return kernels.rms_norm(x, self.weight, eps=self.eps)
        weight, bias = (None if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self.eps)

    def after(
        self,
        x: Tensor,
        y: Tensor | None,
        *,
        x0: Tensor | None = None,
        a: Tensor | None = None,
        b: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The stream a (x + y) + b x0 and its norm."""
        if self.kind in ("rms", "rms_weight"):
            return kernels.residual_norm(x, y, x0=x0, a=a, b=b, weight=self.weight, eps=self.eps)
        x = x if y is None else x + y
        if a is not None and b is not None and x0 is not None:
            x = a.to(x.dtype) * x + b.to(x.dtype) * x0
        return x, self(x)
