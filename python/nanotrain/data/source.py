"""The shards of a run: found, checked and described before anything is built."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanobpe.shards import HEADER_BYTES
from nanotrain import files
from nanotrain.errors import RunError

if TYPE_CHECKING:
    from nanobpe import Shards, Tokenizer


@dataclass(frozen=True)
class Source:
    """A folder of shards.

    Attributes:
        train: The split to train on.
        val: The split to evaluate, None if the folder has none.
        manifest_hash: SHA-256 of the manifest, which holds the checksums of all shards.
    """

    folder: Path
    train: Shards
    val: Shards | None
    tokenizer: Tokenizer
    manifest_hash: str

    @classmethod
    def open(cls, path: str, *, split: str, eval_split: str) -> Source:
        """Opens and verifies the two splits, and the tokenizer beside them.

        Reads every shard once: 1 to 2 GB/s for each core.

        Raises:
            OSError: If the folder or one of its files is missing.
            ValueError: If a shard is not what the manifest says, or the split to train on is empty.
        """
        from nanobpe import Shards

        folder = Path(path)
        if not folder.is_dir():
            raise RunError(f"no shards folder {path}", "`nanobpe encode ... --out` writes one")
        if not (folder / "manifest.json").is_file():
            raise RunError(
                f"{path} holds no shards: no manifest.json", "`nanobpe encode ... --out` writes one"
            )
        train = Shards(folder, split)
        if not train.num_tokens:
            raise RunError(f"the {split} split of {path} is empty")
        # A split without documents is written with no files, which is no fault of the folder.
        tokens = train.manifest["splits"].get(eval_split, {}).get("tokens", 0)
        val = Shards(folder, eval_split) if tokens else None
        _verify(train)
        if val is not None:
            _verify(val)
        digest = files.sha256(folder / "manifest.json")
        return cls(folder, train, val, train.tokenizer, digest)


def _verify(shards: Shards) -> None:
    """Compares every shard's ids with their checksum in the manifest; `Shards` read the headers.

    Raises:
        RunError: If one differs; the message names it.
    """
    infos = shards.manifest["splits"][shards.split]["shards"]
    # hashlib lets go of the interpreter lock, so threads share the work.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(
            lambda info: files.sha256(shards.folder / info["name"], HEADER_BYTES), infos
        )
        for info, digest in zip(infos, digests, strict=True):
            if digest != info["ids_sha256"]:
                raise RunError(
                    f"{shards.folder / info['name']} does not match its checksum in the manifest",
                    "encode the corpus again",
                )
