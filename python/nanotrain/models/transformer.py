"""The transformer behind the nano, gpt2 and cs336 families.

Notable in nano: parameter-free rms norms, also on the embedding and on queries and keys; relu^2;
value embeddings on every second layer; the stream remixed with the embedding before each layer;
the previous token's embedding smeared into each position; the middle layer's stream subtracted
before the head; sliding windows in three of four layers; softcapped logits.

Shapes: `b` batch, `t` time, `d` width, `e` half a head's width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nanotrain.accounting import SMEAR_CHANNELS, padded, windows
from nanotrain.models.attention import Attention
from nanotrain.models.base import LanguageModel
from nanotrain.models.cache import TransformerCache
from nanotrain.models.feedforward import FeedForward
from nanotrain.models.parts import Linear, Normalize, Table
from nanotrain.optim.groups import Roles
from nanotrain.schema import Model


class Block(nn.Module):
    """Attention and feed-forward, each with its norm."""

    def __init__(self, config: Model, layer: int, window: int) -> None:
        super().__init__()
        self.post = config.norm_position == "post"
        self.attention_norm = Normalize(config.norm, config.width, bias=config.bias)
        self.attention = Attention(config, layer, window)
        self.mlp_norm = Normalize(config.norm, config.width, bias=config.bias)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x_btd: Tensor,
        y_btd: Tensor | None,
        mix: dict[str, Tensor],
        ids_bt: Tensor,
        rotation: tuple[Tensor, Tensor],
        cache: TransformerCache | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The stream x and what is still to be added to it, y.

        The addition is left to the next norm, which does both in one pass over memory.

        Args:
            x_btd: The stream.
            y_btd: What the layer before adds to it.
            mix: `x0`, `a` and `b` of `residual_norm`, or nothing.
            ids_bt: Ids, for the value embedding.
            rotation: Cosines and sines of the positions.
            cache: Decoding state.
        """
        if self.post:
            x_btd, _ = _IDENTITY.after(x_btd, y_btd, **mix)
            y_btd = self.attention(x_btd, ids_bt, *rotation, cache)
            _, x_btd = self.attention_norm.after(x_btd, y_btd)
            _, x_btd = self.mlp_norm.after(x_btd, self.mlp(x_btd))
            return x_btd, None
        x_btd, h_btd = self.attention_norm.after(x_btd, y_btd, **mix)
        y_btd = self.attention(h_btd, ids_bt, *rotation, cache)
        x_btd, h_btd = self.mlp_norm.after(x_btd, y_btd)
        return x_btd, self.mlp(h_btd)


_IDENTITY = Normalize("none", 0)


