"""Files in and out: the same ids everywhere, and broken files refused by name."""

import base64
import json
import random
import resource
import subprocess
import sys
import time

import pytest
import tokenizers
from vocabularies import HOSTILE, TEXT, gpt2_merges, small

import nanobpe

T = nanobpe.Tokenizer
PATTERNS = [
    "gpt2",
    "nano",
    "cl100k",
    "llama3",
    "o200k",
    "qwen2",
    r"\S+|\s+",
    r"\p{N}{1,3}+|\P{N}+?",
]
TEXTS = [text for text in HOSTILE if "<|" not in text] + [TEXT, "123 4567 12345678", "a \n \n  "]


def same(a, b):
    assert a == b
    assert a.hash == b.hash
    assert (a.ranks, a.merges, a.special_tokens) == (b.ranks, b.merges, b.special_tokens)
    assert (a.pattern, a.pattern_name) == (b.pattern, b.pattern_name)
    options = {"allowed_special": "all"}
    assert [a.encode(t, **options) for t in HOSTILE] == [b.encode(t, **options) for t in HOSTILE]


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\w+|\W+"])
def test_gguf_names_are_those_of_llama_cpp(pattern):
    # As llama.cpp's `llama_vocab::impl::load` compares `tokenizer.ggml.pre`.
    names = {
        "gpt2": "gpt-2",
        "r50k": "gpt-2",
        "p50k": "gpt-2",
        "llama3": "llama-bpe",
        "qwen2": "qwen2",
        "o200k": "gpt-4o",
    }
    assert small(pattern).gguf_pretokenizer == names.get(pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_folder_round_trip(pattern, tmp_path):
    tok = small(pattern)
    tok.save(tmp_path / "tok", training={"corpus": "text", "seconds": 1.5})
    back = T.load(tmp_path / "tok")
    same(back, tok)
    assert back.meta["training"] == {"corpus": "text", "seconds": 1.5}
    assert back.meta["special_tokens"] == tok.special_tokens
    assert back.meta["unicode_version"]
    back.save(tmp_path / "again")
    for name in ("tokenizer.json", "vocab.tiktoken", "meta.json"):
        assert (tmp_path / "tok" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert len((tmp_path / "tok/vocab.tiktoken").read_text().splitlines()) == 400


@pytest.mark.parametrize("pattern", PATTERNS)
def test_hugging_face_gives_the_same_ids(pattern, tmp_path):
    tok = small(pattern)
    tok.to_hf(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.get_vocab_size() == len(tok)
    assert theirs.token_to_id("<|bos|>") == 400
    texts = TEXTS if tok.pattern_name else [text for text in TEXTS if "\x85" not in text]
    for text in texts:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert tok.encode_ordinary(text) == ids, text
        if pattern != "qwen2":
            assert theirs.decode(ids) == text
    assert theirs.encode("a<|bos|>").ids == tok.encode("a<|bos|>", allowed_special="all")
    # r50k and p50k are gpt2 by another name; a custom regex comes back in an equal spelling.
    back = T.from_hf(tmp_path)
    assert (back.ranks, back.merges, back.special_tokens) == (
        tok.ranks,
        tok.merges,
        tok.special_tokens,
    )
    assert back.pattern_name == tok.pattern_name
    assert [back.encode_ordinary(t) for t in TEXTS] == [tok.encode_ordinary(t) for t in TEXTS]


@pytest.mark.parametrize("regex", ["", r"\S+|\s+", r"\p{N}{1,3}+|[^\p{N}]+"])
def test_hugging_face_trained_loads(regex, tmp_path):
    pre = tokenizers.pre_tokenizers
    byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=not regex)
    split = [pre.Split(tokenizers.Regex(regex), "isolated")] if regex else []
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = pre.Sequence([*split, byte_level]) if regex else byte_level
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|end|>"],
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator([TEXT], trainer)
    theirs.save(str(tmp_path / "trained.json"))
    ours = T.from_hf(tmp_path / "trained.json")
    assert ours.special_tokens == {"<|pad|>": 0, "<|end|>": 1}
    for text in [*TEXTS, "x<|end|>y<|pad|>"]:
        want = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allowed_special="all") == want, text


def test_tiktoken_and_gpt2_files(tmp_path):
    tok = small()
    specials = tok.special_tokens
    tok.to_tiktoken(tmp_path / "v.tiktoken")
    same(T.from_tiktoken(tmp_path / "v.tiktoken", pattern="gpt2", special_tokens=specials), tok)
    tok.to_gpt2(tmp_path)
    assert (tmp_path / "merges.txt").read_text().startswith("#version: 0.2\n")
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    same(T.from_gpt2(*files, special_tokens=list(specials)), tok)
    with pytest.warns(UserWarning, match="nano"):
        small("nano").to_gpt2(tmp_path)


def test_from_merges_in_other_orders():
    merges = list(gpt2_merges())
    tokens = [bytes([b]) for b in range(256)] + [a + b for a, b in merges]
    first = {0: b"<|end|>"} | {1 + i: token for i, token in enumerate(tokens)}
    tok = T.from_merges(first, merges, special_tokens=["<|end|>"])
    assert tok.special_tokens == {"<|end|>": 0}
    assert tok.encode_ordinary(TEXT) == [i + 1 for i in small().encode_ordinary(TEXT)]
    assert tok.merges == merges
    absent = T.from_merges(dict(enumerate(tokens)), merges, special_tokens=("<|a|>", "<|b|>"))
    assert absent.special_tokens == {"<|a|>": 400, "<|b|>": 401}


def test_ids_that_do_not_order_the_merges_are_no_ranks(tmp_path):
    merges = list(gpt2_merges())
    tokens = [bytes([b]) for b in range(256)] + [a + b for a, b in reversed(merges)]
    tok = T.from_merges(dict(enumerate(tokens)), merges)
    with pytest.raises(ValueError, match="another order"):
        tok.to_tiktoken(tmp_path / "v.tiktoken")
    # Our own folder and tokenizer.json keep both orders.
    tok.save(tmp_path / "tok")
    same(T.load(tmp_path / "tok"), tok)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tok/tokenizer.json"))
    assert theirs.encode(TEXT).ids == tok.encode(TEXT)


def test_public_files_agree(shared_data):
    folder = shared_data / "tokenizers"
    special = {"<|endoftext|>": 50256}
    a = T.from_tiktoken(folder / "r50k_base.tiktoken", pattern="gpt2", special_tokens=special)
    same(T.from_hf(folder / "tokenizer.json"), a)
    same(
        T.from_gpt2(folder / "encoder.json", folder / "vocab.bpe", special_tokens=list(special)), a
    )
    start = time.perf_counter()
    T.from_tiktoken(folder / "cl100k_base.tiktoken", pattern="cl100k")
    assert time.perf_counter() - start < 3


LINES = [base64.b64encode(bytes([b])) + b" %d" % b for b in range(256)] + [b"YWI= 256", b"YWJj 257"]
GOOD = b"\n".join(LINES) + b"\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0x00"),
        (bytes(range(256)) * 20, "line 1"),
        (GOOD + b"!!!! 258\n", "line 259"),
        (GOOD + b"YWJjZA==\n", "line 259"),
        (GOOD + b"YWJjZA== many\n", "line 259"),
        (GOOD + b"YWJjZA== -1\n", "line 259"),
        (GOOD + b"YWJjZA== 99999999999999999999\n", "line 259"),
        (GOOD + b"YWJjZA== 4000000000\n", "4000000000"),
        (GOOD + b"YWJjZA== 258 9\n", "line 259"),
        (GOOD + b" 258\n", "line 259"),
        (GOOD + b"YWI= 258\n", "two ids"),
        (GOOD + b"YWJjZA== 257\n", "257"),
        (GOOD[:-6], "line 258"),
    ],
)
def test_broken_tiktoken_files(content, says, tmp_path):
    path = tmp_path / "broken.tiktoken"
    path.write_bytes(content)
    with pytest.raises(nanobpe.FormatError, match=says) as caught:
        T.from_tiktoken(path, pattern="gpt2")
    assert "broken.tiktoken" in str(caught.value)


