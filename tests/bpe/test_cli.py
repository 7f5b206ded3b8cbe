"""The command line in one process: parsing, messages, exit codes, what each command prints."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nanobpe
from nanobpe import cli, console

TEXT = "the cat sat on the mat, and the hat of the cat was flat; 中文 é\n" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("cli")
    (made / "a.txt").write_text(TEXT)
    specials = ("<|bos|>", "<|user|>")
    nanobpe.train_from_iterator([TEXT], 280, special_tokens=specials).save(made / "tok")
    return made


@pytest.fixture
def run(folder, monkeypatch, capfdbinary):
    """Runs a command in the folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(folder)

    def run(*argv, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = cli.main([str(a) for a in argv])
        except SystemExit as left:
            code = left.code
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("300", 300),
        ("10K", 10_000),
        ("1.5M", 1_500_000),
        ("2g", 2 * 10**9),
        ("2GB", 2 * 10**9),
        ("2GiB", 2 * 2**30),
        ("1_000", 1000),
    ],
)
def test_sizes(text, number):
    assert console.parse_size(text) == number


@pytest.mark.parametrize("text", ["", "0", "-5", "2 elephants", "10Q", "1i", "K", "1e3", "nan"])
def test_bad_sizes(text):
    with pytest.raises(ValueError, match=r"size|below 1"):
        console.parse_size(text)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(17, "17"), (9_999, "9,999"), (431e6, "431 M"), (2.03e9, "2.03 G"), (12_345, "12.3 K")],
)
def test_quantities(number, shown):
    assert console.quantity(number) == shown


def test_shares_and_times():
    assert console.parse_share("0.5%") == console.parse_share("0.005") == 0.005
    for text in ("-1%", "101%", "much", "nan"):
        with pytest.raises(ValueError, match="share"):
            console.parse_share(text)
    assert [console.duration(s) for s in (0.314, 12.34, 125, 3725)] == [
        "0.31 s",
        "12.3 s",
        "2:05",
        "1:02:05",
    ]


def test_train_reports_what_it_did(run, folder):
    code, out, err = run("train", "a.txt", "--vocab", 280, "--out", "new", "--json")
    assert code == 0
    row = json.loads(out)
    assert (row["vocab_size"], row["merges"], row["special"]) == (280, 23, 1)
    assert (row["documents"], row["bytes"]) == (1, len(TEXT.encode()))
    tok = nanobpe.Tokenizer.load(folder / "new")
    assert row["bytes_per_token"] == pytest.approx(len(TEXT.encode()) / tok.count(TEXT), rel=1e-3)
    assert set(row["seconds"]) == {"read", "count", "merge", "write", "total"}
    labels = [line.split()[0] for line in err.splitlines()]
    assert labels == ["corpus", "count", "merge", "check", "wrote"]
    assert "round trip ok on 1 document" in err


def test_train_warns_and_strict_fails(run, folder):
    code, _, err = run("train", "a.txt", "--vocab", 5000, "--out", "big")
    assert (code, "warning: " in err) == (0, True)
    code, _, err = run("train", "a.txt", "--vocab", 5000, "--out", "strict", "--strict")
    assert (code, err.splitlines()[-1][:6]) == (1, "error:")
    assert not (folder / "strict").exists()


def test_counts_train_the_same(run, folder):
    assert run("count", "a.txt", "--out", "c.parquet")[0] == 0
    assert run("train", "c.parquet", "--vocab", 280, "--out", "counted")[0] == 0
    assert run("train", "a.txt", "--vocab", 280, "--out", "direct")[0] == 0
    load = nanobpe.Tokenizer.load
    assert load(folder / "counted") == load(folder / "direct")


def test_ids_there_and_back(run):
    text = "the cat\n\n 中文 \x00 end"
    code, out, _ = run("encode", "-", "--tok", "tok", "--ids", stdin=text.encode())
    tok = nanobpe.Tokenizer.load("tok")
    assert (code, [int(i) for i in out.split()]) == (0, tok.encode(text))
    assert run("decode", "--tok", "tok", stdin=out.encode())[:2] == (0, text)
    code, out, _ = run("encode", "-", "--tok", "tok", "--ids", "--bos", stdin=b"the")
    assert [int(i) for i in out.split()] == [278, *tok.encode("the")]


