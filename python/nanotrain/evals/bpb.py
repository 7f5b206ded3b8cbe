"""Bits per byte: how many bits the model needs for a byte of text.

The sum of the losses in bits over the bytes that the scored tokens stand for; it does not depend on
the vocabulary. Special tokens stand for no byte and are not scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nanobpe import Shards
from nanotrain import distributed
from nanotrain.data.loader import eval_batches
from nanotrain.distributed import World

Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class BitsPerByte:
    """One evaluation.

    Attributes:
        bpb: Bits per byte.
        loss: Mean loss per scored token in nats.
        tokens: Tokens scored.
        bytes: What they stand for.
    """

    bpb: float
    loss: float
    tokens: int
    bytes: int


def bits_per_byte(
    model: Forward,
    shards: Shards,
    byte_lengths: Tensor,
    *,
    row_tokens: int,
    rows: int,
    tokens: int,
    world: World | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BitsPerByte | None:
    """Evaluates a model on the first tokens of a split, always the same ones.

    Args:
        model: Gives losses per position for ids and targets with reduction="none".
        shards: The split.
        byte_lengths: (v,) bytes per id, 0 for specials, on the model's device.
        row_tokens: Context length T.
        rows: Rows per forward pass on one process.
        tokens: Budget; a smaller split is used whole.
        world: This process's place; batches are dealt in turn.
        stop: Asked between batches; when true the evaluation is given up and None is returned.

    Raises:
        ValueError: If no token of the split stands for a byte.
    """
    world = world or World()
    device = byte_lengths.device
    # Sums stay on the device, in float64 where it has that type: one transfer at the end.
    wide = torch.float32 if device.type == "mps" else torch.float64
    sums = torch.zeros(3, dtype=wide, device=device)
    batches = eval_batches(shards, row_tokens=row_tokens, rows=rows, tokens=tokens)
    with torch.no_grad():
        for number, (ids_bt, targets_bt) in enumerate(batches):
            if stop():
                return None
            if number % world.size != world.rank:
                continue
            ids_bt, targets_bt = ids_bt.to(device), targets_bt.to(device)
            lengths_bt = byte_lengths[targets_bt.clamp(min=0)] * (targets_bt >= 0)
            # The same shape as a training batch, specials scored and left out afterwards.
            losses_bt = model(ids_bt, targets_bt, reduction="none").view_as(targets_bt)
            scored_bt = lengths_bt > 0
            sums += torch.stack(
                (
                    losses_bt.to(wide).masked_fill(~scored_bt, 0).sum(),
                    scored_bt.sum().to(wide),
                    lengths_bt.sum().to(wide),
                )
            )
    nats, count, size = distributed.total(sums.tolist())
    if not size:
        raise ValueError(f"the {shards.split} split of {shards.folder} holds no text to score")
    return BitsPerByte(nats / math.log(2) / size, nats / count, int(count), int(size))
