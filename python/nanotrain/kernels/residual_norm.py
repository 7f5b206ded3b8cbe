"""The residual stream's update and the norm that follows it."""

from __future__ import annotations

from torch import Tensor

from nanotrain.kernels.choice import EPS
from nanotrain.kernels.rms_norm import reference as _rms_reference
from nanotrain.kernels.rms_norm import rms_norm


def residual_norm(
    x: Tensor,
    y: Tensor | None = None,
    *,
    x0: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, Tensor]:
    """The stream a (x + y) + b x0 and its rms norm.

    Args:
        x: (..., d), the stream.
        y: (..., d), what a layer adds; None for nothing.
        x0: (..., d), the stream's first value, mixed in with `b`.
        a: 0-d factor of the stream; None for 1.
        b: 0-d factor of `x0`; given exactly when `x0` is.
        weight: (d,) factors of the norm.
        eps: Added to the mean square.

    Raises:
        ValueError: If shapes do not fit, or one of `x0` and `b` is given without the other.
    """
    for name, other in (("y", y), ("x0", x0)):
        if other is not None and other.shape != x.shape:
            raise ValueError(
                f"residual_norm: {name} {tuple(other.shape)} does not fit x {tuple(x.shape)}"
            )
    if (x0 is None) != (b is None):
        raise ValueError("residual_norm: x0 and b are given together or not at all")
    residual = _mix(x, y, x0, a, b)
    return residual, rms_norm(residual, weight, eps=eps)


def reference(
    x: Tensor,
    y: Tensor | None = None,
    *,
    x0: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    weight: Tensor | None = None,
    eps: float = EPS,
) -> tuple[Tensor, Tensor]:
    """The definition, differentiated by autograd."""
    residual = _mix(x, y, x0, a, b)
    return residual, _rms_reference(residual, weight, eps=eps)


def _mix(
    x: Tensor, y: Tensor | None, x0: Tensor | None, a: Tensor | None, b: Tensor | None
) -> Tensor:
    residual = x if y is None else x + y
    if a is not None:
        residual = a.to(x.dtype) * residual
    if x0 is not None and b is not None:
        residual = residual + b.to(x.dtype) * x0
    return residual
