"""The tokenizer as an object: access, equality, pickling, forks, threads, signals."""

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from vocabularies import HOSTILE, TEXT, small

import nanobpe

TOK = small()
TEXTS = [text for text in HOSTILE if "<|" not in text] * 4


def test_vocabulary_access():
    assert len(TOK) == TOK.vocab_size == 403
    assert all(TOK.token_id(TOK.token_bytes(i)) == i for i in range(403))
    assert TOK.token_id("th") == TOK.ranks[b"th"] >= 256
    assert len(TOK.merges) == 144
    assert len(TOK.ranks) == 400
    assert b"th" in TOK
    assert "<|bos|>" in TOK
    assert b"\xff" in TOK
    assert b"no such token" not in TOK
    assert 5 not in TOK
    assert TOK.byte_lengths.tolist()[:400] == [len(TOK.token_bytes(i)) for i in range(400)]
    assert TOK.dtype is np.uint16
    assert TOK.pattern == nanobpe.PATTERNS["gpt2"]
    assert "403" in repr(TOK)
    assert len(repr(small("(?:" + "x|" * 500 + r"[\s\S])"))) < 200
    with pytest.raises(KeyError):
        TOK.token_id(b"no such token")
    with pytest.raises(TypeError, match="made by"):
        nanobpe.Tokenizer()


def test_dtype_follows_the_highest_id():
    wide = small(special_tokens={"<|far|>": 65_536})
    assert wide.dtype is np.uint32
    assert wide.encode_to_numpy("a").dtype == np.uint32
    narrow = small(special_tokens={"<|near|>": 65_535})
    ids = narrow.encode_to_numpy("a<|near|>", allowed_special="all")
    assert (ids.dtype, ids.tolist()) == (np.uint16, [97, 65_535])


def test_equality_is_by_content():
    same = nanobpe.Tokenizer.from_ranks(
        TOK.ranks, pattern="gpt2", special_tokens=TOK.special_tokens
    )
    others = [small("nano"), small(special_tokens={}), small(special_tokens={"<|b|>": 400})]
    assert same == TOK
    assert hash(same) == hash(TOK)
    assert len({TOK, same, *others}) == 4
    assert TOK not in others
    assert TOK != 5


@pytest.mark.parametrize("pattern", ["gpt2", "qwen2", r"\S+|\s+"])
def test_copies_are_equal(pattern):
    tok = small(pattern)
    copies = [pickle.loads(pickle.dumps(tok, k)) for k in range(2, 6)]
    for other in [*copies, copy.copy(tok), copy.deepcopy(tok)]:
        assert other == tok
        assert (other.merges, other.meta) == (tok.merges, tok.meta)
        assert other.encode(TEXT) == tok.encode(TEXT)


def test_ranks_are_checked():
    ranks = {bytes([b]): b for b in range(256)}
    make = nanobpe.Tokenizer.from_ranks
    for wrong, says in (
        ({b"a": 97}, "lacks"),
        (ranks | {b"ab": 5}, "id 5"),
        (ranks | {b"ab": -1}, "-1"),
        (ranks | {b"ab": 2**32}, str(2**32)),
        (ranks | {b"": 256}, "0 bytes"),
        (ranks | {b"ab": 2**31}, str(2**31)),
    ):
        with pytest.raises(ValueError, match=says):
            make(wrong, pattern="gpt2")
    with pytest.raises(ValueError, match="97"):
        make(ranks, pattern="gpt2", special_tokens={"<|x|>": 97})
    with pytest.raises(ValueError, match="-3"):
        make(ranks, pattern="gpt2", special_tokens={"<|x|>": -3})
    with pytest.raises(ValueError, match=r"\("):
        make(ranks, pattern="(")


def test_one_tokenizer_from_many_threads():
    want = [TOK.encode(t) for t in TEXTS]
    tok = small()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(list(pool.map(tok.encode, TEXTS)) == want for _ in range(5))
        assert all(ids == want for ids in pool.map(lambda _: tok.encode_batch(TEXTS), range(8)))


