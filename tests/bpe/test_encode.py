"""Encoding is exact: against the naive reference, tiktoken, and itself by every way in."""

import base64
import copy
import gc
import itertools
import random
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pyarrow as pa
import pytest
import regex
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import BROKEN, GPT2_RE, HOSTILE, TEXT, gpt2_merges, small

import nanobpe

TOK = small()
# Regexes that are run to find a place to cut: one that looks on, steps, normalisation.
RUN = [
    r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+",
    r"(?#split)\s+(?#split)[a-z]+",
    r"(?#nfc) ?\S+|\s+",
]
TEXTS = [text for text in HOSTILE if "<|" not in text] + [TEXT]


@pytest.mark.parametrize("text", [*TEXTS, "abcabc" * 40, "the " * 50, TEXT[:300].replace(" ", "")])
def test_equals_the_naive_reference(text):
    merges = gpt2_merges()
    want = [t for p in regex.findall(GPT2_RE, text) for t in naive.encode(p.encode(), merges)]
    assert [TOK.token_bytes(i) for i in TOK.encode_ordinary(text)] == want


@given(st.text(alphabet="ab c", max_size=400))
def test_one_long_pretoken_equals_the_naive_reference(text):
    # Everything is one pretoken, so arrays, buckets and their border are all met.
    merges = [
        (b"a", b"b"),
        (b"a", b"a"),
        (b" ", b"c"),
        (b"ab", b"ab"),
        (b"aa", b"a"),
        (b"abab", b"c"),
    ]
    vocab = {i: bytes([i]) for i in range(256)}
    vocab |= {256 + i: a + b for i, (a, b) in enumerate(merges)}
    tok = nanobpe.Tokenizer.from_merges(vocab, merges, pattern=r"(?s).+")
    ids = tok.encode_ordinary(text)
    assert [tok.token_bytes(i) for i in ids] == naive.encode(text.encode(), merges)


def test_merges_listed_out_of_age_still_take_the_lowest_rank_first():
    # "bc" is older than the pair that needs it; "abc" by way of "ab" comes before both.
    merges = [(b"ab", b"c"), (b"b", b"c"), (b"a", b"b"), (b"a", b"bc")]
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"abc", 257: b"bc", 258: b"ab"}
    tok = nanobpe.Tokenizer.from_merges(vocab, merges, pattern=r"(?s).+")
    for text in ("xabx", "ab" * 50 + "x", "abcx", "xabc" * 40, "xbc" * 50):
        # Lowest rank first, one merge at a time, as a list of ids.
        parts = [bytes([b]) for b in text.encode()]
        while True:
            ranked = [
                (merges.index(p), i) for i, p in enumerate(itertools.pairwise(parts)) if p in merges
            ]
            if not ranked:
                break
            _, i = min(ranked)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        assert [tok.token_bytes(i) for i in tok.encode_ordinary(text)] == parts, text


@given(st.binary(max_size=200))
def test_any_bytes_come_back(data):
    ids = TOK.encode_ordinary(data)
    assert TOK.decode_bytes(ids) == data


@given(st.text(max_size=100))
def test_any_text_comes_back(text):
    assert TOK.decode(TOK.encode_ordinary(text), errors="strict") == text


@pytest.mark.parametrize("data", BROKEN)
def test_bytes_that_are_not_utf8(data):
    assert TOK.decode_bytes(TOK.encode(data, disallowed_special=())) == data


def test_surrogates():
    assert TOK.encode("a\ud83d\ude42b") == TOK.encode("a\U0001f642b")
    assert TOK.encode("a\ud83db\udc00") == TOK.encode("a\ufffdb\ufffd")


