"""How training grows: with a second thread, and with ten times the text.

    python benches/bpe_growth.py [--corpora en mix] [--rounds 5]

The ten copies of a corpus have documents of their own: in every fiftieth line of a copy one letter
is another. Counting then costs ten times as much, merging only what the new words add.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import harness

COPIES = 10
LETTERS = b"aeiouy" + b"xvzq"

TRAIN = """
from nanobpe.train import train_with_report
_, report = train_with_report(
    path, 32768, pattern="gpt2", special_tokens=(), split_on=("<|endoftext|>",), threads=threads
)
print(json.dumps({"bytes": report.bytes, "distinct": report.pretokens_distinct, **report.seconds}))
"""


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
                f"2 threads, {COPIES} copies": (many, 2),
            }
            runs = harness.take_turns(
                {job: lambda path=path, n=n: train(path, n) for job, (path, n) in jobs.items()},
                options.rounds,
            )
            for job, done in runs.items():
                count, merge, peak = (
                    harness.median(done, key) for key in ("count", "merge", "peak_mib")
                )
                rate = done[0]["bytes"] / count / 1e6
                distinct = f"{done[0]['distinct']:,}"
                rows.append(
                    [
                        title,
                        job,
                        distinct,
                        f"{count:.2f}",
                        f"{rate:.0f}",
                        f"{merge:.2f}",
                        f"{peak:.0f}",
                    ]
                )
            data[title] = runs
    columns = ["corpus", "job", "distinct", "read + count s", "MB/s", "merge s", "peak MiB"]
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
