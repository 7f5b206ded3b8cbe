"""Root-mean-square normalisation of the last dimension, in float32 inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nanotrain.kernels.choice import EPS


def rms_norm(x: Tensor, weight: Tensor | None = None, *, eps: float = EPS) -> Tensor:
    """The rows of `x` divided by their root mean square, in the type of `x`.

    Args:
        x: (..., d).
        weight: (d,) factors, or None for none.
        eps: Added to the mean square.

    Raises:
        ValueError: If the weight does not have the width of `x`.
    """
    if weight is not None and weight.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: weight {tuple(weight.shape)}, want {tuple(x.shape[-1:])}")
    y: Tensor = _Normed.apply(x, eps)
    return y if weight is None else y * weight.to(y.dtype)


def reference(x: Tensor, weight: Tensor | None = None, *, eps: float = EPS) -> Tensor:
    """The definition, differentiated by autograd."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)
    return y if weight is None else y * weight.to(y.dtype)


class _Normed(torch.autograd.Function):
    """y = x r, r = 1 / rms(x). With g the gradient of y, dx = r (g - y mean(g y)).

    It keeps x and one number a row where autograd keeps three tensors of the size of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        r = torch.rsqrt(norm.square() / x.shape[-1] + eps)
        ctx.save_for_backward(x, r)
        y = wide * r
        # Compiled by torch 2.11, a result behind a cast to its own type has no gradient.
        return y if y.dtype == x.dtype else y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, r = ctx.saved_tensors
        y = x * r
        g = grad.to(r.dtype)
        dot = (g * y).mean(-1, keepdim=True)
        return torch.addcmul(g, y, dot, value=-1).mul_(r).to(x.dtype), None
