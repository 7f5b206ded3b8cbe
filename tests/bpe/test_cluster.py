"""Counting and encoding on Ray: the result of one machine, whatever is lost on the way."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import stepped

import nanobpe
from nanobpe import cli, cluster, sources
from nanobpe.encode import Reading, bos_id, to_shards

# A token of our own, as Ray would keep one in the home directory; read when Ray is imported.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")

# Ray's processes start slowly on a busy machine.
pytestmark = pytest.mark.timeout(180)

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000}


@pytest.fixture(scope="module", autouse=True)
def nodes():
    """A cluster of one node, to which tests may add."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level=40)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def files(tmp_path, library_text):
    """Inputs of each kind, counts among them, so that some are divided and others share a task."""
    parts = [library_text[i : i + 30_000] for i in range(0, 240_000, 30_000)]
    (tmp_path / "a.txt").write_text(parts[0])
    (tmp_path / "b.txt").write_text("<|end|>".join((parts[1] + parts[2]).split("\n\n")))
    lines = [json.dumps({"text": line}) for line in parts[3].splitlines()]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    column = pa.table({"text": parts[4].splitlines() + parts[5].splitlines()})
    pq.write_table(column, tmp_path / "d.parquet", row_group_size=200)
    pq.write_table(column.slice(0, 0), tmp_path / "e.parquet")
    with pa.CompressedOutputStream(str(tmp_path / "f.txt.gz"), "gzip") as file:
        file.write(parts[6].encode())
    (tmp_path / "g.txt").write_text(parts[7])
    nanobpe.count(tmp_path / "g.txt", tmp_path / "g.parquet")
    names = ["a.txt", "b.txt", "c.jsonl", "d.parquet", "e.parquet", "f.txt.gz", "g.parquet"]
    return [tmp_path / name for name in names]


def test_equals_one_machine(files, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 10_000)
    options = {"split_on": ("<|end|>",)}
    rows = []
    on_cluster = nanobpe.train(files, 900, cluster="ray", progress=rows.append, **options)
    assert on_cluster == nanobpe.train(files, 900, **options)
    assert rows[0]["total"] > len(files) + 5
    assert max(row.get("tasks", 0) for row in rows) == rows[0]["total"]
    here = nanobpe.count(files, tmp_path / "here", **options)
    there = nanobpe.count(files, tmp_path / "there", cluster="ray", memory=2**20, **options)
    assert [getattr(here, k) for k in ("documents", "bytes", "pretokens_distinct")] == [
        getattr(there, k) for k in ("documents", "bytes", "pretokens_distinct")
    ]
    assert pq.read_table(tmp_path / "here") == pq.read_table(tmp_path / "there")


@pytest.mark.parametrize("name", ["automaton", "normalised steps"])
def test_patterns_without_a_scanner_equal_one_machine(name, files, monkeypatch):
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 30_000)
    options = {"pattern": stepped(name), "split_on": ("<|end|>",)}
    on_cluster = nanobpe.train(files[:-1], 700, cluster="ray", **options)
    assert on_cluster == nanobpe.train(files[:-1], 700, **options)


@given(
    text=st.text("ab\n", max_size=200).map(str.encode),
    split_on=st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3),
    step=st.integers(1, 50),
    window=st.integers(1, 60),
)
def test_text_is_cut_only_where_reading_from_the_start_ends_a_document(
    tmp_path_factory, text, split_on, step, window
):
    path = tmp_path_factory.getbasetemp() / "cuts.txt"
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_WINDOW_BYTES", window)
        cuts = list(cluster._cuts(str(path), len(text), step, split_on))
    assert cuts == sorted(set(cuts))
    # The first alternative that matches is taken: the longest.
    longest_first = sorted(split_on, key=len, reverse=True)
    separator = re.compile(b"|".join(re.escape(s.encode()) for s in longest_first))
    ends = [found.end() for found in separator.finditer(text)]
    assert set(cuts) <= set(ends)


def test_separators_that_stand_alone_all_cut(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one<|end|>two<|end|>x<|end|>three")
    assert list(cluster._cuts(str(path), 33, 1, ["<|end|>"])) == [10, 20, 28]


def test_a_lost_node_loses_nothing(nodes, tmp_path, monkeypatch):
    rng = random.Random(7)
    for i in range(12):
        words = ("".join(rng.choices("abcdefghij", k=6)) for _ in range(60_000))
        (tmp_path / f"{i}.txt").write_text(" ".join(words))
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 1)
    lost = nodes.add_node(**NODE)
    nodes.wait_for_nodes()

    def kill(row):
        # Its tables are too large to be with the driver, and not yet added up.
        if row.get("tasks", 0) >= 6 and lost in nodes.worker_nodes:
            nodes.remove_node(lost, allow_graceful=False)

    on_cluster = nanobpe.train(tmp_path, 600, cluster="ray", progress=kill)
    assert lost not in nodes.worker_nodes
    assert on_cluster == nanobpe.train(tmp_path, 600)


