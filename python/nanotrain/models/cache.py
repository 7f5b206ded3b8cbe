"""What decoding must remember of the ids already seen.

Shapes: `b` batch, `m` most tokens, `g` key heads, `e` head width, `d` width.
"""

from __future__ import annotations

import torch
from torch import Tensor


class TransformerCache:
    """Keys and values of every layer, and the last embedding for the smear.

    Attributes:
        length: Ids seen so far.
        max_tokens: Ids that fit.
        last_embedding_bd: Embedding of the last id, before the smear.
    """

    def __init__(
        self,
        *,
        layers: int,
        batch: int,
        max_tokens: int,
        kv_heads: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, 2, batch, max_tokens, kv_heads, head_width)
        self._kv = torch.empty(shape, dtype=dtype, device=device)
        self.max_tokens = max_tokens
        self.length = 0
        self.last_embedding_bd: Tensor | None = None

    def extend(
        self, layer: int, k_btge: Tensor, v_btge: Tensor, window: int
    ) -> tuple[Tensor, Tensor]:
        """Stores keys and values of new ids; gives back all that a window from them can see.

        Raises:
            ValueError: If the cache is full.
        """
        start, end = self.length, self.length + k_btge.shape[1]
        if end > self.max_tokens:
            raise ValueError(f"the cache holds {self.max_tokens} tokens, {end} are needed")
        self._kv[layer, 0, :, start:end] = k_btge
        self._kv[layer, 1, :, start:end] = v_btge
        first = max(0, start - window)
        return self._kv[layer, 0, :, first:end], self._kv[layer, 1, :, first:end]


class IdsCache:
    """The last ids that a receptive field reaches back to.

    Attributes:
        reach: Ids before the newest that still matter.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self._ids_bt: Tensor | None = None

    def extend(self, ids_bt: Tensor) -> Tensor:
        """The remembered ids followed by the new ones, which are remembered in turn."""
        whole = ids_bt if self._ids_bt is None else torch.cat((self._ids_bt, ids_bt), 1)
        self._ids_bt = whole[:, max(0, whole.shape[1] - self.reach) :]
        return whole
