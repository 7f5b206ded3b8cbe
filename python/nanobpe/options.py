"""The options of training and counting, checked before anything is read."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nanobpe import _core
from nanobpe.tokenizer import Tokenizer

Progress = Callable[[dict[str, Any]], object]
TieBreak = Literal["id", "bytes", "hf"]


@dataclass(frozen=True)
class Options:
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


def options_of(options: dict[str, Any]) -> Options:
    """The options of these names; an unknown one is refused with the nearest."""
    known = Options.__dataclass_fields__
    for name in options:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TypeError(f"unknown option {name!r}{hint} Options are {', '.join(known)}")
    return Options(**options)


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
