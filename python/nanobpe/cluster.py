"""Counting and encoding on a Ray cluster: a task for each parcel of the inputs.

Counts travel as Arrow tables through Ray's object store, to a tree of tasks that adds them up; ids
as arrays, to this process, which takes them in the order of the inputs. Both are always what a task
gives back, so a lost node costs only time: Ray runs again what made the tables and arrays that were
on it. The result is that of one machine. Every node reads the inputs by their names: they are URLs,
or files that all nodes have. RAY_ADDRESS says which cluster; without it one is started on this
machine, and stopped at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import re
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobpe import _core, sources
from nanobpe.counts import count_batches, count_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from nanobpe.encode import Reading
    from nanobpe.options import Options
    from nanobpe.sources import Source
    from nanobpe.tokenizer import Tokenizer

# A task takes inputs of about this size together; a file that cannot be divided may be larger.
_PARCEL_BYTES = 64_000_000
# What is searched at once for a place to cut.
_WINDOW_BYTES = 1 << 20
# Tasks that are given out at once, so that none of the processors waits for more.
_TASKS_PER_PROCESSOR = 4
# Tables that one task adds up.
_FAN_IN = 8
# How often a task runs again after its worker or node has died.
_RETRIES = 5
# Seconds between two looks at the tasks, at signals and at what progress raises.
_LOOK = 0.1


def load_ray() -> Any:
    """The module `ray`.

    Raises:
        ValueError: If it is not installed, with the command that does so.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            'a cluster needs Ray, which is not installed\nhint: pip install "nanobpe[ray]"'
        ) from error


def feed(counter: _core.Counter, found: Sequence[Source], options: Options) -> None:
    """Counts the documents of sources on the cluster and hands the counts to a counter.

    Raises:
        ValueError: If Ray is missing or standard input is among the sources.
        OSError: If a source cannot be read, or the cluster fails.
        FormatError: If a source does not hold what its name says.
    """
    with _connected(found) as ray:
        _count_on_cluster(ray, counter, found, options)


def feed_encoded(
    encoder: _core.DocumentEncoder,
    found: Sequence[Source],
    tokenizer: Tokenizer,
    reading: Reading,
    *,
    bos: int | None,
    eos: int | None,
    shares: Sequence[float],
    seed: int,
    progress: Callable[[dict[str, Any]], object] | None,
) -> None:
    """Encodes the documents of sources on the cluster and hands the ids to an encoder, in order.

    Raises:
        ValueError: If Ray is missing or standard input is among the sources.
        OSError: If a source cannot be read, or the cluster fails.
        FormatError: If a source does not hold what its name says.
    """
    options = replace(reading, threads=1).options(bos, eos)
    with _connected(found) as ray:
        shared = ray.put(tokenizer)
        encode = ray.remote(num_cpus=1, max_retries=_RETRIES, num_returns="streaming")(_encode)
        processors = _processors(ray)
        parcels = _parcels(found, processors, reading.split_on)
        given = iter(parcels)
        # Those whose ids have not come yet, and no more: what is in the object store is bounded.
        ahead: deque[Any] = deque()
        row = dict.fromkeys(("tasks", "documents", "bytes", "tokens"), 0) | {"total": len(parcels)}

        def look() -> None:
            if progress:
                progress(row)

        while True:
            room = _TASKS_PER_PROCESSOR * processors - len(ahead)
            for parcel in itertools.islice(given, room):
                ahead.append(encode.remote(parcel, shared, options, reading.field, shares, seed))
            if not ahead:
                return
            for part in _each(ray, ahead.popleft(), look):
                encoder.add_encoded(*part)
                ids, _, num_bytes, splits = part
                row["documents"] += int((splits > 0).sum())
                row["bytes"] += int(num_bytes.sum())
                row["tokens"] += len(ids)
            row["tasks"] += 1


