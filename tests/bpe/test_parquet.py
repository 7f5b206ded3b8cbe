"""Parquet: what pyarrow writes in its many ways is read alike; what is damaged is refused."""

import gzip
import io
import itertools
import os
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources import documents

import nanobpe
from nanobpe import _core, sources

CODECS = ["none", "snappy", "gzip", "zstd", "brotli", "lz4"]
LAYOUTS = [
    {"use_dictionary": True},
    {"use_dictionary": True, "data_page_version": "2.0"},
    *(
        {"use_dictionary": False, "column_encoding": encoding, "data_page_version": version}
        for encoding in ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
        for version in ("1.0", "2.0")
    ),
]
SMALL_PAGES = {"data_page_size": 4096, "write_batch_size": 16}


def texts(rng, number):
    words = ["the", "cat", "sat", "中文", "on", "a", "mat", "\n"]
    return [" ".join(rng.choices(words, k=rng.randrange(60))) for _ in range(number)]


def wanted(values):
    return [v if isinstance(v, bytes) else v.encode() for v in values if v is not None]


@pytest.mark.parametrize("codec", CODECS)
def test_every_encoding_and_compression(tmp_path, codec):
    rng = random.Random(codec)
    values = [None if rng.random() < 0.1 else text for text in texts(rng, 700)]
    path = tmp_path / "p.parquet"
    for layout, kind in itertools.product(LAYOUTS, (pa.string(), pa.large_binary())):
        table = pa.table({"n": range(700), "text": pa.array(values).cast(kind)})
        options = {**layout, **SMALL_PAGES, "row_group_size": 300, "compression": codec}
        if "column_encoding" in layout:
            options["column_encoding"] = {"text": layout["column_encoding"]}
        pq.write_table(table, path, **options)
        assert pq.ParquetFile(path).metadata.num_row_groups == 3
        assert documents(path) == wanted(values), layout


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.none() | st.binary(max_size=20), max_size=50),
    rows=st.integers(1, 60),
    required=st.booleans(),
)
def test_any_bytes_and_nulls(tmp_path_factory, values, rows, required):
    path = tmp_path_factory.mktemp("any") / "p.parquet"
    values = [v for v in values if v is not None] if required else values
    schema = pa.schema([pa.field("text", pa.binary(), nullable=not required)])
    pq.write_table(pa.table({"text": values}, schema=schema), path, row_group_size=rows)
    assert documents(path) == wanted(values)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_large_files_on_many_threads(tmp_path, compression):
    rng = random.Random(1)
    # Some are cut into many pieces; some row groups hold nothing.
    values = [
        *texts(rng, 20_000),
        "",
        "one long document " * 100_000,
        *texts(rng, 100),
        "x" * 3_000_000,
    ]
    path = tmp_path / "p.parquet"
    with pq.ParquetWriter(path, pa.schema({"text": pa.string()}), compression=compression) as file:
        for part in (values[:9000], [None] * 50, values[9000:]):
            file.write_table(pa.table({"text": pa.array(part, pa.string())}))
    assert path.stat().st_size > 1 << 20 or compression != "none"
    for threads in (1, 3):
        assert documents(path, threads=threads) == wanted(values)
    limit = len("".join(values[:15_000]).encode())
    assert documents(path, max_bytes=limit) == wanted(values[:15_000])
    separated = [d for text in values for d in text.split(" cat ") if d or text == ""]
    assert documents(path, split_on=(" cat ",)) == wanted(separated)


def test_a_name_that_is_no_unicode(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.parquet"
    content = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), content)
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(content.getvalue())
    assert documents(os.fsdecode(path)) == [b"a"]


def test_row_groups_that_are_meant(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"text": list("abcdef")}), path, row_group_size=2)
    [source] = sources.find(path)
    assert documents(None, found=[replace(source, row_groups=(2, 0))]) == [b"e", b"f", b"a", b"b"]
    assert len(sources.open_parquet(str(path)).group_bytes) == 3
    with pytest.raises(nanobpe.FormatError, match=r"p\.parquet: there is no row group 3 of 3"):
        documents(None, found=[replace(source, row_groups=(3,))])


