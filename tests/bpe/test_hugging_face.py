"""tokenizer.json files as popular models publish them give the ids that `tokenizers` gives."""

import itertools
import json
import pickle
import random
import re

import pytest
import tokenizers
from vocabularies import HOSTILE, TEXT, gpt2_merges, small

import nanobpe
from nanobpe.train import train_with_report

T = nanobpe.Tokenizer
QWEN = nanobpe.PATTERNS["qwen2"]


def split(regex, behavior="Isolated", *, invert=False, kind="Regex"):
    pattern = {kind: regex}
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def byte_level(*, use_regex):
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def digits(*, individual):
    return {"type": "Digits", "individual_digits": individual}


GPT2 = byte_level(use_regex=True)
BYTES = byte_level(use_regex=False)
NFC = {"type": "NFC"}
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Normalizer and steps, by the models that have them.
FAMILIES = {
    "gpt2, roberta, phi, whisper": (None, [GPT2]),
    "pythia, olmo, modernbert": (NFC, [GPT2]),
    "llama3, olmo2": (None, [split(nanobpe.PATTERNS["llama3"]), BYTES]),
    "qwen2, qwen3": (NFC, [split(QWEN), BYTES]),
    "qwen2 as it is": (None, [split(QWEN), BYTES]),
    "qwen3.5": (NFC, [split(QWEN.replace(r"\p{L}+", r"[\p{L}\p{M}]+")), BYTES]),
    "gpt-oss": (None, [split(nanobpe.PATTERNS["o200k"]), BYTES]),
    "converted from tiktoken": (
        None,
        [split(nanobpe.PATTERNS["llama3"], "Removed", invert=True), BYTES],
    ),
    "mistral nemo": (None, [split(TEKKEN), BYTES]),
    "starcoder, smollm, granite": (None, [digits(individual=True), GPT2]),
    "command-r": (NFC, [digits(individual=True), GPT2]),
    "deepseek v3": (
        {"type": "Sequence", "normalizers": []},
        [
            split(r"\p{N}{1,3}"),
            split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
            split(DEEPSEEK),
            BYTES,
        ],
    ),
    "deepseek coder": (
        None,
        [
            split(r"[\r\n]"),
            split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳ]+"),
            split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"),
            split(r"\s+$"),
            split(r"[一-龥ࠀ-一가-퟿]+"),
            digits(individual=True),
            BYTES,
        ],
    ),
    "bloom": (None, [split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"), BYTES]),
    "minicpm": (
        None,
        [split(r"\p{N}{1,3}"), split(QWEN.replace(r"\p{N}", r"\p{N}+", 1)), BYTES],
    ),
    "a string": (None, [split("a. ", kind="String"), digits(individual=False), GPT2]),
}
TEXTS = [text for text in HOSTILE if "<|" not in text] + [TEXT, "a. b a.1 a. 12ab  34  \n 5 $"]


def file_of(tmp_path, normalizer, steps, **model):
    """A file with the small vocabulary and these parts."""
    small("gpt2").to_hf(tmp_path)
    path = tmp_path / "tokenizer.json"
    value = json.loads(path.read_text())
    value["normalizer"] = normalizer
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    value["model"].update(model)
    path.write_text(json.dumps(value))
    return path


def theirs_of(path):
    theirs = tokenizers.Tokenizer.from_file(str(path))
    return lambda text: theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, tmp_path):
    path = file_of(tmp_path, *FAMILIES[family])
    ours, theirs = T.from_hf(path), theirs_of(path)
    characters = [*"a1 '.\n\t!Éé中の　½٣\u0301\u0300", "\U0001f642", "\x00", "ー", "HT", "a. "]
    texts = TEXTS + ["".join(t) for t in itertools.product(characters, repeat=3)]
    rng = random.Random(family)
    texts += ["".join(rng.choices(characters, k=rng.randint(4, 40))) for _ in range(2000)]
    ids = ours.encode_batch(texts)
    for text, got in zip(texts, ids, strict=True):
        assert got == theirs(text), repr(text)
    # Out again, and through our own folder and a pickle.
    ours.to_hf(tmp_path / "again")
    ours.save(tmp_path / "tok")
    again = theirs_of(tmp_path / "again/tokenizer.json")
    assert [again(text) for text in texts] == ids
    for other in (
        T.from_hf(tmp_path / "again"),
        T.load(tmp_path / "tok"),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert other == ours
        assert other.encode_batch(texts[:3000]) == ids[:3000]
    # Chunks, threads, spans and prefixes of what has steps or is normalised.
    whole = "\n".join(TEXTS)
    chunks = [whole[i : i + 7] for i in range(0, len(whole), 7)]
    assert list(ours.encode_iterable(chunks)) == theirs(whole)
    found, spans = ours.encode_with_offsets(whole)
    assert found == theirs(whole)
    if FAMILIES[family][0] != NFC:
        raw = whole.encode()
        assert b"".join(raw[a:b] for a, b in spans.tolist()) == raw
    short = ours.truncate(whole, 50)
    assert ours.encode(short) == found[: len(ours.encode(short))]


def test_digits_are_those_of_a_newer_unicode(tmp_path):
    # Merges with the byte before a number tell whether it was split off.
    tokens = [bytes([b]) for b in range(256)]
    merges = [(b"!", bytes([lead])) for lead in range(0xC2, 0xF5)]
    tok = T.from_merges(dict(enumerate([*tokens, *(a + b for a, b in merges)])), merges)
    tok.to_hf(tmp_path)
    path = tmp_path / "tokenizer.json"
    value = json.loads(path.read_text())
    steps = [digits(individual=True), GPT2]
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    path.write_text(json.dumps(value))
    ours, theirs = T.from_hf(path), theirs_of(path)
    for start in (0x660, 0x2150, 0x1D7C0, 0x11DD0, 0x16FF0):
        text = "".join(f"!{chr(c)}" for c in range(start, start + 0x40))
        assert ours.encode(text) == theirs(text)


@pytest.mark.parametrize("family", ["deepseek v3", "deepseek coder", "starcoder, smollm, granite"])
def test_steps_are_not_quadratic(family, tmp_path):
    ours = T.from_hf(file_of(tmp_path, *FAMILIES[family]))
    for text in ("a" * 10**6, " " * 10**6 + "x", "中" * 300_000, "1" * 10**6, "\n" * 10**6):
        assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"type": "Punctuation", "behavior": "Isolated"}, GPT2], "Punctuation"),
        ([{"type": "Metaspace", "replacement": "_"}, GPT2], "Metaspace"),
        ([split(" ", "MergedWithNext"), GPT2], "MergedWithNext"),
        ([split(" ", "Removed"), GPT2], "Removed"),
        ([GPT2, digits(individual=True)], "Digits"),
        ([split("x", "Removed", invert=True), BYTES], "loses text"),
        ([split("x*"), GPT2], "empty string"),
        ([split("("), GPT2], "compiles"),
        ([split("a")] * 40 + [GPT2], "more than 16 steps"),
        ([BYTES], "no pre-tokenizer splits"),
    ],
)
def test_other_steps_are_refused_by_name(steps, says, tmp_path):
    with pytest.raises(nanobpe.FormatError, match=re.escape(says)) as caught:
        T.from_hf(file_of(tmp_path, None, steps))
    assert "tokenizer.json" in str(caught.value)