@pytest.mark.parametrize(("dtype", "kind"), [("auto", "<u2"), ("u16", "<u2"), ("u32", "<u4")])
def test_ids_in_binary(run, folder, monkeypatch, dtype, kind):
    monkeypatch.chdir(folder)
    (folder / "docs.jsonl").write_text(
        '{"text": "the cat"}\n{"text": ""}\n{"text": "\\n\\n the"}\n'
    )
    tok = nanobpe.Tokenizer.load("tok")
    flags = ["--ids", "--binary", "--bos", "--dtype", dtype]
    done = subprocess.run(
        [sys.executable, "-m", "nanobpe", "encode", "docs.jsonl", "--tok", "tok", *flags],
        capture_output=True,
        check=True,
    )
    bos = tok.token_id("<|bos|>")
    want = [i for text in ("the cat", "", "\n\n the") for i in (bos, *tok.encode(text))]
    assert np.frombuffer(done.stdout, kind).tolist() == want
    assert run("encode", "docs.jsonl", "--tok", "tok", "--binary", "--out", "x")[0] == 2
    code, out, err = run("encode", "docs.jsonl", "--tok", "tok", "--ids", "--dtype", "u32")
    assert (code, out) == (2, "")
    assert "--binary" in err


def test_ids_across_blocks(run, folder):
    tok = nanobpe.Tokenizer.load(folder / "tok")
    ids = tok.encode(TEXT) * 400
    (folder / "ids.txt").write_text(" ".join(map(str, ids)))
    code, out, _ = run("decode", "ids.txt", "--tok", "tok")
    assert (code, out) == (0, tok.decode(ids))


