"""The orthogonal factor of a matrix by five matrix polynomials (Amsel et al. 2025, Polar Express).

Each step maps the singular values s in [l, u] to p(s) = a s + b s^3 + c s^5. The best p is the
odd quintic nearest to 1 on the interval: it equioscillates, so it stands 1 - E, 1 + E, 1 - E,
1 + E at l, at its two inner extremes and at u (arXiv:2505.16932, theorem 3.1). The next interval is
[1 - E, 1 + E]. Composing greedy best steps is the best composition of their degree.

Two changes make it safe in bf16, where the bare composition let singular values reach 3: the
interval of a step starts no lower than 0.02 u, which keeps its polynomial from being as steep, and
every step but the last reads its argument 1 % smaller, so that rounding cannot carry a value out
of the interval. Singular values end within 1 +- 0.131 in exact arithmetic, 0.134 in bf16.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from nanotrain import kernels

# Smallest singular value, of a largest of 1, that five steps bring into the band.
_LOWER = 1e-3
_CUSHION = 0.02
_SAFETY = 1.01


@functools.cache
def coefficients(steps: int = 5, lower: float = _LOWER) -> tuple[tuple[float, float, float], ...]:
    """(a, b, c) of each step for singular values that start in [lower, 1]."""
    found, low, high = [], lower, 1.0
    for step in range(steps):
        a, b, c, _ = _quintic(max(low, _CUSHION * high), high)
        # Off its interval p sinks below 1 - E at `low`: centre the ends around 1 again.
        centre = (_value(a, b, c, low) + _value(a, b, c, high)) / 2
        a, b, c = a / centre, b / centre, c / centre
        if step < steps - 1:
            a, b, c = a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5
        low = _value(a, b, c, low)
        high = 2 - low
        found.append((a, b, c))
    return tuple(found)


def _value(a: float, b: float, c: float, x: float) -> float:
    return a * x + b * x**3 + c * x**5


def _quintic(low: float, high: float) -> tuple[float, float, float, float]:
    """The odd quintic nearest to 1 on [low, high] and its error, by Remez exchange."""
    inner = np.array([(3 * low + high) / 4, (low + 3 * high) / 4])
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    for _ in range(100):
        x = np.array([low, *inner, high])
        a, b, c, error = np.linalg.solve(np.stack([x, x**3, x**5, signs], 1), np.ones(4))
        root = math.sqrt(9 * b * b - 20 * a * c)
        extremes = np.sqrt(np.array([-3 * b - root, -3 * b + root]) / (10 * c))
        moved = np.abs(extremes - inner).max()
        inner = extremes
        if moved < 1e-13:
            break
    # Twelve digits: the last ones of a linear solve differ between machines.
    return round(float(a), 12), round(float(b), 12), round(float(c), 12), float(error)


def orthogonalize(x: Tensor) -> Tensor:
    """U V^T of x = U S V^T to about 13 % in each singular value, in the type of `x`.

    A matrix of zeros stays zero. Costs three products over the smaller side per step.

    Args:
        x: (..., m, n), every matrix by itself.
    """
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    norm = torch.linalg.matrix_norm(x, keepdim=True, dtype=torch.float32)
    x = x / (norm * _SAFETY).clamp(min=1e-30).to(x.dtype)
    for a, b, c in coefficients():
        gram = kernels.xxt(x)
        x = a * x + kernels.ba_plus_caa(gram, b, c) @ x
    return x.mT if tall else x
