"""Rows of a table, with a gradient that has the same bits each time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Order = tuple[Tensor, Tensor]


def sort_ids(ids: Tensor) -> Order:
    """The ids in rising order and the flat positions they stood at; shared by all tables."""
    ordered, positions = torch.sort(ids.flatten(), stable=True)
    return ordered, positions


def embedding(ids: Tensor, weight: Tensor, *, order: Order | None = None) -> Tensor:
    """The table's rows at `ids`, (..., d).

    The gradient of a row is the float32 sum over its positions in their order, whatever the
    number of threads; atomic additions on a GPU would change from run to run.

    Args:
        ids: (...), integers below the number of rows.
        weight: (v, d).
        order: What `sort_ids(ids)` gave, if it is at hand.

    Raises:
        ValueError: If the table is no matrix.
    """
    if weight.dim() != 2:
        raise ValueError(f"embedding: weight {tuple(weight.shape)}, want (v, d)")
    ordered, positions = (None, None) if order is None else order
    rows: Tensor = _Rows.apply(ids, weight, ordered, positions)
    return rows


def reference(ids: Tensor, weight: Tensor, *, order: Order | None = None) -> Tensor:
    """The definition, differentiated by autograd; `order` changes nothing."""
    return weight.index_select(0, ids.flatten()).view(*ids.shape, weight.shape[1])


def segment_sums(grad: Tensor, order: Order, num_rows: int) -> Tensor:
    """The gradient of a table of `num_rows` rows, (num_rows, d), in float32 or wider.

    Args:
        grad: (n, d), gradient of the row at each position.
        order: Sorted ids and their positions.
        num_rows: Rows of the table.
    """
    ordered, positions = order
    edges = torch.arange(num_rows + 1, device=grad.device, dtype=ordered.dtype)
    lengths = torch.searchsorted(ordered, edges).diff()
    wide = grad[positions].to(torch.promote_types(grad.dtype, torch.float32))
    return torch.segment_reduce(wide, "sum", lengths=lengths, axis=0, unsafe=True, initial=0)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ids: Tensor, weight: Tensor, ordered: Tensor | None, positions: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(ids, ordered, positions)
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return torch.nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        ids, ordered, positions = ctx.saved_tensors
        num_rows, width = ctx.shape
        grad = grad.reshape(-1, width)
        if grad.device.type == "cpu":
            # The CPU's own backward adds in the order of the positions already, without a sort.
            wide = grad.to(torch.promote_types(grad.dtype, torch.float32))
            sums = torch.ops.aten.embedding_dense_backward(wide, ids.flatten(), num_rows, -1, False)
            return None, sums.to(ctx.dtype), None, None
        order = sort_ids(ids) if ordered is None else (ordered, positions)
        return None, segment_sums(grad, order, num_rows).to(ctx.dtype), None, None
