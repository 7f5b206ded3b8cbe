"""The textbook functions against torch's own in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as torch_functional

from nanotrain import functional as F

LEADS = [(), (3,), (2, 1, 4)]


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def same(got, want, tolerance=1e-12):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("lead", LEADS)
def test_layers_match_torch(lead):
    x, w, b = rand(*lead, 6), rand(9, 6, seed=1), rand(9, seed=2)
    same(F.linear(x, w, b), torch_functional.linear(x, w, b))
    same(F.rms_norm(x, b[:6]), torch_functional.rms_norm(x, (6,), b[:6], 1e-5))
    same(F.silu(x), torch_functional.silu(x))
    same(F.softmax(x), torch_functional.softmax(x, -1))
    w2, w3 = rand(6, 9, seed=3), rand(9, 6, seed=4)
    same(F.swiglu(x, w, w2, w3), (torch_functional.silu(x @ w.T) * (x @ w3.T)) @ w2.T)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_matches_torch(reduction):
    z = rand(2, 5, 7).requires_grad_()
    targets = torch.arange(10).reshape(2, 5) % 7
    targets[0, 1] = -100
    got = F.cross_entropy(z, targets, reduction=reduction)
    want = torch_functional.cross_entropy(z.flatten(0, 1), targets.flatten(), reduction=reduction)
    same(got.flatten(), want.flatten())
    with pytest.raises(ValueError, match="'max'"):
        F.cross_entropy(z, targets, reduction="max")


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_depends_on_distance_alone(interleaved):
    q, k = rand(1, 8), rand(1, 8, seed=1)

    def score(i, j):
        turned = [
            F.rope(x, torch.tensor([p]), theta=100.0, interleaved=interleaved)
            for x, p in ((q, i), (k, j))
        ]
        return (turned[0] * turned[1]).sum()

    same(score(3, 1), score(103, 101), 1e-9)
    assert abs(score(3, 1) - score(4, 1)) > 1e-3


@pytest.mark.parametrize("groups", [4, 2, 1])
def test_multihead_attention_matches_torch(groups):
    x, wq, wo = rand(2, 5, 12), rand(24, 12, seed=1), rand(12, 24, seed=2)
    wk, wv = rand(6 * groups, 12, seed=3), rand(6 * groups, 12, seed=4)
    q, k, v = (
        (x @ w.T).view(2, 5, heads, 6).transpose(1, 2)
        for w, heads in ((wq, 4), (wk, groups), (wv, groups))
    )
    want = torch_functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    got = F.multihead_attention(x, wq, wk, wv, wo, num_heads=4, num_kv_heads=groups)
    same(got, want.transpose(1, 2).flatten(2) @ wo.T, 1e-10)


@pytest.mark.parametrize("limit", [0.1, 1e6])
def test_clip_grad_norm_matches_torch(limit):
    params = [[torch.nn.Parameter(rand(3, 4, seed=i)) for i in range(3)] for _ in range(2)]
    for ours_or_theirs in params:
        for i in (0, 2):
            ours_or_theirs[i].grad = rand(3, 4, seed=10 + i)
    norm = F.clip_grad_norm(params[0], limit)
    same(norm, torch.nn.utils.clip_grad_norm_(params[1], limit))
    same(params[0][2].grad, params[1][2].grad)
    assert params[0][1].grad is None
    assert F.clip_grad_norm([], 1.0) == 0


def test_cosine_ends_at_its_last_step():
    args = {"max_lr": 1.0, "min_lr": 0.1, "warmup_steps": 4, "total_steps": 20}
    values = [F.cosine_with_warmup(step, **args) for step in range(25)]
    assert values[:5] == [0, 0.25, 0.5, 0.75, 1.0]
    assert values[12] == pytest.approx(0.55)
    assert values[20:] == [0.1] * 5


def test_windows_are_uniform_and_shifted():
    tokens = np.arange(12, dtype=np.uint16)
    generator = torch.Generator().manual_seed(1)
    inputs, targets = F.sample_windows(tokens, 4000, 8, generator=generator)
    assert torch.equal(targets, inputs + 1)
    # 1,000 draws of each of four starts, 27 the standard deviation.
    assert torch.bincount(inputs[:, 0]).sub(1000).abs().max() < 150
    with pytest.raises(ValueError, match="12 tokens"):
        F.sample_windows(tokens, 2, 12)
