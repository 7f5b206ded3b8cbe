"""Output head and cross-entropy in one, without ever holding all logits.

The rows go through the head in chunks. Where a gradient is wanted and the loss is one number, the
gradients of input and weight are made right there, while the chunk's logits exist: the backward
pass is then a multiplication by the incoming number. At 32,768 ids, 16,384 rows of float32 logits
and their gradient would be 4 GiB; a chunk of them is 16 MiB.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**27}


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    vocab_size: int | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    token_weights: Tensor | None = None,
    chunk_rows: int | None = None,
) -> Tensor:
    """The cross-entropy of `targets` under the logits x W^T, in nats, float32 or wider.

    Args:
        x: (..., d).
        weight: (v, d), cast to the type of `x`.
        targets: (...), ids. `ignore_index` marks rows that do not count; any other id outside the
            vocabulary makes its row NaN.
        softcap: c of c tanh(z / c) over the logits; None for none.
        vocab_size: Ids from here on are padding and not in the softmax; None for no padding.
        ignore_index: See `targets`.
        reduction: "mean" divides by the sum of the counted rows' weights and is 0 if there is
            none, "sum", or "none" for one loss per row, (...).
        token_weights: (...) factors of the rows' losses, constant; None for 1.
        chunk_rows: Rows whose logits exist at a time; None to choose.

    Raises:
        ValueError: If shapes do not fit or the reduction is unknown.
    """
    _check(x, weight, targets, vocab_size, reduction, token_weights)
    rows = x.reshape(-1, x.shape[-1])
    flat = targets.reshape(-1)
    counts = _counts(flat, ignore_index, token_weights, _wide(x))
    differentiate = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    vocab = weight.shape[0] if vocab_size is None else vocab_size
    if chunk_rows is None:
        chunk_rows = max(1, _CHUNK_LOGITS.get(x.device.type, 2**22) // vocab)
    if reduction == "none" and differentiate:
        # The rows' incoming gradients are not known yet, so autograd keeps the logits.
        losses = _row_losses(rows, weight[:vocab], flat, softcap) * counts
        return torch.where(flat == ignore_index, 0, losses).view(targets.shape)
    if reduction == "none":
        parts = [
            _row_losses(r, weight[:vocab], t, softcap)
            for r, t in zip(
                torch.split(rows, chunk_rows), torch.split(flat, chunk_rows), strict=True
            )
        ]
        losses = torch.cat(parts) if parts else rows.new_zeros(0, dtype=_wide(x))
        return torch.where(flat == ignore_index, 0, losses * counts).view(targets.shape)
    if reduction == "mean":
        total = counts.sum()
        counts = counts / torch.where(total == 0, 1, total)
    loss: Tensor = _ChunkedLoss.apply(
        rows, weight, flat, counts, ignore_index, softcap, vocab, chunk_rows, differentiate
    )
    return loss


def reference(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    vocab_size: int | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    token_weights: Tensor | None = None,
    chunk_rows: int | None = None,
) -> Tensor:
    """The definition over all logits at once, differentiated by autograd."""
    counts = _counts(targets, ignore_index, token_weights, _wide(x))
    losses = _row_losses(x, weight[:vocab_size], targets, softcap) * counts
    losses = torch.where(targets == ignore_index, 0, losses)
    if reduction == "none":
        return losses
    total = counts.sum()
    return losses.sum() / torch.where(total == 0, 1, total) if reduction == "mean" else losses.sum()


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _counts(
    targets: Tensor, ignore_index: int, token_weights: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """What each row counts: its weight, or 0 where it is ignored."""
    kept = targets != ignore_index
    if token_weights is None:
        return kept.to(dtype)
    return torch.where(kept, token_weights.detach().reshape(targets.shape).to(dtype), 0)


def _row_losses(x: Tensor, weight: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    """Loss of each row; NaN for ids outside the vocabulary, `ignore_index` among them."""
    z = (x @ weight.to(x.dtype).mT).to(_wide(x))
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    valid = (targets >= 0) & (targets < weight.shape[0])
    z_target = z.gather(-1, torch.where(valid, targets, 0)[..., None])[..., 0]
    return torch.where(valid, torch.logsumexp(z, -1) - z_target, float("nan"))


class _ChunkedLoss(torch.autograd.Function):
    """Sum of the rows' losses times `counts`, and its gradients, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        targets: Tensor,
        counts: Tensor,
        ignore_index: int,
        softcap: float | None,
        vocab: int,
        chunk_rows: int,
        differentiate: bool,
    ) -> Tensor:
        wide = counts.dtype
        w = weight[:vocab].to(x.dtype)
        loss = counts.new_zeros(())
        dx = torch.empty_like(x) if differentiate else None
        dw = torch.zeros(weight.shape, dtype=wide, device=x.device) if differentiate else None
        for start in range(0, x.shape[0], chunk_rows):
            rows = slice(start, start + chunk_rows)
            x_c, t, count = x[rows], targets[rows], counts[rows]
            z = (x_c @ w.mT).to(wide)
            slope = None
            if softcap is not None:
                z.div_(softcap).tanh_()
                slope = 1 - z.square() if differentiate else None
                z.mul_(softcap)
            valid = (t >= 0) & (t < vocab)
            index = torch.where(valid, t, 0)[:, None]
            lse = torch.logsumexp(z, -1, keepdim=True)
            # An id outside the vocabulary poisons its row, in the loss and in the gradient.
            count = torch.where(valid | (t == ignore_index), count, float("nan"))
            loss = loss + ((lse - z.gather(1, index))[:, 0] * count).sum()
            if dx is None or dw is None:
                continue
            dz = z.sub_(lse).exp_()
            dz.scatter_add_(1, index, dz.new_full((), -1).expand(index.shape))
            dz.mul_(count[:, None])
            if slope is not None:
                dz.mul_(slope)
            dz = dz.to(x.dtype)
            dx[rows] = dz @ w
            dw[:vocab] += dz.mT @ x_c
        if dx is not None and dw is not None:
            ctx.save_for_backward(dx, dw.to(weight.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        return dx * grad.to(dx.dtype), dw * grad.to(dw.dtype), *[None] * 7


def _check(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    vocab_size: int | None,
    reduction: str,
    token_weights: Tensor | None,
) -> None:
    if weight.dim() != 2 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear_cross_entropy: x {tuple(x.shape)} and weight {tuple(weight.shape)} do not fit"
        )
    if targets.shape != x.shape[:-1]:
        raise ValueError(
            f"linear_cross_entropy: targets {tuple(targets.shape)}, want {tuple(x.shape[:-1])}"
        )
    if token_weights is not None and token_weights.shape != targets.shape:
        raise ValueError(
            f"linear_cross_entropy: token_weights {tuple(token_weights.shape)}, want"
            f" {tuple(targets.shape)}"
        )
    if vocab_size is not None and not 0 < vocab_size <= weight.shape[0]:
        raise ValueError(
            f"linear_cross_entropy: vocab_size is {vocab_size}, allowed: 1 to {weight.shape[0]}"
        )
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f"linear_cross_entropy: reduction is {reduction!r}, allowed: mean, sum, none"
        )
