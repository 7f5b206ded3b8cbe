"""Causal attention with an optional window and grouped heads."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None, scale: float | None = None
) -> Tensor:
    """Each query's mean of the values it sees, (b, t, h, e).

    Query i sees key j where 0 <= i - j <= window. Full windows go to the backend that PyTorch
    chooses for causal attention, shorter ones through a mask.

    Args:
        q: (b, t, h, e).
        k: (b, t, g, e), g a divisor of h; head i reads key head i // (h / g).
        v: (b, t, g, e).
        window: How many positions back a query sees; None for all.
        scale: Factor of the scores, e^-0.5 if None.

    Raises:
        ValueError: If shapes do not fit.
    """
    batch, time, heads, width = q.shape
    groups = k.shape[2] if k.dim() == 4 else 0
    if k.shape != v.shape or k.shape != (batch, time, groups, width) or heads % max(groups, 1):
        raise ValueError(
            f"attention: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} do not fit"
        )
    if window is not None and window < 0:
        raise ValueError(f"attention: window is {window}, allowed: 0 and more")
    # A window that reaches the first key from the last query hides nothing.
    mask = None if window is None or window >= time - 1 else _band(time, window, q.device)
    out = functional.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=groups != heads,
    )
    return out.transpose(1, 2)


def reference(
    q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None, scale: float | None = None
) -> Tensor:
    """The definition, differentiated by autograd; scores in float32 or wider."""
    time, repeats = q.shape[1], q.shape[2] // k.shape[2]
    wide = torch.promote_types(q.dtype, torch.float32)
    k, v = (x.repeat_interleave(repeats, 2).to(wide) for x in (k, v))
    scores = torch.einsum("bihe,bjhe->bhij", q.to(wide), k)
    scores = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    seen = _band(time, time if window is None else window, q.device)
    weights = torch.softmax(scores.masked_fill(~seen, -math.inf), -1)
    return torch.einsum("bhij,bjhe->bihe", weights, v).to(q.dtype)


def _band(time: int, window: int, device: torch.device) -> Tensor:
    """(t, t), True where the query of the row sees the key of the column."""
    position = torch.arange(time, device=device)
    back = position[:, None] - position
    return (back >= 0) & (back <= window)
