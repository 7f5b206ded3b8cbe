"""What a tokenizer is like: its tokens, and how it does on texts."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanobpe import _core, sources
from nanobpe.encode import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanobpe.sources import Source
    from nanobpe.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tally:
    """What came out when texts were encoded."""

    documents: int
    bytes: int
    words: int
    changed: int
    ids: list[int]
    seconds: float

    @property
    def tokens(self) -> int:
        """Ids in all."""
        return sum(self.ids)


def tally(tokenizer: Tokenizer, inputs: Iterable[Source], reading: Reading) -> Tally:
    """Encodes inputs, decodes them again to compare, and counts.

    Raises:
        OSError: If an input cannot be read.
    """
    encoder = _core.DocumentEncoder.to_tally(tokenizer._core, reading.options(), None)
    start = time.perf_counter()
    try:
        sources.feed(encoder, inputs, field=reading.field)
        found = json.loads(encoder.finish() or "{}")
    except BaseException:
        encoder.abandon()
        raise
    return Tally(**found, seconds=time.perf_counter() - start)


def is_utf8(token: bytes) -> bool:
    """Whether a token's bytes are whole characters."""
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def shown(token: bytes) -> str:
    """A token's bytes for people: its text in quotes, or its bytes where it is not UTF-8."""
    text = token.decode() if is_utf8(token) else None
    return repr(token) if text is None else json.dumps(text, ensure_ascii=not text.isprintable())


def row(tokenizer: Tokenizer, token_id: int) -> dict[str, Any]:
    """One token: its id, text, bytes, and whether it is special.

    Raises:
        KeyError: If there is no such id.
    """
    token = tokenizer.token_bytes(token_id)
    return {
        "id": token_id,
        "text": token.decode("utf-8", "replace"),
        "bytes": token.hex(),
        "length": len(token),
        "special": token_id in tokenizer.special_tokens.values(),
    }


def find_token(tokenizer: Tokenizer, wanted: str) -> int:
    """The id that a number, a text or a special token stands for; a number is an id first.

    Raises:
        KeyError: If there is none.
    """
    if wanted.isascii() and wanted.isdigit():
        tokenizer.token_bytes(int(wanted))
        return int(wanted)
    specials = tokenizer.special_tokens
    return specials[wanted] if wanted in specials else tokenizer.token_id(wanted)


def encoded(tokenizer: Tokenizer, text: bytes) -> dict[str, Any]:
    """A text's ids, each with its bytes."""
    ids = tokenizer.encode_ordinary(text)
    return {
        "ids": ids,
        "tokens": [shown(tokenizer.token_bytes(i)) for i in ids],
        "num_tokens": len(ids),
        "num_bytes": len(text),
        "bytes_per_token": round(len(text) / len(ids), 3) if ids else 0.0,
    }


