"""Going on with a run: which settings may change, and what is cut off behind the checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nanotrain import files
from nanotrain.config import ConfigError, Resolved, resolve
from nanotrain.data import Source
from nanotrain.errors import RunError
from nanotrain.folder import Folder
from nanotrain.observe.metrics import Row, keep_rows, read_rows

# What may change without making the run another one.
_FREE_SECTIONS = ("eval.", "checkpoint.", "observe.")
_FREE_KEYS = frozenset(
    {
        "data.path",
        "data.row_tokens",
        "model.kernels",
        "train.compile",
        "train.device",
        "train.dtype",
        "train.flops",
        "train.grad_clip",
        "train.micro_rows",
        "train.ratio",
        "train.steps",
        "train.tokens",
    }
)


def config_of(
    folder: Folder, overrides: Mapping[str, Any], *, preset: str | None, processes: int
) -> tuple[Resolved, list[str]]:
    """The run's own configuration under flags that repeat or extend it, and what they change.

    Args:
        folder: A run.
        overrides: Values by key from flags.
        preset: Preset or file given on the command line; it can only repeat the run's.
        processes: Processes that share the global batch.

    Raises:
        ConfigError: If a flag would make it another run.
    """
    facts = folder.facts()
    started_from = facts.get("preset")
    if preset is not None and preset not in (started_from, str(folder.config)):
        raise ConfigError(
            f"{folder.path} was started from {started_from or 'flags'}, not from {preset}",
            "a run goes on with its own configuration: leave the preset out",
        )
    base = resolve(folder.config, processes=processes)
    extended = resolve(folder.config, overrides, processes=processes)
    old, new = base.values(), extended.values()
    changed = [key for key in new if new[key] != old[key]]
    for key in changed:
        if key not in _FREE_KEYS and not key.startswith(_FREE_SECTIONS):
            raise ConfigError(
                f"{key} is {_shown(old[key])} in {folder.path}, got {_shown(new[key])}:"
                " that would be another run",
                "start it in another folder with `--out`",
            )
    if "data.row_tokens" in changed and new["model.positions"] == "learned":
        raise ConfigError(
            f"data.row_tokens is {old['data.row_tokens']} in {folder.path}, got"
            f" {new['data.row_tokens']}: learned positions have one length"
        )
    origin = dict(extended.origin) | facts.get("origin", {})
    origin |= dict.fromkeys(changed, "flag of a resumed run")
    changes = [f"{key} {_shown(old[key])} -> {_shown(new[key])}" for key in changed]
    return dataclasses.replace(extended, origin=origin), changes


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "off" if value is None else str(value)


def check_tokenizer(folder: Folder, source: Source) -> None:
    """Refuses shards whose ids mean something else than the run's.

    Raises:
        RunError: If they were encoded with another tokenizer.
    """
    want = folder.facts().get("data", {}).get("tokenizer_hash")
    got = source.train.tokenizer_hash
    if got != want:
        raise RunError(
            f"the shards in {source.folder} are of the tokenizer {got[:12]}, the run"
            f" {folder.path} of {str(want)[:12]}",
            f"use the run's own shards, or encode with its tokenizer in {folder.tokenizer}",
        )


def cut_back(folder: Folder, step: int) -> set[int]:
    """Drops rows and samples after a step, and leftovers; gives back the evaluated steps."""

    def before(row: Row) -> bool:
        return isinstance(row.get("step"), int) and row["step"] <= step

    keep_rows(folder.metrics, before)
    keep_rows(folder.samples, before)
    for place in (folder.path, folder.checkpoints):
        files.remove_leftovers(place)
    rows = list(read_rows(folder.metrics))
    return {row["step"] for row in rows if row.get("kind") == "eval" and row["split"] != "train"}
