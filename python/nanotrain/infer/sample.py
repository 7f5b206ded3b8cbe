"""Sampling: temperature, top-k and top-p, several texts at once, streamed as they grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from nanotrain.infer.engine import Engine
from nanotrain.models import LanguageModel

if TYPE_CHECKING:
    from nanobpe import Tokenizer


@dataclass(frozen=True)
class Sample:
    """One continuation.

    Attributes:
        prompt: What it goes on from.
        text: What the model wrote, without the prompt.
        tokens: Ids of `text`.
        finish: "stop" at a special token, "length" at the most tokens allowed.
    """

    prompt: str
    text: str
    tokens: int
    finish: Literal["stop", "length"]


def next_ids(
    logits_bv: Tensor,
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator,
) -> Tensor:
    """An id for each row of logits, (b,), on the CPU.

    Args:
        logits_bv: Logits of any device.
        temperature: Divides the logits; 0 takes the largest.
        top_k: Draw only from so many largest; None for all.
        top_p: Draw only from the fewest largest that together reach this probability; None for all.
        generator: Of the CPU: a seed gives the same ids on every device, up to rounding.
    """
    logits_bv = logits_bv.float().cpu()
    if temperature == 0:
        return logits_bv.argmax(-1)
    logits_bv = logits_bv / temperature
    if top_k is not None and top_k < logits_bv.shape[-1]:
        least = logits_bv.topk(top_k).values[:, -1:]
        logits_bv = logits_bv.masked_fill(logits_bv < least, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered = logits_bv.sort(-1, descending=True)
        shares = ordered.values.softmax(-1)
        # An id stays while those before it have not reached top_p; the first always stays.
        beyond = shares.cumsum(-1) - shares >= top_p
        drop = torch.zeros_like(beyond).scatter(-1, ordered.indices, beyond)
        logits_bv = logits_bv.masked_fill(drop, -torch.inf)
    return torch.multinomial(logits_bv.softmax(-1), 1, generator=generator)[:, 0]


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float | None = None,
    seed: int = 1,
    write: Callable[[int, str], None] | None = None,
) -> list[Sample]:
    """Continues prompts that have the same number of tokens, or one prompt several times.

    A document's first token (`<|bos|>`, else `<|endoftext|>`) comes before each prompt if the
    tokenizer has it; any special token ends a text.

    Args:
        model: Left as it is.
        tokenizer: The one that the model was trained with.
        prompts: One text per sample.
        max_tokens: Most ids of a continuation.
        temperature: Of `next_ids`.
        top_k: Of `next_ids`.
        top_p: Of `next_ids`.
        seed: Same seed, same texts.
        write: Called with the sample's number and each piece of its text.

    Raises:
        ValueError: If the prompts differ in tokens, or there is nothing to start from.
    """
    begin = document_start(tokenizer)
    rows = [[*begin, *tokenizer.encode_ordinary(prompt)] for prompt in prompts]
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"prompts have {sorted({len(row) for row in rows})} tokens, want one size")
    if not rows[0]:
        raise ValueError("an empty prompt needs a tokenizer with a <|bos|> or <|endoftext|> token")
    specials = set(tokenizer.special_tokens.values())
    holes = torch.tensor(_holes(tokenizer, model.config.vocab_size), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    engine, training = Engine(model, len(rows)), model.training
    streams = [tokenizer.decode_stream() for _ in rows]
    texts, counts = [""] * len(rows), [0] * len(rows)
    finished: list[Literal["stop", "length"] | None] = [None] * len(rows)

    def add(row: int, piece: str) -> None:
        texts[row] += piece
        if write is not None and piece:
            write(row, piece)

    model.eval()
    feed_bt = torch.tensor(rows)
    for position in range(max_tokens):
        logits_bv = engine.feed(feed_bt).float().cpu()
        logits_bv[:, holes] = -torch.inf
        drawn = next_ids(
            logits_bv, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
        )
        for row, token in enumerate(drawn.tolist()):
            if finished[row] is None:
                if token in specials:
                    finished[row] = "stop"
                    continue
                counts[row] += 1
                add(row, streams[row].push(token))
                if position + 1 == max_tokens:
                    finished[row] = "length"
        if all(finished):
            break
        feed_bt = drawn[:, None]
    for row, stream in enumerate(streams):
        add(row, stream.finish())
    model.train(training)
    return [
        Sample(prompt, text, count, finish or "length")
        for prompt, text, count, finish in zip(prompts, texts, counts, finished, strict=True)
    ]


def document_start(tokenizer: Tokenizer) -> list[int]:
    """The id that documents begin with, as a list; empty if the tokenizer has none."""
    for name in ("<|bos|>", "<|begin_of_text|>", "<|endoftext|>"):
        if name in tokenizer.special_tokens:
            return [tokenizer.special_tokens[name]]
    return []


def _holes(tokenizer: Tokenizer, vocab_size: int) -> list[int]:
    """Ids that the model can draw and the tokenizer does not have."""
    known = set(tokenizer.special_tokens.values())
    lengths = tokenizer.byte_lengths
    return [
        i for i in range(vocab_size) if i >= len(lengths) or (lengths[i] == 0 and i not in known)
    ]