@contextlib.contextmanager
def _connected(found: Sequence[Source]) -> Iterator[Any]:
    """The module `ray`, connected to the cluster; what tasks raise is raised as on one machine."""
    ray = load_ray()
    if any(source.is_stdin for source in found):
        raise ValueError("standard input cannot be read on a cluster; files and URLs can")
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(ray)
        yield ray
    except ray.exceptions.RayTaskError as error:
        raise _original(error) from None
    except ray.exceptions.RayError as error:
        raise OSError(f"the Ray cluster failed: {_first_line(error)}") from error
    finally:
        if ours:
            ray.shutdown()


def _processors(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 1))


def _connect(ray: Any) -> None:
    # Nothing is reported to anyone unless the user has said so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The start itself logs before it looks at its level.
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            # Without an address Ray would look for a cluster that may have ended long ago.
            os.environ.get("RAY_ADDRESS", "local"),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OSError(f"the Ray cluster cannot be reached: {_first_line(error)}") from error


def _count_on_cluster(
    ray: Any, counter: _core.Counter, found: Sequence[Source], options: Options
) -> None:
    processors = _processors(ray)
    parcels = _parcels(found, processors, options.split_on)
    tell, row = options.told("count"), {"total": len(parcels)}
    plain = replace(options, threads=1, cluster=None, resume=None, progress=None)
    count = ray.remote(num_cpus=1, max_retries=_RETRIES, num_returns=2)(_count)
    add = ray.remote(num_cpus=1, max_retries=_RETRIES)(_add)
    # Tables that wait to be added up: those of counts, those of sums of counts, and so on.
    levels: list[list[Any]] = [[]]
    waiting: list[Any] = []
    given = documents = num_bytes = 0
    while given < len(parcels) or waiting:
        # Few at a time: after an error or Ctrl-C those that have begun end by themselves, and no
        # more follow. To cancel a task that ends meanwhile aborts this process (Ray 2.60).
        while given < len(parcels) and len(waiting) < _TASKS_PER_PROCESSOR * processors:
            numbers, table = count.remote(parcels[given], plain)
            waiting.append(numbers)
            levels[0].append(table)
            given += 1
            for i, level in enumerate(levels):
                if len(level) == _FAN_IN:
                    if level is levels[-1]:
                        levels.append([])
                    levels[i + 1].append(add.remote(plain, *level))
                    level.clear()
        done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_LOOK)
        for numbers in ray.get(done):
            documents, num_bytes = documents + numbers[0], num_bytes + numbers[1]
        if tell:
            tasks = given - len(waiting)
            tell(row | {"tasks": tasks, "documents": documents, "bytes": num_bytes})
    counter.add_fed(documents, num_bytes)
    whole = add.remote(plain, *(table for level in levels for table in level))
    while not ray.wait([whole], timeout=_LOOK)[0]:
        if tell:
            tell(row | {"tasks": given, "documents": documents, "bytes": num_bytes})
    for batch in ray.get(whole).to_batches():
        sources.feed_counts(counter, batch)


