"""What a run's record, `run.json`, says: versions, machine, data, kernels and fallbacks."""

from __future__ import annotations

import json
import platform
import sys
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import torch

from nanotrain import __version__, device, files, kernels
from nanotrain.config import Resolved
from nanotrain.data import Source
from nanotrain.distributed import World
from nanotrain.folder import Folder

_PACKAGES = ("nanobpe", "torch", "triton", "numpy", "safetensors", "pydantic")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def facts(
    config: Resolved, source: Source, target: torch.device, world: World, *, preset: str | None
) -> dict[str, Any]:
    """The record of a run that starts.

    Args:
        config: The resolved configuration.
        source: The shards.
        target: The device.
        world: This process's place.
        preset: Preset or file that was asked for.
    """
    fallbacks = []
    if target.type != "cuda":
        fallbacks.append(f"no CUDA device: {target.type} in {config.train.dtype}")
    return {
        "started": now(),
        "command": sys.argv[1:],
        "preset": preset,
        "versions": versions(),
        "machine": device.machine(target) | {"processes": world.size},
        "dtype": config.train.dtype,
        "compile": config.train.compile is True,
        "data": {
            "path": str(source.folder),
            "manifest_sha256": source.manifest_hash,
            "tokenizer_hash": source.train.tokenizer_hash,
            "tokens": source.train.num_tokens,
            "documents": source.train.num_documents,
        },
        "kernels": kernels.backends(),
        "fallbacks": fallbacks,
        "origin": dict(config.origin),
        "notes": list(config.notes),
        "resumed": [],
    }


def versions() -> dict[str, str]:
    """Versions of this package, Python and the packages that a result may depend on."""
    found = {"nanotrain": __version__, "python": platform.python_version()}
    installed = {part.name.lower(): part.version for part in metadata.distributions()}
    found |= {name: installed[name] for name in _PACKAGES if name in installed}
    # The build, such as 2.11.0+cu130, which the package's own version may leave out.
    found["torch"] = torch.__version__
    return found


def write(folder: Folder, content: dict[str, Any]) -> None:
    """Replaces the record."""
    files.write(folder.record, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
