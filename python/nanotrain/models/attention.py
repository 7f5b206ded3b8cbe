"""Self-attention of one layer: projections, value embedding, attention, output.

Shapes: `b` batch, `t` time, `s` keys seen, `d` width, `h` heads, `g` key heads, `e` head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nanotrain import kernels
from nanotrain.accounting import has_value_embedding, padded
from nanotrain.models.cache import TransformerCache
from nanotrain.models.parts import Linear, Table
from nanotrain.schema import Model

# Queries and keys of norm sqrt(e) are sharpened by this after their norm.
_QK_SCALE = 1.2


class Attention(nn.Module):
    """Causal attention over the last `window` positions."""

    def __init__(self, config: Model, layer: int, window: int) -> None:
        super().__init__()
        self.config, self.layer, self.window = config, layer, window
        self.head_width = config.width // config.heads
        kv_width = config.kv_heads * self.head_width
        self.query = Linear(config.width, config.width, bias=config.bias)
        self.key = Linear(config.width, kv_width, bias=config.bias)
        self.value = Linear(config.width, kv_width, bias=config.bias)
        self.out = Linear(config.width, config.width, bias=config.bias)
        self.value_table = self.gate = None
        if has_value_embedding(config, layer):
            self.value_table = Table(padded(config.vocab_size), kv_width)
            self.gate = Linear(config.gate_channels, config.kv_heads)

    def forward(
        self,
        x_btd: Tensor,
        ids_bt: Tensor,
        cos_te: Tensor,
        sin_te: Tensor,
        cache: TransformerCache | None,
    ) -> Tensor:
        """What the layer adds to the stream, (b, t, d)."""
        q_bthe = self.query(x_btd).unflatten(-1, (-1, self.head_width))
        k_btge = self.key(x_btd).unflatten(-1, (-1, self.head_width))
        v_btge = self.value(x_btd).unflatten(-1, (-1, self.head_width))
        rows_btge = gate_btg = None
        if self.value_table is not None and self.gate is not None:
            rows_btge = self.value_table(ids_bt, x_btd.dtype).view_as(v_btge)
            gate_btg = self.gate(x_btd[..., : self.config.gate_channels])
        if self.config.positions == "rope" or self.config.qk_norm or rows_btge is not None:
            q_bthe, k_btge, v_btge = kernels.prepare_qkv(
                q_bthe,
                k_btge,
                v_btge,
                cos_te,
                sin_te,
                value_rows=rows_btge,
                gate=gate_btg,
                norm=self.config.qk_norm,
                scale=_QK_SCALE if self.config.qk_norm else 1.0,
            )
        if cache is None:
            y_bthe = kernels.attention(q_bthe, k_btge, v_btge, window=self.window)
        else:
            k_bsge, v_bsge = cache.extend(self.layer, k_btge, v_btge, self.window)
            y_bthe = _attend_to_cache(q_bthe, k_bsge, v_bsge, self.window)
        y_btd: Tensor = self.out(y_bthe.flatten(2))
        return y_btd


def _attend_to_cache(q_bthe: Tensor, k_bsge: Tensor, v_bsge: Tensor, window: int) -> Tensor:
    """Attention of the last t of s positions."""
    time, seen = q_bthe.shape[1], k_bsge.shape[1]
    key = torch.arange(seen, device=q_bthe.device)
    back_ts = key[seen - time :, None] - key
    y_bhte = functional.scaled_dot_product_attention(
        q_bthe.transpose(1, 2),
        k_bsge.transpose(1, 2),
        v_bsge.transpose(1, 2),
        attn_mask=(back_ts >= 0) & (back_ts <= window),
        enable_gqa=q_bthe.shape[2] != k_bsge.shape[2],
    )
    return y_bhte.transpose(1, 2)
