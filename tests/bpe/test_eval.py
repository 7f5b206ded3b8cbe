"""`nanobpe eval`: each measure against a plain count, the table, and the picture."""

import importlib.util
import json
import re
from collections import Counter

import pytest

import nanobpe
from nanobpe import cli, plot

TEXTS = {
    "english.txt": "the cat sat on the mat, and the hat of the cat was flat\n" * 40,
    "中文.txt": "中文的文字和中国的文化 é\n" * 40,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("eval")
    for name, text in TEXTS.items():
        (made / name).write_text(text, encoding="utf-8")
    documents = [TEXTS["english.txt"]]
    nanobpe.train_from_iterator(documents, 280).save(made / "tok")
    nanobpe.train_from_iterator(documents, 264, pattern="cl100k").to_tiktoken(
        made / "cl100k_small.tiktoken"
    )
    return made


@pytest.fixture
def evaluate(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def evaluate(*argv):
        try:
            code = cli.main(["eval", "tok", "--on", *TEXTS, *map(str, argv)])
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return evaluate


AGAINST = ("--against", "cl100k_small.tiktoken")


def test_measures_equal_a_plain_count(evaluate, folder):
    code, out, _ = evaluate(*AGAINST, "--json")
    rows = json.loads(out)["results"]
    assert code == 0
    assert [(row["file"], row["tokenizer"]) for row in rows] == [
        (file, name) for file in TEXTS for name in ("tok", "cl100k_small.tiktoken")
    ]
    toks = {
        "tok": nanobpe.Tokenizer.load(folder / "tok"),
        "cl100k_small.tiktoken": nanobpe.Tokenizer.from_tiktoken(
            folder / "cl100k_small.tiktoken", pattern="cl100k"
        ),
    }
    for row in rows:
        text, tok = TEXTS[row["file"]], toks[row["tokenizer"]]
        ids = tok.encode(text)
        size = len(text.encode())
        lengths = Counter(len(tok.token_bytes(i)) for i in ids)
        assert (row["tokens"], row["bytes"], row["documents"]) == (len(ids), size, 1)
        assert row["bytes_per_token"] == pytest.approx(size / len(ids), abs=1e-4)
        assert row["words"] == len(text.split())
        assert row["fertility"] == pytest.approx(len(ids) / len(text.split()), abs=1e-4)
        assert row["lengths"] == {str(n): count for n, count in sorted(lengths.items())}
        assert row["single_byte_share"] == pytest.approx(lengths[1] / len(ids), abs=1e-5)
        assert row["tokens_used"] == len(set(ids))
        assert row["tokens_unused"] == len(set(tok.ranks.values()) - set(ids))
        first = len(toks["tok"].encode(text))
        assert row["tokens_vs_first"] == pytest.approx(len(ids) / first, abs=1e-4)


def test_the_table_is_aligned(evaluate):
    code, out, err = evaluate(*AGAINST)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 5
    # An ideograph is two columns wide: in columns of a terminal all titles and cells end alike.
    shown = [re.sub("[中文]", "##", line) for line in lines]
    ends = [[match.end() for match in re.finditer(r"(?<=\S)(?=   |$)", line)] for line in shown]
    assert all(row[2:] == ends[0][2:] for row in ends)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_of_each_kind(evaluate, folder, kind):
    pytest.importorskip("matplotlib")
    path = folder / f"picture.{kind}"
    code, _, err = evaluate(*AGAINST, "--plot", path)
    assert (code, err.splitlines()[-1].split()) == (0, ["wrote", str(path)])
    first = path.read_bytes()
    assert first[:4] == {"png": b"\x89PNG", "svg": b"<?xm", "pdf": b"%PDF"}[kind]
    assert not list(folder.glob(".*"))
    evaluate(*AGAINST, "--plot", path)
    assert path.read_bytes() == first


def test_the_picture_shows_what_the_rows_say(evaluate, folder):
    pytest.importorskip("matplotlib")
    rows = json.loads(evaluate(*AGAINST, "--plot", folder / "a.svg", "--json")[1])["results"]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (folder / "a.svg").read_text("utf-8"))
    for row in rows:
        assert f"{row['bytes_per_token']:.2f}" in texts
        assert {row["file"], row["tokenizer"]} <= set(texts)
    assert {"bytes per token (more is better)", "bytes of a token", "share, %"} <= set(texts)


def test_what_keeps_a_picture_from_being_drawn_is_said_first(evaluate, folder, monkeypatch):
    code, out, err = evaluate("--plot", "a.gif")
    assert (code, out) == (2, "")
    assert err == "error: --plot a.gif: names that end in .png, .svg, .pdf are allowed\n"
    code, out, err = evaluate("--plot", "nowhere/a.png")
    assert (code, out, err) == (1, "", "error: nowhere/a.png: the folder is not there\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    code, out, err = evaluate("--plot", "a.png")
    assert (code, out) == (1, "")
    assert err == 'error: a plot needs matplotlib\nhint: pip install "nanobpe[report]"\n'


def test_long_names_keep_their_ends():
    assert plot._shortened("a" * 40 + "/wiki.de.txt").endswith("aaa/wiki.de.txt")
    assert len(plot._shortened("x" * 100)) == 30
    assert plot._shortened("$x$") == r"\$x\$"
