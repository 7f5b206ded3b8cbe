"""From files to uint16 shards: whole processes beside gigatoken and numpy, and ten times the input.

    python benches/shards.py [--corpora bench_en bench_mix]

The documents of a corpus are in one parquet file, so that both sides read the same, and both have
r50k's vocabulary; without ../shared/data there is no peer, and the vocabulary is trained on the
standard library's sources. The peer encodes all documents and writes a header and the ids. The ids
of both are compared before anything is timed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import harness

COPIES = 10

OURS = """
import contextlib, io
from nanobpe import cli
printed = io.StringIO()
with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
    options = ["--tok", tok, "--out", out, "--threads", str(threads), "--progress", "off", "--json"]
    code = cli.main(["encode", *paths, *options])
if code:
    raise SystemExit(code)
print(printed.getvalue())
"""
GIGATOKEN = """
import awkward as ak, gigatoken, numpy as np, pyarrow.parquet as pq
tok = gigatoken.Tokenizer.from_tiktoken(ranks)
documents = [d for p in paths for d in pq.read_table(p).column("text").to_pylist()]
ids = ak.to_numpy(ak.flatten(tok.encode_batch(documents))).astype(np.uint16)
header = np.zeros(256, np.int32)
header[:3] = 20240520, 1, len(ids)
with open(out, "wb") as file:
    file.write(header.tobytes())
    file.write(ids.tobytes())
"""


PARQUET = """
import pyarrow as pa, pyarrow.parquet as pq
text = open(text_path, encoding="utf-8", errors="ignore", newline="").read()
documents = [d for d in text.split("<|endoftext|>") if d]
pq.write_table(pa.table({"text": documents}), path, row_group_size=1000, compression="none")
print(json.dumps({"num_bytes": sum(len(d.encode()) for d in documents)}))
"""
# Reads the ids of a folder of shards, or of the peer's file.
IDS = """
import glob, hashlib, numpy as np
paths = sorted(glob.glob(out + "/*.bin")) or [out]
digest = hashlib.sha256()
for path in paths:
    digest.update(np.fromfile(path, np.uint16, offset=1024).tobytes())
print(json.dumps({"ids": digest.hexdigest()}))
"""


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.add_argument("--corpora", nargs="+", default=["bench_en", "bench_mix"])
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        values = vocabulary(folder) | {"threads": options.threads, "out": str(folder / "out")}
        for name in options.corpora:
            path, num_bytes = parquet(name, folder)
            jobs = {
                "nanobpe": (OURS, sys.executable, 1),
                f"nanobpe, {COPIES} times": (OURS, sys.executable, COPIES),
            }
            if values["ranks"] and (not options.only or "gigatoken" in options.only):
                jobs["gigatoken + numpy"] = (GIGATOKEN, options.peers, 1)
            runs = measure(jobs, path, values, options)
            data[name] = runs
            seconds = {job: harness.median(done, "seconds") for job, done in runs.items()}
            for job, done in runs.items():
                size = num_bytes * jobs[job][2]
                ratio = f"{seconds[job] / seconds['nanobpe']:.2f}"
                peak = f"{max(run['peak_mib'] for run in done):.0f}"
                rate = f"{size / seconds[job] / 1e6:.0f}"
                rows.append([name, job, f"{seconds[job]:.2f}", ratio, rate, peak])
    columns = ["corpus", "job", "seconds", "time / ours", "MB/s", "peak MiB"]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(options.peers, ["gigatoken", "numpy"])
        found = {"machine": machine, "threads": options.threads, "runs": data}
        harness.record("shards", found, text)


def vocabulary(folder: Path) -> dict[str, str]:
    """Our tokenizer's folder and, where there are any, the ranks of r50k for the peer."""
    import nanobpe

    ranks = harness.SHARED_VOCABULARIES / "r50k_base.tiktoken"
    if ranks.exists():
        tok = nanobpe.Tokenizer.from_tiktoken(ranks, pattern="r50k")
    else:
        tok = nanobpe.train(harness.corpus("code", folder), 8192, special_tokens=())
    tok.save(folder / "tok")
    return {"tok": str(folder / "tok"), "ranks": str(ranks) if ranks.exists() else ""}


def parquet(name: str, folder: Path) -> tuple[Path, int]:
    """A corpus as parquet, a document a row, and its bytes of text."""
    path = folder / f"{name}.parquet"
    values = {"text_path": str(harness.corpus(name, folder)), "path": str(path)}
    # In a process of its own: a job's peak memory begins with what this one has.
    return path, harness.measure(PARQUET, sys.executable, 1, values)["num_bytes"]


def measure(jobs, path: Path, values: dict, options) -> dict[str, list[harness.Measured]]:
    """Runs of every job; the ids of those that read the corpus once must be the same."""
    out = Path(values["out"])

    def clear() -> None:
        if out.is_dir():
            shutil.rmtree(out)
        out.unlink(missing_ok=True)

    def run(code: str, python: str, copies: int) -> harness.Measured:
        clear()
        more = {"paths": [str(path)] * copies}
        return harness.measure(code, python, options.threads, values | more)

    found = set()
    for code, python, copies in jobs.values():
        if copies == 1:
            run(code, python, copies)
            found.add(harness.measure(IDS, sys.executable, 1, {"out": str(out)})["ids"])
    if len(found) > 1:
        raise SystemExit(f"error: the encoders disagree on {path.name}")
    turns = {name: lambda job=job: run(*job) for name, job in jobs.items()}
    done = harness.take_turns(turns, options.rounds)
    clear()
    return done


if __name__ == "__main__":
    main()
