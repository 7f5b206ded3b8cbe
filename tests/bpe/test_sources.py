"""Inputs: every way in gives the same documents, and what is wrong is said with the file's name."""

import gzip
import io
import itertools
import json
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nanobpe
from nanobpe import cluster, sources
from nanobpe.encode import Reading

DOCUMENTS = ["one document", "", "zwei 中文 documents", "a\nb\n\nc", "the last é"]


class Collect:
    """A sink that keeps what it gets."""

    def __init__(self, limit=None):
        self.documents, self.calls, self.limit = [], [], limit

    def is_full(self):
        return self.limit is not None and len(self.documents) >= self.limit

    def add_file(self, path, kind, field, compression):
        self.calls.append(("file", str(path), kind, field, compression))

    def add_parquet(self, file, field, groups):
        self.calls.append(("parquet", file.columns, field, groups))

    def add_stream(self, name, read, kind, field):
        blocks = iter(lambda: read(7), b"")
        self.calls.append(("stream", name, kind, field))
        self.documents.append(b"".join(blocks))

    def add_arrow(self, data, offsets):
        assert (data.dtype, offsets.dtype) == (np.uint8, np.int64)
        self.documents += [data[a:b].tobytes() for a, b in itertools.pairwise(offsets)]

    def add_texts(self, texts):
        self.documents += [t.encode() if isinstance(t, str) else t for t in texts]


def fed(inputs, **options):
    sink = Collect()
    sources.feed(sink, sources.find(inputs), **options)
    return sink


def documents(inputs, *, found=None, field="text", threads=2, **options):
    """The documents as they come out of the encoder, which gives a byte an id."""
    tokenizer = nanobpe.train_from_iterator(["a"], 257)
    options = Reading(threads=threads, **options).options()
    got = []
    for ids, counts, _, begins in cluster._encode(
        found or sources.find(inputs), tokenizer, options, field, [1.0], 0
    ):
        ends = np.cumsum(counts, dtype=np.int64)
        for start, end, begin in zip([0, *ends], ends, begins, strict=False):
            piece = ids[start:end].astype(np.uint8).tobytes()
            got = [*got, piece] if begin else [*got[:-1], got[-1] + piece]
    return got


@pytest.mark.parametrize(
    ("name", "kind", "compression"),
    [
        ("a.txt", "text", None),
        ("a.JSONL", "jsonl", None),
        ("a.b.jsonl.gz", "jsonl", "gzip"),
        ("a.parquet.zst", "parquet", "zstd"),
        ("a.ndjson", "jsonl", None),
        ("a.py", "text", None),
        ("plain", "text", None),
        ("a.gz", "text", "gzip"),
        (".jsonl", "text", None),
    ],
)
def test_names_tell_the_kind(tmp_path, name, kind, compression):
    (tmp_path / name).write_bytes(b"x")
    [source] = sources.find(tmp_path / name)
    assert (source.kind, source.compression, source.size) == (kind, compression, 1)


