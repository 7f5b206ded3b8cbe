"""Counts of pretokens as Arrow has them, in files and between machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from nanobpe import _core

# Rows of a batch and of a row group of count files: a few megabytes.
_BATCH_ROWS = 1 << 18


def count_schema() -> pa.Schema:
    """The columns of count files."""
    import pyarrow as pa

    return pa.schema([("pretoken", pa.large_binary()), ("count", pa.uint64())])


def count_batches(counts: _core.Counts) -> Iterator[pa.RecordBatch]:
    """Counts as Arrow batches, in order of the pretokens' bytes."""
    import pyarrow as pa

    rows = counts.rows()
    while len((part := rows.next(_BATCH_ROWS))[2]):
        data, offsets, numbers = part
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        pretokens = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(numbers), buffers)
        columns = [pretokens, pa.array(numbers, pa.uint64())]
        yield pa.record_batch(columns, schema=count_schema())
