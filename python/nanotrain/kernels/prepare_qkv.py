"""What happens to queries, keys and values between projection and attention."""

from __future__ import annotations

import torch
from torch import Tensor

from nanotrain.kernels.choice import EPS
from nanotrain.kernels.rms_norm import reference as _rms_reference
from nanotrain.kernels.rms_norm import rms_norm


def prepare_qkv(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    value_rows: Tensor | None = None,
    gate: Tensor | None = None,
    norm: bool = True,
    scale: float = 1.2,
    eps: float = EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys rotated, normed and scaled; values with their gated token rows added.

    Args:
        q: (b, t, h, e), any strides.
        k: (b, t, g, e), as `v`.
        v: (b, t, g, e).
        cos: (t, e/2) or (b, t, e/2) of the rotation angles, constant.
        sin: As `cos`.
        value_rows: (b, t, g, e), added 3 sigmoid(gate) times to the values.
        gate: (b, t, g) logits; given exactly when `value_rows` is.
        norm: Whether to rms-normalise queries and keys after the rotation.
        scale: Factor of queries and keys.
        eps: Added to the mean square.

    Raises:
        ValueError: If shapes do not fit.
    """
    _check(q, k, v, cos, sin, value_rows, gate)
    parts = []
    for x in (q, k):
        x = _turned(x, cos, sin)
        x = rms_norm(x, eps=eps) if norm else x
        parts.append(x if scale == 1 else x * scale)
    return parts[0], parts[1], _gated(v, value_rows, gate)


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    value_rows: Tensor | None = None,
    gate: Tensor | None = None,
    norm: bool = True,
    scale: float = 1.2,
    eps: float = EPS,
) -> tuple[Tensor, Tensor, Tensor]:
    """The definition, differentiated by autograd."""
    q, k = _turned(q, cos, sin), _turned(k, cos, sin)
    if norm:
        q, k = _rms_reference(q, eps=eps), _rms_reference(k, eps=eps)
    return q * scale, k * scale, _gated(v, value_rows, gate)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs (i, i + e/2) turned by their angle: (a, b) -> (a cos - b sin, a sin + b cos)."""
    cos, sin = cos.to(x.dtype).unsqueeze(-2), sin.to(x.dtype).unsqueeze(-2)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


def _gated(v: Tensor, value_rows: Tensor | None, gate: Tensor | None) -> Tensor:
    if value_rows is None or gate is None:
        return v
    return v + 3 * torch.sigmoid(gate).unsqueeze(-1) * value_rows


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    value_rows: Tensor | None,
    gate: Tensor | None,
) -> None:
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    batch, time, _, width = q.shape
    if k.shape != v.shape or (k.shape[:2], k.shape[3]) != ((batch, time), width) or width % 2:
        raise ValueError(f"prepare_qkv: {shapes} do not fit")
    tables = ((time, width // 2), (batch, time, width // 2))
    if cos.shape != sin.shape or tuple(cos.shape) not in tables:
        raise ValueError(
            f"prepare_qkv: cos {tuple(cos.shape)}, sin {tuple(sin.shape)}, want {tables[0]} or"
            f" {tables[1]}"
        )
    if (value_rows is None) != (gate is None):
        raise ValueError("prepare_qkv: value_rows and gate are given together or not at all")
    if value_rows is None or gate is None:
        return
    if value_rows.shape != v.shape or gate.shape != v.shape[:3]:
        raise ValueError(
            f"prepare_qkv: value_rows {tuple(value_rows.shape)} and gate"
            f" {tuple(gate.shape)} do not fit v {tuple(v.shape)}"
        )
