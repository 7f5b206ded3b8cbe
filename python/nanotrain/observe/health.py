"""How each layer does: the size of weights, gradients and updates.

A row per layer at every observed step. The ratio of update to weights says whether a layer learns
at a sane pace (1e-4 to 1e-2 per step is usual).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_LAYER = re.compile(r"blocks?\.(\d+)\.|layers?\.(\d+)\.")


def by_layer(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Parameters of each layer: its number, or the name of a part outside the layers."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        match = _LAYER.search(name)
        layer = next(filter(None, match.groups())) if match else name.removesuffix(".weight")
        layers.setdefault(layer, []).append(parameter)
    return layers


class Health:
    """Figures of one step; made before the optimizers move the weights."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = by_layer(model)
        self._before = {
            layer: [p.detach().clone() for p in parameters]
            for layer, parameters in self._layers.items()
        }
        self._grads = {layer: _rms(_grads(ps)) for layer, ps in self._layers.items()}

    def rows(self, step: int) -> Iterator[dict[str, Any]]:
        """The rows, after the weights have moved."""
        for layer, parameters in self._layers.items():
            before = self._before[layer]
            moved = [p.detach() - b for p, b in zip(parameters, before, strict=True)]
            weight, update = _rms(before), _rms(moved)
            yield {
                "kind": "health",
                "step": step,
                "layer": int(layer) if layer.isdigit() else layer,
                "weight_rms": weight,
                "grad_rms": self._grads[layer],
                "update_rms": update,
                # A layer that starts at zero has no ratio yet.
                "update_to_data": update / weight if weight else None,
            }


def _grads(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _rms(tensors: list[Tensor]) -> float:
    """Root of the mean square over all values."""
    count = sum(tensor.numel() for tensor in tensors)
    if not count:
        return 0.0
    norms = torch.stack(torch._foreach_norm(tensors))
    return float(torch.linalg.vector_norm(norms.float()).item() / count**0.5)
