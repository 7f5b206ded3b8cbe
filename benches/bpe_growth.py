"""How training grows: with a second thread, and with ten times the text.

    python benches/bpe_growth.py [--corpora en mix] [--rounds 5]

The ten copies of a corpus have documents of their own: in every fiftieth line of a copy one letter
is another. Counting then costs ten times as much, merging only what the new words add.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import harness

COPIES = 10
LETTERS = b"aeiouy" + b"xvzq"

TRAIN = """
import contextlib, io, tempfile
from nanobpe import cli
printed = io.StringIO()
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(printed):
    options = ["--vocab", "32768", "--pattern", "gpt2", "--split-on", "<|endoftext|>", "--json"]
    options += ["--threads", str(threads), "--out", folder + "/tok", "--progress", "off"]
    cli.main(["train", path, *options])
row = json.loads(printed.getvalue())
print(json.dumps({"phases": row.pop("seconds"), **row}))
"""
PHASES = ("read", "count", "merge", "write", "total")


def copies(source: Path, target: Path) -> Path:
    """Ten copies of a corpus, one after another, that differ in some of their lines."""
    with target.open("wb") as out:
        for letter in LETTERS[:COPIES]:
            with source.open("rb") as lines:
                for i, line in enumerate(lines):
                    out.write(line if i % 50 else line.replace(b"a", bytes([letter])))
            out.write(b"<|endoftext|>")
    return target


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.add_argument("--corpora", nargs="+", default=["en", "mix"], help="en, mix or code")
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in options.corpora:
            title = name if name == "code" else f"bench_{name}"
            path = harness.corpus(title, folder)
            many = copies(path, folder / "many.txt")
            jobs = {
                "1 thread": (path, 1),
                "2 threads": (path, 2),
                f"1 thread, {COPIES} copies": (many, 1),
                f"2 threads, {COPIES} copies": (many, 2),
            }
            runs = harness.take_turns(
                {job: lambda path=path, n=n: train(path, n) for job, (path, n) in jobs.items()},
                options.rounds,
            )
            for job, done in runs.items():
                phases = {
                    phase: statistics.median(run["phases"][phase] for run in done)
                    for phase in PHASES
                }
                rate = done[0]["bytes"] / phases["count"] / 1e6
                times = [f"{seconds:.2f}" for seconds in phases.values()]
                distinct = f"{done[0]['pretokens_distinct']:,}"
                peak = f"{harness.median(done, 'peak_mib'):.0f}"
                rows.append([title, job, distinct, *times, f"{rate:.0f}", peak])
            data[title] = runs
    columns = ["corpus", "job", "distinct", *PHASES, "MB/s counted", "peak MiB"]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(sys.executable, [])
        harness.record(
            "bpe_growth", {"machine": machine, "threads": options.threads, "runs": data}, text
        )


def train(path: Path, threads: int) -> harness.Measured:
    """One training in a process of its own."""
    values = {"path": str(path), "threads": threads}
    return harness.measure(TRAIN, sys.executable, threads, values)


if __name__ == "__main__":
    main()