def test_works_after_a_fork():
    tok, texts = small(), TEXTS * 100
    page = TEXT * 30
    want = tok.encode_batch(texts), tok.encode(page)
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            tok.encode_batch(texts[:200])
            tok.encode_to_numpy(page)

    def all_again():
        return tok.encode_batch(texts, threads=2), tok.encode_to_numpy(page).tolist()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        # Forked at whatever the other thread is doing.
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if all_again() == want else 1)
            deadline = time.monotonic() + 20
            status = (0, 0)
            while status[0] == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
                status = os.waitpid(pid, os.WNOHANG)
            if status[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            assert status == (pid, 0)
    finally:
        stop.set()
        thread.join()


def test_spawned_workers():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(TOK.encode, TEXT).result(60) == TOK.encode(TEXT)


def test_interrupt_stops_a_long_call():
    code = """
import os, random, signal, threading, time, sys
sys.path[:0] = sys.argv[1:]
from vocabularies import small
tok = small("nano")
text = "".join(random.choices("abcdefgh", k=4_000_000))
sent = []
def interrupt():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(0.05, interrupt).start()
try:
    while True:
        tok.encode(text)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *filter(None, sys.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    # One pretoken of 4 MB; a busy machine adds its own to the 100 ms.
    assert 0 <= float(done.stdout) < 0.5


def test_import_is_light():
    code = "import sys, nanobpe; print(sorted({'torch', 'pyarrow', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def from_ranks(more, **options):
    ranks = {bytes([i]): i for i in range(256)} | more
    return nanobpe.Tokenizer.from_ranks(ranks, **({"pattern": "gpt2"} | options))


def from_merges(merges, **options):
    vocab = {i: bytes([i]) for i in range(256)}
    return nanobpe.Tokenizer.from_merges(vocab, merges, **options)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: TOK.encode(3), "a text is str or bytes, got int"),
        (lambda: TOK.encode("a", allowed_special=3), "allowed_special"),
        (lambda: TOK.encode("a", disallowed_special=None), "disallowed_special"),
        (lambda: TOK.encode("a", allowed_special={3}), "allowed_special holds 3"),
        (lambda: TOK.encode_batch("abc"), "texts is one str"),
        (lambda: TOK.encode_batch([b"a", 2]), "got int"),
        (lambda: list(TOK.encode_iterable([1])), "got int"),
        (lambda: TOK.truncate(b"a", 1), "text is bytes, want str"),
        (lambda: TOK.decode(5), "ids are a sequence or an array, got int"),
        (lambda: TOK.decode(None), "got NoneType"),
        (lambda: TOK.decode("ab"), "got str"),
        (lambda: TOK.decode_batch([97]), "got int"),
        (
            lambda: nanobpe.Tokenizer.from_ranks({}, pattern="gpt2", special_tokens=["<a>"]),
            "want a mapping",
        ),
        (lambda: nanobpe.Tokenizer.from_merges({}, [], special_tokens="<a>"), "want several"),
        (lambda: from_ranks({"ab": 256}), r"token 'ab' is str, want bytes\nhint: .*encode"),
        (lambda: from_ranks({(1, 2): 256}), r"token \(1, 2\) is tuple, want bytes"),
        (lambda: from_ranks({b"ab": "x"}), "id 'x' is str, want an integer"),
        (lambda: from_ranks({b"ab": 2.5}), "id 2.5 is float, want an integer"),
        (lambda: from_ranks({}, pattern=b"gpt2"), "pattern is bytes, want str"),
        (lambda: from_ranks({}, special_tokens={1: 300}), "special token 1 is int, want str"),
        (lambda: from_ranks({}, special_tokens={"x": "3"}), "id '3' is str, want an integer"),
        (lambda: from_merges([("a", "b")]), "token 'a' is str, want bytes"),
        (lambda: from_merges(["a b"]), "merge 'a b' is str, want a pair of bytes"),
        (lambda: from_merges("a b"), "merges is str, want several pairs"),
        (lambda: from_merges([], special_tokens=[1]), "special_tokens holds 1, want str"),
        (lambda: TOK.encode_batch(["a"], threads="2"), "threads '2' is str, want an integer"),
        (lambda: TOK.encode_batch(["a"], threads=2.0), "threads 2.0 is float, want an integer"),
        (lambda: TOK.encode_batch(None), "texts is NoneType, want several"),
        (lambda: TOK.truncate("a", "1"), "max_tokens '1' is str, want an integer"),
        (lambda: TOK.decode(["a"]), "id 'a' is str, want an integer"),
        (lambda: TOK.token_id(1), "token 1 is int, want bytes or str"),
        (lambda: setattr(TOK, "cache_mib", "1"), "cache_mib '1' is str, want an integer"),
    ],
)
def test_wrong_types_are_named(call, says):
    with pytest.raises(TypeError, match=says):
        call()


def test_numbers_without_bounds():
    text = "a text"
    assert TOK.truncate(text, 10**30) == text
    assert TOK.encode_batch([text], threads=10**30) == [TOK.encode(text)]
    with pytest.raises(ValueError, match=f"id {10**30} is not in the vocabulary"):
        TOK.decode([10**30])


def test_surrogates_in_tokens():
    assert "\ud800" not in TOK
    with pytest.raises(KeyError, match="is no token"):
        TOK.token_id("\ud800")