def test_encode_writes_shards_and_verify_reads_them(run):
    argv = ("encode", "a.txt", "--tok", "tok", "--bos", "--split-on", "\n", "--out")
    code, out, _ = run(*argv, "shards", "--split", "0.5,0.25,0.25", "--json")
    assert code == 0
    row = json.loads(out)
    assert row["documents"] == 40
    assert sum(row["splits"].values()) == row["tokens"]
    code, out, _ = run("verify", "shards", "--json")
    assert (code, json.loads(out)["errors"]) == (0, [])
    code, _, err = run(*argv, "shards")
    assert (code, "not empty" in err, "hint: `--resume`" in err) == (1, True, True)
    code, _, err = run(*argv, "shards", "--split", "0.6,0.2,0.2", "--resume")
    assert (code, "its shards have splits" in err) == (1, True)
    # Equal lines are equal documents: all went to one split.
    [victim] = Path("shards").glob("*.bin")
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x7f")
    code, out, err = run("verify", "shards", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert err.startswith(f"error: {victim}")


def test_inspect(run):
    tok = nanobpe.Tokenizer.load("tok")
    code, out, _ = run("inspect", "tok", "--text", "the cat", "--json")
    assert (code, json.loads(out)["ids"]) == (0, tok.encode("the cat"))
    the = tok.token_id(" the")
    assert json.loads(run("inspect", "tok", "--token", the, "--json")[1])["text"] == " the"
    assert json.loads(run("inspect", "tok", "--token", " the", "--json")[1])["id"] == the
    assert json.loads(run("inspect", "tok", "--token", "<|user|>", "--json")[1])["special"]
    found = json.loads(run("inspect", "tok", "--longest", 3, "--unused", "a.txt", "--json")[1])
    lengths = sorted((len(t) for t in tok.ranks), reverse=True)
    assert [item["length"] for item in found["longest"]] == lengths[:3]
    used = set(tok.encode(TEXT))
    assert found["unused"] == [i for i in sorted(tok.ranks.values()) if i not in used]
    assert found["unreachable"] == []
    broken = [
        i for t, i in tok.ranks.items() if len(t) > 1 and t.decode("utf-8", "ignore").encode() != t
    ]
    assert found["invalid_utf8"] == sorted(broken)
    assert sum(found["lengths"].values()) == len(tok.ranks)
    assert found["gguf_pretokenizer"] is None
    assert "GGUF pre-tokenizer: none" in run("inspect", "tok")[1]


def test_inspect_finds_tokens_that_cannot_be_reached(run, folder):
    ranks = {bytes([i]): i for i in range(256)} | {b"a b": 256, b"bc": 257, b"abcd": 258}
    nanobpe.Tokenizer.from_ranks(ranks, pattern="gpt2").save(folder / "odd")
    found = json.loads(run("inspect", "odd", "--json")[1])
    # "abcd" is whole by itself though no merge makes it; "a b" goes across two pretokens.
    assert found["unreachable"] == [256]


def test_inspect_finds_parts_of_characters_that_cannot_be_reached(run, folder):
    ranks = {bytes([i]): i for i in range(256)}
    ranks |= {b"\xe4\xb8": 256, b"\xb8\xad": 257, b" \xe4\xb8": 258, b"\xe4\xb8\xad\xe4": 259}
    tok = nanobpe.Tokenizer.from_ranks(ranks, pattern="gpt2")
    tok.save(folder / "parts")
    found = json.loads(run("inspect", "parts", "--json")[1])
    # 中 is e4 b8 ad, 席 is e5 b8 ad. No token joins e4 b8 and ad, which 259 would need.
    assert {256, 257, 258} <= set(tok.encode("中席 中"))
    assert found["unreachable"] == [259]
    assert found["invalid_utf8"] == [256, 257, 258, 259]


@pytest.mark.parametrize("kind", ["hf", "gpt2", "tiktoken"])
def test_convert_there_and_back(run, folder, kind):
    ranks = nanobpe.train_from_iterator([TEXT], 280, pattern="gpt2")
    ranks.save(folder / "plain")
    assert run("convert", "plain", "--to", kind, "--out", kind)[0] == 0
    more = {
        "hf": [],
        "gpt2": ["--special", "<|bos|>"],
        "tiktoken": ["--pattern", "gpt2", "--special", "<|bos|>=279"],
    }
    assert run("convert", kind, "--from", kind, "--out", f"{kind}-back", *more[kind])[0] == 0
    assert nanobpe.Tokenizer.load(folder / f"{kind}-back").merges == ranks.merges
    assert nanobpe.Tokenizer.load(folder / f"{kind}-back").special_tokens == {"<|bos|>": 279}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ("train nowhere.txt --vocab 300 --out x", 1, "nowhere.txt: No such file"),
        ("train a.txt --vocab 100 --out x", 2, "100"),
        ("train a.txt --vocab many --out x", 2, "'many'"),
        ("train a.txt --vocab 300 --out a.txt/x", 1, "a.txt is a file"),
        ("train a.txt --vocab 300 --out x --pattern [a-z", 2, "pattern"),
        ("train a.txt --vocab 300 --out x --special a --special a", 2, "twice"),
        ("train a.txt --vocab 300", 2, "--out"),
        ("encode a.txt --tok gone --out x", 1, "gone"),
        ("encode a.txt --tok tok", 2, "--out --ids"),
        ("encode a.txt --tok tok --out x --split 0.8,0.1", 2, "2 shares"),
        ("encode a.txt --tok tok --out x --split 0.9,0.9,0.9", 2, "add up"),
        ("encode a.txt --tok tok --out x --ids", 2, "not allowed"),
        ("encode a.txt --tok tok --ids --val 1%", 2, "about shards"),
        ("encode a.txt --tok tok --out x --shard-tokens 0", 2, "below 1"),
        ("decode gone --tok tok", 1, "gone"),
        ("inspect tok --token nothing", 1, "nothing"),
        ("convert tok --out x", 2, "--to"),
        ("convert tok --from tiktoken --out x", 2, "--pattern"),
        ("verify gone", 1, "gone"),
        ("dance", 2, "dance"),
        ("", 2, "COMMAND"),
    ],
)
def test_mistakes_are_one_line(run, folder, argv, code, said):
    before = sorted(p.name for p in folder.iterdir())
    got, out, err = run(*argv.split())
    assert (got, out) == (code, "")
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(28, "No space left on device", "x.bin"),
            1,
            "error: x.bin: No space left on device",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "x/meta.json"),
            1,
            "error: x/meta.json: No such file or directory\nhint: want a tokenizer's folder, "
            "as made by `nanobpe train`, or `nanobpe convert` from other files",
        ),
        (KeyError("no token 5"), 1, "error: no token 5"),
        (MemoryError(), 1, "error: out of memory"),
    ],
)
def test_what_is_raised_becomes_an_exit_code(run, monkeypatch, raised, code, said):
    def fail(_):
        raise raised

    monkeypatch.setattr("nanobpe.commands.verify", fail)
    assert run("verify", "x")[::2] == (code, said + "\n")


def test_decode_names_what_is_no_id(run):
    for given, said in ((b"72 abc", "'abc'"), (b"72 99999", "99999"), (b"-4", "'-4'")):
        code, _, err = run("decode", "-", "--tok", "tok", stdin=given)
        assert code == 1
        assert said in err
