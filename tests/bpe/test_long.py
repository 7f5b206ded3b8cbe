"""A str of a million characters and more, encoded while its UTF-8 is made: the ids of its bytes."""

import threading

import numpy as np
import pytest
from vocabularies import small

TOK = small()
LONG = 1 << 20
UNITS = [
    "It\u2019s one. \u4e16\u754c e\u0301 <|bos|>, <|end|><|bo \U0001f642\n",
    # No place to cut.
    "\u4e16",
    "a\u0301",
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "pattern", ["gpt2", "qwen2", r"(?#split)\s+(?#split)[a-z]+", r"\w{1,9}(?=(.?))|\W"]
)
def test_a_very_long_str_is_encoded_as_its_bytes_are(unit, pattern):
    tok = small(pattern)
    text = unit * (LONG // len(unit) + 1)
    rule = {"allowed_special": {"<|bos|>"}, "disallowed_special": ()}
    want = tok.encode_to_numpy(text.encode(), **rule)
    assert np.array_equal(tok.encode_to_numpy(text, **rule), want)
    assert tok.encode(text, **rule) == want.tolist()
    again = text + "!"
    assert tok.count(again) == len(tok.encode_ordinary(again.encode()))


@pytest.mark.parametrize("at", [0, LONG // 2, LONG - 1])
def test_a_very_long_str_with_a_lone_surrogate(at):
    text = "a\u4e16. " * (LONG // 4)
    broken = text[:at] + "\udc00" + text[at + 1 :]
    assert TOK.encode(broken) == TOK.encode(broken.replace("\udc00", "\ufffd").encode())


@pytest.mark.parametrize("at", [0, LONG - 7])
def test_a_very_long_str_with_a_refused_token(at):
    text = "a\u4e16. " * (LONG // 4)
    with pytest.raises(ValueError, match=r'special token "<.bos.>"'):
        TOK.encode(text[:at] + "<|bos|>" + text[at:])


def test_a_very_long_str_while_another_thread_has_the_interpreter():
    text = "a\u4e16 bc. " * LONG
    want = TOK.encode_to_numpy(text.encode())
    done = threading.Event()

    def busy():
        while not done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        got = TOK.encode_to_numpy(text)
    finally:
        done.set()
        thread.join()
    assert np.array_equal(got, want)