def broken_hf_files(text):
    def changed(change):
        value = json.loads(text)
        change(value)
        return json.dumps(value)

    def model(**values):
        return changed(lambda v: v["model"].update(values))

    good = json.loads(text)["model"]
    vocab, merges = good["vocab"], good["merges"]
    split = {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    yield "EOF", ""
    yield "line 1", "[" * 300_000
    yield "", '{"a":' * 200_000
    yield "", text[: len(text) // 2]
    yield "", "null"
    yield "model", changed(lambda v: v.pop("model"))
    yield "lacks", changed(lambda v: v["model"].pop("vocab"))
    yield "lacks", changed(lambda v: v["model"].pop("merges"))
    yield "lacks", model(vocab=[1, 2])
    yield "string", model(vocab=vocab | {"new": "7"})
    yield "-7", model(vocab=vocab | {"new": -7})
    yield str(2**40), model(vocab=vocab | {"new": 2**40})
    yield "id 5 ", model(vocab=vocab | {"new": 5})
    yield "中", model(vocab=vocab | {"中": 777})
    yield "two", model(merges=[["a", "b", "c"]])
    yield "abc", model(merges=["abc"])
    yield "listed twice", model(merges=[merges[0], *merges])
    yield "comes before", model(merges=merges[::-1])
    yield "no token", model(merges=[*merges, ["\u0121", "\u0122"]])
    yield "integer", model(merges=[[1, 2]])
    yield "0x21", changed(lambda v: v["model"]["vocab"].pop("!"))
    yield "dropout", model(dropout=0.1)
    yield "Unigram", model(type="Unigram", vocab=[["a", 0.5]])
    yield "WordPiece", model(type="WordPiece")
    yield "Whitespace", changed(lambda v: v.update(pre_tokenizer={"type": "Whitespace"}))
    yield "Lowercase", changed(lambda v: v.update(normalizer={"type": "Lowercase"}))
    far = {"id": 2**26 - 1, "content": "<|far|>"}
    yield "far beyond", changed(lambda v: v["added_tokens"].append(far))
    sequence = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    yield "", changed(lambda v: v.update(pre_tokenizer=sequence))


def test_broken_hf_files(tmp_path):
    small().to_hf(tmp_path)
    path = tmp_path / "broken.json"
    for says, content in broken_hf_files((tmp_path / "tokenizer.json").read_text()):
        path.write_text(content)
        with pytest.raises(nanobpe.FormatError) as caught:
            T.from_hf(path)
        assert "broken.json" in str(caught.value)
        assert says in str(caught.value), content[:80]


def test_ids_far_beyond_the_vocabulary_are_refused(tmp_path):
    # Tables are as long as the highest id: a line of text would take gigabytes.
    far = {"<|far|>": 2**26 - 1}
    small(special_tokens={}).to_tiktoken(tmp_path / "a.tiktoken")
    with pytest.raises(ValueError, match="67108863 lies far beyond"):
        T.from_tiktoken(tmp_path / "a.tiktoken", pattern="gpt2", special_tokens=far)
    with pytest.raises(ValueError, match="67108863 lies far beyond"):
        small(special_tokens=far)


def test_several_merges_of_one_token(tmp_path):
    # Llama 3's file lists every split of a token, parts that come later among them.
    tok = small()
    tok.to_hf(tmp_path)
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    ids, listed = value["model"]["vocab"], set(map(tuple, value["model"]["merges"]))
    merges = []
    for pair in value["model"]["merges"]:
        merges.append(pair)
        joined = "".join(pair)
        splits = [(joined[:k], joined[k:]) for k in range(1, len(joined))]
        merges += [s for s in splits if s not in listed and set(s) <= ids.keys()]
    assert len(merges) > len(listed)
    value["model"]["merges"] = merges
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    back = T.from_hf(tmp_path)
    assert [back.encode_ordinary(t) for t in TEXTS] == [tok.encode_ordinary(t) for t in TEXTS]
    back.to_tiktoken(tmp_path / "v.tiktoken")


def test_mutated_files_never_crash(tmp_path):
    small().save(tmp_path / "tok")
    small().to_gpt2(tmp_path)
    path = tmp_path / "mutated"
    loaders = {
        "tok/vocab.tiktoken": lambda: T.from_tiktoken(path, pattern="gpt2"),
        "tok/tokenizer.json": lambda: T.from_hf(path),
        "vocab.json": lambda: T.from_gpt2(path, tmp_path / "merges.txt"),
        "merges.txt": lambda: T.from_gpt2(tmp_path / "vocab.json", path),
    }
    rng = random.Random(3)
    for source, load in loaders.items():
        good = (tmp_path / source).read_bytes()
        for _ in range(60):
            data = bytearray(good)
            for _ in range(rng.choice((1, 1, 3, 20))):
                at = rng.randrange(len(data))
                change = rng.choice(
                    (b"", b"x", rng.randbytes(2), data[at : at + 40] * 2, b'"', b"9")
                )
                data[at : at + rng.choice((0, 1, 7))] = change
            path.write_bytes(data)
            try:
                tok = load()
            except ValueError:
                continue
            assert tok.decode(tok.encode_ordinary(TEXT)) == TEXT


def test_damaged_folder(tmp_path):
    tok, folder = small(), tmp_path / "tok"
    tok.save(folder)
    for name in ("tokenizer.json", "vocab.tiktoken", "meta.json"):
        path = folder / name
        good = path.read_bytes()
        for bad in (
            good[: len(good) // 2],
            b"\xff\x00 no tokenizer",
            b"",
            good.replace(b"400", b"900"),
        ):
            if bad == good:
                continue
            path.write_bytes(bad)
            with pytest.raises(nanobpe.FormatError, match="tok"):
                T.load(folder)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=name):
            T.load(folder)
        path.write_bytes(good)
    same(T.load(folder), tok)


def test_save_replaces_a_tokenizer_and_nothing_else(tmp_path):
    folder = tmp_path / "tok"
    small().save(folder)
    (tmp_path / ".tok.partial").mkdir()
    small("nano").save(folder)
    assert T.load(folder).pattern_name == "nano"
    assert [p.name for p in tmp_path.iterdir()] == ["tok"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        small().save(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        small().save(tmp_path / "file/tok")
    empty = tmp_path / "empty"
    empty.mkdir()
    small().save(empty)
    same(T.load(empty), small())


def test_full_disk_leaves_the_older_tokenizer(tmp_path):
    small().save(tmp_path / "tok")
    before = {p.name: p.read_bytes() for p in (tmp_path / "tok").iterdir()}
    code = (
        "import sys, nanobpe; tok = nanobpe.Tokenizer.load(sys.argv[1])\n"
        "try: tok.save(sys.argv[1])\n"
        "except OSError: print('refused')"
    )

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "tok"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n"
    assert {p.name: p.read_bytes() for p in (tmp_path / "tok").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["tok"]


def test_missing_files():
    for load in (T.load, T.from_hf, lambda p: T.from_tiktoken(p, pattern="gpt2")):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load("nowhere")
