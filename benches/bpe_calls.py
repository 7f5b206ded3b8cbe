"""Calls from Python beside the peers': batches of short texts to arrays and lists, and decoding.

    python benches/bpe_calls.py [--vocabulary cl100k]

Needs the vocabularies and corpora of ../shared/data; a difference in results ends the bench.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import harness
from bpe_encode import files

CODE = """
import base64, hashlib, itertools, time
text = open(path, encoding="utf-8", newline="").read().replace("<|endoftext|>", "\\n")
lines = [line[:200] for line in text.split("\\n") if line]
short = list(itertools.islice(itertools.cycle(lines), 100_000))
documents = [text[i : i + 8000] for i in range(0, 8_000_000, 8000)]

if peer == "nanobpe":
    import nanobpe
    tok = nanobpe.Tokenizer.from_tiktoken(ranks, pattern=vocabulary)
    to_arrays, to_lists, encode = tok.encode_batch_to_numpy, tok.encode_batch, tok.encode
elif peer == "gigatoken":
    import gigatoken
    tok = gigatoken.Tokenizer.from_tiktoken(ranks)
    to_arrays, to_lists, encode = tok.encode_batch, tok.encode_batch_list, tok.encode
elif peer == "fastokens":
    import fastokens
    tok = fastokens.Tokenizer.from_tiktoken(ranks, encoding=vocabulary + "_base")
    to_arrays = to_lists = tok.encode_batch
    encode = tok.encode
elif peer == "tiktoken":
    import tiktoken
    pairs = (line.split() for line in open(ranks, "rb").read().splitlines() if line)
    table = {base64.b64decode(token): int(rank) for token, rank in pairs}
    tok = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=table, special_tokens={})
    to_lists = lambda texts: tok.encode_ordinary_batch(texts, num_threads=threads)
    to_arrays, encode = to_lists, tok.encode_ordinary
elif peer == "tokenizers":
    import tokenizers
    tok = tokenizers.Tokenizer.from_file(our_json)
    to_lists = lambda texts: [e.ids for e in tok.encode_batch_fast(texts, add_special_tokens=False)]
    to_arrays, encode = to_lists, lambda text: tok.encode(text, add_special_tokens=False).ids
ids = [list(getattr(e, "ids", e)) for e in map(encode, documents)] if job.startswith("decode") else []
flat = [i for document in ids for i in document]
work = {
    "batch": lambda: to_arrays(short),
    "lists": lambda: to_lists(short),
    "decode": lambda: tok.decode(flat),
    "decode_batch": lambda: tok.decode_batch(ids),
}[job]
passes = []
for _ in range(num_passes):
    start = time.perf_counter()
    out = work()
    passes.append(time.perf_counter() - start)
if job.startswith("decode"):
    text = out if job == "decode" else "".join(out)
    digest = hashlib.sha256(text.encode()).hexdigest()
else:
    out = to_lists(short)
    rows = [list(getattr(row, "ids", row)) for row in out]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
print(json.dumps({"cold": passes[0], "warm": min(passes[1:] or passes), "result": digest}))
"""
JOBS = ("batch", "lists", "decode", "decode_batch")
# Slow ones get one pass.
PEERS = {"gigatoken": 4, "fastokens": 4, "tiktoken": 2, "tokenizers": 2}
# The libraries whose decoders the field uses.
DECODERS = ("tiktoken", "tokenizers")


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", default="cl100k")
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        values = files(options.vocabulary, Path(temporary))
        values["path"] = str(harness.corpus("bench_en", Path(temporary), 20_000_000))
        for name in JOBS:
            runs = measure(options, name, values)
            figures = {
                peer: [1000 * harness.median(done, key) for key in ("cold", "warm")]
                for peer, done in runs.items()
            }
            others = [times for peer, times in figures.items() if peer != "nanobpe"]
            best = [min(column) for column in zip(*(others or figures.values()), strict=True)]
            for peer, times in figures.items():
                shares = [f"{b / t:.2f}" for b, t in zip(best, times, strict=True)]
                rows.append([name, peer, *(f"{t:.1f}" for t in times), *shares])
            data[name] = runs
    columns = ["job", "library", "cold ms", "warm ms", "cold / best peer", "warm / best peer"]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(options.peers, list(PEERS))
        harness.record(
            "bpe_calls", {"machine": machine, "threads": options.threads, "runs": data}, text
        )


def measure(options, name: str, values: dict[str, str]) -> dict[str, list[harness.Measured]]:
    """Runs of every library at one job; all must give the same."""

    def job(peer: str, python: str, num_passes: int):
        more = {"peer": peer, "job": name, "num_passes": num_passes, "threads": options.threads}
        return lambda: harness.measure(CODE, python, options.threads, values | more)

    jobs = {"nanobpe": job("nanobpe", sys.executable, 4)}
    for peer, num_passes in PEERS.items():
        if name.startswith("decode") and peer not in DECODERS:
            continue
        if not options.only or peer in options.only:
            jobs[peer] = job(peer, options.peers, num_passes)
    runs = harness.take_turns(jobs, options.rounds)
    if len({run["result"] for done in runs.values() for run in done}) > 1:
        raise SystemExit(f"error: the libraries disagree in {name}")
    return runs


if __name__ == "__main__":
    main()
