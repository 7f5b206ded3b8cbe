"""Shards and one finished run that the trainer's tests share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import runs

from nanobpe.cli import main as nanobpe


def make_shards(folder: Path, documents: list[str], vocab: int) -> Path:
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    tok, shards = folder / "tok", folder / "shards"
    train = ["train", corpus, "--vocab", vocab, "--special", "<|bos|>", "--out", tok]
    encode = ["encode", corpus, "--tok", tok, "--out", shards, "--bos", "--split", "0.8,0.2,0"]
    for arguments in (train, encode):
        assert nanobpe([str(argument) for argument in arguments]) == 0
    return shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, library_text: str) -> Path:
    """60 KB of Python sources in documents of 1 KB, 384 ids."""
    documents = [library_text[i : i + 1000] for i in range(0, 60_000, 1000)]
    return make_shards(tmp_path_factory.mktemp("shards"), documents, 384)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """Eight steps, a checkpoint every second one."""
    out = tmp_path_factory.mktemp("base") / "run"
    assert runs.train(shards, out) == 0
    return out
