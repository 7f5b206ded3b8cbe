"""Byte-level BPE as it is defined, with every pair counted again at every step: slow and plain.

A token is its bytes; a pretoken is a list of tokens. `tie` names the rule among pairs of one count.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping

Pair = tuple[bytes, bytes]

# Bytes in the order of GPT-2's spelling: the printable ones of Latin-1 first.
_SHOWN = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
BYTE_LEVEL_ORDER = _SHOWN + sorted(set(range(256)) - set(_SHOWN))


def join(tokens: list[bytes], pair: Pair) -> list[bytes]:
    """Replaces each occurrence of the pair by its join, from left to right."""
    done: list[bytes] = []
    rest = list(reversed(tokens))
    while rest:
        token = rest.pop()
        done.append(token + rest.pop() if rest and (token, rest[-1]) == pair else token)
    return done


def train(
    counts: Mapping[bytes, int],
    num_merges: int,
    *,
    tie: str = "id",
    min_frequency: int = 1,
    max_token_bytes: int | None = None,
    start: Iterable[Pair] = (),
) -> list[Pair]:
    """The merges in `start` and up to `num_merges` learnt after them."""
    first = BYTE_LEVEL_ORDER if tie == "hf" else range(256)
    number = {bytes([b]): i for i, b in enumerate(first)}
    words = {word: [bytes([b]) for b in word] for word in counts}
    merges: list[Pair] = []

    def adopt(pair: Pair) -> None:
        merges.append(pair)
        number.setdefault(pair[0] + pair[1], len(number))
        for word, tokens in words.items():
            words[word] = join(tokens, pair)

    for pair in start:
        adopt(pair)
    wanted = len(merges) + num_merges
    while len(merges) < wanted:
        seen: Counter[Pair] = Counter()
        for word, tokens in words.items():
            for left, right in itertools.pairwise(tokens):
                if max_token_bytes is None or len(left + right) <= max_token_bytes:
                    seen[left, right] += counts[word]
        most = max(seen.values(), default=0)
        if most < max(1, min_frequency):
            break
        tied = [pair for pair, count in seen.items() if count == most]
        if tie == "bytes":
            adopt(max(tied))
        else:
            adopt(min(tied, key=lambda pair: (number[pair[0]], number[pair[1]])))
    return merges


def encode(pretoken: bytes, merges: Iterable[Pair]) -> list[bytes]:
    """Applies each merge in turn to the whole pretoken."""
    tokens = [bytes([b]) for b in pretoken]
    for pair in merges:
        tokens = join(tokens, pair)
    return tokens