def test_folders_globs_and_lists_in_order(tmp_path):
    for name in ("b/2.txt", "b/1.txt", "a/x/3.txt", "a/.hidden", ".git/config", "c.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    def names(inputs):
        return [s.name.removeprefix(f"{tmp_path}/") for s in sources.find(inputs)]

    assert names(tmp_path) == ["a/x/3.txt", "b/1.txt", "b/2.txt", "c.md"]
    assert names(f"{tmp_path}/b/*.txt") == ["b/1.txt", "b/2.txt"]
    assert names(f"{tmp_path}/**/*.txt") == ["a/x/3.txt", "b/1.txt", "b/2.txt"]
    assert names([tmp_path / "c.md", str(tmp_path / "b")]) == ["c.md", "b/1.txt", "b/2.txt"]
    (tmp_path / "[odd].txt").write_text("")
    assert names(f"{tmp_path}/[odd].txt") == ["[odd].txt"]


def test_what_is_missing_is_found_before_any_work(tmp_path):
    (tmp_path / "here.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("gone.txt", "gone/*.txt", "empty"):
        with pytest.raises(OSError, match=name.replace("*", r"\*")):
            sources.find([tmp_path / "here.txt", tmp_path / name])
    with pytest.raises(OSError, match="nosuchscheme"):
        sources.find("nosuchscheme://bucket/file.txt")
    with pytest.raises(ValueError, match="no inputs"):
        sources.find([])


def test_urls_and_compressed_files_are_streams(tmp_path):
    text = "some text " * 1000
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.txt").write_text(text)
    (tmp_path / "d/b.txt.gz").write_bytes(gzip.compress(text.encode()[:10]) * 2)
    with pa.CompressedOutputStream(str(tmp_path / "d/c.txt.zst"), "zstd") as file:
        file.write(text.encode())
    wanted = [text.encode(), text.encode()[:10] * 2, text.encode()]
    url = (tmp_path / "d").as_uri()
    assert fed(url).documents == wanted
    assert fed(f"{url}/*.txt").documents == wanted[:1]
    assert fed(f"{url}/b.txt.gz").documents == wanted[1:2]
    assert documents([tmp_path / "d/b.txt.gz", tmp_path / "d/c.txt.zst"]) == wanted[1:]
    with pytest.raises(FileNotFoundError, match="gone"):
        sources.find(f"{url}/gone.txt")


@pytest.mark.parametrize("name", ["cut.txt.gz", "cut.txt.zst", "not.txt.gz", "not.txt.zst"])
def test_broken_compression_names_the_file(tmp_path, name):
    whole = io.BytesIO()
    codec = "gzip" if name.endswith("gz") else "zstd"
    with pa.CompressedOutputStream(whole, codec) as file:
        file.write(b"hello world " * 5000)
        file.flush()
        content = b"no compression at all" if name.startswith("not") else whole.getvalue()[:-20]
    (tmp_path / name).write_bytes(content)
    for given in (tmp_path / name, (tmp_path / name).as_uri()):
        with pytest.raises(nanobpe.FormatError, match=name):
            documents(given)


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()],
)
def test_arrow_layouts(kind):
    array = pa.array(DOCUMENTS, pa.string()).cast(kind)
    wanted = [d.encode() for d in DOCUMENTS]
    for given, expected in (
        (array, wanted),
        (array.slice(1, 3), wanted[1:4]),
        (array.slice(2, 0), []),
        (pa.chunked_array([array, array.slice(3)]), wanted + wanted[3:]),
        (pa.concat_arrays([array, pa.nulls(2, kind)]), wanted),
    ):
        sink = Collect()
        sources.feed_documents(sink, given)
        assert sink.documents == expected


def test_dictionaries_tables_and_mixtures():
    wanted = [d.encode() for d in DOCUMENTS]
    array = pa.array(DOCUMENTS)
    table = pa.table({"n": range(len(DOCUMENTS)), "text": array})
    for given in (
        array.dictionary_encode(),
        table,
        table.to_batches()[0],
        table.to_reader(),
        table.rename_columns(["n", "body"]).drop_columns("n"),
        iter(DOCUMENTS),
        [d.encode() for d in DOCUMENTS],
        [array.slice(0, 2), *DOCUMENTS[2:4], array.slice(4)],
    ):
        sink = Collect()
        sources.feed_documents(sink, given)
        assert sink.documents == wanted
    with pytest.raises(ValueError, match="no column 'body'"):
        sources.feed_documents(Collect(), table, field="body")
    with pytest.raises(ValueError, match="int64"):
        sources.feed_documents(Collect(), pa.array([1, 2]))
    with pytest.raises(TypeError, match="iterable of documents"):
        sources.feed_documents(Collect(), "one text")


def test_all_ways_in_give_one_vocabulary(tmp_path):
    documents = ["the cat sat on the mat\n" * 9, "a hat that the cat sat at " * 9, "中文 cat " * 5]
    (tmp_path / "a.txt").write_text("<|x|>".join(documents))
    rows = "".join(json.dumps({"text": d}) + "\n" for d in documents)
    (tmp_path / "a.jsonl").write_text(rows)
    (tmp_path / "a.jsonl.gz").write_bytes(
        gzip.compress(rows[:100].encode()) + gzip.compress(rows[100:].encode())
    )
    pq.write_table(pa.table({"text": documents}), tmp_path / "a.parquet", row_group_size=2)
    wanted = nanobpe.train_from_iterator(documents, 280)
    for name in ("a.txt", "a.jsonl", "a.jsonl.gz", "a.parquet", "a.jso*"):
        vocab = nanobpe.train(tmp_path / name, 280, split_on=("<|x|>",))
        assert vocab == wanted, name


def test_reading_ahead_gives_all_in_order_and_then_the_error():
    def items():
        yield from range(5)
        raise OSError("the disk is gone")

    ahead = sources._read_ahead(items())
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_reading_ahead_stops_when_no_more_is_taken():
    made = []
    threads = threading.active_count()
    ahead = sources._read_ahead(made.append(i) for i in range(99))
    next(ahead)
    ahead.close()
    end = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == threads
    assert len(made) < 9
