"""Arrow arrays of strings, as offsets and bytes without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def is_arrow(texts: object) -> bool:
    """Whether an object speaks Arrow."""
    return hasattr(texts, "__arrow_c_array__") or hasattr(texts, "__arrow_c_stream__")


def string_array(texts: Any) -> pa.Array:
    """One Arrow array of strings or bytes from any object that speaks Arrow."""
    import pyarrow as pa

    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        is_array = hasattr(texts, "__arrow_c_array__")
        texts = pa.array(texts) if is_array else pa.chunked_array(texts)
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    kind = texts.type
    if pa.types.is_string_view(kind) or pa.types.is_dictionary(kind):
        return texts.cast(pa.large_string())
    if pa.types.is_binary_view(kind):
        return texts.cast(pa.large_binary())
    is_text = (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
    if not is_text:
        raise ValueError(f"an Arrow array of {kind}, want strings or binary")
    return texts


def offsets_and_data(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Offsets and data of an array of strings, the data without a copy."""
    import numpy as np
    import pyarrow as pa

    if len(texts) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, offsets, data = texts.buffers()
    large = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    wide = np.frombuffer(offsets, np.int64 if large else np.int32)
    wide = wide[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return wide, np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)


def list_array(
    ids: npt.NDArray[np.uint16 | np.uint32], offsets: npt.NDArray[np.int64], texts: pa.Array
) -> pa.ListArray | pa.LargeListArray:
    """The ids of each text as an array of lists, null where the text is."""
    import numpy as np
    import pyarrow as pa

    mask = texts.is_null() if texts.null_count else None
    if len(ids) < 2**31:
        narrow = pa.array(offsets.astype(np.int32))
        return pa.ListArray.from_arrays(narrow, pa.array(ids), mask=mask)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(ids), mask=mask)
