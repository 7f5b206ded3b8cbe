"""Textbook definitions of what a language model is made of, on any leading dimensions.

They are written to be read and to be compared with; the trainer itself uses `nanotrain.kernels`.
Shapes: `...` any leading dimensions, `t` time, `e` head width, `q` queries, `k` keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Products x W^T + bias, (..., out), for x (..., in) and weight (out, in)."""
    y = x @ weight.mT
    return y if bias is None else y + bias


def embedding(ids: Tensor, weight: Tensor) -> Tensor:
    """The rows of weight (vocab, width) at ids (...), (..., width)."""
    return weight[ids]


def rms_norm(x: Tensor, weight: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    """The vector x over the root of its mean square plus eps along the last dimension.

    Computed in float32 or wider, given back in the type of `x`.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (y if weight is None else y * weight).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """The product of x and its sigmoid."""
    return x * torch.sigmoid(x)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """exp(x) over its sum along `dim`; the maximum is taken off first, so nothing overflows."""
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def swiglu(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> Tensor:
    """W2 (silu(W1 x) * W3 x), (..., width); w1, w3 (hidden, width), w2 (width, hidden)."""
    return linear(silu(linear(x, w1)) * linear(x, w3), w2)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood of targets (...) under logits (..., vocab), in nats.

    Args:
        logits: (..., vocab).
        targets: (...), ids.
        ignore_index: Target of positions that do not count; the mean is over the others.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: If the reduction is unknown.
    """
    kept = targets != ignore_index
    shifted = logits - logits.amax(-1, keepdim=True)
    log_sum = torch.exp(shifted).sum(-1).log()
    chosen = shifted.gather(-1, torch.where(kept, targets, 0)[..., None])[..., 0]
    losses = torch.where(kept, log_sum - chosen, 0)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.sum() / kept.sum().clamp(min=1)
    raise ValueError(f"reduction is {reduction!r}, allowed: mean, sum, none")


def rope(
    x: Tensor, positions: Tensor, *, theta: float = 10_000.0, interleaved: bool = False
) -> Tensor:
    """The vectors x (..., t, e), each pair turned by position / theta^(2 i / e) (Su et al. 2021).

    Args:
        x: (..., t, e), e even.
        positions: (t,) or (..., t).
        theta: Base of the frequencies.
        interleaved: Pairs are (2 i, 2 i + 1) instead of (i, i + e/2).
    """
    half = x.shape[-1] // 2
    wide = torch.promote_types(x.dtype, torch.float32)
    exponents = torch.arange(half, device=x.device, dtype=wide) / half
    angles = positions[..., None].to(wide) * theta**-exponents
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    parts = (a * cos - b * sin, a * sin + b * cos)
    return torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """softmax(q k^T / sqrt(e)) v, (..., q, c), over the keys where mask (..., q, k) is True."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return softmax(scores) @ v


def multihead_attention(
    x: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    wo: Tensor,
    *,
    num_heads: int,
    num_kv_heads: int | None = None,
    positions: Tensor | None = None,
    theta: float = 10_000.0,
    interleaved: bool = False,
) -> Tensor:
    """Causal self-attention of x (..., t, width), (..., t, width).

    Args:
        x: (..., t, width).
        wq: (num_heads e, width).
        wk: (num_kv_heads e, width), as `wv`.
        wv: See `wk`.
        wo: (width, num_heads e).
        num_heads: Query heads.
        num_kv_heads: Key and value heads; query head i reads head i // (num_heads / this).
        positions: (t,) positions for `rope` on queries and keys; None for no rotation.
        theta: Base of the rotation.
        interleaved: Pairs of the rotation.

    Raises:
        ValueError: If the key heads do not divide the query heads.
    """
    num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    if num_heads % num_kv_heads:
        raise ValueError(f"{num_kv_heads} key heads do not divide {num_heads} query heads")
    # (..., heads, t, e)
    q, k, v = (
        linear(x, weight).view(*x.shape[:-1], heads, -1).transpose(-3, -2)
        for weight, heads in ((wq, num_heads), (wk, num_kv_heads), (wv, num_kv_heads))
    )
    if positions is not None:
        q, k = (rope(y, positions, theta=theta, interleaved=interleaved) for y in (q, k))
    k, v = (y.repeat_interleave(num_heads // num_kv_heads, -3) for y in (k, v))
    time = x.shape[-2]
    mask = torch.ones(time, time, dtype=torch.bool, device=x.device).tril()
    heads = scaled_dot_product_attention(q, k, v, mask)
    return linear(heads.transpose(-3, -2).flatten(-2), wo)


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """The gradients' joint norm before they are scaled, in place, to at most `max_norm`.

    Parameters without a gradient are passed over. As in PyTorch the factor is
    max_norm / (norm + 1e-6), never above 1.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros(())
    norms = [torch.linalg.vector_norm(grad) for grad in grads]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms]))
    factor = (max_norm / (norm + 1e-6)).clamp(max=1)
    for grad in grads:
        grad.mul_(factor.to(grad.device, grad.dtype))
    return norm


def cosine_with_warmup(
    step: int, *, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int
) -> float:
    """The learning rate at a step: up linearly, then half a cosine that ends at `total_steps`."""
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    if step >= total_steps:
        return min_lr
    part = (step - warmup_steps) / (total_steps - warmup_steps)
    return min_lr + (max_lr - min_lr) * 0.5 * (1 + math.cos(math.pi * part))


def sample_windows(
    tokens: np.ndarray | Sequence[int],
    rows: int,
    length: int,
    *,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each int64 (rows, length), from uniformly drawn places in `tokens`.

    Args:
        tokens: One long sequence of ids; only the windows drawn are read.
        rows: Windows to draw, with replacement.
        length: Tokens per window; the targets stand one further on.
        generator: Source of randomness on the CPU.
        device: Where the tensors end up.

    Raises:
        ValueError: If the tokens hold no window and its target.
    """
    tokens = np.asarray(tokens)
    if len(tokens) <= length:
        raise ValueError(f"{len(tokens)} tokens hold no window of {length} and one to predict")
    starts = torch.randint(len(tokens) - length, (rows,), generator=generator).numpy()
    windows = tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    both = torch.from_numpy(windows).to(device)
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()
