"""Batches of packed rows, the same rows whatever the number of processes.

All processes read one stream of rows. A global batch is the next `batch_rows` of them; micro-batch
k of process r is the slice number k x size + r, so a run can go on with another number of processes
or another micro-batch. Rows are a few milliseconds of work a step, done while a GPU is still busy
with the step before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nanobpe import Packer, Shards
from nanotrain import files
from nanotrain.distributed import World
from nanotrain.errors import RunError

# Documents that best-fit packing chooses from. A buffer that holds much of a small corpus draws
# from the next passes and repeats documents before others are seen: of 178 documents 30 % of the
# tokens within one pass with a buffer of 1,000, 99 % with one of 11.
_BUFFER, _BUFFER_SHARE = 1000, 16
# Rows that are packed ahead of time to tell which share of the tokens a packing crops.
_PROBE_ROWS = 1000


class Loader:
    """Micro-batches of inputs and targets, for ever.

    Args:
        shards: The split to train on.
        row_tokens: Context length T; a row holds T + 1 ids.
        batch_rows: Rows of a global batch.
        micro_rows: Rows of a micro-batch on one process.
        packing: How documents fill rows (`nanobpe.Packer`).
        seed: Of the document order.
        device: Where batches go.
        world: This process's place.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        row_tokens: int,
        batch_rows: int,
        micro_rows: int,
        packing: Literal["best_fit", "greedy", "contiguous", "random"],
        seed: int,
        device: torch.device,
        world: World,
    ) -> None:
        self._shards, self._row_tokens = shards, row_tokens
        self._packing, self._seed = packing, seed
        self._packer = self._make()
        self._batch_rows, self._micro_rows = batch_rows, micro_rows
        self._device, self._world = device, world
        self._recent: list[npt.NDArray[Any]] = []

    def _make(self, *, epochs: int | None = None) -> Packer:
        return Packer(
            self._shards,
            self._row_tokens + 1,
            mode=self._packing,
            seed=self._seed,
            buffer_documents=max(1, min(_BUFFER, self._shards.num_documents // _BUFFER_SHARE)),
            epochs=epochs,
        )

    def next_batch(self) -> list[tuple[Tensor, Tensor]]:
        """This process's micro-batches of the next global batch: ids and targets, (rows, T)."""
        packed = self._packer.next_batch(self._batch_rows)
        self._recent.append(packed)
        rows = torch.from_numpy(packed.astype("int64"))
        mine = torch.split(rows, self._micro_rows)[self._world.rank :: self._world.size]
        return [self._put(part) for part in mine]

    def _put(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if self._device.type == "cuda":
            # From pinned memory the copy runs beside the kernels already queued.
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        else:
            rows = rows.to(self._device)
        return rows[:, :-1], rows[:, 1:]

    def skip(self, rows: int) -> None:
        """Passes over rows."""
        while rows > 0:
            rows -= len(self._packer.next_batch(min(rows, self._batch_rows)))

    def forget(self) -> None:
        """Lets go of the batches kept for `save_recent`, the last one excepted."""
        del self._recent[:-1]

    def save_recent(self, path: Path) -> None:
        """Writes the global batches from the last `forget` on, (batches, rows, T + 1) ids."""
        with files.replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(self._recent))

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return float(self._packer.report()["epochs"])

    def crop_share(self) -> float:
        """The share of tokens that this packing drops, over some rows from the start.

        Raises:
            RunError: If the data does not fill one row.
        """
        packer = self._make(epochs=1)
        try:
            packer.next_batch(_PROBE_ROWS)
        except StopIteration:
            raise RunError(
                f"the {self._shards.split} split has {self._shards.num_tokens:,} tokens, a row"
                f" needs {packer.row_tokens:,}",
                "use a smaller `--data.row_tokens` or more data",
            ) from None
        return float(packer.report()["crop_share"])

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return self._packer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there.

        Raises:
            ValueError: If the state is of other data, packing or row length.
        """
        self._packer.load_state_dict(state)


def eval_batches(
    shards: Shards, *, row_tokens: int, rows: int, tokens: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `tokens` tokens of a split, each of them a target once, in rows for evaluation.

    A row begins with the shards' BOS, as the rows that the model trains on do, else with the last
    token of the row before. All batches have one shape; targets beyond the end are -100.

    Args:
        shards: The split.
        row_tokens: Context length T.
        rows: Rows per batch.
        tokens: Budget; a smaller split is used whole.
    """
    bos, size = shards.bos_id, rows * row_tokens
    left, carried = min(tokens, shards.num_tokens), torch.zeros(0, dtype=torch.int64)
    if bos is None:
        left -= 1
    arrays = iter(shards.arrays)
    start, array = 0, next(arrays)
    while left > 0:
        # One token more than the batch holds: the last token of a row begins the next.
        while len(carried) < size + 1:
            if start == len(array):
                following = next(arrays, None)
                if following is None:
                    break
                start, array = 0, following
                continue
            piece = array[start : start + size + 1 - len(carried)]
            start += len(piece)
            carried = torch.cat((carried, torch.from_numpy(piece.astype("int64"))))
        yield _eval_batch(carried, bos, rows, row_tokens, left)
        carried, left = carried[size:], left - size


def _eval_batch(
    stream: Tensor, bos: int | None, rows: int, row_tokens: int, left: int
) -> tuple[Tensor, Tensor]:
    """Inputs and targets of one batch from the next tokens."""
    size = rows * row_tokens
    targets = torch.full((size,), -100)
    given = stream[:size] if bos is not None else stream[1 : size + 1]
    given = given[:left]
    targets[: len(given)] = given
    ids = torch.zeros(size, dtype=torch.int64)
    if bos is None:
        ids[: len(given)] = stream[: len(given)]
        return ids.view(rows, row_tokens), targets.view(rows, row_tokens)
    ids[1 : len(given)] = given[:-1]
    ids = ids.view(rows, row_tokens)
    ids[:, 0] = bos
    return ids, targets.view(rows, row_tokens)
