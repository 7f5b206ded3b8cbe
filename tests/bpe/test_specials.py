"""Special tokens in text follow tiktoken's rules."""

import random

import pytest
import tiktoken
from vocabularies import SPECIALS, small

import nanobpe

TOK = small()
TEXT = "a<|bos|>b<|end|>"


def test_refused_by_default():
    for allowed, named in ((set(), "<|bos|>"), ({"<|bos|>"}, "<|end|>")):
        with pytest.raises(ValueError, match="allowed_special") as caught:
            TOK.encode(TEXT, allowed_special=allowed)
        assert named in str(caught.value)
    for many in (TOK.encode_batch, TOK.encode_batch_to_numpy):
        with pytest.raises(ValueError, match=r"<\|bos\|>"):
            many(["fine", TEXT])
    with pytest.raises(ValueError, match=r"<\|end\|>"):
        TOK.encode(TEXT, disallowed_special={"<|end|>"})


@pytest.mark.parametrize("cut", range(1, 9))
def test_refused_across_chunks(cut):
    with pytest.raises(ValueError, match=r"<\|bos\|>"):
        list(TOK.encode_iterable(["x" * 9000 + "<|bos|>"[:cut], "<|bos|>"[cut:] + "y"]))


def test_allowed_on_request():
    plain = TOK.encode_ordinary(TEXT)
    assert TOK.encode(TEXT, allowed_special="all") == [97, 400, 98, 401]
    assert TOK.encode(TEXT, disallowed_special=()) == plain
    assert TOK.encode(TEXT, allowed_special={"<|bos|>"}, disallowed_special=())[:2] == [97, 400]
    assert TOK.encode(b"\xff<|bos|>\xff", allowed_special="all") == [255, 400, 255]
    assert TOK.encode("<|<|bos|>|>", allowed_special=["<|bos|>"])[2] == 400


def test_longest_wins():
    assert TOK.encode("<|end|>" * 3, allowed_special="all") == [402, 401]


def test_wrong_sets():
    with pytest.raises(ValueError, match=r"allowed_special '<\|bos\|>'"):
        TOK.encode("x", allowed_special="<|bos|>")
    with pytest.raises(ValueError, match="empty"):
        TOK.encode("x", disallowed_special={""})


def test_many_sets_are_not_kept():
    for i in range(200):
        TOK.encode("x", disallowed_special={str(i)})
    assert len(TOK._rules) <= 64


def test_equals_tiktoken():
    specials = {"<|a|>": 300, "<|b|>": 302, "||": 303, "<|long special token|>": 304}
    ranks = {bytes([b]): b for b in range(256)}
    ours = nanobpe.Tokenizer.from_ranks(ranks, pattern="gpt2", special_tokens=specials)
    theirs = tiktoken.Encoding(
        "bytes", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens=specials
    )
    rng = random.Random(0)

    def attempt(tok, text, **options):
        try:
            return tok.encode(text, **options)
        except ValueError:
            return "refused"

    for _ in range(300):
        text = "".join(
            rng.choices([*specials, "x", " y", "<|", "|>", "|", "a"], k=rng.randint(1, 9))
        )
        allowed = set(rng.sample(sorted(specials), rng.randint(0, 4)))
        for disallowed in ("all", (), {"<|a|>"}):
            options = {"allowed_special": allowed, "disallowed_special": disallowed}
            assert attempt(ours, text, **options) == attempt(theirs, text, **options), (
                text,
                options,
            )


def test_mapping():
    assert TOK.special_tokens == SPECIALS
    assert TOK.token_id("<|bos|>") == 400
    assert TOK.token_bytes(400) == b"<|bos|>"
    assert TOK.byte_lengths[399:].tolist() == [len(TOK.token_bytes(399)), 0, 0, 0]
