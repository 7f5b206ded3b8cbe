"""Shards: what is written, what is read back, what a resumed run makes, what damage is found."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import nanobpe
from nanobpe import _core, sources
from nanobpe.encode import Reading, to_shards


@pytest.fixture(scope="module")
def tok():
    text = "the words of these documents are short and there are many of them " * 30
    return nanobpe.train_from_iterator([text, "a b c d e f g h"], 290)


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    words = ["the", "words", "many", "中文", "é", "short\n", "of", "them"]
    made = [" ".join(rng.choice(words, rng.integers(1, 60))) for _ in range(150)]
    return [*made, "", "x", " ".join(words) * 200, "", "end"]


@pytest.fixture
def corpus(tmp_path, documents):
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    return path


def write(tok, corpus, out, **options):
    assert tok.special_tokens == {"<|bos|>": tok.vocab_size - 1}
    return to_shards(tok, sources.find(corpus), out, reading=Reading(threads=2), **options)


def content(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_dtype_that_holds_not_all_ids_is_refused(corpus, tmp_path):
    ranks = {bytes([i]): i for i in range(256)}
    specials = {"<|bos|>": 2**16}
    big = nanobpe.Tokenizer.from_ranks(ranks, pattern="nano", special_tokens=specials)
    with pytest.raises(
        ValueError, match=r'65,537 ids do not fit into uint16.*\nhint: use dtype="uin'
    ):
        write(big, corpus, tmp_path / "shards")
    with pytest.raises(ValueError, match='dtype \'int8\', want "uint16" or "uint32"'):
        write(big, corpus, tmp_path / "shards", dtype="int8")
    assert not (tmp_path / "shards").exists()
    write(big, corpus, tmp_path / "shards", dtype="uint32", bos=2**16)
    assert [array[0] for array in nanobpe.Shards(tmp_path / "shards").arrays] == [2**16]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("shard_tokens", [100, 777, 10**6])
def test_documents_come_back_in_order(tok, corpus, documents, tmp_path, bos, shard_tokens):
    out = tmp_path / "shards"
    bos_id = tok.vocab_size - 1 if bos else None
    report = write(tok, corpus, out, bos=bos_id, shard_tokens=shard_tokens)
    shards = nanobpe.Shards(out)
    read = list(shards)
    assert [tok.decode(d[int(bos) :].tolist()) for d in read] == documents
    assert len(shards) == shards.num_documents == report["documents"] == len(documents)
    assert shards.num_tokens == report["tokens"] == sum(map(len, shards.arrays))
    assert report["bytes"] == sum(len(d.encode()) for d in documents)
    assert max(map(len, shards.arrays)) <= shard_tokens
    assert shards.tokenizer == tok
    # A document that fits a shard is not cut.
    infos = shards.manifest["splits"]["train"]["shards"]
    for array, info in zip(shards.arrays, infos, strict=True):
        file = (out / info["name"]).read_bytes()
        header = np.frombuffer(file, "<i4", 256)
        assert header[:3].tolist() == [20240520, 1, len(array)]
        assert not header[3:].any()
        assert info["ids_sha256"] == hashlib.sha256(file[1024:]).hexdigest()
    if bos:
        firsts = [array[0] == bos_id for array in shards.arrays]
        big = len(max(read, key=len))
        assert all(firsts) == (big <= shard_tokens)


def test_splits_hold_each_document_once_and_equal_ones_together(tok, corpus, documents, tmp_path):
    out = tmp_path / "shards"
    write(tok, corpus, out, bos=tok.vocab_size - 1, splits={"train": 0.5, "val": 0.3, "test": 0.2})
    texts = {
        split: [tok.decode(d[1:].tolist()) for d in nanobpe.Shards(out, split)]
        for split in ("train", "val", "test")
    }
    assert sorted(t for part in texts.values() for t in part) == sorted(documents)
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not set(texts[a]) & set(texts[b])
    assert 40 < len(texts["train"]) < 115


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("complete", [1, 3, 7])
def test_resume_ends_as_an_unbroken_run(tok, corpus, tmp_path, bos, complete):
    options = {
        "bos": tok.vocab_size - 1 if bos else None,
        "shard_tokens": 500,
        "splits": {"train": 0.7, "val": 0.3},
    }
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write(tok, corpus, whole, **options)
    shutil.copytree(whole, broken)
    # As a killed run leaves it: some shards, the journal, and a file under a temporary name.
    manifest = json.loads((broken / "manifest.json").read_text())
    (broken / "manifest.json").unlink()
    for name, split in manifest["splits"].items():
        for shard in split["shards"][complete:]:
            for path in broken.glob(Path(shard["name"]).stem + ".*"):
                path.unlink()
        kept = split["shards"][:complete]
        totals = {k: sum(s[k] for s in kept) for k in ("documents", "tokens", "bytes")}
        manifest["splits"][name] = {"shards": kept, **totals}
    (broken / "resume.json").write_text(json.dumps(manifest))
    (broken / ".train_000009.bin.tmp").write_bytes(b"half")
    before = {p.name: p.stat().st_mtime_ns for p in broken.glob("*.bin")}
    with pytest.raises(ValueError, match="not empty"):
        write(tok, corpus, broken, **options)
    with pytest.raises(ValueError, match="unfinished"):
        nanobpe.Shards(broken)
    write(tok, corpus, broken, resume=True, **options)
    assert content(broken) == content(whole)
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in broken.glob("*.bin")}.items()
    assert write(tok, corpus, broken, resume=True, **options)["shards"] == len(
        list(whole.glob("*.bin"))
    )


def test_resume_refuses_other_work(tok, corpus, tmp_path):
    out = tmp_path / "shards"
    write(tok, corpus, out, shard_tokens=500)
    for change in ({"shard_tokens": 501}, {"bos": 3}, {"seed": 1}, {"dtype": "uint32"}):
        with pytest.raises(ValueError, match="its shards have"):
            write(tok, corpus, out, resume=True, **{"shard_tokens": 500, **change})
    other = nanobpe.train_from_iterator(["another corpus altogether"] * 3, 265)
    with pytest.raises(ValueError, match="tokenizer"):
        write(other, corpus, out, resume=True, shard_tokens=500)
    with corpus.open("a") as file:
        file.write('{"text": "more"}\n')
    with pytest.raises(ValueError, match="inputs are not those"):
        write(tok, corpus, out, resume=True, shard_tokens=500)


def test_what_is_broken_is_found_and_named(tok, corpus, tmp_path):
    out = tmp_path / "shards"
    write(tok, corpus, out, shard_tokens=1000)
    shards, tokens, errors = _core.verify(out)
    assert (shards, errors) == (len(list(out.glob("*.bin"))), [])
    assert tokens == nanobpe.Shards(out).num_tokens
    for name in ("train_000001.bin", "train_000001.idx"):
        victim = out / name
        good = victim.read_bytes()
        flipped = bytearray(good)
        flipped[-1] ^= 1
        for bad in (bytes(flipped), good[:-2], good[:500] if name.endswith("bin") else b"", b""):
            victim.write_bytes(bad)
            [error] = _core.verify(out)[2]
            assert name in error
        victim.write_bytes(good)
    victim = out / "train_000001.bin"
    good = victim.read_bytes()
    for bad in (good[:-100], good[:500], b"", good + b"\0\0", b"\1\2\3\4" + good[4:]):
        victim.write_bytes(bad)
        with pytest.raises(nanobpe.FormatError, match=r"train_000001\.bin"):
            nanobpe.Shards(out)
    for at, says in ((1, "magic"), (8, "the header counts"), (700, "other bytes than zeroes")):
        victim.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(nanobpe.FormatError, match=says):
            nanobpe.Shards(out)
    victim.unlink()
    with pytest.raises(FileNotFoundError, match=r"train_000001\.bin"):
        nanobpe.Shards(out)


def test_folders_without_shards(tmp_path, tok, corpus):
    with pytest.raises(FileNotFoundError):
        nanobpe.Shards(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"manifest\.json is missing"):
        nanobpe.Shards(tmp_path / "empty")
    out = tmp_path / "shards"
    write(tok, corpus, out)
    with pytest.raises(ValueError, match=r'no split "val"; it holds train'):
        nanobpe.Shards(out, "val")


def test_hostile_manifests(tmp_path, tok, corpus):
    out = tmp_path / "shards"
    write(tok, corpus, out)
    good = json.loads((out / "manifest.json").read_text())

    def refused(change):
        manifest = json.loads(json.dumps(good))
        change(manifest)
        (out / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises((ValueError, OSError)):
            list(nanobpe.Shards(out))

    refused(lambda m: m.pop("splits"))
    refused(lambda m: m.update(version=2))
    refused(lambda m: m.update(dtype="float32"))
    refused(lambda m: m["splits"]["train"]["shards"][0].update(name="../docs.jsonl"))
    refused(lambda m: m["splits"]["train"]["shards"][0].update(tokens=2**60))
    refused(lambda m: m["splits"]["train"]["shards"][0].update(documents=1))
    (out / "manifest.json").write_text("{")
    with pytest.raises(nanobpe.FormatError, match="manifest"):
        nanobpe.Shards(out)


def test_nothing_is_left_of_a_run_that_wrote_nothing(tok, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\n{"text": 5}\n')
    for corpus in (empty, broken):
        with pytest.raises(ValueError):
            write(tok, corpus, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["best_fit", "greedy", "contiguous", "random"])
@pytest.mark.parametrize("bos", [True, False])
def test_packing_from_shards(tok, corpus, documents, tmp_path, mode, bos):
    out = tmp_path / "shards"
    bos_id = tok.vocab_size - 1
    write(tok, corpus, out, bos=bos_id if bos else None, shard_tokens=400)
    shards = nanobpe.Shards(out)
    flat = np.concatenate(shards.arrays)
    given_bos = None if bos else bos_id
    packer = nanobpe.Packer(shards, 64, mode=mode, bos=given_bos, seed=1, buffer_documents=20)
    rows = packer.next_batch(400)
    assert rows.shape == (400, 64)
    assert packer.report()["epochs"] > 1.5
    if mode == "contiguous" and bos:
        assert np.array_equal(rows.ravel()[: len(flat)], flat[: rows.size])
        assert np.array_equal(
            rows.ravel()[len(flat) : 2 * len(flat)], flat[: rows.size - len(flat)]
        )
    if mode in ("best_fit", "greedy"):
        assert (rows[:, 0] == bos_id).all()
        assert not ((rows[:, :-1] == bos_id) & (rows[:, 1:] == bos_id)).any()
    once = nanobpe.Packer(shards, 64, mode=mode, bos=given_bos, epochs=1, buffer_documents=20)
    packed = np.concatenate(list(once))
    if mode in ("best_fit", "contiguous"):
        kinds = np.bincount(flat, minlength=300) - np.bincount(packed, minlength=300)
        lost = kinds[:bos_id].sum()
        assert (kinds[:bos_id] >= 0).all()
        assert lost < 64


@pytest.mark.parametrize("shard_tokens", [150, 10**6])
def test_shuffled_documents_are_the_same_in_another_order(
    tok, corpus, documents, tmp_path, shard_tokens
):
    bos = tok.vocab_size - 1
    orders = []
    for out, seed in ((tmp_path / "a", 0), (tmp_path / "b", 0), (tmp_path / "c", 1)):
        write(tok, corpus, out, bos=bos, shard_tokens=shard_tokens, shuffle=True, seed=seed)
        orders.append([tok.decode(d[1:].tolist()) for d in nanobpe.Shards(out)])
        assert not list(out.glob(".*"))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert sorted(orders[0]) == sorted(orders[2]) == sorted(documents)
    assert len({tuple(orders[0]), tuple(orders[2]), tuple(documents)}) == 3


def test_a_shuffled_run_resumes_to_the_same(tok, corpus, tmp_path):
    options = {"bos": tok.vocab_size - 1, "shard_tokens": 200, "shuffle": True}
    write(tok, corpus, tmp_path / "whole", **options)
    broken = shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    manifest = json.loads((broken / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    for shard in train["shards"][3:]:
        (broken / shard["name"]).unlink()
    train["shards"] = train["shards"][:3]
    for count in ("documents", "tokens", "bytes"):
        manifest[count] = train[count] = sum(shard[count] for shard in train["shards"])
    (broken / "manifest.json").unlink()
    (broken / "resume.json").write_text(json.dumps(manifest))
    (broken / ".shuffle-3a.tmp").write_bytes(b"left by a killed run")
    with pytest.raises(ValueError, match="shuffle"):
        write(tok, corpus, broken, **options | {"shuffle": False}, resume=True)
    write(tok, corpus, broken, **options, resume=True)
    assert content(broken) == content(tmp_path / "whole")


def test_documents_end_with_eos(tmp_path):
    tok = nanobpe.train_from_iterator(["a b"], 259, special_tokens=("<|bos|>", "<|endoftext|>"))
    (tmp_path / "docs.jsonl").write_text('{"text": "a b"}\n{"text": ""}\n')
    bos, eos = tok.special_tokens["<|bos|>"], tok.special_tokens["<|endoftext|>"]
    reading = Reading()
    to_shards(
        tok,
        sources.find(tmp_path / "docs.jsonl"),
        tmp_path / "out",
        reading=reading,
        bos=bos,
        eos=eos,
    )
    shards = nanobpe.Shards(tmp_path / "out")
    assert [d.tolist() for d in shards] == [[bos, *tok.encode("a b"), eos], [bos, eos]]
    assert shards.manifest["eos_id"] == eos
