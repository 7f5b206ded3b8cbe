"""One training step on the CPU beside `transformers`: tokens per second and peak memory.

    python benches/train_step.py [--rounds 5] [--peers PYTHON]

The GPT-2 architecture with the same sizes, batch, float32 and AdamW in both: forward, backward, optimizer.
Our `nano` model of the same width and depth runs beside them. GPU figures come from a bench of their own.
"""

from __future__ import annotations

import sys

import harness

SIZES = {"depth": 4, "width": 256, "heads": 4, "vocab": 8192, "time": 256, "rows": 8, "steps": 6}

STEPS = """
import time, torch
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(0)
ids = torch.randint(0, vocab, (rows, time_ + 1), generator=generator)
seconds = []
for step in range(steps):
    start = time.perf_counter()
    loss = loss_of(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    seconds.append(time.perf_counter() - start)
print(json.dumps({
    "tokens_per_s": rows * time_ / min(seconds[1:]),
    "first_step_s": seconds[0],
    "parameters": sum(p.numel() for p in model.parameters()),
    "loss": loss.item(),
}))
"""
OURS = """
from nanotrain import optim
from nanotrain.config import resolve
from nanotrain.models import build
flags = {"model.family": family, "model.depth": depth, "model.width": width, "model.heads": heads,
         "model.vocab_size": vocab, "data.row_tokens": time_, "train.micro_rows": rows,
         "train.batch_tokens": rows * time_, "train.steps": 100, "train.dtype": "fp32"}
config = resolve(None, {k: str(v) for k, v in flags.items()})
model = build(config)
optimizers = optim.optimizers(model.parameter_groups(config.optim))
loss_of = model
"""
TRANSFORMERS = """
import torch, transformers
config = transformers.GPT2Config(
    vocab_size=vocab, n_positions=time_, n_embd=width, n_layer=depth, n_head=heads, bos_token_id=0, eos_token_id=0,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)
torch.manual_seed(0)
model = transformers.GPT2LMHeadModel(config)
optimizers = [torch.optim.AdamW(model.parameters(), lr=6e-4)]
def loss_of(inputs, targets):
    logits = model(inputs).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
"""


def main() -> None:
    parser = harness.parser(__doc__.splitlines()[0])
    options = parser.parse_args()
    sizes = {("time_" if k == "time" else k): v for k, v in SIZES.items()}

    def job(code: str, python: str, family: str):
        values = {**sizes, "threads": options.threads, "family": family}
        return lambda: harness.measure(code + STEPS, python, options.threads, values)

    runs = harness.take_turns(
        {
            "nanotrain, gpt2": job(OURS, sys.executable, "gpt2"),
            "nanotrain, nano": job(OURS, sys.executable, "nano"),
            "transformers, gpt2": job(TRANSFORMERS, options.peers, "gpt2"),
        },
        options.rounds,
    )
    peer = harness.median(runs["transformers, gpt2"], "tokens_per_s")
    rows = []
    for name, done in runs.items():
        rate, peak, first = (
            harness.median(done, k) for k in ("tokens_per_s", "peak_mib", "first_step_s")
        )
        millions = done[0]["parameters"] / 1e6
        rows.append(
            [
                name,
                f"{millions:.2f}",
                f"{rate:,.0f}",
                f"{rate / peer:.2f}",
                f"{peak:.0f}",
                f"{first:.2f}",
            ]
        )
    columns = ["model", "M parameters", "tokens/s", "/ transformers", "peak MiB", "first step s"]
    text = harness.table(columns, rows)
    print(text)
    if not options.no_record:
        machine = harness.machine(options.peers, ["torch", "transformers"])
        harness.record(
            "train_step", {"machine": machine, "threads": options.threads, "runs": runs}, text
        )


if __name__ == "__main__":
    main()
