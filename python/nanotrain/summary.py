"""The result of a run, read from its rows."""

from __future__ import annotations

from typing import Any

from nanotrain.folder import Folder
from nanotrain.observe.metrics import is_score, read_rows


def summary(folder: Folder) -> dict[str, Any]:
    """Where a run stands; figures that it does not have yet are None."""
    rows = list(read_rows(folder.metrics))
    steps = [row for row in rows if row.get("kind") == "step"]
    scores = [row for row in rows if is_score(row)]
    of_train = [r for r in rows if r.get("kind") == "eval" and r.get("split") == "train"]
    last = steps[-1] if steps else {}
    spent_s = sum(row["step_ms"] for row in steps) / 1e3
    # Tokens per step may change when a run goes on, so each row counts its own.
    done = sum(row["tokens_per_s"] * row["step_ms"] / 1e3 for row in steps)
    checkpoints = folder.steps()
    return {
        "step": last.get("step", 0),
        "tokens": last.get("tokens", 0),
        "seconds": max((row.get("seconds") or 0.0 for row in rows), default=0.0),
        "train_loss": last.get("loss"),
        "train_bpb": of_train[-1]["bpb"] if of_train else None,
        "val_bpb": scores[-1]["bpb"] if scores else None,
        "best_val_bpb": min((r["bpb"] for r in scores if r["step"]), default=None),
        "untrained_val_bpb": next((r["bpb"] for r in scores if not r["step"]), None),
        "tokens_per_s": done / spent_s if spent_s else None,
        "checkpoint": str(folder.checkpoint(checkpoints[-1])) if checkpoints else None,
        "report": str(folder.report) if folder.report.exists() else None,
    }


def progress(result: dict[str, Any]) -> str | None:
    """What training has brought: "val bpb 3.8498 -> 1.8987, 50.7 % below untrained"."""
    untrained, trained = result["untrained_val_bpb"], result["best_val_bpb"]
    if not untrained or not trained:
        return None
    below = 100 * (1 - trained / untrained)
    return f"val bpb {untrained:.4f} -> {trained:.4f}, {below:.1f} % below untrained"
