"""Training: count the pretokens of a corpus, then merge the most frequent pairs.

`train` reads files, `train_from_iterator` takes documents from memory, `train_from_counts` counts
that already exist; `count` writes such counts to a file. All give the same vocabulary for the same
pretokens, whatever the threads, the order of the documents and how they are cut into chunks.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanobpe import _core, sources
from nanobpe.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

_Path = str | os.PathLike[str]
Progress = Callable[[dict[str, Any]], object]
TieBreak = Literal["id", "bytes", "hf"]
# Rows of a batch and of a row group of count files: a few megabytes.
_BATCH_ROWS = 1 << 18
# Stands for counts that are too large, in sums of them and in count files.
_MOST = 2**64 - 1


@dataclass(frozen=True)
class CountReport:
    """What was counted."""

    documents: int
    bytes: int
    pretokens_distinct: int
    pretokens_total: int
    seconds: float


@dataclass
class TrainReport:
    """How a training went; times are in seconds."""

    vocab_size: int = 0
    merges: int = 0
    special: int = 0
    documents: int = 0
    bytes: int = 0
    pretokens_distinct: int = 0
    pretokens_total: int = 0
    bytes_per_token: float = 0.0
    last_count: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Options:
    """The options of api.md, checked before anything is read."""

    pattern: str = "nano"
    special_tokens: Sequence[str] = ("<|bos|>",)
    split_on: Sequence[str] = ()
    tie_break: TieBreak = "id"
    min_frequency: int = 1
    max_token_bytes: int | None = None
    field: str = "text"
    max_bytes: int | None = None
    max_document_chars: int | None = None
    threads: int | None = None
    memory: int | None = None
    cluster: Literal["ray"] | None = None
    resume: Tokenizer | None = None
    strict: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name in ("special_tokens", "split_on"):
            texts = getattr(self, name)
            if isinstance(texts, str) or not all(isinstance(t, str) and t for t in texts):
                raise ValueError(f"{name} is {texts!r}; a sequence of non-empty strings is needed")
        for name, least in (
            ("min_frequency", 0),
            ("max_token_bytes", 1),
            ("max_bytes", 1),
            ("max_document_chars", 1),
            ("threads", 1),
            # What the tables of a few threads take before they hold anything.
            ("memory", 2**20),
        ):
            number = getattr(self, name)
            if number is not None and not (isinstance(number, int) and least <= number < 2**64):
                allowed = f"whole numbers from {least} to 2**64 - 1 are allowed"
                raise ValueError(f"{name} is {number!r}; {allowed}")
        check_cluster(self.cluster, self.max_bytes)

    def counter(self) -> _core.Counter:
        """A counter with these options."""
        return _core.Counter(
            self.pattern,
            list(self.special_tokens),
            list(self.split_on),
            self.threads or available_threads(),
            self.max_bytes,
            self.max_document_chars,
            (self.memory, Path(tempfile.gettempdir())) if self.memory is not None else None,
            self.told("count"),
        )

    def fill(self, counter: _core.Counter, found: list[sources.Source], field: str) -> None:
        """Counts the documents of sources, here or on the cluster."""
        if self.cluster is None:
            sources.feed(counter, found, field=field)
        else:
            from nanobpe import cluster

            cluster.feed(counter, found, replace(self, field=field))

    def check(self, vocab_size: int) -> None:
        """Refuses what the merging would refuse."""
        if (
            isinstance(vocab_size, bool)
            or not isinstance(vocab_size, int)
            or not 0 <= vocab_size < 2**64
        ):
            raise ValueError(f"vocab_size is {vocab_size!r}; a whole number is needed")
        _core.check_training(vocab_size, *self._merging())

    def merge(self, counts: _core.Counts, vocab_size: int) -> tuple[_core.Tokenizer, int, int]:
        """Tokenizer, how often the last merged pair occurred, tokens of the corpus."""
        specials, tie_break, min_frequency, max_token_bytes, resume = self._merging()
        tell = self._told_merging(vocab_size - len(specials))
        merged = _core.train(
            counts,
            self.pattern,
            vocab_size,
            specials,
            tie_break,
            min_frequency,
            max_token_bytes,
            resume,
            self.threads or available_threads(),
            tell,
        )
        if tell is not None:
            # However short it was, its end is told.
            tell({"ids": merged[0].vocab_size - len(specials)})
        return merged

    def _merging(self) -> tuple[list[str], str, int, int | None, _core.Tokenizer | None]:
        resume = self.resume._core if self.resume is not None else None
        specials = list(self.special_tokens)
        return specials, self.tie_break, self.min_frequency, self.max_token_bytes, resume

    def told(self, phase: str) -> Progress | None:
        """The progress callback with the phase and its seconds added."""
        if self.progress is None:
            return None
        call, start = self.progress, time.perf_counter()

        def tell(row: dict[str, Any]) -> None:
            call({"phase": phase, **row, "seconds": time.perf_counter() - start})

        return tell

    def _told_merging(self, num_ids: int) -> Progress | None:
        """The same with the merges made, and those that there will be if the corpus has them."""
        tell = self.told("merge")
        if tell is None:
            return None
        first = max(self.resume.ranks.values()) + 1 if self.resume is not None else 256

        def tell_merges(row: dict[str, Any]) -> None:
            tell({**row, "merges": max(0, row["ids"] - first), "total": num_ids - first})

        return tell_merges

    def record(self) -> dict[str, Any]:
        """What of the options decides the result, for meta.json."""
        return {
            "tie_break": self.tie_break,
            "min_frequency": self.min_frequency,
            "max_token_bytes": self.max_token_bytes,
            "special_tokens": list(self.special_tokens),
            "split_on": list(self.split_on),
            "max_bytes": self.max_bytes,
            "max_document_chars": self.max_document_chars,
            "resumed_from": self.resume.hash if self.resume is not None else None,
        }


def check_cluster(cluster: str | None, max_bytes: int | None) -> None:
    """Refuses another cluster than Ray's, and what none can do."""
    if cluster not in (None, "ray"):
        raise ValueError(f"cluster is {cluster!r}; ray is allowed")
    if cluster and max_bytes is not None:
        raise ValueError("max_bytes ends the reading in order; a cluster has no order")