def with_unmade(tmp_path, *, ignore_merges):
    """A file with tokens that no merge makes, and with one whose merge never comes to its turn."""
    tokens = [bytes([b]) for b in range(256)] + [a + b for a, b in gpt2_merges()]
    small().to_hf(tmp_path)
    value = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    vocab, merges = value["vocab"], value["merges"]
    extra = [" lines", "1234", "tok", "中文漢字", "   x", "hes"]
    assert not {text.encode() for text in extra} & set(tokens)
    byte = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for token in extra:
        [(name, _)] = byte.pre_tokenize_str(token)
        vocab[name] = 500 + len(vocab)
    # "he" merges before, so that "h" and "es" never meet.
    merges.append(["h", "es"])
    return file_of(tmp_path, None, [GPT2], vocab=vocab, merges=merges, ignore_merges=ignore_merges)


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_tokens_that_merging_does_not_make(ignore_merges, tmp_path):
    path = with_unmade(tmp_path, ignore_merges=ignore_merges)
    ours, theirs = T.from_hf(path), theirs_of(path)
    texts = [*TEXTS, "and lines", "1234", " 1234", "tok", "中文漢字", "x   x", "hes", "the hes"]
    want = [theirs(text) for text in texts]
    assert (max(map(max, filter(None, want))) >= 500) == ignore_merges
    assert [ours.encode(text) for text in texts] == want
    ours.save(tmp_path / "tok")
    ours.to_hf(tmp_path / "again")
    for other in (
        T.load(tmp_path / "tok"),
        T.from_hf(tmp_path / "again"),
        pickle.loads(pickle.dumps(ours)),
    ):
        assert other == ours
        assert [other.encode(text) for text in texts] == want
    again = theirs_of(tmp_path / "again/tokenizer.json")
    assert [again(text) for text in texts] == want
    assert ours != T.from_hf(with_unmade(tmp_path, ignore_merges=not ignore_merges))
    # Each of the other formats knows one of the two rules.
    if ignore_merges:
        with pytest.raises(ValueError, match="merges do not make token"):
            ours.to_gpt2(tmp_path / "gpt2")
    else:
        with pytest.raises(ValueError, match="do not make"):
            ours.to_tiktoken(tmp_path / "v.tiktoken")
        ours.to_gpt2(tmp_path / "gpt2")
        files = tmp_path / "gpt2/vocab.json", tmp_path / "gpt2/merges.txt"
        back = T.from_gpt2(*files, special_tokens=list(ours.special_tokens))
        assert [back.encode(text) for text in texts] == want


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_extending_keeps_the_rule(ignore_merges, tmp_path):
    old = T.from_hf(with_unmade(tmp_path, ignore_merges=ignore_merges))
    texts = [*TEXTS, "and lines", "1234", " 1234", "tok", "中文漢字", "x   x", "hes", "the hes"]
    # The most frequent pretoken is a token already, which one of the two rules does not emit.
    documents = ["tok"] * 99 + [TEXT, "some of the newest words"] * 9
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    ours, report = train_with_report(
        tmp_path / "text.jsonl", len(old) + 40, pattern="gpt2", special_tokens=(), resume=old
    )
    assert report.merges == len(ours.merges)
    assert ours.merges[: len(old.merges)] == old.merges
    assert (b"to", b"k") in ours.merges or (b"t", b"ok") in ours.merges or ignore_merges
    ours.save(tmp_path / "tok")
    assert T.load(tmp_path / "tok") == ours
    theirs = theirs_of(tmp_path / "tok/tokenizer.json")
    assert [ours.encode(text) for text in texts] == [theirs(text) for text in texts]
    value = json.loads((tmp_path / "tok/tokenizer.json").read_text())
    assert value["model"]["ignore_merges"] == ignore_merges