def content(folder):
    """The bytes of every file of a folder, by name."""
    paths = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def tok(library_text):
    return nanobpe.train_from_iterator([library_text], 500)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True, "seed": 5, "splits": {"train": 0.6, "val": 0.3, "test": 0.1}},
        {"dtype": "uint32", "splits": {"train": 0.5, "val": 0.5}},
    ],
)
@pytest.mark.parametrize("marks", [{}, {"bos": True, "eos": True}])
def test_shards_equal_those_of_one_machine(options, marks, files, tok, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 10_000)
    found = sources.find(files[:-1])
    options = options | dict.fromkeys(marks, bos_id(tok)) | {"shard_tokens": 7_000}
    reading = Reading(split_on=("<|end|>",), max_document_chars=9_000)
    rows = []
    here = to_shards(tok, found, tmp_path / "here", reading=reading, **options)
    there = to_shards(
        tok,
        found,
        tmp_path / "there",
        reading=reading,
        cluster="ray",
        progress=rows.append,
        **options,
    )
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert here["documents"] > 500
    same = ("documents", "tokens", "bytes", "shards", "splits")
    assert [there[key] for key in same] == [here[key] for key in same]
    assert rows[0]["total"] > len(found) + 5
    assert rows[-1]["bytes"] <= here["bytes"]


def test_a_document_of_many_parts(tok, tmp_path, library_text):
    (tmp_path / "a.txt").write_text(library_text * 60)
    (tmp_path / "b.txt").write_text("short")
    found = sources.find([tmp_path / "a.txt", tmp_path / "b.txt"])
    options = {"reading": Reading(), "bos": bos_id(tok), "shard_tokens": 3_000_000}
    to_shards(tok, found, tmp_path / "here", **options)
    to_shards(tok, found, tmp_path / "there", cluster="ray", **options)
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert len(content(tmp_path / "here")) > 4


def test_a_lost_node_loses_no_ids(nodes, tok, tmp_path, monkeypatch):
    rng = random.Random(7)
    for i in range(12):
        words = ("".join(rng.choices("abcdefghij", k=6)) for _ in range(60_000))
        (tmp_path / f"{i}.txt").write_text(" ".join(words))
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 1)
    found = sources.find(tmp_path)
    lost = nodes.add_node(**NODE)
    nodes.wait_for_nodes()

    def kill(row):
        # Its ids are too large to be with the driver, and not yet all taken.
        if row["tasks"] >= 2 and lost in nodes.worker_nodes:
            time.sleep(1)
            nodes.remove_node(lost, allow_graceful=False)

    there, here = tmp_path / "there", tmp_path / "here"
    to_shards(tok, found, there, reading=Reading(), cluster="ray", progress=kill)
    assert lost not in nodes.worker_nodes
    to_shards(tok, found, here, reading=Reading())
    assert content(there) == content(here)


def test_encoding_goes_on_after_a_stop(tok, files, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 10_000)
    found, out = sources.find(files[:-1]), tmp_path / "out"
    options = {"reading": Reading(), "shard_tokens": 5_000, "cluster": "ray"}

    def stop(row):
        if row["tasks"] > 4:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        to_shards(tok, found, out, progress=stop, **options)
    assert (out / "resume.json").exists()
    assert list(out.glob("*.bin"))
    to_shards(tok, found, out, resume=True, **options)
    to_shards(tok, found, tmp_path / "here", **options | {"cluster": None})
    assert content(out) == content(tmp_path / "here")


