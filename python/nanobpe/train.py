"""Training: count the pretokens of a corpus, then merge the most frequent pairs.

`train` reads files, `train_from_iterator` takes documents from memory, `train_from_counts` counts
that already exist; `count` writes such counts to a file. All give the same vocabulary for the same
pretokens, whatever the threads, the order of the documents and how they are cut into chunks.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nanobpe import _core, sources
from nanobpe.counts import count_batches, count_schema
from nanobpe.options import Options, options_of
from nanobpe.tokenizer import Tokenizer

_Path = str | os.PathLike[str]
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
    chosen = options_of(options)
    found = sources.find(files)

    def fill(counter: _core.Counter) -> None:
        _fill(chosen, counter, found, chosen.field)

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
    chosen = options_of(options)
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
    chosen = options_of(options)
    if isinstance(counts, Mapping) or hasattr(counts, "schema"):
        _refuse_cluster(chosen)

    def fill(counter: _core.Counter) -> None:
        if isinstance(counts, Mapping):
            for table in _tables(counts):
                sources.feed_counts(counter, table, "counts")
        elif hasattr(counts, "schema"):
            sources.feed_counts(counter, counts, "counts")
        else:
            _fill(chosen, counter, sources.find(counts), "pretoken")

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
    chosen = options_of(options)
    found = sources.find(files)
    start = time.perf_counter()
    counter = chosen.counter()
    _fill(chosen, counter, found, chosen.field)
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


def check_options(**options: Any) -> None:
    """Refuses what counting would refuse, before it begins."""
    chosen = options_of(options)
    _core.Counter(chosen.pattern, [], list(chosen.split_on), 1, None, None, None, None)
    if chosen.cluster:
        from nanobpe import cluster

        cluster.load_ray()


def _train(
    fill: Callable[[_core.Counter], None],
    vocab_size: int,
    options: Options,
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
        merges=core.num_merges,
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


def _fill(
    options: Options, counter: _core.Counter, found: list[sources.Source], field: str
) -> None:
    """Counts the documents of sources, here or on the cluster."""
    if options.cluster is None:
        sources.feed(counter, found, field=field)
    else:
        from nanobpe import cluster

        cluster.feed(counter, found, replace(options, field=field))


def _refuse_cluster(options: Options) -> None:
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
