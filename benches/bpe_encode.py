"""Encoding beside the peers: MB/s of one thread over 8 KB documents, cold (first pass) and warm.

    python benches/bpe_encode.py [--vocabularies r50k cl100k o200k own] [--corpora bench_en ...]

A corpus "..., one string" is one call, for which two threads are allowed. All encoders get the same
vocabulary and texts, and a difference in ids ends the bench. "own" are 32,768 ids of the nano
pattern, trained on bench_mix, for those that read any tokenizer.json or ranks; without
../shared/data there is no other vocabulary, and it is trained on the standard library's sources.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import harness

CODE = """
import hashlib, time
import numpy as np
text = open(path, encoding="utf-8", errors="ignore", newline="").read().replace("<|endoftext|>", "\\n")
size = len(text) if one_string else 8000
documents = [text[i : i + size] for i in range(0, len(text), size)]
num_bytes = sum(len(d.encode()) for d in documents)
def ranks_table():
    import base64
    lines = (line.split() for line in open(ranks, "rb").read().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}
if peer == "nanobpe":
    import nanobpe
    tok = nanobpe.Tokenizer.from_tiktoken(ranks, pattern=vocabulary)
    encode = tok.encode_to_numpy
elif peer == "nanobpe, no cache":
    import nanobpe
    tok = nanobpe.Tokenizer.from_tiktoken(ranks, pattern=vocabulary)
    tok.cache_mib = 0
    encode = tok.encode_to_numpy
elif peer == "gigatoken":
    import gigatoken
    encode = gigatoken.Tokenizer.from_tiktoken(ranks).encode
elif peer == "fastokens":
    import fastokens
    T = fastokens.Tokenizer
    encode = (T.from_file(gpt2_json) if vocabulary == "r50k" else T.from_tiktoken(ranks, encoding=vocabulary + "_base")).encode
elif peer == "tiktoken":
    import tiktoken
    tok = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks_table(), special_tokens={})
    encode = tok.encode_ordinary
elif peer == "tokenizers":
    import tokenizers
    tok = tokenizers.Tokenizer.from_file(our_json)
    encode = lambda text: tok.encode(text, add_special_tokens=False).ids
encode("warm the code, not the cache")
passes = []
for _ in range(num_passes):
    start = time.perf_counter()
    out = [encode(d) for d in documents]
    passes.append(time.perf_counter() - start)
ids = np.concatenate([np.asarray(getattr(o, "ids", o), dtype=np.uint32) for o in out])
print(json.dumps({
    "cold": num_bytes / passes[0] / 1e6,
    "warm": num_bytes / min(passes[1:] or passes) / 1e6,
    "ids": hashlib.sha256(ids.tobytes()).hexdigest(),
}))
"""
OURS = ("nanobpe", "nanobpe, no cache")
ONE_STRING = ", one string"
# Slow ones get one pass.
PEERS = {"gigatoken": 4, "fastokens": 4, "tiktoken": 1, "tokenizers": 1}


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.set_defaults(threads=1)
    parser.add_argument("--vocabularies", nargs="+", default=["r50k", "cl100k", "o200k", "own"])
    corpora = ["bench_en", "bench_mix", "code", "bench_en" + ONE_STRING, "bench_mix" + ONE_STRING]
    parser.add_argument("--corpora", nargs="+", default=corpora)
    parser.add_argument("--megabytes", type=int, default=20, help="of each corpus")
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        for vocabulary in options.vocabularies:
            values = files(vocabulary, Path(temporary))
            for name in options.corpora:
                corpus = name.removesuffix(ONE_STRING)
                path = harness.corpus(corpus, Path(temporary), options.megabytes * 1_000_000)
                more = {"path": str(path), "one_string": name != corpus}
                runs = measure(options, {**values, **more})
                figures = {
                    n: [harness.median(r, k) for k in ("cold", "warm")] for n, r in runs.items()
                }
                best = [max(f[i] for n, f in figures.items() if n not in OURS) for i in (0, 1)]
                for peer, (cold, warm) in figures.items():
                    ratios = [f"{x / b:.2f}" for x, b in zip((cold, warm), best, strict=True)]
                    rows.append([vocabulary, name, peer, f"{cold:.0f}", f"{warm:.0f}", *ratios])
                data[f"{vocabulary} {name}"] = runs
    columns = [
        "vocabulary",
        "corpus",
        "encoder",
        "cold MB/s",
        "warm MB/s",
        "cold / best peer",
        "warm / best peer",
    ]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(options.peers, list(PEERS))
        harness.record(
            "bpe_encode", {"machine": machine, "threads": options.threads, "runs": data}, text
        )


def files(vocabulary: str, folder: Path) -> dict[str, str]:
    """The vocabulary's files and pattern, as variables of the measured code."""
    import nanobpe

    ranks = harness.SHARED_VOCABULARIES / f"{vocabulary}_base.tiktoken"
    if vocabulary == "own" or not ranks.exists():
        ranks = folder / "own.tiktoken"
        # All of a corpus; those that are encoded are samples.
        (folder / "all").mkdir(exist_ok=True)
        name = "bench_mix" if harness.SHARED_TEXT.exists() else "code"
        corpus = harness.corpus(name, folder / "all")
        nanobpe.train(corpus, 32768, special_tokens=()).to_tiktoken(ranks)
        vocabulary = "nano"
    tok = nanobpe.Tokenizer.from_tiktoken(ranks, pattern=vocabulary)
    tok.to_hf(folder / vocabulary)
    return {
        "vocabulary": vocabulary,
        "ranks": str(ranks),
        "pattern": tok.pattern,
        "gpt2_json": str(harness.SHARED_VOCABULARIES / "tokenizer.json"),
        "our_json": str(folder / vocabulary / "tokenizer.json"),
    }


def measure(options, values: dict[str, str]) -> dict[str, list[harness.Measured]]:
    """Runs of every encoder over one corpus; all must give the same ids."""

    def job(peer: str, python: str, num_passes: int):
        more = {"peer": peer, "num_passes": num_passes}
        threads = 2 if values["one_string"] else options.threads
        return lambda: harness.measure(CODE, python, threads, values | more)

    jobs = {name: job(name, sys.executable, 4) for name in OURS}
    for peer, num_passes in PEERS.items():
        # gigatoken and fastokens know the published vocabularies' patterns only.
        if values["vocabulary"] == "nano" and peer in ("gigatoken", "fastokens"):
            continue
        if not options.only or peer in options.only:
            jobs[peer] = job(peer, options.peers, num_passes)
    runs = harness.take_turns(jobs, options.rounds)
    if len({run["ids"] for done in runs.values() for run in done}) > 1:
        raise SystemExit(
            f"error: the encoders disagree on {values['path']} with {values['vocabulary']}"
        )
    return runs


if __name__ == "__main__":
    main()
