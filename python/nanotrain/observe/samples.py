"""Texts written by the model while it is trained, for people to watch it learn."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nanotrain.infer import generate
from nanotrain.models import LanguageModel
from nanotrain.observe.metrics import RowLog

if TYPE_CHECKING:
    from nanobpe import Shards, Tokenizer

_DOCUMENTS, _PROMPT_TOKENS, _MAX_TOKENS = 3, 8, 40


def write_samples(
    path: Path,
    model: LanguageModel,
    tokenizer: Tokenizer,
    shards: Shards,
    *,
    step: int,
    seed: int,
) -> None:
    """Continues the beginnings of a split's first documents, the same at every step.

    Args:
        path: Gets a row per sample.
        model: Left as it is; no random state but the samples' own is used.
        tokenizer: The model's.
        shards: The evaluation split.
        step: For the rows.
        seed: For the samples.
    """
    rows = RowLog(path)
    for prompt in prompts(tokenizer, shards):
        [sample] = generate(model, tokenizer, [prompt], max_tokens=_MAX_TOKENS, seed=seed)
        rows.write({"step": step, **asdict(sample)})
    rows.close()


def prompts(tokenizer: Tokenizer, shards: Shards) -> list[str]:
    """The beginnings of the first documents, up to the last whole character."""
    found = []
    for document in islice(shards, _DOCUMENTS):
        ids = [int(i) for i in document[: _PROMPT_TOKENS + 1] if tokenizer.byte_lengths[int(i)]]
        text = tokenizer.decode(ids[:_PROMPT_TOKENS]).rstrip("\ufffd")
        if text:
            found.append(text)
    return found
