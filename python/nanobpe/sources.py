"""Inputs: text, JSON lines and parquet, compressed or not, local or remote, and Arrow data.

`find` turns what the user named into a list of sources before any work begins; `feed` hands their
documents to a sink (the trainer's counter, the encoder of documents). Files are read in Rust, and
what URLs name through pyarrow, which opens it and reads counts. The kind of a file is told by its
name: `.jsonl` and `.ndjson` hold one object per line, `.parquet` a column of documents, anything
else is text; a further `.gz` or `.zst` says that it is compressed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from nanobpe import _core
from nanobpe._core import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

Kind = Literal["text", "jsonl", "parquet"]
_T = TypeVar("_T")

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
# Documents of an iterable are handed over in parcels of about this size.
_PARCEL_BYTES = 1 << 20
_PARCEL_DOCUMENTS = 10_000
# Counts that are handed over at once.
COUNT_ROWS = 1 << 16


class Sink(Protocol):
    """What takes documents: `_core.Counter` and `_core.DocumentEncoder`."""

    def is_full(self) -> bool:
        """Whether `max_bytes` are reached."""

    def add_file(
        self, path: os.PathLike[str], kind: str, field: str, compression: str | None
    ) -> None:
        """Takes a local file."""

    def add_parquet(
        self, file: _core.ParquetFile, field: str, groups: Sequence[int] | None
    ) -> None:
        """Takes the documents in a column of a parquet file."""

    def add_stream(self, name: str, read: Callable[[int], bytes], kind: str, field: str) -> None:
        """Takes what `read` gives until it gives nothing."""

    def add_arrow(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        """Takes the documents between offsets into the data of an Arrow array."""

    def add_texts(self, texts: list[str | bytes]) -> None:
        """Takes documents."""


@dataclass(frozen=True)
class Source:
    """One input: a local file, a remote one, or standard input."""

    name: str
    kind: Kind
    compression: str | None
    size: int | None
    # pyarrow's file system and the path in it; None for local files and standard input.
    remote: tuple[Any, str] | None = None
    # Those of a parquet file that are meant; None for all.
    row_groups: tuple[int, ...] | None = None
    # Start and end of the bytes of a local text file that are meant; None for all.
    span: tuple[int, int] | None = None

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.name == "-"


def find(inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Source]:
    """The sources that paths, globs, folders, URLs and "-" stand for, in order.

    Files of a folder, at any depth, come in order of their paths; hidden ones are left out.

    Raises:
        OSError: If one of them is not there; the message names it.
        ValueError: If there is none.
    """
    names = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    if not names:
        raise ValueError("there are no inputs")
    return [source for name in names for source in _find_one(os.fspath(name))]


def _find_one(name: str) -> Iterator[Source]:
    if name == "-":
        yield Source(name, "text", None, None)
    elif "://" in name:
        yield from _find_remote(name)
    elif Path(name).is_dir():
        paths = [p for p in Path(name).rglob("*") if p.is_file()]
        visible = [p for p in paths if not _is_hidden(p.relative_to(name).parts)]
        if not visible:
            raise FileNotFoundError(f"{name}: the folder holds no files")
        yield from (_local(str(p)) for p in sorted(visible))
    elif Path(name).exists() or not glob.has_magic(name):
        yield _local(name)
    else:
        # Path.glob takes no absolute patterns.
        named = glob.glob(name, recursive=True)  # noqa: PTH207
        matches = sorted(match for match in named if Path(match).is_file())
        if not matches:
            raise FileNotFoundError(f"{name}: no file matches")
        yield from map(_local, matches)


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)


def _local(name: str) -> Source:
    # Opening finds what cannot be read before hours of work, not after them.
    with Path(name).open("rb") as file:
        status = os.fstat(file.fileno())
    kind, compression = _told_by(name)
    return Source(name, kind, compression, status.st_size)


def _told_by(name: str) -> tuple[Kind, str | None]:
    *_, inner, suffix = ["", "", *Path(name.lower()).suffixes]
    compression = _COMPRESSIONS.get(suffix)
    if compression:
        suffix = inner
    return _KINDS.get(suffix, "text"), compression


def _find_remote(url: str) -> Iterator[Source]:
    import fnmatch

    from pyarrow import fs

    wanted = glob.has_magic(url)
    base = url
    while glob.has_magic(base):
        base = base.rsplit("/", 1)[0]
    try:
        system, path = fs.FileSystem.from_uri(base)
        info = system.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{url}: there is no such file")
        if info.type == fs.FileType.Directory:
            infos = system.get_file_info(fs.FileSelector(path, recursive=True))
            files = sorted((i for i in infos if i.type == fs.FileType.File), key=lambda i: i.path)
            pattern = path + url[len(base) :]
            infos = [
                i
                for i in files
                if not _is_hidden(tuple(i.path[len(path) :].split("/")))
                and (not wanted or fnmatch.fnmatchcase(i.path, pattern))
            ]
        else:
            infos = [info]
    except (ValueError, TypeError, ImportError) as error:
        raise OSError(f"{url}: cannot be opened ({_first_line(error)})") from error
    if not infos:
        raise FileNotFoundError(f"{url}: no file matches")
    for info in infos:
        kind, compression = _told_by(info.path)
        name = url if info.path == path else base + info.path[len(path) :]
        yield Source(name, kind, compression, info.size, (system, info.path))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def feed(sink: Sink, sources: Iterable[Source], *, field: str = "text") -> None:
    """Hands the documents of sources to a sink, in order, until it is full.

    A sink with `add_counts` (the trainer's) also takes count files: parquet with the columns
    pretoken and count.

    Raises:
        OSError: If a source cannot be read.
        FormatError: If it does not hold what its name says, or not in `field`, with its name.
    """
    for source in sources:
        if sink.is_full():
            return
        if source.kind == "parquet":
            _feed_parquet(sink, source, field)
        elif source.is_stdin:
            sink.add_stream("<stdin>", sys.stdin.buffer.read, source.kind, field)
        elif source.remote or source.span:
            with _opened(source) as stream:
                read = _named(stream.read, source.name)
                sink.add_stream(source.name, read, source.kind, field)
        else:
            sink.add_file(Path(source.name), source.kind, field, source.compression)


def _opened(source: Source) -> pa.NativeFile:
    import pyarrow as pa

    if source.remote:
        system, path = source.remote
        raw = system.open_input_stream(path, compression=None)
    else:
        raw = pa.OSFile(source.name, "rb")
        if source.span:
            start, end = source.span
            return raw.get_stream(start, end - start)
    return pa.CompressedInputStream(raw, source.compression) if source.compression else raw


def _named(read: Callable[..., _T], name: str) -> Callable[..., _T]:
    """The same function, whose errors name the file.

    pyarrow says neither that nor whether the disk or the content is at fault.
    """

    def reading(*what: Any) -> _T:
        try:
            return read(*what)
        except OSError as error:
            if error.errno:
                raise OSError(error.errno, os.strerror(error.errno), name) from error
            raise FormatError(f"{name}: {_first_line(error)}") from error

    return reading


def _feed_parquet(sink: Sink, source: Source, field: str) -> None:
    data = _parquet_data(source)
    file = open_parquet(source.name, data)
    columns = set(file.columns)
    counted = {"pretoken", "count"} <= columns and field not in columns - {"pretoken"}
    if counted and hasattr(sink, "add_counts"):
        _feed_count_file(sink, source, data)
    else:
        sink.add_parquet(file, field, source.row_groups)


def _parquet_data(source: Source) -> pa.NativeFile | None:
    """What Python reads of a parquet file that is compressed as a whole or remote."""
    if source.compression:
        import pyarrow as pa

        with _opened(source) as stream:
            return pa.BufferReader(_waited_for(lambda: _named(stream.read, source.name)()))
    if source.remote:
        system, path = source.remote
        return _named(system.open_input_file, source.name)(path)
    return None


def open_parquet(name: str, data: pa.NativeFile | None = None) -> _core.ParquetFile:
    """A local parquet file, or what `data` holds of one.

    Raises:
        OSError: If it cannot be read.
        FormatError: If it is no parquet.
    """
    if data is None:
        return _core.ParquetFile(name)

    def read(offset: int, length: int) -> bytes:
        return _waited_for(lambda: cast("bytes", data.read_at(length, offset)))

    return _core.ParquetFile(name, (data.size(), _named(read, name)))


def _feed_count_file(sink: Any, source: Source, data: pa.NativeFile | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Read through a small buffer: otherwise a row group's whole column is in memory at once.
        # Not closed by hand, since a thread that Ctrl-C left behind may still read from it.
        file = pq.ParquetFile(data or source.name, buffer_size=1 << 20, pre_buffer=False)
        rows = file.iter_batches(
            COUNT_ROWS, row_groups=source.row_groups, columns=["pretoken", "count"]
        )
        with contextlib.closing(_read_ahead(rows)) as batches:
            for batch in batches:
                feed_counts(sink, batch, source.name)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise FormatError(f"{source.name}: {_first_line(error)}") from error


def _read_ahead(items: Iterator[_T]) -> Generator[_T]:
    """The items, made on a thread while the one before is worked on.

    Waiting hears Ctrl-C at once, pyarrow at work does not.
    """
    # An item, or how it ended: an error, or None after the last.
    results: SimpleQueue[tuple[_T] | BaseException | None] = SimpleQueue()
    wanted = threading.Semaphore(2)
    given_up = False

    def run() -> None:
        try:
            for item in items:
                wanted.acquire()
                if given_up:
                    return
                results.put((item,))
            results.put(None)
        except BaseException as error:
            results.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            wanted.release()
            yield result[0]
    finally:
        given_up = True
        wanted.release()


def _waited_for(call: Callable[[], _T]) -> _T:
    """What `call` gives on a thread; waiting hears Ctrl-C."""
    return next(_read_ahead(call() for _ in range(1)))


def _check_type(kind: pa.DataType, what: str) -> None:
    import pyarrow.types as t

    value = kind.value_type if t.is_dictionary(kind) else kind
    if not (_is_plain(value) or t.is_string_view(value) or t.is_binary_view(value)):
        raise FormatError(f"{what} holds {kind}; string or binary is needed")


def _is_plain(kind: pa.DataType) -> bool:
    import pyarrow.types as t

    return any(
        is_kind(kind)
        for is_kind in (t.is_string, t.is_large_string, t.is_binary, t.is_large_binary)
    )


def feed_arrow(sink: Sink, array: pa.Array) -> None:
    """Hands the strings of an Arrow array to a sink without copying them; nulls are no documents.

    Raises:
        FormatError: If it holds neither strings nor binary.
    """
    for data, offsets in _views(array):
        sink.add_arrow(data, offsets)


def _views(
    array: pa.Array | pa.ChunkedArray,
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Data and offsets of each chunk, as views of its buffers where the layout has them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as t

    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _views(chunk)
        return
    _check_type(array.type, "an Arrow array of documents")
    if not _is_plain(array.type):
        text = t.is_string_view(array.type) or t.is_dictionary(array.type)
        array = array.cast(pa.large_string() if text else pa.large_binary())
    if array.null_count:
        array = array.drop_null()
    if not len(array):
        return
    large = t.is_large_string(array.type) or t.is_large_binary(array.type)
    _, ends, text = array.buffers()
    offsets = np.frombuffer(ends, np.int64 if large else np.int32)
    offsets = offsets[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(text, np.uint8) if text and text.size else np.zeros(0, np.uint8)
    yield data, offsets.astype(np.int64)


def feed_counts(sink: Any, table: Any, name: str = "the table") -> None:
    """Hands pretokens and their counts, two columns of an Arrow table or batch, to a counter.

    Raises:
        FormatError: If the columns pretoken and count are missing, of other types, or hold nulls.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as t

    for column, wanted in (("pretoken", "strings or binary"), ("count", "integers from 0")):
        if column not in table.schema.names:
            raise FormatError(f"{name}: there is no column {column!r} of {wanted}")
    _check_type(table.schema.field("pretoken").type, f"{name}: column 'pretoken'")
    kind = table.schema.field("count").type
    if not t.is_integer(kind):
        raise FormatError(f"{name}: column 'count' holds {kind}; integers are needed")
    batches = table.to_batches(COUNT_ROWS) if isinstance(table, pa.Table) else [table]
    for batch in batches:
        pretokens, counts = batch.column("pretoken"), batch.column("count")
        if pretokens.null_count or counts.null_count:
            raise FormatError(f"{name}: there are nulls among the pretokens or counts")
        try:
            numbers = counts.cast(pa.uint64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise FormatError(f"{name}: column 'count' holds a negative number") from error
        for data, offsets in _views(pretokens):
            sink.add_counts(data, offsets, np.ascontiguousarray(numbers))


def feed_documents(sink: Sink, documents: Any, *, field: str = "text") -> None:
    """Hands documents to a sink lazily: Arrow data, or an iterable of str, bytes and Arrow arrays.

    Of tables and record batches the column `field` is taken, or their only one.

    Raises:
        TypeError: If a document is something else.
    """
    if isinstance(documents, (str, bytes)):
        raise TypeError("documents is one text; an iterable of documents is needed")
    if _is_arrow(documents):
        _feed_arrow_data(sink, documents, field)
        return
    parcel: list[str | bytes] = []
    size = 0
    for document in documents:
        if _is_arrow(document):
            sink.add_texts(parcel)
            parcel, size = [], 0
            _feed_arrow_data(sink, document, field)
            continue
        parcel.append(document)
        size += len(document) if isinstance(document, (str, bytes)) else 0
        if size >= _PARCEL_BYTES or len(parcel) >= _PARCEL_DOCUMENTS:
            sink.add_texts(parcel)
            parcel, size = [], 0
            if sink.is_full():
                return
    sink.add_texts(parcel)


def _is_arrow(data: object) -> bool:
    return hasattr(data, "__arrow_c_array__") or hasattr(data, "__arrow_c_stream__")


def _feed_arrow_data(sink: Sink, data: Any, field: str) -> None:
    import pyarrow as pa

    if not isinstance(data, (pa.Array, pa.ChunkedArray, pa.Table, pa.RecordBatch)):
        if hasattr(data, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(data)
            for batch in reader:
                _feed_arrow_data(sink, batch, field)
            return
        data = pa.array(data)
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        names = data.schema.names
        if field not in names and len(names) != 1:
            raise ValueError(f"the table has no column {field!r}; it has {', '.join(names)}")
        data = data.column(field if field in names else names[0])
    feed_arrow(sink, data)
