"""Shards read back as memory-mapped arrays, and rows of a fixed length packed from them.

`Shards` maps one split of a folder that `nanobpe encode` wrote; `Packer` lays its documents, or any
list of documents, out as rows without padding. Both are thin faces of the Rust modules `shard` and
`pack`.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from nanobpe import _core

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from nanobpe.tokenizer import Tokenizer

    Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

# Bytes before the first id of a shard file.
HEADER_BYTES = 1024


class Shards:
    """One split of a folder of shards, mapped into memory.

    Iterating yields documents (each with its BOS id if the shards have one) as views of the mapped
    files; only a document larger than a shard is joined, and thereby copied.

    Args:
        folder: What `nanobpe encode --out` wrote.
        split: "train", "val" or "test".

    Raises:
        OSError: If the folder or one of its files is not there.
        ValueError: If the split has no shards.
        FormatError: If a file does not hold what the manifest says; the message names it.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "train") -> None:
        import numpy as np

        self.folder = Path(folder)
        self.split = split
        self._core = _core.Shards(self.folder, split)
        self.manifest: dict[str, Any] = json.loads(self._core.manifest())
        record = self.manifest["splits"][split]
        self.num_tokens: int = record["tokens"]
        self.num_documents: int = record["documents"]
        self.num_bytes: int = record["bytes"]
        self.dtype = np.dtype(self.manifest["dtype"])
        self.tokenizer_hash: str = self.manifest["tokenizer_hash"]
        self.vocab_size: int = self.manifest["vocab_size"]
        self.bos_id: int | None = self.manifest["bos_id"]
        _allow_files(len(record["shards"]))
        on_disk = self.dtype.newbyteorder("<")
        self.arrays: list[Ids] = [
            np.memmap(path, on_disk, "r", HEADER_BYTES, (shard["tokens"],))
            for path, shard in zip(self._core.paths(), record["shards"], strict=True)
        ]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the shards were encoded with, from the copy beside them."""
        from nanobpe.tokenizer import Tokenizer

        return Tokenizer.load(self.folder / "tok")

    def __len__(self) -> int:
        return self.num_documents

    def __iter__(self) -> Iterator[Ids]:
        import numpy as np

        open_parts: list[Ids] = []

        def closed() -> Ids:
            if len(open_parts) == 1:
                return open_parts[0]
            return cast("Ids", np.concatenate(open_parts))

        for index, array in enumerate(self.arrays):
            starts = self._core.starts(index).tolist()
            if not starts:
                open_parts.append(array)
                continue
            # What lies before the first start goes on with the last document of the shard before.
            if starts[0] > 0:
                open_parts.append(array[: starts[0]])
            if open_parts:
                yield closed()
            for start, end in itertools.pairwise(starts):
                yield array[start:end]
            open_parts = [array[starts[-1] :]]
        if open_parts:
            yield closed()

    def __repr__(self) -> str:
        return (
            f"Shards({str(self.folder)!r}, {self.split!r}: {self.num_tokens:,} tokens, "
            f"{self.num_documents:,} documents, {len(self.arrays)} files)"
        )


def _allow_files(number: int) -> None:
    """Raises the process's limit on open files where many maps, one file each, would meet it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number > soft // 2:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Packer:
    """Rows of exactly `row_tokens` ids, without padding; an iterator of arrays of that length.

    Modes: "best_fit" appends the largest of `buffer_documents` documents that fits, again and
    again, and cuts one only to fill what no document fits; its rest is used later, so that nothing
    is lost. "greedy" takes documents in order and drops the rest of the one that overflows.
    "contiguous" lays them end to end. "random" cuts windows at random starts. In the first two
    each row, and each piece in it, begins with `bos` if there is one.

    A list of documents is gone over once and then ends, shards for ever, unless `epochs` says
    otherwise. "best_fit" shuffles shards and the documents within each by (seed, epoch); the other
    modes, and lists, keep their order. Two packers with the same arguments give the same rows.

    Args:
        shards_or_documents: `Shards`, or documents as arrays or sequences of ids.
        row_tokens: Ids per row: for a context of T the T + 1 that inputs and targets need.
        mode: How documents become rows.
        bos: Id that begins pieces, put before those that lack it. Shards bring their own.
        seed: For the order of "best_fit" and the windows of "random".
        buffer_documents: Documents that "best_fit" chooses from.
        epochs: Passes over the data; None as said above.

    Raises:
        ValueError: For sizes below 1, an unknown mode, negative ids or data that fills no row.
    """

    def __init__(
        self,
        shards_or_documents: Shards | Iterable[Sequence[int] | npt.NDArray[np.integer[Any]]],
        row_tokens: int,
        *,
        mode: Literal["best_fit", "greedy", "contiguous", "random"] = "best_fit",
        bos: int | None = None,
        seed: int = 0,
        buffer_documents: int = 1000,
        epochs: int | None = None,
    ) -> None:
        import numpy as np

        limits = {"row_tokens": row_tokens, "buffer_documents": buffer_documents, "epochs": epochs}
        for name, value in limits.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; at least 1 is needed")
        if isinstance(shards_or_documents, Shards):
            shards = shards_or_documents
            self.dtype = shards.dtype
            bos = shards.bos_id if bos is None else bos
            self._check_bos(bos)
            self._core = _core.Packer.from_shards(
                shards._core, row_tokens, mode, bos, seed % 2**64, buffer_documents, epochs
            )
        else:
            ids, ends = _flat(shards_or_documents, bos)
            self.dtype = ids.dtype
            self._check_bos(bos)
            self._core = _core.Packer.from_documents(
                ids.astype(ids.dtype.newbyteorder("<"), copy=False).view(np.uint8),
                ids.dtype.itemsize,
                ends,
                row_tokens,
                mode,
                bos,
                seed % 2**64,
                buffer_documents,
                1 if epochs is None else epochs,
            )
        self.row_tokens = row_tokens

    def _check_bos(self, bos: int | None) -> None:
        most = 256**self.dtype.itemsize - 1
        if bos is not None and not 0 <= bos <= most:
            raise ValueError(f"bos is {bos}; ids of {self.dtype} go from 0 to {most}")

    def __iter__(self) -> Packer:
        return self

    def __next__(self) -> Ids:
        row: Ids = self.next_batch(1)[0]
        return row

    def next_batch(self, rows: int) -> Ids:
        """The next rows, shape (rows, row_tokens); fewer when the data ends among them.

        Raises:
            StopIteration: If the data was at its end.
        """
        if rows < 1:
            raise ValueError(f"rows is {rows}; at least 1 is needed")
        batch = self._core.rows(rows)
        if not len(batch):
            raise StopIteration
        ids: Ids = batch.view(self.dtype.newbyteorder("<")).view(self.dtype)
        return ids

    def state_dict(self) -> dict[str, Any]:
        """Where the packer stands: spans and counters for JSON, a few kilobytes, no tokens."""
        state: dict[str, Any] = json.loads(self._core.state())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state_dict` was taken: the next row is the one that came next then.

        Raises:
            ValueError: If the state is of other data or options.
        """
        self._core.restore(json.dumps(state))

    def report(self) -> dict[str, int | float]:
        """What has been packed so far.

        Keys: rows, documents (drawn, those in the buffer too), documents_total and tokens_total (of
        one pass), tokens_packed, tokens_dropped, crop_share (dropped of all tokens used),
        cropped_documents_share (documents that do not stand whole in one row), epochs (passes, as a
        float), unique_tokens (of the data that stood in a row; for "random" at most so many).
        """
        report: dict[str, int | float] = json.loads(self._core.report())
        return report


def _flat(
    documents: Iterable[Sequence[int] | npt.NDArray[np.integer[Any]]], bos: int | None
) -> tuple[Ids, npt.NDArray[np.uint64]]:
    """All ids end to end in the smallest of uint16 and uint32 that holds them, and the ends."""
    import numpy as np

    arrays = [np.asarray(document) for document in documents]
    if not arrays:
        raise ValueError("there is nothing to pack: no documents")
    for index, array in enumerate(arrays):
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ValueError(
                f"document {index} has shape {array.shape} and dtype {array.dtype}; "
                "one dimension of integers is needed"
            )
    ends = np.cumsum([array.size for array in arrays], dtype=np.uint64)
    kinds = {array.dtype for array in arrays if array.size}
    if kinds <= {np.dtype(np.uint16)} or kinds == {np.dtype(np.uint32)}:
        return np.concatenate([a for a in arrays if a.size] or [np.zeros(0, np.uint16)]), ends
    ids = np.concatenate([array for array in arrays if array.size])
    low, high = int(ids.min()), max(int(ids.max()), bos or 0)
    if low < 0 or high >= 2**32:
        raise ValueError(f"ids go from {low} to {high}; 0 to {2**32 - 1} are allowed")
    return ids.astype(np.uint16 if high < 2**16 else np.uint32), ends
