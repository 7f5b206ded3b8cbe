"""Packing: tokens/s of one thread from shards on disk into rows, by mode.

    python benches/pack.py [--corpora bench_en code] [--row-tokens 2049]

The reference is best fit as training scripts write it: a Python list of documents, searched for the
largest that fits, the shortest cropped where none does. Documents are those of the corpus, or its lines:
short ones cost the most for each token. Before timing, best fit and contiguous rows
are checked against the documents: no token is lost but those of the unfinished last row.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import harness

CODE = """
import itertools, time
import numpy as np
import nanobpe
shards = nanobpe.Shards(folder)
bos = shards.tokenizer.special_tokens["<|bos|>"]
if mode == "Python":
    def rows_of():
        documents, buffer = itertools.cycle(shards), []
        while True:
            row, room = [], row_tokens
            while room:
                while len(buffer) < 1000:
                    buffer.append(next(documents))
                fitting = [i for i, d in enumerate(buffer) if len(d) <= room]
                if fitting:
                    piece = buffer.pop(max(fitting, key=lambda i: len(buffer[i])))
                else:
                    shortest = min(range(len(buffer)), key=lambda i: len(buffer[i]))
                    piece = buffer.pop(shortest)[:room]
                row.append(piece)
                room -= len(piece)
            yield np.concatenate(row)
    start, num = time.perf_counter(), 0
    for row in rows_of():
        num += len(row)
        if time.perf_counter() - start > 2:
            break
    print(json.dumps({"tokens_per_s": num / (time.perf_counter() - start), "crop": 0}))
else:
    def pack():
        return nanobpe.Packer(shards, row_tokens, mode=mode, bos=bos, epochs=1)
    if mode in ("best_fit", "contiguous"):
        count = lambda ids: np.bincount(ids[ids != bos], minlength=2**16)
        left = sum(map(count, shards.arrays)) - sum(map(count, pack()))
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
SEPARATORS = {"whole": "<|endoftext|>", "lines": "\n"}
MODES = ("best_fit", "greedy", "contiguous", "random", "Python")


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.set_defaults(threads=1)
    parser.add_argument("--corpora", nargs="+", default=["bench_en", "code"])
    parser.add_argument("--row-tokens", type=int, default=2049)
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, documents in itertools.product(options.corpora, SEPARATORS):
            folder = shards(name, documents, Path(temporary))
            runs = measure(options, folder)
            figures = {mode: harness.median(done, "tokens_per_s") for mode, done in runs.items()}
            reference = figures.get("Python")
            for mode, rate in figures.items():
                crop = (
                    "" if mode == "Python" else f"{100 * harness.median(runs[mode], 'crop'):.1f} %"
                )
                ratio = f"{rate / reference:.1f}" if reference else ""
                rows.append([name, documents, mode, f"{rate / 1e6:.1f}", ratio, crop])
            data[f"{name} {documents}"] = runs
    text = harness.table(["corpus", "documents", "mode", "M tokens/s", "/ Python", "cropped"], rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(sys.executable, ["numpy"])
        harness.record("pack", {"machine": machine, "threads": options.threads, "runs": data}, text)


def shards(name: str, documents: str, folder: Path) -> Path:
    """A corpus in shards, a BOS before each document or line, by a vocabulary of its own."""
    import nanobpe
    from nanobpe import cli

    corpus = harness.corpus(name, folder)
    tok, out = folder / f"{name}-tok", folder / f"{name}-{documents}"
    if not tok.exists():
        nanobpe.train(corpus, 32768, split_on=("<|endoftext|>",)).save(tok)
    flags = ["--tok", tok, "--out", out, "--bos", "--split-on", SEPARATORS[documents]]
    if code := cli.main(["encode", *map(str, [corpus, *flags]), "--progress", "off"]):
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
