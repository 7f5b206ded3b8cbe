"""A WaveNet over tokens (van den Oord et al. 2016): gated, dilated, causal convolutions.

The sum of the layers' skip outputs over the last 2^depth steps, flattened, goes through one linear
layer to the head. Shapes: `b` batch, `t` time, `d` channels.
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


class GatedLayer(nn.Module):
    """tanh(filter) sigmoid(gate) of x and of x `dilation` steps back; residual and skip."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        # A causal convolution of kernel 2 is a linear layer over two joined steps.
        self.filter = Linear(2 * width, width, bias=True)
        self.gate = Linear(2 * width, width, bias=True)
        self.residual = Linear(width, width, bias=True)
        self.skip = Linear(width, width, bias=True)

    def forward(self, x_btd: Tensor) -> tuple[Tensor, Tensor]:
        """The stream after this layer and the layer's skip output, each (b, t, d)."""
        time = x_btd.shape[1]
        past_btd = functional.pad(x_btd, (0, 0, self.dilation, 0))[:, :time]
        both = torch.cat((past_btd, x_btd), -1)
        z_btd = torch.tanh(self.filter(both)) * torch.sigmoid(self.gate(both))
        return x_btd + self.residual(z_btd), self.skip(z_btd)


class WaveNet(LanguageModel):
    """Dilations 1, 2, 4, ... over the embedding, then the flattened receptive field."""

    def __init__(self, config: Model, row_tokens: int, compute_dtype: torch.dtype) -> None:
        super().__init__(config, row_tokens, compute_dtype)
        self.field = 2**config.depth
        self.embedding = Table(config.vocab_size, config.width)
        self.layers = nn.ModuleList(
            GatedLayer(config.width, 2**layer) for layer in range(config.depth)
        )
        self.flat = Linear(self.field * config.width, config.width, bias=True)
        self.head = Linear(config.width, config.vocab_size, bias=True)

    def make_cache(self, batch: int, max_tokens: int) -> IdsCache:
        """The ids that convolutions and flattening reach back to; any number of rows and tokens."""
        return IdsCache(2 * (self.field - 1))

    def features(self, ids_bt: Tensor, cache: IdsCache | None = None) -> Tensor:
        """The layer before the head, (b, t, d); steps before the first id count as zeros."""
        time = ids_bt.shape[1]
        ids_bt = ids_bt if cache is None else cache.extend(ids_bt)
        x_btd = self.embedding(ids_bt, self.compute_dtype)
        skips_btd = torch.zeros_like(x_btd)
        for layer in self.layers:
            x_btd, skip_btd = layer(x_btd)
            skips_btd = skips_btd + skip_btd
        # The stream joins the skips, so that the last layer's residual is not idle.
        steps_btd = functional.pad(torch.relu(skips_btd + x_btd), (0, 0, self.field - 1, 0))
        windows = steps_btd.unfold(1, self.field, 1).transpose(2, 3).flatten(2)
        return torch.relu(self.flat(windows[:, -time:]))

    def head_weight(self) -> Tensor:
        """(v, d + 1), the bias in the last column."""
        return self.head.weight_and_bias()

    def roles(self) -> Roles:
        """Parameters by what they are for."""
        inner = [*self.layers.parameters(), *self.flat.parameters()]
        vectors = [p for p in inner if p.dim() == 1]
        return {
            "embedding": [self.embedding.weight],
            "head": [self.head.weight],
            "matrix": [p for p in inner if p.dim() == 2],
            "vector": vectors if self.head.bias is None else [*vectors, self.head.bias],
        }