def _parcels(
    found: Sequence[Source], processors: int, split_on: Sequence[str] = ()
) -> list[list[Source]]:
    """The sources, or parts of them, in parcels for one task each."""
    whole = sum(source.size or 0 for source in found)
    # Several for each processor, so that none works long while the others have nothing.
    most = min(_PARCEL_BYTES, whole // (4 * processors) + 1)
    parcels: list[list[Source]] = []
    room = 0
    for source in found:
        for part, size in _divided(source, most, split_on):
            if size > room or not parcels:
                parcels.append([])
                room = most
            parcels[-1].append(part)
            room -= size
    return parcels


def _divided(source: Source, most: int, split_on: Sequence[str]) -> Iterator[tuple[Source, int]]:
    """A source, the row groups of one, or spans of documents, with the bytes of each."""
    size = _PARCEL_BYTES if source.size is None else source.size
    if source.compression or source.remote or source.kind == "jsonl":
        yield source, size
    elif source.kind == "text":
        cuts = [*_cuts(source.name, size, most, split_on), size] if split_on else [size]
        if len(cuts) == 1:
            yield source, size
            return
        for span in zip([0, *cuts], cuts, strict=False):
            yield replace(source, span=span), span[1] - span[0]
    else:
        try:
            groups = sources.open_parquet(source.name).group_bytes
        except (OSError, _core.FormatError):
            # The task that reads it says what is wrong.
            groups = []
        if not groups:
            yield source, size
        for i, group_size in enumerate(groups):
            yield replace(source, row_groups=(i,)), group_size


def _cuts(name: str, size: int, step: int, split_on: Sequence[str]) -> Iterator[int]:
    """Ends of separators, `step` bytes apart or more, at which reading from the start ends too.

    Reading takes the leftmost separator and of those the longest, and goes on behind it. So one is
    surely taken if no other begins before it that might reach into it.
    """
    separators = sorted((s.encode() for s in split_on), key=len, reverse=True)
    longest = len(separators[0])
    # Of zero width, so that those that overlap are found as well.
    pattern = re.compile(b"(?=(" + b"|".join(map(re.escape, separators)) + b"))")
    with Path(name).open("rb") as file:
        at = step
        while at < size:
            file.seek(max(at - longest, 0))
            start = file.tell()
            window = file.read(_WINDOW_BYTES + longest)
            before = -longest
            for found in pattern.finditer(window):
                alone = found.start() - before >= longest and start + found.start() >= at
                before = found.start()
                # A longer one may begin here and end behind the window.
                if alone and before + longest <= len(window):
                    cut = start + found.end(1)
                    if cut < size:
                        yield cut
                    at = cut + step
                    break
            else:
                at = start + len(window)


def _count(parcel: list[Source], options: Options) -> tuple[tuple[int, int], pa.Table]:
    """Documents and bytes of a parcel, and its counts."""
    counter = options.counter()
    sources.feed(counter, parcel, field=options.field)
    counts = counter.finish()
    return (counts.documents, counts.bytes), _table(counts)


def _add(options: Options, *tables: pa.Table) -> pa.Table:
    """The counts of several tables in one."""
    counter = options.counter()
    for table in tables:
        sources.feed_counts(counter, table)
    return _table(counter.finish())


def _table(counts: _core.Counts) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches(count_batches(counts), count_schema())


def _encode(
    parcel: list[Source],
    tokenizer: Tokenizer,
    options: dict[str, Any],
    field: str,
    shares: Sequence[float],
    seed: int,
) -> Iterator[tuple[Any, ...]]:
    """The encoded documents of a parcel, as `add_encoded` takes them."""
    encoder, parts = _core.DocumentEncoder.to_parts(tokenizer._core, options, shares, seed)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            sources.feed(encoder, parcel, field=field)
            encoder.finish()
        except BaseException as error:
            raised.append(error)
            # Otherwise the loop below would wait for more.
            encoder.abandon()

    reader = threading.Thread(target=run, daemon=True)
    reader.start()
    while (part := parts.next()) is not None:
        yield part
    reader.join()
    if raised:
        raise raised[0]


def _each(ray: Any, results: Any, look: Callable[[], None]) -> Iterator[Any]:
    """What a task yields, one after another; `look` is called while it is waited for."""
    while True:
        ready, _ = ray.wait([results], timeout=_LOOK)
        look()
        if ready:
            try:
                yield ray.get(next(results))
            except StopIteration:
                return


def _original(error: Any) -> BaseException:
    """What a task has raised, as it would have been raised here."""
    cause = error.cause
    while hasattr(cause, "cause") and isinstance(cause.cause, BaseException):
        cause = cause.cause
    if isinstance(cause, (ValueError, OSError)):
        return cause
    return OSError(f"the Ray cluster failed: {type(cause).__name__}: {_first_line(cause)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