@pytest.mark.parametrize("num", [511, 512, 8000, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, 70_000])
@pytest.mark.parametrize(
    "alphabet", ["a", "ab\xe9", "a\u0436\u4e16", "\U0001f600z\xff\u07ff\u0800"]
)
def test_the_utf8_of_a_long_str_is_its_own_each_time(num, alphabet):
    text = "".join(random.Random(num).choices(alphabet, k=num))
    want = TOK.encode_ordinary(text.encode())
    assert TOK.encode_ordinary(text) == want
    for _ in range(2):
        assert TOK.encode_ordinary(text) == want
    for at in (0, num // 2, num - 1):
        broken = text[:at] + "\ud800" + text[at + 1 :]
        want = TOK.encode_ordinary(broken.replace("\ud800", "\ufffd"))
        assert [TOK.encode_ordinary(broken) for _ in range(2)] == [want, want]


def test_encoding_a_text_once_leaves_it_as_it_was():
    # Of so few new addresses hardly one is taken for known.
    texts = ["\u0436\u4e16" * (1000 + i) for i in range(40)]
    texts += ["\u4e16, " * (350_000 + i) for i in range(10)]
    sizes = [sys.getsizeof(text) for text in texts]
    for text in texts:
        TOK.encode_ordinary(text)
    now = [sys.getsizeof(text) for text in texts]
    changed = [a != b for a, b in zip(sizes, now, strict=True)]
    assert sum(changed[:40]) < 20
    assert sum(changed[40:]) < 5


def test_a_str_of_a_class_of_its_own():
    class Odd(str):
        def __len__(self):
            return 3

        def isascii(self):
            raise RuntimeError

    text = "\u0436a" * 600
    assert TOK.encode_ordinary(Odd(text)) == TOK.encode_ordinary(text.encode())


def published(name, shared_data):
    """A published vocabulary, ours and tiktoken's."""
    path = shared_data / "tokenizers" / f"{name}_base.tiktoken"
    lines = path.read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    theirs = tiktoken.Encoding(
        name, pat_str=nanobpe.PATTERNS[name], mergeable_ranks=ranks, special_tokens={}
    )
    return nanobpe.Tokenizer.from_tiktoken(path, pattern=name), theirs


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_equals_tiktoken(name, shared_data):
    ours, theirs = published(name, shared_data)
    rng, tokens = random.Random(0), list(ours.ranks)
    texts = [*HOSTILE, TEXT, (shared_data / "text/tinyshakespeare.txt").read_text()[:200_000]]
    texts += [
        b"".join(rng.choices(tokens, k=rng.randint(2, 60))).decode(errors="ignore")
        for _ in range(500)
    ]
    for text in texts:
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text), text[:100]


@pytest.mark.parametrize("corpus", ["bench_en", "bench_mix"])
@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_corpora_equal_tiktoken(name, corpus, shared_data):
    ours, theirs = published(name, shared_data)
    path = shared_data / f"text/{corpus}_100MB.txt.zst"
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        text = stream.read(3_000_000).decode(errors="ignore")
    documents = text.split("<|endoftext|>")
    assert ours.encode_batch(documents) == theirs.encode_ordinary_batch(documents, num_threads=2)


def test_small_vocabulary_equals_tiktoken():
    theirs = tiktoken.Encoding(
        "small", pat_str=GPT2_RE, mergeable_ranks=TOK.ranks, special_tokens={}
    )
    for text in [*HOSTILE, TEXT * 3]:
        assert TOK.encode_ordinary(text) == theirs.encode_ordinary(text)


def test_every_way_gives_the_same_ids():
    want = [TOK.encode(text) for text in TEXTS]
    flat = [i for ids in want for i in ids]
    ends = np.cumsum([0, *map(len, want)]).tolist()
    for threads in (None, 1, 3):
        assert TOK.encode_batch(TEXTS, threads=threads) == want
        ids, offsets = TOK.encode_batch_to_numpy(tuple(TEXTS), threads=threads)
        assert (ids.tolist(), offsets.tolist()) == (flat, ends)
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary()):
        array = pa.array([text.encode() if kind == pa.binary() else text for text in TEXTS], kind)
        ids, offsets = TOK.encode_batch_to_numpy(array)
        assert (ids.tolist(), offsets.tolist()) == (flat, ends), kind
        assert TOK.encode_batch_to_arrow(array.slice(3, 5)).to_pylist() == want[3:8]
    assert TOK.encode_batch_to_arrow(pa.chunked_array([["ab"], [None, ""]])).to_pylist() == [
        TOK.encode("ab"),
        None,
        [],
    ]
    for text, ids in zip(TEXTS, want, strict=False):
        assert TOK.encode_ordinary(text.encode()) == ids
        assert TOK.encode_to_numpy(text).tolist() == ids
        assert list(TOK.encode_iterable([text])) == ids
        assert list(TOK.encode_with_offsets(text)[0]) == ids
        assert TOK.count(text) == len(ids)


def test_a_batch_of_all_kinds_of_text():
    texts = ["a\ud83d", "\ud83d\ude42", b"caf\xe9", "caf\u00e9", "", bytearray(b"ab"), TEXT] * 50
    want = [TOK.encode(text) for text in texts]
    assert TOK.encode_batch(iter(texts)) == want
    ids, offsets = TOK.encode_batch_to_numpy(texts)
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())] == want
    with pytest.raises(TypeError, match="a text is str or bytes, got int"):
        TOK.encode_batch(["a", 1])


