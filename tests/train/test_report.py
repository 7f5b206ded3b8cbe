"""The report stands alone and tells the truth; log lines keep their layout."""

from __future__ import annotations

import html.parser
import json
import shutil

import pytest

from nanotrain import cli
from nanotrain.observe import log
from nanotrain.observe.metrics import RowLog, keep_rows, read_rows
from nanotrain.observe.plots import _points, _smooth


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]


@pytest.fixture(scope="module")
def run(base, tmp_path_factory):
    out = shutil.copytree(base, tmp_path_factory.mktemp("report") / "a <b> & c")
    samples = {"step": 8, "prompt": "<script>", "text": "x</pre>", "tokens": 1, "finish": "length"}
    (out / "samples.jsonl").write_text(json.dumps(samples) + "\n")
    assert cli.main(["report", str(out)]) == 0
    return out


def test_the_page_loads_nothing(run):
    page = Page((run / "report.html").read_text())
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert page.tags.count("img") == 12
    assert "script" not in page.tags
    names = {f"{plot}-{axis}" for plot in ("loss", "bpb", "learning-rate", "throughput")
             for axis in ("steps", "tokens", "seconds")}  # fmt: skip
    assert {path.stem for path in (run / "plots").iterdir()} == names


def test_the_page_holds_the_figures_and_escapes_texts(run):
    text = (run / "report.html").read_text()
    best = min(row["bpb"] for row in read_rows(run / "metrics.jsonl") if row.get("split") == "val")
    for words in (f"{best:.4f}", "&lt;script&gt;", "a &lt;b&gt; &amp; c", "batch_tokens = 256"):
        assert words in text


def test_a_run_that_has_just_begun_has_a_report(base, tmp_path):
    out = shutil.copytree(base, tmp_path / "run")
    (out / "metrics.jsonl").write_text("")
    (out / "samples.jsonl").unlink()
    assert cli.main(["report", str(out)]) == 0
    assert "no evaluations" in (out / "report.html").read_text()


def test_many_points_are_averaged_and_smoothing_keeps_constants():
    x, y = _points([{"step": i, "loss": float(i % 2)} for i in range(6000)], "step", "loss")
    assert len(x) == 600
    assert set(y) == {0.5}
    assert _smooth([3.0] * 50) == pytest.approx([3.0] * 50)
    assert _smooth([1.0, 2.0])[0] == 1.0


def test_rows_survive_torn_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = RowLog(path)
    for step in range(3):
        rows.write({"kind": "event", "step": step, "event": "x", "value": float("nan")})
    rows.close()
    with path.open("a") as file:
        file.write('{"kind": "eval", "step": 3, "split": "val"}\n7\n{"step": 4, "va')
    found = [(row["step"], row["value"]) for row in read_rows(path)]
    assert found == [(step, None) for step in range(3)]
    keep_rows(path, lambda row: row["step"] < 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (5.8123, "5.81"),
        (41.26, "41.3"),
        (956.4, "956"),
        (999.6, "1000"),
    ],
)
def test_three_digits(value, text):
    assert log.figures(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (548_000, "548 K"), (1_156_055_040, "1.16 B"), (999_600, "1.00 M"), (0.5, "0.500")],
)
def test_thousands(value, text):
    assert log.scaled(value) == text


def test_lines_keep_their_layout():
    row = {"step": 50, "loss": 5.8123, "lr": 1.0, "grad_norm": 0.4111, "step_ms": 956.2}
    row |= {"tokens_per_s": 548_288, "mfu": 0.4211, "peak_mib": 31_334}
    assert log.step_line(row, 2205, eta=2060) == (
        "step     50/2205  loss 5.812  lr 1.00  grad 0.411  956 ms  548 K tok/s  MFU 42.1 %"
        "  mem 30.6  eta 34:20"
    )
    line = log.eval_line(250, 2205, "val", 1.09031, best=True, tokens=4_190_000, seconds=2.1)
    assert line == "eval    250/2205  val 1.0903 bpb (best)   4.19 M tokens   2.1 s"
    assert log.duration(7512) == "2:05:12"
