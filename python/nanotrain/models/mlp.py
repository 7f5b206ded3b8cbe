"""The neural probabilistic language model of Bengio et al. (2003).

The embeddings of the last `context` ids, joined, go through one tanh layer and a linear head.
Shapes: `b` batch, `t` time, `d` width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nanotrain.models.base import LanguageModel
from nanotrain.models.cache import IdsCache
from nanotrain.models.parts import Linear, Table
from nanotrain.optim.groups import Roles
from nanotrain.schema import Model


class BengioMLP(LanguageModel):
    """A window of embeddings, one hidden layer, a head with bias."""

    def __init__(self, config: Model, row_tokens: int, compute_dtype: torch.dtype) -> None:
        super().__init__(config, row_tokens, compute_dtype)
        self.embedding = Table(config.vocab_size, config.width)
        self.hidden = Linear(config.context * config.width, config.width)
        self.head = Linear(config.width, config.vocab_size, bias=True)

    def make_cache(self, batch: int, max_tokens: int) -> IdsCache:
        """The ids within the window; any number of rows and tokens."""
        return IdsCache(self.config.context - 1)

    def features(self, ids_bt: Tensor, cache: IdsCache | None = None) -> Tensor:
        """The hidden layer, (b, t, d); positions before the first id count as zeros."""
        time, context = ids_bt.shape[1], self.config.context
        ids_bt = ids_bt if cache is None else cache.extend(ids_bt)
        x_btd = functional.pad(self.embedding(ids_bt, self.compute_dtype), (0, 0, context - 1, 0))
        windows = x_btd.unfold(1, context, 1).transpose(2, 3).flatten(2)
        return torch.tanh(self.hidden(windows[:, -time:]))

    def head_weight(self) -> Tensor:
        """(v, d + 1), the bias in the last column."""
        return self.head.weight_and_bias()

    def roles(self) -> Roles:
        """Parameters by what they are for."""
        vectors = [] if self.head.bias is None else [self.head.bias]
        matrices: list[nn.Parameter] = [self.hidden.weight]
        return {
            "embedding": [self.embedding.weight],
            "head": [self.head.weight],
            "matrix": matrices,
            "vector": vectors,
        }
