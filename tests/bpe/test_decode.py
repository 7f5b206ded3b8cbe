"""Ids to text: errors, batches, arrays, streams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import HOSTILE, TEXT, small

TOK = small()
IDS = st.lists(st.integers(0, 402), max_size=30)


def spelt(ids):
    return b"".join(TOK.token_bytes(i) for i in ids)


@given(IDS)
def test_equals_joining_and_decoding(ids):
    assert TOK.decode_bytes(ids) == spelt(ids)
    assert TOK.decode(ids) == spelt(ids).decode(errors="replace")
    try:
        want = spelt(ids).decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            TOK.decode(ids, errors="strict")
    else:
        assert TOK.decode(ids, errors="strict") == want


@given(IDS)
def test_stream_equals_the_whole(ids):
    stream = TOK.decode_stream()
    assert "".join(stream.push(i) for i in ids) + stream.finish() == TOK.decode(ids)


@pytest.mark.parametrize("text", [*HOSTILE, TEXT])
def test_stream_gives_whole_characters(text):
    stream, given_so_far = TOK.decode_stream(), ""
    for i in TOK.encode_ordinary(text):
        given_so_far += stream.push(i)
        assert text.startswith(given_so_far)
    assert stream.finish() == ""
    assert given_so_far == text


def test_stream_holds_a_character_back():
    stream = TOK.decode_stream()
    assert [stream.push(b) for b in "\U0001f642".encode()] == ["", "", "", "\U0001f642"]
    assert [stream.push(0xE4), stream.push(0xB8), stream.finish()] == ["", "", "\ufffd"]
    assert stream.push(ord("a")) == "a"


def test_forms_of_ids():
    text = "hello there 中"
    ids = TOK.encode(text)
    arrays = [np.array(ids, kind) for kind in ("u2", "u4", "i8", "i2")]
    for form in (ids, tuple(ids), iter(ids), *arrays, np.repeat(ids, 2)[::2]):
        assert TOK.decode(form) == text
    assert TOK.decode_batch([ids, [], np.array(ids[:1])]) == [text, "", TOK.decode(ids[:1])]
    assert TOK.decode([]) == TOK.decode(np.array([])) == ""
    assert TOK.decode([400, *ids]) == "<|bos|>" + text


@pytest.mark.parametrize("wrong", [403, -1, 2**40, 10**30])
def test_unknown_ids_are_named(wrong):
    with pytest.raises(ValueError, match=f"{wrong} .*403 ids"):
        TOK.decode([72, wrong])
    if abs(wrong) < 2**62:
        with pytest.raises(ValueError, match=f"{wrong} .*403 ids"):
            TOK.decode(np.array([72, wrong]))
    with pytest.raises(ValueError, match=str(wrong)):
        TOK.decode_stream().push(wrong)
    with pytest.raises(KeyError):
        TOK.token_bytes(wrong)


def test_holes_are_unknown():
    tok = small(special_tokens={"<|far|>": 500})
    assert len(tok) == 501
    with pytest.raises(ValueError, match="450 is not"):
        tok.decode([450])


def test_wrong_options_and_types():
    with pytest.raises(ValueError, match="'maybe'"):
        TOK.decode([1], errors="maybe")
    with pytest.raises(TypeError):
        TOK.decode(["a"])
    with pytest.raises(ValueError, match="float64"):
        TOK.decode(np.array([1.5]))
