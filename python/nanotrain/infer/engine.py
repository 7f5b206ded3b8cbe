"""Decoding with a cache: each new id costs one position, not the whole text again.

Shapes: `b` batch, `t` time, `v` vocab.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanotrain.models import LanguageModel


class Engine:
    """Logits of the next id for a batch of texts that grow together.

    When the cache is full, the last half of a context is read again in its place, so a text can
    grow without end while each position stays within what the model was trained on.
    """

    def __init__(self, model: LanguageModel, batch: int) -> None:
        self._model, self._batch = model, batch
        self._device = next(model.parameters()).device
        self._ids_bt = torch.zeros(batch, 0, dtype=torch.int64, device=self._device)
        self._new_cache()

    def _new_cache(self) -> None:
        self._cache = self._model.make_cache(self._batch, self._model.row_tokens)
        self._room = getattr(self._cache, "max_tokens", None)

    def feed(self, ids_bt: Tensor) -> Tensor:
        """Appends ids to every text; logits (b, v) of what comes next.

        Args:
            ids_bt: (b, t), at least one position.
        """
        ids_bt = ids_bt.to(self._device)
        if self._room is not None:
            self._ids_bt = torch.cat((self._ids_bt, ids_bt), 1)
            if self._ids_bt.shape[1] > self._room:
                self._new_cache()
                self._ids_bt = self._ids_bt[:, -max(1, self._model.row_tokens // 2) :]
                ids_bt = self._ids_bt
        with torch.no_grad():
            logits_btv: Tensor = self._model(ids_bt, cache=self._cache)
        return logits_btv[:, -1]
