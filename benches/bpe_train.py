"""Training beside the peers: seconds and peak memory of whole processes, reading and imports included.

    python benches/bpe_train.py [--corpora en mix code] [--rounds 5] [--peers PYTHON]

All learn 32,768 ids from one file whose documents stand between <|endoftext|>. Before the timing the
merges are compared with those of the owners of the tie rules; a difference ends the bench.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import harness

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CUSTOM = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}{1,4}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Each prints {"tokens": a hash of the learnt tokens in order} and what else it knows.
OURS = """
import hashlib
from nanobpe.train import train_with_report
tok, report = train_with_report(
    path, vocab, pattern=pattern, special_tokens=(), split_on=("<|endoftext|>",), tie_break=tie, threads=threads
)
tokens = b"".join(a + b + b"," for a, b in tok.merges) if check else b""
print(json.dumps({"tokens": hashlib.sha256(tokens).hexdigest(), **report.seconds}))
"""
DOCUMENTS = """
import hashlib
with open(path, encoding="utf-8", errors="replace", newline="") as f:
    documents = [d for d in f.read().split("<|endoftext|>") if d]
"""
PEERS = {
    "gigatoken": """
import hashlib, gigatoken
merges = gigatoken.train_bpe(path, vocab, [], separator=b"<|endoftext|>")[1]
tokens = b"".join(bytes(a) + bytes(b) + b"," for a, b in merges) if check else b""
print(json.dumps({"tokens": hashlib.sha256(tokens).hexdigest()}))
""",
    "rustbpe": DOCUMENTS
    + """
import rustbpe
t = rustbpe.Tokenizer()
t.train_from_iterator(iter(documents), vocab, pattern=pattern)
tokens = b"".join(bytes(k) + b"," for k, _ in t.get_mergeable_ranks()[256:]) if check else b""
print(json.dumps({"tokens": hashlib.sha256(tokens).hexdigest()}))
""",
    "ffbpe": DOCUMENTS
    + """
import ffbpe
ffbpe.train_bpe(iter(documents), vocab_size=vocab)
print(json.dumps({"tokens": ""}))
""",
    "tokenizers": DOCUMENTS
    + """
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
t.train_from_iterator(documents, trainer)
order = [*range(33, 127), *range(161, 173), *range(174, 256)]
order += [b for b in range(256) if b not in order]
byte = {chr(b) if i < 188 else chr(256 + i - 188): b for i, b in enumerate(order)}
merges = json.loads(t.to_str())["model"]["merges"] if check else []
tokens = b"".join(bytes(byte[c] for c in "".join(m)) + b"," for m in merges)
print(json.dumps({"tokens": hashlib.sha256(tokens).hexdigest()}))
""",
}
OWNERS = {"gigatoken": "hf", "rustbpe": "id", "tokenizers": "hf"}


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    parser.add_argument("--corpora", nargs="+", default=["en", "mix"], help="en, mix or code")
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--check-merges", action="store_true", help="compare the merges first")
    options = parser.parse_args()
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.corpora:
            title = name if name == "code" else f"bench_{name}"
            path = harness.corpus(title, Path(temporary))
            if options.check_merges:
                check(options, path)
            runs = measure(options, path)
            ours = harness.median(runs["nanobpe, gpt2"], "seconds")
            for job, done in runs.items():
                seconds, peak = (harness.median(done, k) for k in ("seconds", "peak_mib"))
                phases = [
                    f"{harness.median(done, p):.2f}" for p in ("count", "merge") if p in done[0]
                ]
                rows.append(
                    [
                        title,
                        job,
                        f"{seconds:.2f}",
                        f"{peak:.0f}",
                        f"{seconds / ours:.2f}",
                        " + ".join(phases),
                    ]
                )
            data[title] = {"bytes": path.stat().st_size, "runs": runs}
    columns = [
        "corpus",
        "trainer, pattern",
        "seconds",
        "peak MiB",
        "time / ours",
        "count + merge s",
    ]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(options.peers, ["gigatoken", "rustbpe", "ffbpe", "tokenizers"])
        facts = {"machine": machine, "threads": options.threads, "vocab": options.vocab}
        harness.record("bpe_train", {**facts, "corpora": data}, text)


def measure(options, path: Path) -> dict[str, list[harness.Measured]]:
    def job(code: str, python: str, pattern: str):
        values = {
            "path": str(path),
            "vocab": options.vocab,
            "pattern": pattern,
            "tie": "id",
            "threads": options.threads,
            "check": False,
        }
        return lambda: harness.measure(code, python, options.threads, values)

    import sys

    jobs = {
        "nanobpe, gpt2": job(OURS, sys.executable, "gpt2"),
        "nanobpe, nano": job(OURS, sys.executable, "nano"),
        "nanobpe, custom": job(OURS, sys.executable, CUSTOM),
        "gigatoken, gpt2": job(PEERS["gigatoken"], options.peers, GPT2),
        "ffbpe, its own": job(PEERS["ffbpe"], options.peers, GPT2),
        "rustbpe, gpt2": job(PEERS["rustbpe"], options.peers, GPT2),
        "rustbpe, custom": job(PEERS["rustbpe"], options.peers, CUSTOM),
        "tokenizers, gpt2": job(PEERS["tokenizers"], options.peers, GPT2),
    }
    if options.only:
        jobs = {n: j for n, j in jobs.items() if n.split(",")[0] in (*options.only, "nanobpe")}
    return harness.take_turns(jobs, options.rounds)


def check(options, path: Path) -> None:
    """Compares the learnt tokens with those of each tie rule's owner."""
    import sys

    for peer, tie in OWNERS.items():
        if options.only and peer not in options.only:
            continue
        values = {"path": str(path), "vocab": options.vocab, "pattern": GPT2, "check": True}
        values |= {"threads": options.threads, "tie": tie}
        theirs = harness.measure(PEERS[peer], options.peers, options.threads, values)
        ours = harness.measure(OURS, sys.executable, options.threads, values | {"pattern": "gpt2"})
        if ours["tokens"] != theirs["tokens"]:
            raise SystemExit(
                f"error: {path.name}: our merges (ties by {tie}) are not those of {peer}"
            )
        print(f"{path.name}: merges equal to {peer}'s, ties by {tie}")


if __name__ == "__main__":
    main()
