"""The feed-forward layer relu(x W_in^T)^2 W_out^T."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def relu2_mlp(x: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
    """The layer's output, (..., d).

    Args:
        x: (..., d).
        w_in: (f, d), cast to the type of `x`.
        w_out: (d, f), cast to the type of `x`.

    Raises:
        ValueError: If shapes do not fit.
    """
    hidden, width = w_in.shape[0], x.shape[-1]
    if w_in.shape != (hidden, width) or w_out.shape != (width, hidden):
        raise ValueError(
            f"relu2_mlp: x {tuple(x.shape)}, w_in {tuple(w_in.shape)}, w_out"
            f" {tuple(w_out.shape)} do not fit"
        )
    return reference(x, w_in, w_out)


def reference(x: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
    """The definition, differentiated by autograd.

    relu keeps its result and the square its argument, which is the same tensor: one activation of
    the hidden width is saved, and the squares for the second product.
    """
    hidden = functional.linear(x, w_in.to(x.dtype)).relu()
    return functional.linear(hidden.square(), w_out.to(x.dtype))
