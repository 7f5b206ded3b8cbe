"""Optimizers, their parameter groups and their schedules."""

from nanotrain.optim.adamw import AdamW
from nanotrain.optim.groups import optimizers, parameter_groups
from nanotrain.optim.muon import Muon
from nanotrain.optim.schedules import decay_factor, lr_factor, muon_momentum, set_step

__all__ = [
    "AdamW",
    "Muon",
    "decay_factor",
    "lr_factor",
    "muon_momentum",
    "optimizers",
    "parameter_groups",
    "set_step",
]
