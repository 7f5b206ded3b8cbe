"""Added tokens of tokenizer.json are found in text as `tokenizers` finds them, special or not."""

import functools
import json
import pickle
import random
import subprocess
import sys

import pytest
import tokenizers
from vocabularies import HOSTILE, TEXT, small

import nanobpe

T = nanobpe.Tokenizer
SPLIT = {
    "type": "Split",
    "pattern": {"Regex": nanobpe.PATTERNS["qwen2"]},
    "behavior": "Isolated",
    "invert": False,
}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def token(content, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": content, "special": False, **plain, **flags}


SPECIAL = [token(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
FILES = {
    "qwen3": [
        *SPECIAL,
        *map(token, ("<tool_call>", "</tool_call>", "<think>", "</think>", "<think></think>")),
    ],
    # Runs of spaces, the longest first; found between the tokens that are not normalized.
    "pythia": [*SPECIAL, *(token(" " * n, normalized=True) for n in range(9, 1, -1))],
    "phi-4": [*(t | {"lstrip": True, "rstrip": True} for t in SPECIAL), token("<think>")],
    "roberta": [token("<mask>", special=True, lstrip=True), token("<s>", special=True)],
    "words": [
        token("low", single_word=True),
        token("_x", single_word=True, normalized=True),
        token("中", single_word=True, lstrip=True),
        token("then", rstrip=True, normalized=True),
    ],
    "overlapping": [
        token("bc<", normalized=True),
        token("<b"),
        token("<bc>", special=True),
        token("c><", normalized=True),
        token("  "),
        token(" \n", normalized=True),
    ],
}


@functools.cache
def value_of(name):
    """A file with the small vocabulary, Qwen's pattern and these added tokens behind it."""
    numbered = [{"id": 400 + i, **added} for i, added in enumerate(FILES[name])]
    return {"added_tokens": numbered, "normalizer": {"type": "NFC"}}


def load(name, folder, *, normalizer=None):
    small("gpt2", {}).to_hf(folder)
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text()) | value_of(name)
    value["normalizer"] = normalizer
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}
    path.write_text(json.dumps(value))
    return T.from_hf(path), tokenizers.Tokenizer.from_file(str(path))


def texts_of(name):
    """What the added tokens may stand beside, in every order."""
    contents = [added["content"] for added in FILES[name]]
    around = ["a", "_", " ", "  ", "\n", "\u3000", "é", "中", ".", "<", "bc", ">", "x y", "lower"]
    rng = random.Random(name)
    texts = [text for text in HOSTILE if "<|" not in text] + [TEXT]
    texts += [f"{a}{content}{b}" for content in contents for a in around for b in around]
    texts += ["".join(rng.choices(contents + around, k=rng.randint(2, 12))) for _ in range(2000)]
    return texts


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}], ids=["as it is", "nfc"])
@pytest.mark.parametrize("name", FILES)
def test_ids_are_those_of_tokenizers(name, normalizer, tmp_path):
    ours, theirs = load(name, tmp_path / "in", normalizer=normalizer)
    texts = texts_of(name)
    want = [theirs.encode(text, add_special_tokens=False).ids for text in texts]
    ids = ours.encode_batch(texts, allowed_special="all")
    for text, got, expected in zip(texts, ids, want, strict=True):
        assert got == expected, repr(text)
    assert [ours.encode(text, allowed_special="all") for text in texts] == want
    # Saved, exported and pickled it stays the same tokenizer.
    ours.save(tmp_path / "tok")
    ours.to_hf(tmp_path / "again")
    for other in (
        T.load(tmp_path / "tok"),
        T.from_hf(tmp_path / "again"),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert other == ours
        assert other.added_tokens == ours.added_tokens
        assert other.encode_batch(texts, allowed_special="all") == want
    saved = json.loads((tmp_path / "again/tokenizer.json").read_text())["added_tokens"]
    assert [added["special"] for added in saved] == [added["special"] for added in FILES[name]]
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tok/tokenizer.json"))
    for text, expected in zip(texts, want, strict=True):
        assert again.encode(text, add_special_tokens=False).ids == expected


@pytest.mark.parametrize("name", FILES)
def test_ordinary_text_holds_those_that_are_not_special(name, tmp_path):
    ours, theirs = load(name, tmp_path)
    theirs.encode_special_tokens = True
    texts = texts_of(name)
    if name == "overlapping":
        # There a special token that is not meant still hides what overlaps it.
        texts = [text for text in texts if "<bc>" not in text]
    for text in texts:
        want = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode_ordinary(text) == want, repr(text)
        assert ours.count(text) == len(want)
        assert ours.encode(text, disallowed_special=()) == want


@pytest.mark.parametrize("name", FILES)
def test_every_way_of_encoding_agrees(name, tmp_path):
    ours, _ = load(name, tmp_path)
    whole = "\n".join(texts_of(name))
    want = ours.encode(whole, allowed_special="all")
    for size in (1, 37, 5000):
        chunks = (whole[i : i + size] for i in range(0, len(whole), size))
        assert list(ours.encode_iterable(chunks, allowed_special="all")) == want
    ids, spans = ours.encode_with_offsets(whole, allowed_special="all")
    assert ids == want
    raw = whole.encode()
    assert b"".join(raw[start:end] for start, end in spans.tolist()) == raw
    for text in texts_of(name)[-300:]:
        full = ours.encode_ordinary(text)
        for most in range(4):
            short = ours.truncate(text, most)
            mine = ours.encode_ordinary(short)
            assert len(mine) <= most
            assert mine == full[: len(mine)]


def test_only_special_tokens_are_refused(tmp_path):
    ours, _ = load("qwen3", tmp_path)
    assert ours.encode("<think>a</think>") == [405, 97, 406]
    assert ours.encode("<think>", allowed_special=set(), disallowed_special="all") == [405]
    with pytest.raises(ValueError, match="im_start"):
        ours.encode("<think><|im_start|>")
    with pytest.raises(ValueError, match="think"):
        ours.encode("<think>", disallowed_special={"<think>"})
    assert ours.special_tokens == {"<|endoftext|>": 400, "<|im_start|>": 401, "<|im_end|>": 402}
    assert list(ours.added_tokens.items())[:2] == [("<tool_call>", 403), ("</tool_call>", 404)]
    assert ours.decode([405, 97]) == "<think>a"
    assert ours.token_id("<think>") == 405
    assert "<think>" in ours
    assert b"<think>" not in ours.ranks
    # They are text, so their bytes count; those of special tokens do not.
    assert ours.byte_lengths[[400, 405]].tolist() == [0, 7]


@pytest.mark.parametrize("text", ["<think>low</think> <|im_end|>", "in a word; " * 120_000])
def test_shards_hold_them(text, tmp_path):
    small("gpt2", {}).to_hf(tmp_path)
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    # A long document is cut where pretokens end, and so does this token hold some.
    added = [*FILES["qwen3"], token("in a word")]
    value["added_tokens"] = [{"id": 400 + i, **added} for i, added in enumerate(added)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    ours = T.from_hf(tmp_path / "tokenizer.json")
    ours.save(tmp_path / "tok")
    (tmp_path / "a.txt").write_text(text)
    command = [sys.executable, "-m", "nanobpe", "encode", tmp_path / "a.txt"]
    done = subprocess.run(
        [*command, "--tok", tmp_path / "tok", "--ids"], capture_output=True, text=True, check=True
    )
    want = ours.encode_ordinary(text)
    assert {405, 408} & set(want)
    assert [int(i) for i in done.stdout.split()] == want
