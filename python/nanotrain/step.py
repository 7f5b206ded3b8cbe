"""One optimizer step: micro-batches forward and backward, the norm, the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nanotrain import distributed
from nanotrain.state import TrainState

Batch = tuple[Tensor, Tensor]


def backward(
    forward: Callable[[Tensor, Tensor], Tensor],
    batches: Sequence[Batch],
    state: TrainState,
) -> tuple[Tensor, Tensor]:
    """Leaves the gradient of the mean loss in the parameters; gives back loss and its norm.

    Nothing here waits for the device, unless a float16 loss is scaled.

    Args:
        forward: The model, compiled or not; gives the mean loss of ids and targets.
        batches: This process's micro-batches.
        state: The model's gradients are replaced.
    """
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    losses = []
    for ids_bt, targets_bt in batches:
        loss = forward(ids_bt, targets_bt)
        (loss * (state.scaler.scale / len(batches))).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    parameters = list(state.model.parameters())
    distributed.average_gradients(parameters)
    grads = [p.grad for p in parameters if p.grad is not None]
    if state.scaler.enabled:
        torch._foreach_div_(grads, state.scaler.scale)
    return distributed.mean(torch.stack(losses).mean()), nn.utils.get_total_norm(grads)


def update(state: TrainState, norm: Tensor, *, clip: float | None) -> bool:
    """Moves the weights; false if an overflow in float16 made it skip the step.

    Args:
        state: Its parameters hold the gradient.
        norm: Norm of the gradient.
        clip: Largest norm that is passed on to the optimizers; None for any.
    """
    if state.scaler.enabled:
        finite = bool(torch.isfinite(norm))
        state.scaler.update(finite)
        if not finite:
            return False
    if clip is not None:
        nn.utils.clip_grads_with_norm_(state.model.parameters(), clip, norm)
    for optimizer in state.optimizers:
        optimizer.step()
    return True
