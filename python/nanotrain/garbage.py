"""Python's cyclic collector, kept out of the training steps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A collection costs up to 0.5 s on a large model; steps leave hardly any cycles behind.
_COLLECT_EVERY = 5000


@contextmanager
def rare_collections() -> Iterator[Callable[[int], None]]:
    """Collects after the first step and then rarely; yields what to call with the steps done."""
    was_enabled = gc.isenabled()

    def collect(steps: int) -> None:
        if steps == 1:
            gc.collect()
            gc.freeze()
            gc.disable()
        elif steps % _COLLECT_EVERY == 0:
            gc.collect()

    try:
        yield collect
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
