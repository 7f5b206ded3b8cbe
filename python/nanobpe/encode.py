"""From files to shards, or to ids on standard output: what `nanobpe encode` does."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanobpe import _core, sources
from nanobpe.options import available_threads, check_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nanobpe.sources import Source
    from nanobpe.tokenizer import Tokenizer

# Special tokens that mean the beginning of a document, by preference.
BOS_NAMES = ("<|bos|>", "<|endoftext|>", "<|begin_of_text|>")
# And those that mean its end.
EOS_NAMES = ("<|eos|>", "<|endoftext|>", "<|end_of_text|>")
SPLITS = ("train", "val", "test")


def bos_id(tokenizer: Tokenizer) -> int:
    """The id that begins documents.

    Raises:
        ValueError: If the tokenizer has no such special token.
    """
    return _first_special(tokenizer, BOS_NAMES, "begin")


def eos_id(tokenizer: Tokenizer) -> int:
    """The id that ends documents.

    Raises:
        ValueError: If the tokenizer has no such special token.
    """
    return _first_special(tokenizer, EOS_NAMES, "end")


def _first_special(tokenizer: Tokenizer, names: Sequence[str], use: str) -> int:
    specials = tokenizer.special_tokens
    for name in names:
        if name in specials:
            return specials[name]
    raise ValueError(
        f"the tokenizer has none of {', '.join(names)} to {use} documents with; "
        f"its special tokens are {', '.join(specials) or 'none'}"
    )


def id_dtype(tokenizer: Tokenizer, dtype: Literal["auto", "u16", "u32"]) -> str:
    """The dtype of the ids on disk, uint16 or uint32.

    Raises:
        ValueError: If the vocabulary does not fit into what is asked for.
    """
    if dtype == "u16":
        _check_dtype(tokenizer, "uint16", "use `--dtype u32` or leave it out")
    small = tokenizer.vocab_size <= 2**16
    return "uint32" if dtype == "u32" or not small else "uint16"


def _check_dtype(tokenizer: Tokenizer, dtype: str, hint: str) -> None:
    if dtype not in ("uint16", "uint32"):
        raise ValueError(f'dtype {dtype!r}, want "uint16" or "uint32"')
    if dtype == "uint16" and tokenizer.vocab_size > 2**16:
        raise ValueError(
            f"{tokenizer.vocab_size:,} ids do not fit into uint16, which holds 65,536\nhint: {hint}"
        )


@dataclass(frozen=True)
class Reading:
    """How documents are read: the options that `train` has too."""

    field: str = "text"
    split_on: tuple[str, ...] = ()
    max_bytes: int | None = None
    max_document_chars: int | None = None
    threads: int | None = None

    def options(self, bos: int | None = None, eos: int | None = None) -> dict[str, Any]:
        """As `_core.DocumentEncoder` takes them."""
        return {
            "bos": bos,
            "eos": eos,
            "threads": self.threads or available_threads(),
            "split_on": list(self.split_on),
            "max_bytes": self.max_bytes,
            "max_document_chars": self.max_document_chars,
        }


def to_shards(
    tokenizer: Tokenizer,
    inputs: Sequence[Source],
    out: Path,
    *,
    reading: Reading,
    bos: int | None = None,
    eos: int | None = None,
    dtype: str = "uint16",
    shard_tokens: int = 100_000_000,
    splits: Mapping[str, float] | None = None,
    shuffle: bool = False,
    seed: int = 0,
    resume: bool = False,
    cluster: Literal["ray"] | None = None,
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Encodes inputs into a folder of shards and gives the report of `nanobpe encode --json`.

    A document's split is decided by its text and `seed` alone. Documents come in input order, or
    with `shuffle` in one that `seed` decides. With `resume`, shards that an interrupted run
    completed are kept; the result is that of an unbroken run. With `cluster` the tasks of a Ray
    cluster encode and this process writes; the folder is that of a run without.

    Raises:
        ValueError: If `out` holds other things, or shards of other options, inputs or tokenizer;
            if there is no cluster to be had, or it cannot do what is asked; if the ids do not fit
            into `dtype`.
        OSError: If something cannot be read or written. Complete shards stay for `resume`.
    """
    check_cluster(cluster, reading.max_bytes)
    _check_dtype(tokenizer, dtype, 'use dtype="uint32"')
    start = time.perf_counter()
    shares = {name: (splits or {"train": 1.0}).get(name, 0.0) for name in SPLITS}
    plan = {
        "format": "nanobpe shards",
        "version": 1,
        "tokenizer_hash": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "dtype": dtype,
        "bos_id": bos,
        "eos_id": eos,
        "options": {
            "field": reading.field,
            "split_on": list(reading.split_on),
            "max_bytes": reading.max_bytes,
            "max_document_chars": reading.max_document_chars,
            "shard_tokens": shard_tokens,
            "splits": shares,
            "shuffle": shuffle,
            "seed": seed,
        },
        "sources": [{"name": source.name, "bytes": source.size} for source in inputs],
        "documents": 0,
        "tokens": 0,
        "bytes": 0,
        "splits": {},
    }
    existed = out.exists()
    encoder, complete = _core.DocumentEncoder.to_shards(
        tokenizer._core,
        reading.options(bos, eos),
        out,
        json.dumps(plan),
        list(shares),
        list(shares.values()),
        seed,
        shard_tokens,
        seed if shuffle else None,
        resume,
        # On a cluster the tasks read, and only who hears of them can tell.
        progress if cluster is None else None,
    )
    if encoder is not None:
        try:
            _save_beside(tokenizer, out / "tok")
            if cluster is None:
                sources.feed(encoder, inputs, field=reading.field)
            else:
                from nanobpe.cluster import feed_encoded

                feed_encoded(
                    encoder,
                    inputs,
                    tokenizer,
                    reading,
                    bos=bos,
                    eos=eos,
                    shares=list(shares.values()),
                    seed=seed,
                    progress=progress,
                )
            complete = encoder.finish()
        except BaseException:
            if not encoder.abandon():
                _forget(out, existed=existed)
            raise
    manifest = json.loads(complete or "{}")
    seconds = time.perf_counter() - start
    return {
        "documents": manifest["documents"],
        "tokens": manifest["tokens"],
        "bytes": manifest["bytes"],
        "shards": sum(len(split["shards"]) for split in manifest["splits"].values()),
        "seconds": round(seconds, 3),
        "mb_per_s": round(manifest["bytes"] / 1e6 / seconds, 1),
        "out": str(out),
        "splits": {name: manifest["splits"][name]["tokens"] for name in SPLITS},
    }