def available_threads() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def train(files: _Path | Iterable[_Path], vocab_size: int, **options: Any) -> Tokenizer:
    """A tokenizer of `vocab_size` ids learnt from files.

    Args:
        files: Paths, globs, folders or URLs, one or several: text, JSON lines, parquet, each also
            as .gz or .zst, and count files as `count` writes them.
        vocab_size: 256 bytes + merges + special tokens.
        **options: pattern ("nano", another built-in name or a regex), special_tokens (hard
            boundaries that nothing is learnt from), split_on (what separates documents in text),
            tie_break ("id", "bytes" or "hf"), min_frequency, max_token_bytes, field (of JSON lines
            and parquet), max_bytes and max_document_chars (limits on what is read), threads, memory
            (bytes for counts and words; what exceeds them goes to files without a name in the
            folder for temporary files, and the result is the same), cluster ("ray": count on a
            Ray cluster), resume (a Tokenizer to extend), strict (a vocabulary that cannot be
            filled is an error), progress (called with a dict a few times a second; what it raises
            stops the work).

    Raises:
        ValueError: For a bad option, an empty corpus, or text not as its file's name says.
        OSError: If a file cannot be read.
    """
    return train_with_report(files, vocab_size, **options)[0]


def train_with_report(
    files: _Path | Iterable[_Path],
    vocab_size: int,
    *,
    counts_out: _Path | None = None,
    **options: Any,
) -> tuple[Tokenizer, TrainReport]:
    """As `train`, with how it went; `counts_out` also writes the counts to a file."""
    chosen = _options(options)
    found = sources.find(files)

    def fill(counter: _core.Counter) -> None:
        chosen.fill(counter, found, chosen.field)

    return _train(fill, vocab_size, chosen, counts_out)


def train_from_iterator(
    documents: Iterable[str | bytes | Any], vocab_size: int, **options: Any
) -> Tokenizer:
    """A tokenizer of `vocab_size` ids learnt from documents in memory, taken lazily.

    Args:
        documents: str, bytes or Arrow string arrays; or one Arrow array or table (its column
            `field`), which is read where it lies.
        vocab_size: As in `train`.
        **options: As in `train`.

    Raises:
        TypeError: If a document is neither str nor bytes.
        ValueError: For a bad option or an empty corpus.
    """
    chosen = _options(options)
    _refuse_cluster(chosen)

    def fill(counter: _core.Counter) -> None:
        sources.feed_documents(counter, documents, field=chosen.field)

    return _train(fill, vocab_size, chosen)[0]


def train_from_counts(
    counts: Mapping[bytes | str, int] | _Path | Iterable[_Path] | Any,
    vocab_size: int,
    **options: Any,
) -> Tokenizer:
    """A tokenizer of `vocab_size` ids learnt from counted pretokens, which are taken whole.

    Args:
        counts: A mapping of pretokens to counts, an Arrow table with the columns pretoken and
            count, or count files.
        vocab_size: As in `train`.
        **options: As in `train`.

    Raises:
        ValueError: For a bad option, a negative count, no counts at all, or counts of which the sum
            over all pretokens, or over their pairs of neighbouring bytes, is not below 2**64 - 1.
        OSError: If a file cannot be read.
    """
    chosen = _options(options)
    if isinstance(counts, Mapping) or hasattr(counts, "schema"):
        _refuse_cluster(chosen)

    def fill(counter: _core.Counter) -> None:
        if isinstance(counts, Mapping):
            for table in _tables(counts):
                sources.feed_counts(counter, table, "counts")
        elif hasattr(counts, "schema"):
            sources.feed_counts(counter, counts, "counts")
        else:
            chosen.fill(counter, sources.find(counts), "pretoken")

    return _train(fill, vocab_size, chosen)[0]


