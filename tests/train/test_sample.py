"""Sampling against probabilities, cached decoding against the whole text, streams against texts."""

from __future__ import annotations

import pytest
import torch

import nanotrain
from nanotrain import cli
from nanotrain.infer import generate
from nanotrain.infer.engine import Engine
from nanotrain.infer.sample import next_ids

LOGITS = torch.tensor([0.3, 2.0, -1.0, 1.0, 1.5])


def drawn(count: int = 4000, **options) -> torch.Tensor:
    options = {"temperature": 1.0, "top_k": None, "top_p": None} | options
    generator = torch.Generator().manual_seed(1)
    ids = next_ids(LOGITS.expand(count, -1), generator=generator, **options)
    return torch.bincount(ids, minlength=5) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    want = (LOGITS / temperature).softmax(0)
    # Three standard deviations of a share over 4,000 draws are below 0.024.
    torch.testing.assert_close(drawn(temperature=temperature), want, atol=0.024, rtol=0)


def test_top_k_and_top_p_cut_the_tail():
    p = LOGITS.softmax(0)
    kept = torch.zeros(5).index_fill(0, torch.tensor([1, 4]), 1) * p
    torch.testing.assert_close(drawn(top_k=2), kept / kept.sum(), atol=0.024, rtol=0)
    # p sorted is .46, .28, .17, .08, .02: the two likeliest reach 0.6, one alone does not.
    torch.testing.assert_close(drawn(top_p=0.6), kept / kept.sum(), atol=0.024, rtol=0)
    assert drawn(top_p=1e-6)[1] == drawn(top_k=1)[1] == drawn(temperature=0)[1] == 1


def test_cached_decoding_equals_the_whole_text(base):
    model = nanotrain.load(base).model
    ids = torch.randint(0, 380, (2, 32), generator=torch.Generator().manual_seed(5))
    engine = Engine(model, 2)
    steps = [engine.feed(ids[:, :20]), *(engine.feed(ids[:, i : i + 1]) for i in range(20, 32))]
    with torch.no_grad():
        want = model(ids)
    # float32 sums in another order.
    torch.testing.assert_close(torch.stack(steps, 1), want[:, 19:], atol=1e-4, rtol=1e-4)


def test_a_text_beyond_the_context_goes_on_from_its_last_half(base):
    model = nanotrain.load(base).model
    ids = torch.randint(0, 380, (1, 33), generator=torch.Generator().manual_seed(5))
    engine = Engine(model, 1)
    engine.feed(ids[:, :32])
    with torch.no_grad():
        want = model(ids[:, 17:])[:, -1]
    torch.testing.assert_close(engine.feed(ids[:, 32:]), want, atol=1e-4, rtol=1e-4)
    assert engine.feed(torch.randint(0, 380, (1, 100))).isfinite().all()


def test_texts_are_reproducible_and_streams_equal_them(base):
    run = nanotrain.load(base)
    pieces = {0: "", 1: ""}

    def write(number: int, piece: str) -> None:
        pieces[number] += piece

    options = {"max_tokens": 50, "seed": 3}
    texts = generate(run.model, run.tokenizer, ["def "] * 2, write=write, **options)
    assert texts == generate(run.model, run.tokenizer, ["def "] * 2, **options)
    assert [pieces[0], pieces[1]] == [sample.text for sample in texts]
    assert texts[0].text != texts[1].text
    other = generate(run.model, run.tokenizer, ["def "] * 2, max_tokens=50, seed=4)
    assert other != texts
    for sample in texts:
        assert sample.tokens == 50 if sample.finish == "length" else sample.tokens < 50


def test_a_special_token_ends_a_text(base, monkeypatch):
    run = nanotrain.load(base)
    bos = run.tokenizer.special_tokens["<|bos|>"]
    real = run.model.forward

    def forward(ids, cache=None):
        logits = real(ids, cache=cache)
        logits[..., bos] = 1e9
        return logits

    monkeypatch.setattr(run.model, "forward", forward)
    [sample] = generate(run.model, run.tokenizer, ["x"], max_tokens=9)
    assert (sample.text, sample.tokens, sample.finish) == ("", 0, "stop")


def test_special_tokens_in_a_prompt_are_text(base, capsys):
    assert cli.main(["sample", str(base), "--prompt", "<|bos|>", "--max", "3", "--json"]) == 0
    assert '"prompt": "<|bos|>"' in capsys.readouterr().out


def test_prompts_of_different_sizes_are_refused(base):
    run = nanotrain.load(base)
    with pytest.raises(ValueError, match="want one size"):
        generate(run.model, run.tokenizer, ["a", "a much longer one"])
