"""Any table of ranks gives tiktoken's ids, tokens with lower ranks than their parts included."""

import random

import pytest
import tiktoken
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import TEXT, gpt2_merges

import nanobpe

T = nanobpe.Tokenizer
PATTERN = r"\S+|\s+"


def both(ranks):
    """Ours and tiktoken's tokenizer of a table."""
    theirs = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    return T.from_ranks(ranks, pattern=PATTERN), theirs


def texts(*, max_size):
    return st.text(alphabet="abc\u4e16", min_size=2, max_size=max_size)


@given(st.lists(texts(max_size=9), max_size=30, unique=True), st.lists(texts(max_size=200)))
def test_tokens_in_any_order(tmp_path_factory, tokens, samples):
    listed = [bytes([byte]) for byte in range(256)] + [token.encode() for token in tokens]
    ours, theirs = both({token: rank for rank, token in enumerate(listed)})
    folder = tmp_path_factory.mktemp("ranks")
    ours.save(folder / "tok")
    ours.to_tiktoken(folder / "a.tiktoken")
    again = [T.load(folder / "tok"), T.from_tiktoken(folder / "a.tiktoken", pattern=PATTERN)]
    assert again == [ours, ours]
    exported = tokenizers.Tokenizer.from_file(str(folder / "tok" / "tokenizer.json"))
    for sample in [*samples, *tokens]:
        want = theirs.encode_ordinary(sample)
        assert ours.encode_ordinary(sample) == want
        assert exported.encode(sample).ids == want


def test_a_token_before_its_parts():
    listed = [bytes([byte]) for byte in range(256)] + [b"abcd", b"abc", b"ab", b"cd", b"da"]
    ours, theirs = both({token: rank for rank, token in enumerate(listed)})
    # "abc" and "abcd" can be made only once "ab" is, whose rank is higher.
    for text, want in {"xabcdx": [120, 256, 120], "abcda": [256, 97], "cdab": [259, 258]}.items():
        assert theirs.encode_ordinary(text) == want
        assert ours.encode_ordinary(text) == want


@pytest.mark.parametrize("seed", range(3))
def test_a_trained_table_with_ranks_exchanged(seed):
    listed = [bytes([byte]) for byte in range(256)]
    listed += dict.fromkeys(left + right for left, right in gpt2_merges())
    chosen = random.Random(seed)
    for _ in range(20):
        a, b = (chosen.randrange(256, len(listed)) for _ in range(2))
        listed[a], listed[b] = listed[b], listed[a]
    ours, theirs = both({token: rank for rank, token in enumerate(listed)})
    for text in (TEXT, TEXT.replace(" ", "")):
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
