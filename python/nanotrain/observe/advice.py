"""Warnings that help: what looks wrong in a run's figures, and the likely cause."""

from __future__ import annotations

import itertools
from collections import deque

# Below this share of the peak a data-centre GPU waits for something.
_LOW_MFU = 0.25
# Evaluations in a row at which the gap must grow before it is worth a word.
_GROWING = 3


def low_mfu(mfu: float, *, data_share: float, micro_tokens: int) -> str | None:
    """What to say of a GPU's MFU, None if it is fine or not known.

    Args:
        mfu: Share of the peak rate.
        data_share: Share of the step's time that went into batches.
        micro_tokens: Tokens of a micro-batch.
    """
    if not 0 < mfu < _LOW_MFU:
        return None
    if data_share > 0.1:
        cause = f"batches take {100 * data_share:.0f} % of the step"
    elif micro_tokens < 16_384:
        cause = f"a micro-batch of {micro_tokens:,} tokens is small, raise train.micro_rows"
    else:
        cause = "train.compile may be off, or steps are observed too often"
    return f"MFU is {100 * mfu:.1f} %, below {100 * _LOW_MFU:.0f} %: {cause}"


class Gap:
    """Watches the distance between training and validation loss."""

    def __init__(self) -> None:
        self._train: deque[float] = deque(maxlen=50)
        self._gaps: list[float] = []
        self._told = False

    def train(self, loss: float) -> None:
        """Takes a step's loss."""
        self._train.append(loss)

    def validation(self, loss: float) -> str | None:
        """Takes an evaluation's loss; a warning, once, if the gap keeps growing.

        The mean training loss lags while the model learns fast, so a gap counts only where the
        validation loss is above it.
        """
        if not self._train or self._told:
            return None
        mean = sum(self._train) / len(self._train)
        self._gaps.append(loss - mean)
        last = self._gaps[-_GROWING - 1 :]
        growing = all(0 < a < b for a, b in itertools.pairwise(last))
        if len(last) <= _GROWING or not growing or last[-1] < 0.02 * loss:
            return None
        self._told = True
        return (
            f"the validation loss is {last[-1]:.3f} above the training loss and the gap grows:"
            " the model learns the training data by heart"
        )
