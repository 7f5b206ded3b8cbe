"""Which parameters move how: the optimizers of a model under a configuration.

A model says what each parameter is for (its role); here every role has its optimizer, rate, betas
and decay. Peak rates of nano are tuned at width 768 and a batch of 2^19 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from nanotrain.optim.adamw import AdamW
from nanotrain.optim.muon import Muon
from nanotrain.schema import Optim

Roles = Mapping[str, list[nn.Parameter]]
Group = dict[str, Any]


def parameter_groups(roles: Roles, optim: Optim, width: int) -> list[Group]:
    """The groups, each with its name, optimizer ("adamw" or "muon"), settings and parameters.

    Args:
        roles: Parameters by role: head, embedding, value_embedding, residual, x0, smear, matrix
            (the blocks' matrices) and vector (norms and biases).
        optim: Base rates, multiplier and decay.
        width: Of the model.
    """
    groups = _muon(optim, width) if optim.optimizer == "muon" else _adamw(optim)
    return [
        {"name": name, "params": roles[name], "initial_lr": group["lr"], **group}
        | {"initial_weight_decay": group["weight_decay"]}
        for name, group in groups.items()
        if roles.get(name)
    ]


def _muon(optim: Optim, width: int) -> dict[str, Group]:
    wide, batch = math.sqrt(768 / width), optim.lr_multiplier

    def adamw(lr: float, beta1: float, beta2: float, decay: float) -> Group:
        return {
            "optimizer": "adamw",
            "lr": lr,
            "betas": (beta1, beta2),
            "eps": 1e-10,
            "weight_decay": decay,
        }

    return {
        "head": adamw(optim.head_lr * wide * batch, 0.8, 0.96, 0.01),
        "embedding": adamw(optim.embedding_lr * wide * batch, 0.8, 0.995, 0.001),
        "value_embedding": adamw(optim.value_embedding_lr * wide * batch, 0.8, 0.995, 0.01),
        "residual": adamw(optim.residual_lr * batch, 0.8, 0.95, 0.05),
        "x0": adamw(optim.x0_lr * batch, 0.96, 0.95, 0.0),
        "smear": adamw(optim.smear_lr, 0.8, 0.95, 0.0),
        # Not part of nano: a norm's weights or biases that a switch adds move like the head.
        "vector": adamw(optim.head_lr * wide * batch, 0.8, 0.96, 0.0),
        "matrix": {
            "optimizer": "muon",
            "lr": optim.muon_lr * batch,
            "momentum": 0.95,
            "beta2": 0.9,
            "weight_decay": optim.weight_decay,
        },
    }


def _adamw(optim: Optim) -> dict[str, Group]:
    """One rate for all; decay on what multiplies (matrices and tables), not on what adds."""
    lr = optim.lr * optim.lr_multiplier
    base = {"optimizer": "adamw", "lr": lr, "betas": (0.9, 0.95), "eps": 1e-8}
    decayed = {"head", "embedding", "value_embedding", "matrix"}
    roles = ("head", "embedding", "value_embedding", "residual", "x0", "smear", "vector", "matrix")
    return {
        role: {**base, "weight_decay": optim.weight_decay if role in decayed else 0.0}
        for role in roles
    }


def optimizers(groups: list[Group]) -> list[Optimizer]:
    """The optimizers that move these groups, at most one AdamW and one Muon."""
    kinds: dict[str, Callable[[list[Group]], Optimizer]] = {"adamw": AdamW, "muon": Muon}
    found: list[Optimizer] = []
    for kind, make in kinds.items():
        chosen = [
            {k: v for k, v in group.items() if k != "optimizer"}
            for group in groups
            if group["optimizer"] == kind
        ]
        if chosen:
            found.append(make(chosen))
    return found
