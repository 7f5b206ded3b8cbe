"""Packing: tokens/s of one thread from shards on disk into rows, by mode.

    python benches/pack.py [--corpora bench_en bench_mix code] [--row-tokens 2049]

The reference is best fit as training scripts write it: a Python list of documents, searched for the
largest that fits, the shortest cropped where none does. Before timing, best fit and contiguous rows
are checked against the documents: no token is lost but those of the unfinished last row.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import harness

CODE = """
import time
import numpy as np
import nanobpe
shards = nanobpe.Shards(folder)
bos = shards.tokenizer.special_tokens["<|bos|>"]
if mode == "Python":
    def rows_of():
        documents, buffer = iter(shards), []
        while True:
            row, room = [], row_tokens
            while room:
                while len(buffer) < 1000:
                    document = next(documents, None)
                    if document is None:
                        return
                    buffer.append(document)
                fitting = [i for i, d in enumerate(buffer) if len(d) <= room]
                if fitting:
                    piece = buffer.pop(max(fitting, key=lambda i: len(buffer[i])))
                else:
                    shortest = min(range(len(buffer)), key=lambda i: len(buffer[i]))
                    piece = buffer.pop(shortest)[:room]
                row.append(piece)
                room -= len(piece)
            yield np.concatenate(row)
    rows = rows_of()
    start, num = time.perf_counter(), 0
    for row in rows:
        num += len(row)
        if time.perf_counter() - start > 2:
            break
    print(json.dumps({"tokens_per_s": num / (time.perf_counter() - start), "crop": 0}))
else:
    def pack():
        return nanobpe.Packer(shards, row_tokens, mode=mode, bos=bos)
    if mode in ("best_fit", "contiguous"):
        count = lambda ids: np.bincount(ids[ids != bos], minlength=2**16)
        left = sum(count(d) for d in shards.arrays) - sum(count(row) for row in pack())
        assert left.min() >= 0 and left.sum() < row_tokens, left.sum()
    passes = []
    for _ in range(4):
        packer, num = pack(), 0
        start = time.perf_counter()
        try:
            while True:
                num += packer.next_batch(32).size
        except StopIteration:
            pass
        passes.append(num / (time.perf_counter() - start))
    print(json.dumps({"tokens_per_s": max(passes), "crop": packer.report()["crop_share"]}))
"""
MODES = ("best_fit", "greedy", "contiguous", "random", "Python")


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.set_defaults(threads=1)
    parser.add_argument("--corpora", nargs="+", default=["bench_en", "bench_mix", "code"])
    parser.add_argument("--row-tokens", type=int, default=2049)
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.corpora:
            folder = shards(name, Path(temporary))
            runs = measure(options, folder)
            figures = {mode: harness.median(done, "tokens_per_s") for mode, done in runs.items()}
            reference = figures.get("Python")
            for mode, rate in figures.items():
                crop = "" if mode == "Python" else f"{100 * harness.median(runs[mode], 'crop'):.1f} %"
                ratio = f"{rate / reference:.1f}" if reference else ""
                rows.append([name, mode, f"{rate / 1e6:.1f}", ratio, crop])
            data[name] = runs
    text = harness.table(["corpus", "mode", "M tokens/s", "/ Python", "cropped"], rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(sys.executable, ["numpy"])
        harness.record("pack", {"machine": machine, "threads": options.threads, "runs": data}, text)


def shards(name: str, folder: Path) -> Path:
    """A corpus in shards, each document with a BOS, by a vocabulary of its own."""
    import nanobpe
    from nanobpe import cli

    corpus = harness.corpus(name, folder)
    separator = ["--split-on", "<|endoftext|>"]
    tok, out = folder / f"{name}-tok", folder / f"{name}-shards"
    nanobpe.train(corpus, 32768, split_on=("<|endoftext|>",)).save(tok)
    flags = ["--tok", tok, "--out", out, "--bos", *separator, "--progress", "off"]
    if code := cli.main(["encode", *map(str, [corpus, *flags])]):
        raise SystemExit(code)
    return out


def measure(options, folder: Path) -> dict[str, list[harness.Measured]]:
    """Runs of every mode over one folder of shards."""

    def job(mode: str):
        values = {"mode": mode, "folder": str(folder), "row_tokens": options.row_tokens}
        return lambda: harness.measure(CODE, sys.executable, options.threads, values)

    modes = [mode for mode in MODES if not options.only or mode in options.only]
    return harness.take_turns({mode: job(mode) for mode in modes}, options.rounds)


if __name__ == "__main__":
    main()