@pytest.mark.parametrize("name", ["bad.jsonl", "bad.parquet", "bad.txt.gz"])
def test_encoding_bad_input_leaves_nothing(name, tok, tmp_path):
    (tmp_path / name).write_bytes(b'{"text": 1}\n')
    found, said = sources.find(tmp_path / name), []
    for on in (None, "ray"):
        with pytest.raises(nanobpe.FormatError) as raised:
            to_shards(tok, found, tmp_path / "out", reading=Reading(), cluster=on)
        said.append(str(raised.value))
        assert not (tmp_path / "out").exists()
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--ids"], "--cluster writes shards"), (["--out", "o", "--max-bytes", "9"], "no order")],
)
def test_encoding_that_a_cluster_cannot_do_is_refused(more, said, tok, tmp_path, capsys):
    tok.save(tmp_path / "tok")
    argv = ["encode", "a.txt", "--tok", str(tmp_path / "tok"), "--cluster", "ray", *more]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_counts_beyond_32_bits_add_up(tmp_path):
    for name, number in (("a", 2**33 + 1), ("b", 2**40)):
        table = pa.table({"pretoken": ["same"], "count": pa.array([number], pa.uint64())})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    report = nanobpe.count(found, tmp_path / "sum.parquet", cluster="ray")
    assert report.pretokens_total == 2**33 + 1 + 2**40
    assert pq.read_table(tmp_path / "sum.parquet")["count"].to_pylist() == [2**33 + 1 + 2**40]


def test_sums_beyond_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_PARCEL_BYTES", 1)
    most = 2**64 - 2
    for name, number in (("a", most - 2**33), ("b", 2**33), ("c", 1)):
        table = pa.table({"pretoken": ["ab"], "count": pa.array([number], pa.uint64())})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    report = nanobpe.count(tmp_path / "[ab].parquet", tmp_path / "sum.parquet", cluster="ray")
    assert report.pretokens_total == most
    assert pq.read_table(tmp_path / "sum.parquet")["count"].to_pylist() == [most]
    with pytest.raises(ValueError, match=f"add up to {most + 1} .*up to {most} are allowed"):
        nanobpe.train(tmp_path / "[abc].parquet", 300, cluster="ray")


@pytest.mark.parametrize("name", ["bad.jsonl", "bad.parquet", "bad.txt.gz"])
def test_bad_input_is_said_as_on_one_machine(name, tmp_path, files):
    bad = tmp_path / name
    bad.write_bytes(b'{"text": 1}\n')
    with pytest.raises(nanobpe.FormatError) as here:
        nanobpe.train([*files, bad], 300)
    with pytest.raises(nanobpe.FormatError) as there:
        nanobpe.train([*files, bad], 300, cluster="ray")
    assert str(there.value) == str(here.value)
    assert type(there.value) is type(here.value)


def test_a_file_that_is_gone_by_then(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("text")
    parcels = cluster._parcels

    def late(*arguments):
        (tmp_path / "a.txt").unlink()
        return parcels(*arguments)

    monkeypatch.setattr(cluster, "_parcels", late)
    with pytest.raises(FileNotFoundError) as raised:
        nanobpe.train(tmp_path / "a.txt", 300, cluster="ray")
    assert cli.os_error_text(raised.value) == f"{tmp_path / 'a.txt'}: No such file or directory"


def test_what_a_cluster_cannot_do_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="standard input"):
        nanobpe.train("-", 300, cluster="ray")
    with pytest.raises(ValueError, match="order"):
        nanobpe.train(tmp_path / "a.txt", 300, cluster="ray", max_bytes=2)
    with pytest.raises(ValueError, match="cluster is 'dask'; ray is allowed"):
        nanobpe.train(tmp_path / "a.txt", 300, cluster="dask")
    with pytest.raises(ValueError, match="in memory"):
        nanobpe.train_from_iterator(["text"], 300, cluster="ray")


def test_without_ray_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "a.txt").write_text("text")
    argv = ["count", str(tmp_path / "a.txt"), "--out", str(tmp_path / "o"), "--cluster", "ray"]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert 'hint: pip install "nanobpe[ray]"' in said


def test_what_progress_raises_ends_the_work(files):
    def stop(row):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        nanobpe.train(files, 300, cluster="ray", progress=stop)
    assert nanobpe.train(files, 300, cluster="ray") == nanobpe.train(files, 300)


@pytest.mark.parametrize("command", ["count", "encode"])
@pytest.mark.parametrize("address", ["local", "shared"])
def test_ctrl_c_ends_it_at_once(command, address, nodes, tok, tmp_path):
    (tmp_path / "a.txt").write_text("some words and more\n" * 100_000)
    if address == "shared":
        address = nodes.address
    argv = [sys.executable, "-m", "nanobpe", command, *["a.txt"] * 2000]
    if command == "encode":
        tok.save(tmp_path / "tok")
        argv += ["--tok", "tok"]
    process = subprocess.Popen(
        [*argv, "--out", "out", "--cluster", "ray", "--progress", "json"],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": address},
        stderr=subprocess.PIPE,
        text=True,
    )
    # The first line comes when tasks have been handed out.
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert time.perf_counter() - start < 5
    assert {p.name for p in tmp_path.iterdir()} <= {"a.txt", "tok"}
