"""The processes of one run, as torchrun starts them. Everything works with a single process too.

Each process holds the whole model; gradients are averaged after the last micro-batch of a step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist


@dataclass(frozen=True)
class World:
    """This process among the processes of the run.

    Attributes:
        rank: Its number, 0 for the one that writes files and logs.
        size: How many there are.
        local_rank: Its number on its own machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0


def processes() -> int:
    """How many processes torchrun started, without joining them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def world() -> World:
    """This process's place, from the variables that torchrun sets."""
    return World(
        int(os.environ.get("RANK", "0")), processes(), int(os.environ.get("LOCAL_RANK", "0"))
    )


def join(world: World, device: torch.device) -> None:
    """Connects the processes: NCCL for CUDA tensors, gloo for the others."""
    if world.size > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Disconnects the processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces every gradient by its mean over the processes, in one transfer per type."""
    if not dist.is_initialized():
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for p in parameters:
        if p.grad is not None:
            by_type.setdefault(p.grad.dtype, []).append(p.grad)
    for grads in by_type.values():
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        pieces = torch.split(flat, [grad.numel() for grad in grads])
        torch._foreach_copy_(grads, [p.view_as(g) for p, g in zip(pieces, grads, strict=True)])


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    if not dist.is_initialized():
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def total(values: list[float]) -> list[float]:
    """Sums of numbers over the processes."""
    if not dist.is_initialized():
        return values
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor)
    return [float(value) for value in tensor]


def largest(value: int) -> int:
    """The largest of the processes' numbers: a signal that one has seen counts for all."""
    if not dist.is_initialized():
        return value
    tensor = torch.tensor(value)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def barrier() -> None:
    """Waits for all processes."""
    largest(0)
