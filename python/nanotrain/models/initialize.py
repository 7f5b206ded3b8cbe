"""The values that a model's weights start from.

Weights are drawn on the CPU in the order of the parameters from one seed, so that every device
and every process starts from the same numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from nanotrain.models.base import LanguageModel
from nanotrain.schema import Model


def initialize(model: LanguageModel, seed: int) -> None:
    """Fills the weights; biases, norms and learned scalars keep the values they were made with."""
    generator = Generator().manual_seed(seed)
    rule = {"nano": _nano, "gpt2": _gpt2, "cs336": _cs336}[model.config.init]
    if model.config.family in ("wavenet", "mlp"):
        rule = _fan_in
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                rule(name, p, model.config, generator)


def _nano(name: str, p: Tensor, config: Model, generator: Generator) -> None:
    """Projections back into the stream start at zero, the head close to it."""
    part = name.rpartition(".weight")[0]
    if part.endswith((".out", "positions")):
        p.zero_()
    elif part.endswith("gate"):
        p.uniform_(0, 0.02, generator=generator)
    elif part == "head" or (part == "embedding" and config.tied):
        # A tied table is the head's: the embedding's norm makes up for its small rows.
        p.normal_(0, 0.001, generator=generator)
    elif part == "embedding":
        p.normal_(0, 0.8, generator=generator)
    else:
        bound = math.sqrt(3 / config.width)
        bound *= 0.4 if part.endswith(("mlp.fc", "mlp.up")) else 1
        p.uniform_(-bound, bound, generator=generator)


def _gpt2(name: str, p: Tensor, config: Model, generator: Generator) -> None:
    """N(0, 0.02), projections into the stream scaled down by the 2 L of them (Radford 2019)."""
    scale = 1 / math.sqrt(2 * config.depth) if name.endswith(".out.weight") else 1
    p.normal_(0, 0.02 * scale, generator=generator)


def _cs336(name: str, p: Tensor, config: Model, generator: Generator) -> None:
    """N(0, 2 / (in + out)) cut at three deviations; tables N(0, 1) cut at 3."""
    is_table = name.endswith(("embedding.weight", "value_table.weight", "positions.weight"))
    std = 1.0 if is_table else math.sqrt(2 / (p.shape[0] + p.shape[1]))
    nn.init.trunc_normal_(p, 0, std, -3 * std, 3 * std, generator=generator)


def _fan_in(name: str, p: Tensor, config: Model, generator: Generator) -> None:
    """Tables N(0, 1), layers N(0, 1 / inputs), the head close to zero."""
    std = 1 / math.sqrt(p[0].numel())
    std = {"embedding.weight": 1.0, "head.weight": 0.001}.get(name, std)
    p.normal_(0, std, generator=generator)