def _save_beside(tokenizer: Tokenizer, folder: Path) -> None:
    """Saves the tokenizer unless it is there already, whole."""
    from nanobpe.tokenizer import Tokenizer

    with contextlib.suppress(OSError, ValueError):
        if Tokenizer.load(folder) == tokenizer:
            return
    tokenizer.save(folder)


def _forget(out: Path, *, existed: bool) -> None:
    """Removes what a run without any complete shard leaves."""
    shutil.rmtree(out / "tok", ignore_errors=True)
    if not existed:
        with contextlib.suppress(OSError):
            out.rmdir()


def to_stdout(
    tokenizer: Tokenizer,
    inputs: Sequence[Source],
    *,
    reading: Reading,
    bos: int | None = None,
    eos: int | None = None,
    dtype: str | None = None,
) -> None:
    """Writes the ids of each document as one line of decimal numbers.

    With a `dtype`, uint16 or uint32, as little-endian numbers end to end.

    Raises:
        OSError: If something cannot be read or written.
    """
    width = {None: None, "uint16": 2, "uint32": 4}[dtype]
    options = reading.options(bos, eos)
    encoder = _core.DocumentEncoder.to_stdout(tokenizer._core, options, width, None)
    try:
        sources.feed(encoder, inputs, field=reading.field)
        encoder.finish()
    except BaseException:
        encoder.abandon()
        raise
