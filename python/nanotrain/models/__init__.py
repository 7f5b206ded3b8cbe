"""Language models and the one function that builds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nanotrain.config import Resolved, resolve
from nanotrain.models.base import LanguageModel
from nanotrain.models.initialize import initialize
from nanotrain.models.mlp import BengioMLP
from nanotrain.models.transformer import Transformer
from nanotrain.models.wavenet import WaveNet

__all__ = ["BengioMLP", "LanguageModel", "Transformer", "WaveNet", "build"]

_DTYPES = {
    "auto": torch.float32,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def build(config: Resolved | Mapping[str, Any]) -> LanguageModel:
    """A model with its weights initialised from `train.seed`, on PyTorch's default device.

    Args:
        config: A resolved configuration, or sections by name such as
            {"model": {"depth": 2}, "data": {"row_tokens": 64}}; absent keys follow the automatic
            rules. `train.dtype` is the type of activations, float32 while it is auto. On the meta
            device nothing is allocated or drawn.

    Raises:
        ConfigError: If the mapping is no valid configuration.
    """
    resolved = config if isinstance(config, Resolved) else resolve(None, config)
    family = {"wavenet": WaveNet, "mlp": BengioMLP}.get(resolved.model.family, Transformer)
    model = family(resolved.model, resolved.data.row_tokens, _DTYPES[resolved.train.dtype])
    if not next(model.parameters()).is_meta:
        initialize(model, resolved.train.seed)
    return model