def test_post_processors_are_left_to_the_caller(tmp_path):
    path = file_of(tmp_path, None, [GPT2])
    value = json.loads(path.read_text())
    bos = {"SpecialToken": {"id": "<|bos|>", "type_id": 0}}
    value["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [400], "tokens": ["<|bos|>"]}},
    }
    path.write_text(json.dumps(value))
    ours = T.from_hf(path)
    theirs = tokenizers.Tokenizer.from_file(str(path))
    assert theirs.encode(TEXT).ids == [ours.token_id("<|bos|>"), *ours.encode(TEXT)]


@pytest.mark.parametrize("pattern", ["gpt2", "nano", "cl100k", "o200k", "qwen2"])
def test_transformers_gives_the_same_ids(pattern, tmp_path):
    transformers = pytest.importorskip("transformers")
    tok = small(pattern)
    tok.to_hf(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs.encode(text, add_special_tokens=False) == tok.encode(text), repr(text)
    assert theirs.encode("a<|bos|>b") == tok.encode("a<|bos|>b", allowed_special="all")
    assert (theirs.bos_token, len(theirs)) == ("<|bos|>", len(tok))


@pytest.mark.parametrize("pattern", ["nano", "qwen2", r"(?#split)\d(?#split) ?\w+| ?[^\w\s]+|\s+"])
def test_auto_tokenizer_knows_the_ids_and_the_marks(pattern, tmp_path):
    transformers = pytest.importorskip("transformers")
    marks = ["<|bos|>", "<|eos|>"]
    tok = nanobpe.train_from_iterator([TEXT * 3], 400, pattern=pattern, special_tokens=marks)
    tok.to_hf(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (398, 399)
    assert (theirs.bos_token, theirs.eos_token, len(theirs)) == (*marks, 400)
    for text in TEXTS:
        assert theirs.encode(text) == tok.encode(text), repr(text)
    marked = f"<|bos|>{TEXT}<|eos|>"
    ids = theirs.encode(marked)
    assert ids == [398, *tok.encode(TEXT), 399]
    assert ids == tok.encode(marked, allowed_special="all")
    assert theirs.decode(ids) == tok.decode(ids)
    assert theirs.decode(ids, skip_special_tokens=True) == tok.decode(ids[1:-1])