def unreachable(tokenizer: Tokenizer, tokens: dict[int, bytes]) -> list[int]:
    """Tokens that no text becomes: those whose bytes do not encode to them.

    Of a token that begins or ends within a character, only a text around it could tell where the
    pattern splits; the merges must make it of its bytes.
    """
    whole = [(i, token) for i, token in tokens.items() if is_utf8(token)]
    ids, ends = tokenizer.encode_batch_to_numpy(
        [token for _, token in whole], disallowed_special=()
    )
    found = [
        i
        for (i, _), start, end in zip(whole, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        if end - start != 1 or int(ids[start]) != i
    ]
    order = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    found += [i for i, t in tokens.items() if not is_utf8(t) and _merged(t, order) != [t]]
    return sorted(found)


def _merged(token: bytes, order: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """The parts that a pretoken of these bytes is merged into."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 1:
        ranks = [order.get(pair, len(order)) for pair in itertools.pairwise(parts)]
        best = min(ranks)
        if best == len(order):
            break
        at = ranks.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def lengths(tokenizer: Tokenizer) -> dict[int, int]:
    """How many ordinary tokens have how many bytes, in order of the bytes."""
    return dict(sorted(Counter(map(len, tokenizer.ranks)).items()))


def summary(tokenizer: Tokenizer, longest: int) -> dict[str, Any]:
    """What there is to know without a corpus."""
    tokens = {i: token for token, i in tokenizer.ranks.items()}
    by_length = sorted(tokens, key=lambda i: (-len(tokens[i]), i))
    broken = [i for i, token in tokens.items() if len(token) > 1 and not is_utf8(token)]
    specials, added = tokenizer.special_tokens, tokenizer.added_tokens
    return {
        "vocab_size": tokenizer.vocab_size,
        "tokens": len(tokens),
        "merges": len(tokenizer.merges),
        "holes": tokenizer.vocab_size - len(tokens) - len(specials) - len(added),
        "pattern_name": tokenizer.pattern_name,
        "pattern": tokenizer.pattern,
        "gguf_pretokenizer": tokenizer.gguf_pretokenizer,
        "special_tokens": specials,
        "added_tokens": added,
        "hash": tokenizer.hash,
        "lengths": lengths(tokenizer),
        "longest": [row(tokenizer, i) for i in by_length[:longest]],
        "invalid_utf8": sorted(broken),
        "unreachable": unreachable(tokenizer, tokens),
    }


def unused(tokenizer: Tokenizer, counted: Tally) -> list[int]:
    """Ordinary tokens that never came out."""
    return sorted(i for i in tokenizer.ranks.values() if counted.ids[i] == 0)


def evaluate(
    named: Sequence[tuple[str, Tokenizer]], files: Sequence[Source], reading: Reading
) -> list[dict[str, Any]]:
    """One row per tokenizer and file.

    Fertility is tokens per word, words being what stands between white space. `tokens_vs_first` are
    the tokens beside those of the first tokenizer on the same file; below 1 is better than it.

    Raises:
        ValueError: If a file holds no text.
    """
    rows: list[dict[str, Any]] = []
    for source in files:
        first = 0
        for name, tokenizer in named:
            counted = tally(tokenizer, [source], reading)
            if not counted.tokens:
                raise ValueError(f"{source.name}: there is no text to measure on")
            first = first or counted.tokens
            produced: Counter[int] = Counter()
            for token, i in tokenizer.ranks.items():
                if counted.ids[i]:
                    produced[len(token)] += counted.ids[i]
            used = sum(counted.ids[i] > 0 for i in tokenizer.ranks.values())
            rows.append(
                {
                    "tokenizer": name,
                    "file": source.name,
                    "vocab_size": tokenizer.vocab_size,
                    "documents": counted.documents,
                    "bytes": counted.bytes,
                    "tokens": counted.tokens,
                    "tokens_vs_first": round(counted.tokens / first, 4),
                    "bytes_per_token": round(counted.bytes / counted.tokens, 4),
                    "words": counted.words,
                    "fertility": round(counted.tokens / max(counted.words, 1), 4),
                    "single_byte_share": round(produced[1] / counted.tokens, 5),
                    "tokens_used": used,
                    "tokens_unused": len(tokenizer.ranks) - used,
                    "lengths": dict(sorted(produced.items())),
                    "mb_per_s": round(counted.bytes / 1e6 / max(counted.seconds, 1e-9), 1),
                }
            )
    return rows


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """What people are shown of each path: its last part, or all of it where two would be alike."""
    distinct = dict.fromkeys(paths)
    last = Counter(Path(path).name for path in distinct)
    return {path: name if last[name := Path(path).name] == 1 else path for path in distinct}


def load_any(path: str, pattern: str | None = None) -> Tokenizer:
    """A tokenizer of whatever format a path holds.

    A `.tiktoken` file takes `pattern`, or the one that its name begins with (cl100k_base.tiktoken).

    Raises:
        OSError: If it is not there.
        ValueError: If it is no tokenizer, or its pattern is not known.
    """
    from nanobpe import PATTERNS
    from nanobpe.tokenizer import Tokenizer

    place = Path(path)
    if place.suffix == ".tiktoken":
        known = [name for name in PATTERNS if place.name.startswith(name)]
        if pattern is None and not known:
            raise ValueError(
                f"{path}: a .tiktoken file does not tell its pattern\n"
                f"hint: let its name begin with one of {', '.join(PATTERNS)}"
            )
        return Tokenizer.from_tiktoken(place, pattern=pattern or known[0])
    if place.suffix == ".json":
        return Tokenizer.from_hf(place)
    if place.is_dir() and not (place / "meta.json").exists():
        if (place / "tokenizer.json").exists():
            return Tokenizer.from_hf(place)
        if (place / "merges.txt").exists():
            return Tokenizer.from_gpt2(place / "vocab.json", place / "merges.txt")
    return Tokenizer.load(place)
