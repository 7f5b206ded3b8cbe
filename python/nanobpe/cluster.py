"""Counting on a Ray cluster: a task for each parcel of the inputs, then a tree of tasks that add up.

Counts travel as Arrow tables through Ray's object store. A table is always what a task gives back,
so a lost node costs only time: Ray runs again what made the tables that were on it. The result is
that of one machine, as counts add up in any order. Every node reads the inputs by their names: they
are URLs, or files that all nodes have. RAY_ADDRESS says which cluster; without it one is started
on this machine, and stopped at the end.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from nanobpe import sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from nanobpe import _core
    from nanobpe.sources import Source
    from nanobpe.train import _Options

# A task takes inputs of about this size together; a file that cannot be divided may be larger.
_PARCEL_BYTES = 64_000_000
# Tables that one task adds up.
_FAN_IN = 8
# How often a task runs again after its worker or node has died.
_RETRIES = 5
# Seconds between two looks at the tasks, at signals and at what progress raises.
_LOOK = 0.1


def require() -> None:
    """Refuses to go on without Ray.

    Raises:
        ValueError: With the command that installs it.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ValueError(
            'a cluster needs Ray, which is not installed\nhint: pip install "nanobpe[ray]"'
        ) from error


def feed(counter: _core.Counter, found: Sequence[Source], options: _Options) -> None:
    """Counts the documents of sources on the cluster and hands the counts to a counter.

    Raises:
        ValueError: If Ray is missing or standard input is among the sources.
        OSError: If a source cannot be read, or the cluster fails.
        FormatError: If a source does not hold what its name says.
    """
    require()
    import ray

    if any(source.is_stdin for source in found):
        raise ValueError("standard input cannot be read on a cluster; files and URLs can")
    ours = not ray.is_initialized()
    if ours:
        # Nothing is reported to anyone unless the user has said so.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise OSError(f"the Ray cluster cannot be reached: {_first_line(error)}") from error
    try:
        for documents, num_bytes, table in _counted(found, options):
            counter.add_fed(documents, num_bytes)
            for batch in table.to_batches():
                sources.feed_counts(counter, batch)
    finally:
        if ours:
            ray.shutdown()


def _counted(
    found: Sequence[Source], options: _Options
) -> Iterator[tuple[int, int, pa.Table]]:
    """Documents, bytes and counts of all sources, once: a generator, so that no table outlives its use."""
    import ray

    parcels = list(_parcels(found, options.field, ray.cluster_resources().get("CPU", 1)))
    plain = replace(options, threads=1, progress=None, resume=None, cluster=None, strict=False)
    task = {"num_cpus": 1, "max_retries": _RETRIES}
    count = ray.remote(**task, num_returns=2)(_count)
    add = ray.remote(**task)(_add)
    sums, tables = [], []
    for parcel in parcels:
        numbers, table = count.remote(parcel, plain)
        sums.append(numbers)
        tables.append(table)
    pending = list(sums)
    while len(tables) > 1:
        groups = [tables[i : i + _FAN_IN] for i in range(0, len(tables), _FAN_IN)]
        tables = [add.remote(plain, *group) if len(group) > 1 else group[0] for group in groups]
    tell = options.told("count", total_tasks=len(parcels))
    documents = num_bytes = 0
    try:
        pending += tables
        while pending:
            done, pending = ray.wait(pending, timeout=_LOOK)
            for ref in done:
                if ref in sums:
                    more = ray.get(ref)
                    documents, num_bytes = documents + more[0], num_bytes + more[1]
            if tell:
                tasks = len(parcels) - sum(ref in set(sums) for ref in pending)
                tell({"tasks": tasks, "documents": documents, "bytes": num_bytes})
        yield documents, num_bytes, ray.get(tables[0])
    except ray.exceptions.RayTaskError as error:
        _cancel(pending)
        _raise(error.cause)
    except ray.exceptions.RayError as error:
        _cancel(pending)
        raise OSError(f"the Ray cluster lost a task: {_first_line(error)}") from error
    except BaseException:
        _cancel(pending)
        raise
