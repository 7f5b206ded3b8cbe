"""What progress costs: training with each way of showing it, beside training without.

    python benches/progress.py [--corpus mix] [--rounds 5]

Seconds of whole processes differ by more than progress costs wherever others use the machine; so the
time spent in the callback is measured too, as a share of the training.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import harness

CODE = """
import os, sys, time
from nanobpe.console import Progress
from nanobpe.train import train_with_report
sys.stderr = open(os.devnull, "w")
rows, calls = [], []
show = {"off": None, "callback": rows.append}.get(kind) or Progress("off", os.path.getsize(path))
if kind in ("live", "plain", "json"):
    show.kind = kind
def tell(row):
    start = time.perf_counter()
    show(row)
    calls.append(time.perf_counter() - start)
start = time.perf_counter()
train_with_report(
    path, 32768, pattern="gpt2", split_on=("<|endoftext|>",), threads=threads,
    progress=None if kind == "off" else tell,
)
whole = time.perf_counter() - start
print(json.dumps({"calls": len(calls), "told_us": 1e6 * sum(calls), "share": 100 * sum(calls) / whole}))
"""
KINDS = ("off", "callback", "live", "plain", "json")


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="mix", help="en, mix or code")
    options = parser.parse_args()
    title = options.corpus if options.corpus == "code" else f"bench_{options.corpus}"
    with tempfile.TemporaryDirectory() as temporary:
        path = str(harness.corpus(title, Path(temporary)))

        def job(kind: str):
            values = {"path": path, "kind": kind, "threads": options.threads}
            return lambda: harness.measure(CODE, sys.executable, options.threads, values)

        kinds = [kind for kind in KINDS if not options.only or kind in {"off", *options.only}]
        runs = harness.take_turns({kind: job(kind) for kind in kinds}, options.rounds)
    figures = ("seconds", "cpu_seconds", "calls", "told_us", "share")
    medians = {kind: {f: harness.median(done, f) for f in figures} for kind, done in runs.items()}
    off = medians["off"]
    rows = [
        [
            title,
            kind,
            f"{m['seconds']:.2f}",
            f"{m['seconds'] / off['seconds']:.3f}",
            f"{m['cpu_seconds'] / off['cpu_seconds']:.3f}",
            f"{m['calls']:.0f}",
            f"{m['told_us'] / max(m['calls'], 1):.0f}",
            f"{m['share']:.3f} %",
        ]
        for kind, m in medians.items()
    ]
    columns = [
        "corpus",
        "progress",
        "seconds",
        "/ off",
        "CPU / off",
        "calls",
        "us each",
        "share of the time",
    ]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(sys.executable, [])
        harness.record(
            "progress", {"machine": machine, "threads": options.threads, "runs": runs}, text
        )


if __name__ == "__main__":
    main()
