"""What every model family shares: the loss, its counts and its parameter groups.

Shapes: `b` batch, `t` time, `d` width, `v` vocab.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nanotrain import accounting, kernels
from nanotrain.optim.groups import Group, Roles, parameter_groups
from nanotrain.schema import Model, Optim


class LanguageModel(nn.Module):
    """Ids in, logits or loss out. A family gives `features`, `head_weight` and `roles`.

    Attributes:
        config: The [model] section.
        row_tokens: Context length T that the model was built for.
        compute_dtype: Type of activations; weights stay float32 and are cast where they are used.
    """

    def __init__(self, config: Model, row_tokens: int, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        self.row_tokens = row_tokens
        self.compute_dtype = compute_dtype

    def features(self, ids_bt: Tensor, cache: Any = None) -> Tensor:
        """The last hidden state, (b, t, d), in the compute type."""
        raise NotImplementedError

    def head_weight(self) -> Tensor:
        """(v padded, d), or (v, d + 1) where the last column is a bias."""
        raise NotImplementedError

    def roles(self) -> Roles:
        """Parameters by what they are for (see `optim.groups`); every one exactly once."""
        raise NotImplementedError

    def make_cache(self, batch: int, max_tokens: int) -> Any:
        """State for decoding up to `max_tokens` ids in each of `batch` rows."""
        raise NotImplementedError

    def forward(
        self,
        ids_bt: Tensor,
        targets_bt: Tensor | None = None,
        *,
        reduction: str = "mean",
        cache: Any = None,
    ) -> Tensor:
        """Logits (b, t, v) in float32, or the loss of `targets_bt` in nats.

        Args:
            ids_bt: (b, t) ids; with a cache, those that follow the ids it has seen.
            targets_bt: (b, t) ids, -100 where a position does not count.
            reduction: "mean", "sum" or "none" (one loss per position).
            cache: From `make_cache`; it is moved on by these ids.
        """
        x_btd = self.features(ids_bt, cache)
        weight, vocab = self.head_weight(), self.config.vocab_size
        if weight.shape[1] > x_btd.shape[-1]:
            x_btd = torch.cat((x_btd, x_btd.new_ones(*x_btd.shape[:-1], 1)), -1)
        if targets_bt is not None:
            return kernels.linear_cross_entropy(
                x_btd,
                weight,
                targets_bt,
                softcap=self.config.softcap,
                vocab_size=vocab,
                reduction=reduction,
            )
        logits_btv = (x_btd @ weight[:vocab].to(x_btd.dtype).mT).float()
        softcap = self.config.softcap
        return logits_btv if softcap is None else softcap * torch.tanh(logits_btv / softcap)

    def num_parameters(self) -> int:
        """All parameters, padding rows of the token tables included."""
        return sum(p.numel() for p in self.parameters())

    def scaling_parameters(self) -> int:
        """Block matrices and head, which the horizon is a multiple of."""
        return accounting.scaling_parameters(self.config)

    def flops_per_token(self) -> int:
        """Floating-point operations per token of a training step."""
        return accounting.flops_per_token(self.config, self.row_tokens)

    def parameter_groups(self, optim: Optim) -> list[Group]:
        """The groups for `optim.optimizers`."""
        return parameter_groups(self.roles(), optim, self.config.width)
