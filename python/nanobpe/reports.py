"""What `nanobpe inspect` and `nanobpe eval` print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobpe.console import print_json, significant

if TYPE_CHECKING:
    import argparse

    from nanobpe.tokenizer import Tokenizer

# Ids of a list that is printed for people; all are in --json.
_SHOWN_IDS = 12
_TITLES = (
    "file",
    "tokenizer",
    "ids",
    "tokens",
    "vs first",
    "bytes/token",
    "fertility",
    "1-byte",
    "unused",
    "MB/s",
)


def inspect(arguments: argparse.Namespace) -> None:
    """`nanobpe inspect`."""
    from nanobpe import inspect as look
    from nanobpe import sources
    from nanobpe.encode import Reading
    from nanobpe.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(arguments.tok)
    found: dict[str, Any]
    if arguments.token is not None:
        found = look.row(tokenizer, look.find_token(tokenizer, arguments.token))
        lines = [_token_line(tokenizer, found["id"])]
    elif arguments.text is not None or arguments.file is not None:
        given = arguments.text
        text = Path(arguments.file).read_bytes() if given is None else os.fsencode(given)
        found = look.encoded(tokenizer, text)
        lines = [_token_line(tokenizer, i) for i in found["ids"]]
        lines.append(
            f"{found['num_tokens']:,} tokens   {found['num_bytes']:,} bytes   "
            f"{found['bytes_per_token']:.2f} bytes/token"
        )
    else:
        found = look.summary(tokenizer, arguments.longest)
        lines = _summary_lines(tokenizer, found)
    if arguments.unused:
        reading = Reading(arguments.field)
        tally = look.tally(tokenizer, sources.find(arguments.unused), reading)
        found["unused"] = look.unused(tokenizer, tally)
        found["unused_share"] = round(len(found["unused"]) / max(len(tokenizer.ranks), 1), 4)
        lines.append(_ids_line(tokenizer, "never produced on the corpus", found["unused"]))
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(lines))


def _token_line(tokenizer: Tokenizer, token_id: int) -> str:
    from nanobpe.inspect import shown

    token = tokenizer.token_bytes(token_id)
    special = "   special" if token_id in tokenizer.special_tokens.values() else ""
    return f"{token_id:>8}   {shown(token)}   {token.hex(' ')}{special}"


def _ids_line(tokenizer: Tokenizer, label: str, ids: list[int]) -> str:
    from nanobpe.inspect import shown

    some = ", ".join(f"{i} {shown(tokenizer.token_bytes(i))}" for i in ids[:_SHOWN_IDS])
    more = ", ..." if len(ids) > _SHOWN_IDS else ""
    return f"{label}: {len(ids):,}{' (' if ids else ''}{some}{more}{')' if ids else ''}"


def _summary_lines(tokenizer: Tokenizer, found: dict[str, Any]) -> list[str]:
    from nanobpe.inspect import shown

    specials = ", ".join(f"{text} {i}" for text, i in found["special_tokens"].items())
    added = ", ".join(f"{shown(text.encode())} {i}" for text, i in found["added_tokens"].items())
    most = max(found["lengths"].values())
    lines = [
        f"{found['vocab_size']:,} ids = {found['tokens'] - found['merges']:,} without a merge + "
        f"{found['merges']:,} merges + {len(found['special_tokens'])} special"
        + (f" + {len(found['added_tokens'])} added" if added else "")
        + (f" + {found['holes']:,} holes" if found["holes"] else ""),
        f"pattern: {found['pattern_name'] or 'custom'}   {found['pattern']}",
        f"GGUF pre-tokenizer: {found['gguf_pretokenizer'] or 'none: llama.cpp lacks this pattern'}",
        f"special tokens: {specials or 'none'}",
        *([f"added tokens: {added}"] if added else []),
        f"hash: {found['hash']}",
        "",
        "bytes   tokens",
    ]
    lines += [
        f"{length:>5}   {number:>6,}   {'#' * max(1, round(40 * number / most))}"
        for length, number in found["lengths"].items()
    ]
    lines += ["", "longest tokens:"]
    lines += [_token_line(tokenizer, item["id"]) for item in found["longest"]]
    lines += [
        "",
        _ids_line(tokenizer, "not UTF-8 by themselves", found["invalid_utf8"]),
        _ids_line(tokenizer, "cannot be reached", found["unreachable"]),
    ]
    return lines


def evaluate(arguments: argparse.Namespace) -> None:
    """`nanobpe eval`."""
    from nanobpe import inspect as look
    from nanobpe import plot, sources
    from nanobpe.console import log
    from nanobpe.encode import Reading
    from nanobpe.tokenizer import Tokenizer
    from nanobpe.usage import flags

    if arguments.plot:
        with flags():
            plot.check_name(arguments.plot)
        plot.check_ready(arguments.plot)
    named = [(arguments.tok, Tokenizer.load(arguments.tok))]
    named += [(path, look.load_any(path)) for path in arguments.against]
    files = sources.find(arguments.on)
    reading = Reading(arguments.field, threads=arguments.threads)
    rows = look.evaluate(named, files, reading)
    if arguments.plot:
        lengths = {name: look.lengths(tokenizer) for name, tokenizer in named}
        plot.draw(arguments.plot, rows, lengths)
        log("wrote", arguments.plot)
    if arguments.json:
        print_json({"results": rows})
        return
    names = look.short_names(row["tokenizer"] for row in rows)
    table = [_TITLES, *(_cells(row, names[row["tokenizer"]]) for row in rows)]
    widths = [max(_columns(line[i]) for line in table) for i in range(len(_TITLES))]
    for line in table:
        # Names to the left, numbers to the right.
        cells = []
        for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - _columns(cell))
            cells.append(cell + space if i < 2 else space + cell)
        print("   ".join(cells).rstrip())


def _columns(text: str) -> int:
    """Columns of a terminal that a text takes: ideographs have two, marks that combine none."""
    import unicodedata

    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _cells(row: dict[str, Any], tokenizer: str) -> tuple[str, ...]:
    return (
        row["file"],
        tokenizer,
        f"{row['vocab_size']:,}",
        f"{row['tokens']:,}",
        f"{row['tokens_vs_first']:.3f}",
        f"{row['bytes_per_token']:.3f}",
        f"{row['fertility']:.3f}",
        f"{100 * row['single_byte_share']:.2f} %",
        f"{row['tokens_unused']:,}",
        significant(row["mb_per_s"]),
    )
