"""Text made to be slow costs time in proportion to its length, by every way in."""

import random
import time

import pytest
from vocabularies import small

import nanobpe

RNG = random.Random(5)
CUSTOM = r"[A-Za-z]+|\p{N}{1,3}|[^\sA-Za-z\p{N}]+|\s+"
TEXTS = {
    "one letter": lambda n: "a" * n,
    "random letters": lambda n: "".join(RNG.choices("abcdefghijklmnop", k=n)),
    "random CJK": lambda n: "".join(map(chr, RNG.choices(range(0x4E00, 0x9F00), k=n // 3))),
    "spaces and a letter": lambda n: " " * (n - 1) + "x",
    "lines": lambda n: "\n" * n,
    "digits": lambda n: "7" * n,
    "upper and lower": lambda n: "aB" * (n // 2),
}
WAYS = {
    "encode": lambda tok, text: tok.encode(text),
    "offsets": lambda tok, text: tok.encode_with_offsets(text, unit="char"),
    "iterable": lambda tok, text: sum(1 for _ in tok.encode_iterable([text])),
    "truncate": lambda tok, text: tok.truncate(text, len(text) // 10),
    "decode": lambda tok, text: tok.decode(tok.encode(text)),
    "train": lambda tok, text: nanobpe.train_from_iterator([text], 300, pattern=tok.pattern),
}


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.filterwarnings("ignore:a vocabulary of 300 ids")
@pytest.mark.parametrize("pattern", ["gpt2", "nano", "cl100k", "llama3", "o200k", "qwen2", CUSTOM])
@pytest.mark.parametrize("kind", TEXTS)
def test_time_is_in_proportion(pattern, kind):
    tok = small(pattern, special_tokens={})
    short, long = TEXTS[kind](1 << 17), TEXTS[kind](1 << 20)
    for name, work in WAYS.items():
        work(tok, short)
        once = min(seconds(lambda work=work: work(tok, short)) for _ in range(3))
        much = min(seconds(lambda work=work: work(tok, long)) for _ in range(2))
        # Eight times the text: quadratic would be 64 times. The rest is for a busy machine.
        assert much < 24 * max(once, 0.02), (name, once, much)
