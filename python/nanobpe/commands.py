"""What the commands that make things do; `cli` has their flags, `reports` those that only show."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobpe.console import print_json

if TYPE_CHECKING:
    import argparse

    from nanobpe.encode import Reading
    from nanobpe.sources import Source
    from nanobpe.tokenizer import Tokenizer

# Of the corpus, for the round trip after training.
_CHECKED_BYTES = 1_000_000


def _total_bytes(found: list[Source]) -> int | None:
    """Bytes that reading will give, where the sizes on disk tell."""
    plain = all(s.size is not None and s.kind != "parquet" and not s.compression for s in found)
    return sum(s.size or 0 for s in found) if plain else None


def _reading(arguments: argparse.Namespace) -> Reading:
    from nanobpe.encode import Reading

    return Reading(
        arguments.field,
        tuple(arguments.split_on),
        arguments.max_bytes,
        arguments.max_doc_chars,
        arguments.threads,
    )


def _counting_options(arguments: argparse.Namespace) -> dict[str, Any]:
    special = ["<|bos|>"] if arguments.special is None else arguments.special
    return {
        "pattern": arguments.pattern,
        "special_tokens": tuple(special),
        "split_on": tuple(arguments.split_on),
        "field": arguments.field,
        "max_bytes": arguments.max_bytes,
        "max_document_chars": arguments.max_doc_chars,
        "threads": arguments.threads,
        "memory": arguments.memory,
        "cluster": arguments.cluster,
    }


def _pattern_shown(pattern: str) -> str:
    from nanobpe import PATTERNS

    return f"{pattern} pattern" if pattern in PATTERNS else "custom pattern"


def train(arguments: argparse.Namespace) -> None:
    """`nanobpe train`."""
    from nanobpe import _core, sources
    from nanobpe.console import Progress, peak_mib
    from nanobpe.tokenizer import Tokenizer
    from nanobpe.train import check_options, train_with_report
    from nanobpe.usage import flags

    start = time.perf_counter()
    found = sources.find(arguments.inputs)
    resume = Tokenizer.load(arguments.resume) if arguments.resume else None
    options = _counting_options(arguments) | {
        "tie_break": arguments.tie_break,
        "min_frequency": arguments.min_frequency,
        "max_token_bytes": arguments.max_token_bytes,
        "resume": resume,
        "strict": arguments.strict,
    }
    with flags():
        # What the flags alone make impossible is said before hours of reading, as a usage error.
        _core.check_training(
            arguments.vocab,
            list(options["special_tokens"]),
            arguments.tie_break,
            arguments.min_frequency,
            arguments.max_token_bytes,
            resume._core if resume else None,
        )
        check_options(**options)
    _check_writable(arguments.out)
    progress = Progress(arguments.progress, _total_bytes(found))
    try:
        tokenizer, report = train_with_report(
            arguments.inputs,
            arguments.vocab,
            counts_out=arguments.counts_out,
            progress=progress,
            **options,
        )
    finally:
        progress.clear()
    _log_training(arguments, found, report)
    _check_round_trip(arguments, found, tokenizer, report.bytes_per_token)
    writing = time.perf_counter()
    tokenizer.save(arguments.out)
    end = time.perf_counter()
    seconds = {**report.seconds, "write": end - writing, "total": end - start}
    peak = peak_mib()
    _log_written(arguments.out, report, peak, seconds["total"])
    if arguments.json:
        print_json(
            {
                "vocab_size": report.vocab_size,
                "merges": report.merges,
                "special": report.special,
                "documents": report.documents,
                "bytes": report.bytes,
                "pretokens_distinct": report.pretokens_distinct,
                "pretokens_total": report.pretokens_total,
                "bytes_per_token": round(report.bytes_per_token, 4),
                "seconds": {name: round(value, 4) for name, value in seconds.items()},
                "peak_mib": peak,
                "out": str(arguments.out),
                "hash": tokenizer.hash,
            }
        )


def _check_writable(out: str) -> None:
    """Finds an output that cannot be written before the work, not after it."""
    parent = Path(out)
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise NotADirectoryError(f"{out}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{out}: {parent} cannot be written to")


def _log_training(arguments: argparse.Namespace, found: list[Source], report: Any) -> None:
    from nanobpe.console import duration, log, plural, quantity, significant
    from nanobpe.options import available_threads

    log(
        "corpus",
        plural(len(found), "file"),
        plural(report.documents, "document"),
        quantity(report.bytes, "B"),
    )
    seconds = max(report.seconds["count"], 1e-9)
    threads = plural(arguments.threads or available_threads(), "thread")
    workers = arguments.cluster or threads
    log(
        "count",
        f"{_pattern_shown(arguments.pattern)}, {workers}",
        duration(seconds),
        f"{significant(report.bytes / 1e6 / seconds)} MB/s",
        f"{report.pretokens_distinct:,} distinct pretokens, "
        f"{quantity(report.pretokens_total)} total",
    )
    wanted = arguments.vocab - 256 - report.special
    log(
        "merge",
        f"{report.merges:,} of {wanted:,}",
        duration(report.seconds["merge"]),
        f"last pair seen {plural(report.last_count, 'time')}",
    )


def _check_round_trip(
    arguments: argparse.Namespace, found: list[Source], tokenizer: Tokenizer, rate: float
) -> None:
    """Encodes and decodes the head of the corpus where it can be read again."""
    from nanobpe.console import log, significant
    from nanobpe.encode import Reading
    from nanobpe.inspect import tally

    again = [s for s in found if s.kind != "parquet" and not s.is_stdin and s.remote is None]
    shown = f"{significant(rate)} bytes/token"
    if not again:
        log("check", shown)
        return
    limit = min(arguments.max_bytes or _CHECKED_BYTES, _CHECKED_BYTES)
    reading = Reading(arguments.field, tuple(arguments.split_on), limit, threads=arguments.threads)
    if arguments.memory is not None:
        # The bound holds for this too: by default each thread has 32 MiB.
        tokenizer.cache_mib = 1
    checked = tally(tokenizer, again, reading)
    if checked.changed:
        raise ValueError(
            f"{checked.changed} of {checked.documents} documents do not come back from their ids; "
            "this is a fault of nanobpe: please report it"
        )
    documents = f"{checked.documents:,} document{'' if checked.documents == 1 else 's'}"
    log("check", f"round trip ok on {documents}", shown)


def _log_written(out: str, report: Any, peak: float, seconds: float) -> None:
    from nanobpe.console import duration, log, quantity

    log(
        "wrote",
        f"{out.rstrip('/')}/  {report.vocab_size:,} ids = 256 bytes + {report.merges:,} merges + "
        f"{report.special} special",
        f"(peak memory {quantity(round(peak * 2**20), 'B')}, {duration(seconds)})",
    )


def count(arguments: argparse.Namespace) -> None:
    """`nanobpe count`."""
    import nanobpe
    from nanobpe import sources
    from nanobpe.console import Progress, duration, log, peak_mib, plural, quantity
    from nanobpe.train import check_options
    from nanobpe.usage import flags

    found = sources.find(arguments.inputs)
    options = _counting_options(arguments)
    with flags():
        check_options(**options)
    _check_writable(str(Path(arguments.out).parent))
    progress = Progress(arguments.progress, _total_bytes(found))
    try:
        report = nanobpe.count(arguments.inputs, arguments.out, progress=progress, **options)
    finally:
        progress.clear()
    log(
        "corpus",
        plural(len(found), "file"),
        plural(report.documents, "document"),
        quantity(report.bytes, "B"),
    )
    log(
        "wrote",
        str(arguments.out),
        f"{report.pretokens_distinct:,} distinct pretokens, "
        f"{quantity(report.pretokens_total)} total",
        f"({duration(report.seconds)})",
    )
    if arguments.json:
        print_json(
            {
                "documents": report.documents,
                "bytes": report.bytes,
                "pretokens_distinct": report.pretokens_distinct,
                "pretokens_total": report.pretokens_total,
                "seconds": round(report.seconds, 4),
                "peak_mib": peak_mib(),
                "out": str(arguments.out),
            }
        )


def encode(arguments: argparse.Namespace) -> None:
    """`nanobpe encode`."""
    from nanobpe import sources
    from nanobpe.console import Progress, duration, log, peak_mib, plural, quantity, significant
    from nanobpe.encode import bos_id, eos_id, id_dtype, to_shards, to_stdout
    from nanobpe.options import check_cluster
    from nanobpe.tokenizer import Tokenizer
    from nanobpe.usage import UsageError, flags

    sharded = arguments.split or arguments.val is not None or arguments.shuffle or arguments.resume
    if arguments.ids and sharded:
        raise UsageError(
            "--split, --val, --shuffle and --resume are about shards; with --ids there are none"
        )
    if arguments.ids and arguments.cluster:
        raise UsageError("--cluster writes shards; --ids writes to standard output on one machine")
    if arguments.cluster:
        from nanobpe.cluster import load_ray

        with flags():
            check_cluster(arguments.cluster, arguments.max_bytes)
            load_ray()
    if arguments.binary and not arguments.ids:
        raise UsageError("--binary is about --ids; shards are binary anyway")
    if arguments.ids and arguments.dtype != "auto" and not arguments.binary:
        raise UsageError("--dtype is about binary ids; with --ids it needs --binary")
    found = sources.find(arguments.inputs)
    tokenizer = Tokenizer.load(arguments.tok)
    with flags():
        bos = bos_id(tokenizer) if arguments.bos else None
        eos = eos_id(tokenizer) if arguments.eos else None
        dtype = id_dtype(tokenizer, arguments.dtype)
    reading = _reading(arguments)
    if arguments.ids:
        binary = dtype if arguments.binary else None
        to_stdout(tokenizer, found, reading=reading, bos=bos, eos=eos, dtype=binary)
        return
    splits = arguments.split or {"train": 1.0}
    if arguments.val is not None:
        splits = {"train": 1 - arguments.val, "val": arguments.val}
    progress = Progress(arguments.progress, _total_bytes(found))

    def show(row: dict[str, Any]) -> None:
        progress({"phase": "encode", **row})

    try:
        report = to_shards(
            tokenizer,
            found,
            Path(arguments.out),
            reading=reading,
            bos=bos,
            eos=eos,
            dtype=dtype,
            shard_tokens=arguments.shard_tokens,
            splits=splits,
            shuffle=arguments.shuffle,
            seed=arguments.seed % 2**64,
            resume=arguments.resume,
            cluster=arguments.cluster,
            progress=show,
        )
    finally:
        progress.clear()
    report["peak_mib"] = peak_mib()
    log(
        "corpus",
        plural(len(found), "file"),
        plural(report["documents"], "document"),
        quantity(report["bytes"], "B"),
    )
    log(
        "encode",
        f"{quantity(report['tokens'])} tokens",
        f"{significant(report['bytes'] / max(report['tokens'], 1))} bytes/token",
        duration(report["seconds"]),
        f"{significant(report['mb_per_s'])} MB/s",
    )
    parts = [f"{name} {quantity(n)}" for name, n in report["splits"].items() if n]
    log(
        "wrote",
        f"{arguments.out.rstrip('/')}/  {plural(report['shards'], 'shard')} of {dtype}",
        ", ".join(parts),
        f"(peak memory {quantity(round(report['peak_mib'] * 2**20), 'B')})",
    )
    if arguments.json:
        print_json(report)


def decode(arguments: argparse.Namespace) -> None:
    """`nanobpe decode`."""
    from nanobpe.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(arguments.tok)
    stdin = arguments.file == "-"
    name = "<stdin>" if stdin else arguments.file
    source = sys.stdin.buffer if stdin else Path(arguments.file).open("rb")  # noqa: SIM115
    num_tokens = num_bytes = 0
    ended = b"\n"
    with source:
        rest = b""
        while True:
            block = source.read(1 << 20)
            # An id may go on in the next block.
            words = (rest + block).split()
            cut = bool(block) and not block[-1:].isspace()
            rest = words.pop() if cut and words else b""
            text = tokenizer.decode_bytes([_parsed_id(word, name) for word in words])
            num_tokens += len(words)
            num_bytes += len(text)
            ended = text[-1:] or ended
            sys.stdout.buffer.write(text)
            if not block:
                break
    sys.stdout.buffer.flush()
    if arguments.json or (ended != b"\n" and sys.stdout.isatty()):
        print()
    if arguments.json:
        print_json({"tokens": num_tokens, "bytes": num_bytes})


def _parsed_id(word: bytes, name: str) -> int:
    if not word.isdigit():
        shown = word[:40].decode("utf-8", "replace")
        raise ValueError(f"{name}: {shown!r} is no id; whole numbers between white space are read")
    return int(word)


def convert(arguments: argparse.Namespace) -> None:
    """`nanobpe convert`."""
    from nanobpe.console import log
    from nanobpe.usage import UsageError

    if arguments.source is None and arguments.to is None:
        raise UsageError("nothing to convert: give --to, --from or both")
    tokenizer = _converted_from(arguments)
    out = Path(arguments.out)
    if arguments.to is None:
        tokenizer.save(out)
    elif arguments.to == "hf":
        tokenizer.to_hf(out)
    elif arguments.to == "gpt2":
        tokenizer.to_gpt2(out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.to_tiktoken(out / "vocab.tiktoken")
    written = sorted(p.name for p in out.iterdir() if p.is_file())
    log("wrote", f"{arguments.out.rstrip('/')}/  {len(tokenizer):,} ids", ", ".join(written))
    if arguments.json:
        print_json({"vocab_size": len(tokenizer), "out": str(out), "files": written})


def _converted_from(arguments: argparse.Namespace) -> Tokenizer:
    from nanobpe.tokenizer import Tokenizer
    from nanobpe.usage import UsageError

    path = Path(arguments.tok)
    if arguments.source is None:
        return Tokenizer.load(path)
    if arguments.source == "hf":
        return Tokenizer.from_hf(path)
    if arguments.source == "gpt2":
        folder = path if path.is_dir() else path.parent
        vocab = folder / "vocab.json" if path.is_dir() else path
        return Tokenizer.from_gpt2(vocab, folder / "merges.txt", special_tokens=arguments.special)
    specials: dict[str, int] = {}
    for given in arguments.special:
        text, _, token_id = given.rpartition("=")
        if not text or not token_id.isdigit():
            raise UsageError(f"--special {given!r} lacks its id; write it as '<|bos|>=50256'")
        specials[text] = int(token_id)
    if arguments.pattern is None:
        raise UsageError("a .tiktoken file does not tell its pattern: give --pattern")
    if path.is_dir():
        files = sorted(path.glob("*.tiktoken"))
        if len(files) != 1:
            raise ValueError(f"{path}: holds {len(files)} .tiktoken files; one is needed")
        path = files[0]
    return Tokenizer.from_tiktoken(path, pattern=arguments.pattern, special_tokens=specials)


def verify(arguments: argparse.Namespace) -> None:
    """`nanobpe verify`."""
    from nanobpe import _core
    from nanobpe.console import Progress, log, plural, quantity

    progress = Progress(arguments.progress)

    def show(row: dict[str, Any]) -> None:
        progress({"phase": "verify", **row})

    try:
        shards, tokens, errors = _core.verify(Path(arguments.shards), show)
    except (OSError, ValueError) as error:
        if arguments.json:
            print_json({"ok": False, "shards": 0, "tokens": 0, "errors": [str(error)]})
        raise
    finally:
        progress.clear()
    if arguments.json:
        print_json({"ok": not errors, "shards": shards, "tokens": tokens, "errors": errors})
    if errors:
        raise ValueError("\n".join([errors[0], *(f"error: {more}" for more in errors[1:])]))
    log("verified", plural(shards, "shard"), f"{quantity(tokens)} tokens", "no faults")
