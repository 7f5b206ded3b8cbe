"""Measuring the model of a run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from nanotrain.errors import RunError
from nanotrain.evals.bpb import bits_per_byte
from nanotrain.folder import Folder, load


def evaluate_run(
    path: Path,
    *,
    step: int | Literal["best"] | None = None,
    splits: Sequence[str] | None = None,
    tokens: int | None = None,
    data: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Step, and bits per byte and loss of each split.

    Args:
        path: The run's folder.
        step: Checkpoint, as `folder.load` takes it.
        splits: Of the shards; the run's evaluation split by default.
        tokens: Budget per split; the run's own by default, which gives the run's own figures.
        data: Other shards than the run's, of the same tokenizer.
        device: Where to compute.

    Raises:
        RunError: If run, checkpoint or shards are missing or do not fit together.
    """
    from nanobpe import Shards

    run = load(path, step=step, device=device)
    config = run.config
    shards_path = data or config.data.path
    if shards_path is None or not Path(shards_path).is_dir():
        raise RunError(f"no shards folder {shards_path}", "name one with `--data FOLDER`")
    lengths = torch.zeros(config.model.vocab_size, dtype=torch.int64)
    known = torch.from_numpy(run.tokenizer.byte_lengths.astype("int64"))
    lengths[: len(known)] = known
    result: dict[str, Any] = {"step": run.step}
    for split in splits or [config.eval.split]:
        shards = Shards(shards_path, split)
        want = Folder(path).facts()["data"]["tokenizer_hash"]
        if shards.tokenizer_hash != want:
            raise RunError(
                f"the shards in {shards_path} are of another tokenizer than the run {path}"
            )
        score = bits_per_byte(
            run.model,
            shards,
            lengths.to(next(run.model.parameters()).device),
            row_tokens=config.data.row_tokens,
            rows=config.train.micro_rows,
            tokens=tokens or config.eval.tokens,
        )
        if score is not None:
            result |= {
                f"{split}_bpb": score.bpb,
                f"{split}_loss": score.loss,
                f"{split}_tokens": score.tokens,
            }
    return result
