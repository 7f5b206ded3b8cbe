"""The polynomial b A + c A A of Muon's iteration."""

from __future__ import annotations

import torch
from torch import Tensor


def ba_plus_caa(a: Tensor, b: float, c: float) -> Tensor:
    """The matrix b A + c A A; forward only.

    Args:
        a: (..., m, m), symmetric.
        b: Factor of A.
        c: Factor of A A.

    Raises:
        ValueError: If the matrix is not square.
    """
    if a.dim() < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"ba_plus_caa: a {tuple(a.shape)}, want (..., m, m)")
    if a.dim() == 2:
        return torch.addmm(a, a, a, beta=b, alpha=c)
    batch = a.flatten(0, -3)
    return torch.baddbmm(batch, batch, batch, beta=b, alpha=c).view_as(a)


def reference(a: Tensor, b: float, c: float) -> Tensor:
    """The definition."""
    return b * a + c * (a @ a)