def count(files: _Path | Iterable[_Path], out: _Path, **options: Any) -> CountReport:
    """Counts the pretokens of files and writes them to `out`, parquet with pretoken and count.

    Count files add up: training on several gives what training on all their texts gives, so that
    machines can count and one can merge.

    Args:
        files: As in `train`.
        out: Replaced when the new file is complete.
        **options: Those of `train` that concern reading and splitting.

    Raises:
        ValueError: For a bad option or an empty corpus.
        OSError: If a file cannot be read or written.
    """
    chosen = _options(options)
    found = sources.find(files)
    start = time.perf_counter()
    counter = chosen.counter()
    chosen.fill(counter, found, chosen.field)
    counts = counter.finish()
    _refuse_empty(counts)
    write_counts(counts, out)
    return CountReport(
        documents=counts.documents,
        bytes=counts.bytes,
        pretokens_distinct=counts.distinct,
        pretokens_total=counts.total,
        seconds=time.perf_counter() - start,
    )


def write_counts(counts: _core.Counts, out: _Path) -> None:
    """Writes counts as parquet, in order of the pretokens' bytes."""
    import pyarrow.parquet as pq

    target = Path(out)
    # One name for every run: what a killed one left is overwritten by the next.
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            with pq.ParquetWriter(file, count_schema(), compression="zstd") as writer:
                # Ctrl-C is heard between batches.
                for batch in count_batches(counts):
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


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


def check_options(**options: Any) -> None:
    """Refuses what counting would refuse, before it begins."""
    chosen = _options(options)
    _core.Counter(chosen.pattern, [], list(chosen.split_on), 1, None, None, None, None)
    if chosen.cluster:
        from nanobpe import cluster

        cluster.load_ray()


def _options(options: dict[str, Any]) -> _Options:
    known = _Options.__dataclass_fields__
    for name in options:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TypeError(f"unknown option {name!r}{hint} Options are {', '.join(known)}")
    return _Options(**options)


def _train(
    fill: Callable[[_core.Counter], None],
    vocab_size: int,
    options: _Options,
    counts_out: _Path | None = None,
) -> tuple[Tokenizer, TrainReport]:
    options.check(vocab_size)
    start = time.perf_counter()
    counter = options.counter()
    fill(counter)
    read = time.perf_counter()
    counts = counter.finish()
    _refuse_empty(counts)
    if counts_out is not None:
        write_counts(counts, counts_out)
    counted = time.perf_counter()
    core, last_count, num_tokens = options.merge(counts, vocab_size)
    merged = time.perf_counter()
    report = TrainReport(
        vocab_size=core.vocab_size,
        merges=core.vocab_size - 256 - len(options.special_tokens),
        special=len(options.special_tokens),
        documents=counts.documents,
        bytes=counts.bytes,
        pretokens_distinct=counts.distinct,
        pretokens_total=counts.total,
        last_count=last_count,
        # Reading and counting overlap: `read` is the time until the last input was handed over.
        seconds={"read": read - start, "count": counted - start, "merge": merged - counted},
    )
    if counts.bytes:
        report.bytes_per_token = counts.bytes / num_tokens
    if core.vocab_size < vocab_size:
        message = (
            f"a vocabulary of {vocab_size} ids cannot be filled from this corpus: "
            f"no pair is left after {core.vocab_size}"
        )
        if options.strict:
            raise ValueError(message)
        warnings.warn(message, stacklevel=3)
    training = options.record() | {
        "vocab_size": vocab_size,
        "corpus_hash": counts.fingerprint(),
        "documents": counts.documents,
        "bytes": counts.bytes,
        "pretokens_distinct": counts.distinct,
        "pretokens_total": counts.total,
    }
    tokenizer = Tokenizer._from_core(core, json.loads(core.meta(json.dumps(training))))
    return tokenizer, report


def _refuse_cluster(options: _Options) -> None:
    if options.cluster:
        raise ValueError("a cluster counts files; what is in memory is counted where it is")


def _refuse_empty(counts: _core.Counts) -> None:
    if not counts.distinct:
        raise ValueError(
            f"the corpus is empty: {counts.documents} documents with {counts.bytes} bytes"
        )


def _tables(counts: Mapping[bytes | str, int]) -> Iterator[Any]:
    """The counts as Arrow tables, in parts so that Ctrl-C is heard between them."""
    import pyarrow as pa

    items = iter(counts.items())
    while part := list(itertools.islice(items, sources.COUNT_ROWS)):
        for key, number in part:
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _MOST:
                raise ValueError(f"the count of {key!r} is {number!r}; 0 to 2**64 - 2 are allowed")
        keys = [key.encode() if isinstance(key, str) else key for key, _ in part]
        numbers = pa.array([number for _, number in part], pa.uint64())
        yield pa.table({"pretoken": pa.array(keys, pa.large_binary()), "count": numbers})