def test_a_batch_leaves_the_collector_as_it_was():
    try:
        TOK.encode_batch([TEXT])
        assert gc.isenabled()
        gc.disable()
        TOK.encode_batch([TEXT])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_one_long_text_over_threads_equals_its_parts():
    tok = small("nano")
    text = TEXT * 3000
    lines = text.splitlines(keepends=True)
    # In this text every line ends where the pattern splits.
    want = [i for ids in tok.encode_batch(lines, threads=1) for i in ids]
    assert tok.encode_to_numpy(text).tolist() == want
    assert tok.encode_batch([text, text], threads=2) == [want, want]


def test_cache_changes_nothing():
    tok = small()
    want = TOK.encode(TEXT)
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 40))) for _ in range(100_000)]
    plain = [tok.encode(w) for w in words[:2000]]
    for mib in (0, 1, 3):
        tok.cache_mib = mib
        assert tok.cache_mib == mib
        # 100,000 words overflow the smaller caches many times.
        assert tok.encode_ordinary(" ".join(words)) == small().encode_ordinary(" ".join(words))
        assert [tok.encode(w) for w in words[:2000]] == plain
        assert tok.encode(TEXT) == want
    with pytest.raises(ValueError, match="cache_mib -1"):
        tok.cache_mib = -1


# The last has to backtrack.
@pytest.mark.parametrize(
    "pattern",
    ["gpt2", "nano", "cl100k", "o200k", "qwen2", *RUN, r"\s+(?<=\s)|\S+"],
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_chunks_give_the_ids_of_the_whole(pattern, data):
    tok = small(pattern)
    text = data.draw(st.sampled_from([TEXT * 60, "".join(HOSTILE) * 30, " " * 30_000 + "x"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=60)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=False)]
    assert list(tok.encode_iterable(iter(chunks), disallowed_special=())) == tok.encode_ordinary(
        text
    )
    got = list(tok.encode_iterable(iter(chunks), allowed_special="all"))
    assert got == tok.encode(text, allowed_special="all")


def test_chunks_may_part_surrogates_and_characters():
    tok = small()
    assert list(tok.encode_iterable(["a\ud83d", "\ude42b"])) == tok.encode("a\U0001f642b")
    assert list(tok.encode_iterable(["a\ud83d", "b"])) == tok.encode("a\ufffdb")
    data = TEXT.encode()
    assert list(tok.encode_iterable([data[i : i + 1] for i in range(len(data))])) == tok.encode(
        TEXT
    )


def test_iterable_is_lazy():
    taken = 0

    def chunks():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield TEXT

    next(TOK.encode_iterable(chunks()))
    assert taken * len(TEXT) < 100_000


STREAMED = """
import hashlib, itertools, resource, sys
import numpy as np
import nanobpe
pattern, sys.path[:0] = sys.argv[1], sys.argv[2:]
from vocabularies import HOSTILE, TEXT, small

tok = small(pattern)
# The cache fills up as long as it has room, whatever the way of encoding.
tok.cache_mib = 0
text = "\\n".join([*HOSTILE, TEXT])

def ids_of(num):
    digest, count = hashlib.sha256(), 0
    ids = tok.encode_iterable(itertools.repeat(text, num), disallowed_special=())
    while part := list(itertools.islice(ids, 10_000)):
        digest.update(np.array(part, np.uint16).tobytes())
        count += len(part)
    return count, digest.hexdigest()

ids_of(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
got = ids_of(1500)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
whole = tok.encode_to_numpy(text * 1500, disallowed_special=())
assert got == (len(whole), hashlib.sha256(whole.tobytes()).hexdigest())
print(len(text) * 1500, used)
"""


@pytest.mark.parametrize("pattern", ["nano", *RUN])
def test_iterable_takes_less_than_a_megabyte(pattern):
    done = subprocess.run(
        [sys.executable, "-c", STREAMED, pattern, *Path(__file__).parents[:2]],
        capture_output=True,
        text=True,
        check=True,
    )
    num_chars, used_kib = map(int, done.stdout.split())
    assert num_chars > 2_000_000
    assert used_kib < 1000


@pytest.mark.parametrize(("dtype", "last"), [("uint16", 400), ("uint32", 1 << 16)])
def test_arrays_live_on_their_own(dtype, last):
    tok = small(special_tokens={"<|last|>": last})
    long = TEXT * 600
    rng = random.Random(0)
    kept = []
    for i in range(2000):
        start = rng.randrange(len(TEXT))
        text = long[start : start + rng.choice([10, 3000, 9000, 9000, 200_000])]
        array = tok.encode_to_numpy(text)
        assert array.dtype == dtype
        assert array.flags.writeable
        kept.append((text, array, i))
        if i % 3:
            # What one is written to is no other's.
            text, array, number = kept.pop(rng.randrange(len(kept)))
            assert array.tolist() == tok.encode(text), number
            array[:] = 0
    tok_again = copy.deepcopy(tok)
    del tok
    gc.collect()
    for text, array, number in kept:
        assert array.tolist() == tok_again.encode(text), number


KEPT = """
import resource, sys
sys.path[:0] = sys.argv[1:]
from vocabularies import TEXT, small

tok = small()
page = TEXT * 20
kept = [tok.encode_to_numpy(page) for _ in range(100)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for i in range(100_000):
    array = tok.encode_to_numpy(page[i % 7 :])
    if i % 100 == 0:
        kept.append(array)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(sum(array.nbytes for array in kept[100:]) >> 10, used)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_few_arrays_hold_no_others_memory():
    command = [sys.executable, "-c", KEPT, *Path(__file__).parents[:2]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept_kib, used_kib = map(int, done.stdout.split())
    assert used_kib < 1.4 * kept_kib + (8 << 10)


def check_offsets(tok, text):
    raw = text.encode()
    ids, spans = tok.encode_with_offsets(text)
    assert ids == tok.encode_ordinary(text)
    assert spans.dtype == np.int64
    assert spans.shape == (len(ids), 2)
    assert [raw[a:b] for a, b in spans.tolist()] == [tok.token_bytes(i) for i in ids]
    owner = [k for k, c in enumerate(text) for _ in c.encode()]
    _, chars = tok.encode_with_offsets(text, unit="char")
    assert chars.tolist() == [[owner[a], owner[b - 1] + 1] for a, b in spans.tolist()]


@given(st.text(max_size=60))
def test_offsets_tile_the_text(text):
    check_offsets(small(special_tokens={}), text)


def test_offsets_of_special_tokens_and_broken_bytes():
    _, spans = TOK.encode_with_offsets("é<|bos|>x", allowed_special="all", unit="char")
    assert spans.tolist()[-2:] == [[1, 8], [8, 9]]
    data = b"\xff\xe4\xb8 abc"
    _, spans = TOK.encode_with_offsets(data)
    assert b"".join(data[a:b] for a, b in spans.tolist()) == data
    _, chars = TOK.encode_with_offsets(data, unit="char")
    assert chars.tolist()[:4] == [[0, 1], [1, 2], [1, 2], [2, 3]]
    with pytest.raises(ValueError, match="'word'"):
        TOK.encode_with_offsets("x", unit="word")


def test_offsets_where_the_pattern_normalises():
    tok = small("qwen2")
    text = "ab e\u0301x"
    ids, chars = tok.encode_with_offsets(text, unit="char")
    assert tok.decode(ids) == "ab \u00e9x"
    spelt = ["".join(text[a:b]) for a, b in chars.tolist()]
    # Both bytes of the composed letter stand for both characters.
    assert spelt[-3:] == ["e\u0301", "e\u0301", "x"] or spelt[-2:] == ["e\u0301", "x"]


@settings(max_examples=60)
@given(st.text(max_size=30), st.integers(0, 12))
def test_truncate_is_the_longest_prefix_of_prefix_ids(text, most):
    tok = small(special_tokens={})
    whole = tok.encode(text)
    fits = [
        text[:k]
        for k in range(len(text) + 1)
        for ids in [tok.encode(text[:k])]
        if len(ids) <= most and ids == whole[: len(ids)]
    ]
    assert tok.truncate(text, most) == max(fits, key=len)


def test_truncate_long_texts():
    for pattern in ("gpt2", r"\S+|\s+"):
        tok = small(pattern)
        text = TEXT * 200
        for most in (0, 1, 100, 5000):
            short = tok.truncate(text, most)
            ids = tok.encode(short)
            assert most - 40 <= len(ids) <= most
            assert ids == tok.encode(text)[: len(ids)]
        assert tok.truncate(text, 10**9) == text


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, " " * 10**6 + "x", "\U0001f642" * 250_000, "aB" * 500_000],
    ids=["letter", "spaces", "emoji", "case"],
)
def test_no_text_is_quadratic(text):
    tok = small("nano")
    assert tok.decode(tok.encode_ordinary(text)) == text


def test_wrong_types():
    with pytest.raises(TypeError, match="int"):
        TOK.encode(5)
    with pytest.raises(TypeError, match="encode takes one"):
        TOK.encode_batch("one text")
    with pytest.raises(ValueError, match="threads 0"):
        TOK.encode_batch(["x"], threads=0)
    with pytest.raises(ValueError, match="int64"):
        TOK.encode_batch_to_numpy(pa.array([1, 2]))
