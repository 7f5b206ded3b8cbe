"""The symmetric product X X^T of Muon's iteration."""

from __future__ import annotations

from torch import Tensor


def xxt(x: Tensor) -> Tensor:
    """X X^T, (..., m, m), equal to its transpose to the bit; forward only.

    Args:
        x: (..., m, n).

    Raises:
        ValueError: If `x` is no matrix.
    """
    if x.dim() < 2:
        raise ValueError(f"xxt: x {tuple(x.shape)}, want (..., m, n)")
    return reference(x)


def reference(x: Tensor) -> Tensor:
    """The definition; the lower triangle stands for both, whose roundings may differ."""
    product = x @ x.mT
    return product.tril() + product.tril(-1).mT