def test_compressed_as_a_whole_and_remote(tmp_path):
    values = texts(random.Random(2), 30_000)
    (tmp_path / "d").mkdir()
    path = tmp_path / "d/p.parquet"
    pq.write_table(pa.table({"text": values}), path, compression="none")
    assert path.stat().st_size > 2 << 20
    assert documents(path.as_uri()) == wanted(values)
    (tmp_path / "p.parquet.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    assert documents(tmp_path / "p.parquet.gz") == wanted(values)
    (tmp_path / "d/p.parquet").write_bytes(path.read_bytes()[:-100_000])
    for broken in (path, path.as_uri()):
        with pytest.raises(nanobpe.FormatError, match=r"d/p\.parquet: "):
            documents(broken)


def test_count_files_compressed_as_a_whole_and_remote(tmp_path):
    path = tmp_path / "counts.parquet"
    nanobpe.count(__file__, path)
    (tmp_path / "counts.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    whole = nanobpe.train(path, 300)
    assert nanobpe.train(tmp_path / "counts.parquet.gz", 300) == whole
    assert nanobpe.train(path.as_uri(), 300) == whole


def test_what_a_remote_read_raises(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"text": texts(random.Random(3), 50_000)}), path, compression="none")
    content = path.read_bytes()
    asked = []

    def read(offset, length):
        asked.append((offset, length))
        if len(asked) > 2:
            raise ConnectionResetError("the host is gone")
        return content[offset : offset + length]

    file = _core.ParquetFile("p.parquet", (len(content), read))
    counter = nanobpe.options.Options().counter()
    with pytest.raises(ConnectionResetError, match="the host is gone"):
        counter.add_parquet(file, "text")
    assert all(offset + length <= len(content) for offset, length in asked)
    with pytest.raises(nanobpe.FormatError, match=r"p\.parquet: .*there are 1 of \d+ bytes"):
        _core.ParquetFile("p.parquet", (len(content), lambda *_: b"x"))


def test_what_it_does_not_hold(tmp_path):
    path = tmp_path / "p.parquet"
    columns = {
        "n": [1, 2],
        "text": ["a", None],
        "list": [["a"], ["b"]],
        "struct": [{"text": "a"}] * 2,
        "decimal": pa.array([1, 2], pa.decimal128(5)),
        "text.a": ["b", "c"],
    }
    pq.write_table(pa.table(columns), path)
    assert documents(path) == [b"a"]
    assert documents(path, field="text.a") == [b"b", b"c"]
    name = r"p\.parquet: "
    with pytest.raises(nanobpe.FormatError, match=name + "there is no column .body.*n, text, list"):
        documents(path, field="body")
    for field, held in (("n", "int64"), ("list", "nested"), ("struct", "nested")):
        with pytest.raises(nanobpe.FormatError, match=f"{name}column .{field}. holds {held}"):
            documents(path, field=field)
    with pytest.raises(nanobpe.FormatError, match=r"column .decimal. holds .*string or binary"):
        documents(path, field="decimal")
    for content in (b"", b"PAR1", b"PAR1 no parquet PAR1", path.read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(nanobpe.FormatError, match=name):
            documents(path)
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        sources.open_parquet(str(tmp_path))


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_refused_in_words(tmp_path, codec, capfd):
    rng = random.Random(codec)
    path = tmp_path / "p.parquet"
    refused = []
    for layout in LAYOUTS:
        options = layout | {"compression": codec, "row_group_size": 100}
        whole = io.BytesIO()
        pq.write_table(pa.table({"text": texts(rng, 250)}), whole, **options)
        footer = int.from_bytes(whole.getvalue()[-8:-4], "little") + 8
        for i in range(60):
            content = bytearray(whole.getvalue())
            for _ in range(rng.randint(1, 3)):
                # In the footer and in the pages.
                at = rng.randrange(len(content)) if i % 2 else -1 - rng.randrange(footer)
                content[at] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
            try:
                documents(path, threads=1)
            except nanobpe.FormatError as error:
                refused.append(str(error))
    assert len(refused) > 30
    assert all(text.startswith(f"{path}: ") and "\n" not in text for text in refused)
    assert capfd.readouterr() == ("", "")


def test_damage_that_the_workers_find(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.table({"text": ["a b " * 1000] * 5000}), path, compression="none", use_dictionary=False
    )
    content = bytearray(path.read_bytes())
    # Lengths of values in the last page reach beyond it.
    content[-200_000:-150_000] = np.full(50_000, 255, np.uint8).tobytes()
    path.write_bytes(content)
    with pytest.raises(nanobpe.FormatError, match=r"p\.parquet: "):
        documents(path)