class Transformer(LanguageModel):
    """A decoder-only transformer with every switch of the configuration."""

    cos_te: Tensor
    sin_te: Tensor

    def __init__(self, config: Model, row_tokens: int, compute_dtype: torch.dtype) -> None:
        super().__init__(config, row_tokens, compute_dtype)
        rows, width = padded(config.vocab_size), config.width
        self.embedding = Table(rows, width)
        self.positions = Table(row_tokens, width) if config.positions == "learned" else None
        # nano norms the embedding itself; the other families feed it to the first layer as it is.
        normed = config.family == "nano" and config.norm != "none"
        self.embedding_norm = Normalize("rms" if normed else "none", width)
        self.smear_gate = self.smear_scale = self.backout_scale = None
        if config.smear:
            self.smear_gate = Linear(SMEAR_CHANNELS, 1)
            self.smear_scale = nn.Parameter(torch.zeros(()))
        if config.backout:
            self.backout_scale = nn.Parameter(torch.full((), 0.2))
        self.residual_scales = self.x0_scales = None
        if config.residual_scalars:
            self.residual_scales = nn.Parameter(torch.linspace(1.15, 1.05, config.depth))
            self.x0_scales = nn.Parameter(torch.linspace(0.20, 0.05, config.depth))
        self.blocks = nn.ModuleList(
            Block(config, layer, window) for layer, window in enumerate(windows(config, row_tokens))
        )
        self.final_norm = Normalize(config.norm, width, bias=config.bias)
        self.head = None if config.tied else Linear(width, rows)
        cos_te, sin_te = self._rotation(row_tokens)
        # Not saved: a longer context takes the same weights.
        self.register_buffer("cos_te", cos_te, persistent=False)
        self.register_buffer("sin_te", sin_te, persistent=False)

    def _rotation(self, tokens: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Cosines and sines of `tokens` positions, (t, e); no rotation without rope."""
        half = self.config.width // self.config.heads // 2
        angles = torch.zeros(tokens, half, device=device)
        if self.config.positions == "rope":
            # float64, so that far positions keep their fractions of a turn.
            exponents = torch.arange(half, dtype=torch.float64, device=device) / half
            frequencies = self.config.rope_base**-exponents
            positions = torch.arange(tokens, dtype=torch.float64, device=device)
            angles = positions[:, None] * frequencies
        return angles.cos().float(), angles.sin().float()

    def make_cache(self, batch: int, max_tokens: int) -> TransformerCache:
        """Keys and values for decoding.

        Raises:
            ValueError: If learned positions do not reach `max_tokens`.
        """
        if self.positions is not None and max_tokens > self.row_tokens:
            raise ValueError(
                f"max_tokens is {max_tokens}, allowed with learned positions: at most"
                f" {self.row_tokens}"
            )
        return TransformerCache(
            layers=self.config.depth,
            batch=batch,
            max_tokens=max_tokens,
            kv_heads=self.config.kv_heads,
            head_width=self.config.width // self.config.heads,
            dtype=self.compute_dtype,
            device=self.embedding.weight.device,
        )

    def features(self, ids_bt: Tensor, cache: TransformerCache | None = None) -> Tensor:
        """The last hidden state, (b, t, d).

        Raises:
            ValueError: If the positions go beyond what the model has.
        """
        start = 0 if cache is None else cache.length
        end = start + ids_bt.shape[1]
        x_btd = self._embed(ids_bt, start, end, cache)
        cos_te, sin_te = (
            (self.cos_te, self.sin_te)
            if end <= self.row_tokens
            else self._rotation(end, ids_bt.device)
        )
        rotation = cos_te[start:end], sin_te[start:end]
        x0_btd, middle_btd, y_btd = x_btd, None, None
        for layer, block in enumerate(self.blocks):
            mix = {}
            if self.residual_scales is not None and self.x0_scales is not None:
                a, b = self.residual_scales[layer], self.x0_scales[layer]
                mix = {"x0": x0_btd, "a": a, "b": b}
            x_btd, y_btd = block(x_btd, y_btd, mix, ids_bt, rotation, cache)
            if self.backout_scale is not None and layer == self.config.depth // 2:
                x_btd = x_btd if y_btd is None else x_btd + y_btd
                middle_btd, y_btd = x_btd, None
        if cache is not None:
            cache.length = end
        if self.backout_scale is not None and middle_btd is not None:
            x_btd = x_btd if y_btd is None else x_btd + y_btd
            x_btd, y_btd = x_btd - self.backout_scale.to(x_btd.dtype) * middle_btd, None
        _, h_btd = self.final_norm.after(x_btd, y_btd)
        return h_btd

    def _embed(
        self, ids_bt: Tensor, start: int, end: int, cache: TransformerCache | None
    ) -> Tensor:
        """Embeddings with positions, norm and smear, (b, t, d)."""
        x_btd: Tensor = self.embedding(ids_bt, self.compute_dtype)
        if self.positions is not None:
            if end > self.row_tokens:
                raise ValueError(
                    f"{end} positions, allowed with learned positions: at most {self.row_tokens}"
                )
            x_btd = x_btd + self.positions.weight[start:end].to(x_btd.dtype)
        x_btd = self.embedding_norm(x_btd)
        if self.smear_gate is None or self.smear_scale is None:
            return x_btd
        before = None if cache is None else cache.last_embedding_bd
        if cache is not None:
            cache.last_embedding_bd = x_btd[:, -1]
        first = x_btd.new_zeros(x_btd[:, :1].shape) if before is None else before[:, None]
        previous_btd = torch.cat((first, x_btd[:, :-1]), 1)
        share = self.smear_scale.to(x_btd.dtype) * torch.sigmoid(
            self.smear_gate(x_btd[..., :SMEAR_CHANNELS])
        )
        return x_btd + share * previous_btd

    def head_weight(self) -> Tensor:
        """(v padded, d)."""
        return self.embedding.weight if self.head is None else self.head.weight

    def roles(self) -> Roles:
        """Parameters by what they are for."""
        roles: dict[str, list[nn.Parameter]] = {
            "head": [self.embedding.weight if self.head is None else self.head.weight],
            "embedding": [] if self.head is None else [self.embedding.weight],
            "residual": [] if self.residual_scales is None else [self.residual_scales],
            "x0": [] if self.x0_scales is None else [self.x0_scales],
            "smear": [p for p in (self.smear_scale, self.backout_scale) if p is not None],
            "value_embedding": [],
            "matrix": [],
            "vector": [],
        }
        if self.positions is not None:
            roles["embedding"].append(self.positions.weight)
        if self.smear_gate is not None:
            roles["smear"].append(self.smear_gate.weight)
        for name, p in (*self.blocks.named_parameters(), *self.final_norm.named_parameters()):
            table = name.endswith("value_table.weight")
            role = "value_embedding" if table else "matrix" if p.dim() == 2 else "vector"
            roles[role].append(p)
        return roles
