"""Training against its definition, the owners of the tie rules, and itself in other order."""

import json
import random
import re
import signal
import threading
import time
import unicodedata
import warnings
from collections import Counter

import naive
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import STEPPED, TEXT, pieces, stepped

import nanobpe

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TIES = ["id", "bytes", "hf"]
# Full of ties and of runs that overlap themselves.
ALPHABETS = ["ab", "aab ", "abc \n", "aé中 \n", "01 ab'st", "\U0001f642a\u0301 x", "¡®!~ \x7f\x80"]


@pytest.fixture(autouse=True)
def _no_warnings():
    """Small corpora fill no vocabulary; the tests that mean the warning ask for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pretoken_counts(documents):
    counts = Counter()
    for document in documents:
        counts.update(m.group().encode() for m in regex.finditer(GPT2, document))
    return counts


def learnt(documents, vocab_size, **options):
    options = {"pattern": "gpt2", "special_tokens": (), **options}
    return nanobpe.train_from_iterator(documents, vocab_size, **options).merges


def english(seed, num_documents=60):
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 7))) for _ in range(150)]
    return [
        " ".join(rng.choices(words, k=rng.randint(1, 60))) + ".\n" for _ in range(num_documents)
    ]


@given(
    data=st.data(),
    tie=st.sampled_from(TIES),
    num_merges=st.integers(0, 60),
    min_frequency=st.integers(1, 4),
    max_token_bytes=st.none() | st.integers(2, 6),
)
@settings(max_examples=300, deadline=None)
def test_equals_the_definition(data, tie, num_merges, min_frequency, max_token_bytes):
    alphabet = data.draw(st.sampled_from(ALPHABETS))
    documents = data.draw(
        st.lists(st.text(alphabet, min_size=1, max_size=60), min_size=1, max_size=5)
    )
    bounds = {"min_frequency": min_frequency, "max_token_bytes": max_token_bytes}
    got = learnt(documents, 256 + num_merges, tie_break=tie, **bounds)
    assert got == naive.train(pretoken_counts(documents), num_merges, tie=tie, **bounds)


@given(
    counts=st.dictionaries(
        st.text("ab", min_size=1, max_size=12) | st.binary(min_size=1, max_size=5),
        st.integers(1, 2**40),
        min_size=1,
        max_size=25,
    ),
    tie=st.sampled_from(TIES),
)
@settings(max_examples=150, deadline=None)
def test_counts_equal_the_definition(counts, tie):
    total = Counter()
    for key, number in counts.items():
        total[key.encode() if isinstance(key, str) else key] += number
    tok = nanobpe.train_from_counts(counts, 256 + 30, special_tokens=(), tie_break=tie)
    assert tok.merges == naive.train(total, 30, tie=tie)


# The next number stands for sums that are too large.
MOST = 2**64 - 2


def sums(counts):
    """Pretokens, and pairs of neighbouring bytes in them."""
    return sum(counts.values()), sum((len(key) - 1) * n for key, n in counts.items())


@given(
    counts=st.dictionaries(
        st.binary(min_size=1, max_size=9) | st.text("ab", min_size=1, max_size=9).map(str.encode),
        st.integers(1, 2**20),
        min_size=1,
        max_size=20,
    ),
    tie=st.sampled_from(TIES),
)
@settings(max_examples=100, deadline=None)
def test_counts_up_to_the_limit_are_exact(counts, tie):
    counts = Counter({key: n * (MOST // max(sums(counts))) for key, n in counts.items()})
    counts[b"xy"] += MOST - max(sums(counts))
    counts = +counts
    assert max(sums(counts)) == MOST
    tok = nanobpe.train_from_counts(counts, 256 + 30, special_tokens=(), tie_break=tie)
    assert tok.merges == naive.train(counts, 30, tie=tie)
    assert tok.meta["training"]["pretokens_total"] == sum(counts.values())
    counts[b"xy"] += 1
    with pytest.raises(ValueError, match=f"add up to {MOST + 1}.*up to {MOST} are allowed\nhint: "):
        nanobpe.train_from_counts(counts, 256 + 30)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"ab": 2**63, "cd": 2**63}, "18446744073709551615 or more pretokens"),
        ({"abcd": 2**63}, f"{3 * 2**63} pairs of neighbouring bytes"),
        ({"ab": 2**64 - 1}, r"the count of 'ab' is 18446744073709551615; 0 to 2\*\*64 - 2"),
        ({"ab": -1}, "the count of 'ab' is -1"),
    ],
)
def test_counts_beyond_the_limit_are_refused(counts, said):
    with pytest.raises(ValueError, match=said):
        nanobpe.train_from_counts(counts, 300)


@pytest.mark.parametrize("tie", TIES)
def test_equals_the_definition_on_real_text(tie, library_text):
    documents = [library_text[i : i + 4000] for i in range(0, 40_000, 4000)]
    want = naive.train(pretoken_counts(documents), 100, tie=tie)
    assert learnt(documents, 356, tie_break=tie) == want


def test_equals_rustbpe(library_text):
    rustbpe = pytest.importorskip("rustbpe")
    documents = [library_text[i : i + 9000] for i in range(0, len(library_text), 9000)]
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(iter(documents), 2000, pattern=GPT2)
    theirs = [bytes(token) for token, _ in peer.get_mergeable_ranks()][256:]
    assert [a + b for a, b in learnt(documents, 2000)] == theirs


def test_equals_hugging_face(library_text):
    tokenizers = pytest.importorskip("tokenizers")
    documents = [library_text[i : i + 9000] for i in range(0, len(library_text), 9000)]
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = byte_level(add_prefix_space=False, use_regex=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    peer.train_from_iterator(documents, trainer)
    spelled = {chr(b) if i < 188 else chr(68 + i): b for i, b in enumerate(naive.BYTE_LEVEL_ORDER)}
    theirs = [
        tuple(bytes(spelled[c] for c in part) for part in merge)
        for merge in json.loads(peer.to_str())["model"]["merges"]
    ]
    assert learnt(documents, 2000, tie_break="hf") == theirs


def test_threads_order_and_chunks_change_nothing(tmp_path):
    documents = english(1, 400)
    want = nanobpe.train_from_iterator(documents, 700)
    for threads in (1, 2, 5):
        assert nanobpe.train_from_iterator(documents, 700, threads=threads) == want
    random.Random(2).shuffle(documents)
    assert nanobpe.train_from_iterator(documents, 700, threads=2) == want
    # A document of several megabytes is cut on its way.
    text = " ".join(documents) * 80
    path = tmp_path / "large.txt"
    path.write_text(text)
    counts = Counter(m.group().encode() for m in regex.finditer(GPT2, " ".join(documents) + " "))
    whole = nanobpe.train(path, 700, pattern="gpt2", special_tokens=())
    assert len(text) > 3 << 20
    assert (
        whole.merges
        == naive.train(Counter({k: 80 * n for k, n in counts.items()}), 20) + whole.merges[20:]
    )


@pytest.mark.parametrize("name", STEPPED)
def test_patterns_without_a_scanner_are_cut_where_nothing_changes(name, tmp_path):
    documents = [*english(1, 200), TEXT, unicodedata.normalize("NFD", TEXT)]
    # Longer than a batch: cut on its way, unless the pattern has no cuts.
    large = "".join(f"{i} {d}" for i, d in enumerate(documents * 70))
    assert len(large) > 2 << 20
    (tmp_path / "large.txt").write_bytes(large.encode())
    counts = Counter(pieces(name, large))
    options = {"pattern": stepped(name), "special_tokens": ()}
    want = nanobpe.train_from_counts(counts, 600, **options)
    for more in ({"threads": 1}, {"threads": 3}, {"memory": 2**20}):
        got = nanobpe.train(tmp_path / "large.txt", 600, **options, **more)
        assert got.merges == want.merges
        assert got.meta["training"]["corpus_hash"] == want.meta["training"]["corpus_hash"]
    counts = Counter(piece for d in documents for piece in pieces(name, d))
    want = nanobpe.train_from_counts(counts, 500, **options)
    random.Random(2).shuffle(documents)
    for threads in (1, 3):
        assert nanobpe.train_from_iterator(documents, 500, threads=threads, **options) == want


@pytest.mark.parametrize("pattern", [r"\w+|\W+", r"[^ ]+| +", r"(?s)."])
def test_any_regex(pattern):
    documents = english(3, 10)
    counts = Counter(m.group().encode() for d in documents for m in re.finditer(pattern, d))
    assert learnt(documents, 256 + 40, pattern=pattern) == naive.train(counts, 40)


def test_nothing_is_learnt_from_special_tokens_and_separators(tmp_path):
    parts = ["Once upon a time", "the <cat> sat | on the mat", "end of text"] * 20
    (tmp_path / "marked.txt").write_text("<|end|>".join(parts))
    clean = learnt(parts, 300)
    as_special = nanobpe.train(
        tmp_path / "marked.txt", 301, pattern="gpt2", special_tokens=("<|end|>",)
    )
    as_separator = nanobpe.train(
        tmp_path / "marked.txt", 300, pattern="gpt2", special_tokens=(), split_on=("<|end|>",)
    )
    assert as_special.merges == as_separator.merges == clean
    assert as_special.special_tokens == {"<|end|>": len(as_separator)}
    assert as_separator.meta["training"]["documents"] == 60


def test_resume_extends_and_a_second_pattern_crosses_words():
    documents = ["of the old man and the sea, and of the sea.\n"] * 9 + english(4)
    small = nanobpe.train_from_iterator(documents, 300, special_tokens=("<|a|>",))
    extended = nanobpe.train_from_iterator(documents, 400, resume=small)
    assert extended == nanobpe.train_from_iterator(documents, 400)
    lines = "[^\n]+|\n+"
    second = nanobpe.train_from_iterator(
        documents, 400, pattern=lines, special_tokens=(), resume=small
    )
    counts = Counter(m.group().encode() for d in documents for m in re.finditer(lines, d))
    assert second.merges == naive.train(counts, 400 - 299, start=small.merges)
    assert any(b" " in (a + b).strip() for a, b in second.merges)


def test_count_files_add_up(tmp_path):
    documents = english(5)
    for name, part in (("a", documents[:20]), ("b", documents[20:])):
        rows = "".join(json.dumps({"text": d}) + "\n" for d in part)
        (tmp_path / f"{name}.jsonl").write_text(rows)
        report = nanobpe.count(tmp_path / f"{name}.jsonl", tmp_path / f"{name}.parquet")
        assert report.documents == len(part)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    want = nanobpe.train_from_iterator(documents, 400)
    assert nanobpe.train_from_counts(files, 400) == nanobpe.train(files, 400) == want
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.jsonl",
        "a.parquet",
        "b.jsonl",
        "b.parquet",
    ]


def test_too_large_a_vocabulary_is_a_warning_or_with_strict_an_error():
    with pytest.warns(UserWarning, match="5000 ids cannot be filled.*261"):
        tok = nanobpe.train_from_iterator(["abcabd"], 5000)
    assert len(tok) == 261
    with pytest.raises(ValueError, match="5000"):
        nanobpe.train_from_iterator(["abcabd"], 5000, strict=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 256}, "256 ids is too small.*257"),
        ({"vocab_size": -5}, "-5"),
        ({"tie_break": "coin"}, "coin.*id, bytes and hf"),
        ({"special_tokens": ("<|a|>", "<|a|>")}, "given twice"),
        ({"special_tokens": ("",)}, "non-empty"),
        ({"special_tokens": "<|a|>"}, "sequence"),
        ({"min_frequency": -1}, "min_frequency is -1"),
        ({"threads": 0}, "threads is 0"),
        ({"max_bytes": 2**64}, "max_bytes is 18446744073709551616; whole numbers from 1 to"),
        ({"vocab_size": 2**64}, "vocab_size is 18446744073709551616"),
        ({"pattern": "("}, "compiles"),
        ({"pattern": r"\p{L}+"}, "loses text"),
    ],
)
def test_bad_options_are_refused_before_anything_is_read(options, message):
    def never():
        raise AssertionError("the documents were read")
        yield

    options = {"vocab_size": 300, **options}
    with pytest.raises(ValueError, match=message):
        nanobpe.train_from_iterator(never(), **options)


def test_unknown_options_name_the_nearest():
    with pytest.raises(TypeError, match="special_tokens"):
        nanobpe.train_from_iterator(["a"], 300, special_token=())


@pytest.mark.parametrize("documents", [[], ["", ""]])
def test_an_empty_corpus_is_refused(documents):
    with pytest.raises(ValueError, match="empty"):
        nanobpe.train_from_iterator(documents, 300)


def test_progress_is_told_and_what_it_raises_stops_the_work():
    text = " ".join(english(6, 3000))
    rows = []

    def slowly():
        for _ in range(4):
            time.sleep(0.15)
            yield text * 4

    nanobpe.train_from_iterator(slowly(), 400, progress=rows.append)
    counted = [row for row in rows if row["phase"] == "count"]
    assert counted
    assert all(
        row["bytes"] > 0 and row["documents"] >= 1 and row["distinct"] >= 0 for row in counted
    )

    def refuse(row):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        nanobpe.train_from_iterator(slowly(), 400, progress=refuse)


def train_until_interrupted(documents):
    while True:
        nanobpe.train_from_iterator(documents, 5000)


def test_ctrl_c_is_a_keyboard_interrupt_within_a_tenth_of_a_second():
    documents = [" ".join(english(seed, 2000)) for seed in range(40)]
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.05, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        train_until_interrupted(documents)
    # 100 ms is what is promised; a busy machine adds its own.
    assert time.perf_counter() - sent[0] < 0.4
    timer.join()


def test_other_threads_run_while_it_trains():
    documents = [" ".join(english(seed, 4000)) for seed in range(20)]
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.002):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    nanobpe.train_from_iterator(documents * 8, 20_000)
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
    gaps = [b - a for a, b in zip([start, *ticks], [*ticks, start + seconds], strict=True)]
    assert sum(gap for gap in gaps if gap > 0.05) < seconds / 2
