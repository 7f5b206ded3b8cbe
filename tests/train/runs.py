"""Shards and runs for the trainer's tests, made through the commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nanotrain import checkpoint, cli
from nanotrain.observe.metrics import read_rows

TINY = {
    "model.depth": 2,
    "model.width": 64,
    "model.heads": 1,
    "data.row_tokens": 32,
    "train.micro_rows": 4,
    "train.batch_tokens": 256,
    "train.steps": 8,
    "train.seed": 7,
    "optim.warmup_steps": 2,
    "eval.every": 4,
    "eval.tokens": 600,
    "checkpoint.every": 2,
    "checkpoint.keep": 9,
    "observe.every": 2,
    "observe.report": "false",
}


def train(shards: Path, out: Path, *more: object, **keys: object) -> int:
    """`nanotrain run` with a model of 0.1 M weights; keys are written section__name."""
    flags = {**TINY, **{k.replace("__", "."): v for k, v in keys.items()}}
    arguments = ["run", "cpu-demo", "--data", shards, "--out", out, *more]
    for key, value in flags.items():
        arguments += [f"--{key}", value]
    return cli.main([str(argument) for argument in arguments])


def rows(run: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(run / "metrics.jsonl") if row["kind"] == kind]


def course(run: Path) -> list[tuple[float, ...]]:
    """What two equal runs agree on, step by step."""
    keys = ("step", "tokens", "epoch", "loss", "lr", "grad_norm", "flops")
    return [tuple(row[key] for key in keys) for row in rows(run, "step")]


def scores(run: Path) -> list[tuple[int, str, float]]:
    return [(row["step"], row["split"], row["bpb"]) for row in rows(run, "eval")]


def weights(run: Path, step: int) -> dict[str, Any]:
    """All tensors of a checkpoint by name, optimizers included."""
    found: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                walk(entry, f"{name}.{key}")
        elif isinstance(value, list):
            for number, entry in enumerate(value):
                walk(entry, f"{name}.{number}")
        elif hasattr(value, "shape"):
            found[name] = value

    walk(checkpoint.load(run / "checkpoints" / f"step-{step:06d}"), "")
    return found


def last_json(text: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return result
