"""Muon against its definition, AdamW against torch, groups and schedules against their table."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from nanotrain import models, optim
from nanotrain.config import resolve
from nanotrain.optim.polar import _quintic, coefficients, orthogonalize


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread(rows, columns, lowest=0.1, seed=0):
    """A matrix with singular values from 1 to `lowest`."""
    u, _, v = torch.linalg.svd(rand(rows, columns, seed=seed), full_matrices=False)
    return (u * torch.linspace(1, lowest, min(rows, columns), dtype=torch.float64)) @ v


def updates(grads, weight=None, lr=0.02, **options):
    """What Muon subtracts at each step over lr."""
    p = torch.nn.Parameter((torch.zeros_like(grads[0]) if weight is None else weight).float())
    muon = optim.Muon([p], lr=lr, **options)
    for g in grads:
        before = p.detach().double().clone()
        p.grad = g.float()
        muon.step()
        yield (before - p.detach().double()) / lr


@pytest.mark.parametrize(("low", "high"), [(1e-3, 1.0), (0.02, 1.0), (0.5, 1.5)])
def test_polar_polynomials_equioscillate(low, high):
    a, b, c, error = _quintic(low, high)
    x = torch.linspace(low, high, 400_001, dtype=torch.float64)
    y = a * x + b * x**3 + c * x**5
    assert (1 - y).abs().max().item() == pytest.approx(error, rel=1e-6)
    # An inner minimum that is as low as the end: no other odd quintic is nearer to 1.
    inner = y[1:-1][(y[1:-1] < y[:-2]) & (y[1:-1] < y[2:])]
    assert [1 - y[0].item(), 1 - inner.item()] == pytest.approx([error] * 2, rel=1e-6)
    assert [y.max().item() - 1, y[-1].item() - 1] == pytest.approx([error] * 2, rel=1e-6)


def test_five_steps_reach_the_band():
    x = torch.logspace(-3, 0, 10_001, dtype=torch.float64)
    for a, b, c in coefficients():
        x = a * x + b * x**3 + c * x**5
    assert 0.869 < x.min() < x.max() < 1.131


@pytest.mark.parametrize("shape", [(40, 40), (24, 56), (2, 56, 24)])
def test_orthogonalize_brings_singular_values_to_one(shape):
    x = torch.stack([spread(*shape[-2:], lowest=0.02)] * 2).view(-1, *shape[-2:])
    values = torch.linalg.svdvals(orthogonalize(x.float()))
    assert 0.85 < values.min() < values.max() < 1.15
    # A GPU works in bf16, whose rounding adds half a percent.
    values = torch.linalg.svdvals(orthogonalize(x.bfloat16()).float())
    assert 0.85 < values.min() < values.max() < 1.15
    assert not orthogonalize(torch.zeros(3, 4)).any()


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (24, 56), (56, 24)])
def test_muon_follows_its_definition(rows, columns):
    grads = [spread(rows, columns, seed=s) for s in range(3)]
    buffer, second = torch.zeros_like(grads[0]), 0
    for g, got in zip(grads, updates(grads, momentum=0.9, beta2=0.8), strict=True):
        buffer = 0.9 * buffer + 0.1 * g
        x = 0.1 * g + 0.9 * buffer
        x = x / x.norm(dim=1, keepdim=True)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        polar = u @ v
        second = 0.8 * second + 0.2 * polar.square().mean(1 if rows >= columns else 0, True)
        want = polar / second.sqrt()
        cosine = (got * want).sum() / (got.norm() * want.norm())
        # Five iterations leave each singular value within 14 %.
        assert cosine > 0.98
        scale = math.sqrt(max(1, rows / columns))
        assert got.norm() == pytest.approx(scale * math.sqrt(min(rows, columns)), rel=1e-3)


def test_muon_decays_where_signs_agree():
    weight, g = rand(32, 32, seed=5), spread(32, 32)
    (plain,), (decayed,) = updates([g], weight), updates([g], weight, weight_decay=0.3)
    clear = plain.abs() > 1e-3
    agree = plain * weight >= 0
    change = decayed - plain
    torch.testing.assert_close(
        change[agree & clear], 0.3 * weight[agree & clear], rtol=1e-3, atol=1e-4
    )
    assert change[~agree & clear].abs().max() < 1e-4


def test_muon_leaves_weights_without_gradient():
    weight = rand(12, 20)
    first, second = updates([torch.zeros(12, 20).double(), spread(12, 20)], weight)
    assert not first.any()
    assert second.isfinite().all()
    assert second.norm() > 1
    p = torch.nn.Parameter(weight.float())
    optim.Muon([p]).step()
    assert torch.equal(p, weight.float())


def test_muon_refuses_vectors_and_bad_settings():
    with pytest.raises(ValueError, match="want a matrix"):
        optim.Muon([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(ValueError, match="momentum is 1"):
        optim.Muon([torch.nn.Parameter(torch.zeros(3, 3))], momentum=1.0)


def test_adamw_equals_torch():
    pairs = [[torch.nn.Parameter(rand(5, 7, seed=i).float()) for i in range(2)] for _ in range(2)]
    ours = optim.AdamW(pairs[0], 1e-3, (0.8, 0.95), 1e-10, 0.1)
    theirs = torch.optim.AdamW(pairs[1], 1e-3, (0.8, 0.95), 1e-10, 0.1)
    for step in range(20):
        for i, (p, q) in enumerate(zip(*pairs, strict=True)):
            p.grad = rand(5, 7, seed=step * 10 + i).float()
            q.grad = p.grad.clone()
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["lr"] *= 0.9
            optimizer.step()
        for p, q in zip(*pairs, strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_states_restore_to_the_bit(kind):
    def make():
        p = torch.nn.Parameter(rand(8, 12).float())
        return p, (optim.Muon([p]) if kind == "muon" else optim.AdamW([p]))

    def advance(p, optimizer, steps):
        for step in steps:
            p.grad = rand(8, 12, seed=step).float()
            optimizer.step()

    p, optimizer = make()
    advance(p, optimizer, range(3))
    q, other = make()
    with torch.no_grad():
        q.copy_(p)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(p, optimizer, range(3, 6))
    advance(q, other, range(3, 6))
    assert torch.equal(p, q)


def test_groups_of_nano():
    resolved = resolve(
        None, {"depth": 8, "model.vocab_size": 512, "train.batch_tokens": 2**17, "train.steps": 100}
    )
    with torch.device("meta"):
        model = models.build(resolved)
    groups = {group["name"]: group for group in model.parameter_groups(resolved.optim)}
    wide, batch = math.sqrt(768 / 512), 0.5
    want = {
        "head": (0.008 * wide * batch, (0.8, 0.96), 0.01),
        "embedding": (0.3 * wide * batch, (0.8, 0.995), 0.001),
        "value_embedding": (0.15 * wide * batch, (0.8, 0.995), 0.01),
        "residual": (0.005 * batch, (0.8, 0.95), 0.05),
        "x0": (0.5 * batch, (0.96, 0.95), 0.0),
        "smear": (0.2, (0.8, 0.95), 0.0),
    }
    for name, (lr, betas, decay) in want.items():
        group = groups.pop(name)
        assert (group["lr"], group["betas"], group["weight_decay"]) == (
            pytest.approx(lr),
            betas,
            decay,
        )
        assert group["eps"] == 1e-10
    (matrix,) = groups.values()
    assert (matrix["lr"], matrix["beta2"]) == (pytest.approx(0.02 * batch), 0.9)
    # Six matrices a layer, and the gates of four value embeddings.
    assert len(matrix["params"]) == 8 * 6 + 4


@pytest.mark.parametrize("name", ["nano-d4", "gpt2-124m", "wavenet-16", "mlp-bengio"])
def test_every_parameter_is_in_one_group(name):
    resolved = resolve(name)
    with torch.device("meta"):
        model = models.build(resolved)
    groups = model.parameter_groups(resolved.optim)
    grouped = sorted(id(p) for group in groups for p in group["params"])
    assert grouped == sorted(id(p) for p in model.parameters())
    if resolved.optim.optimizer == "adamw":
        for group in groups:
            matrices = all(p.dim() > 1 for p in group["params"])
            assert group["weight_decay"] == (resolved.optim.weight_decay if matrices else 0)


def test_schedules():
    def factors(kind, **keys):
        section = {"schedule": kind, "warmup_steps": 10, "final_lr": 0.1, "warmdown": 0.5, **keys}
        config = resolve("cpu-demo", {"optim": section}).optim
        return [optim.lr_factor(config, step, 100) for step in range(1, 101)]

    for kind in ("constant", "linear", "cosine", "trapezoid"):
        values = factors(kind)
        assert values[:10] == pytest.approx([s / 10 for s in range(1, 11)])
        assert values[-1] == pytest.approx(1 if kind == "constant" else 0.1)
    assert factors("linear")[54] == pytest.approx(0.55)
    assert factors("cosine")[54] == pytest.approx(0.55)
    assert factors("trapezoid")[:50][10:] == [1.0] * 40
    assert factors("trapezoid")[74] == pytest.approx(0.55)


def test_muon_momentum_and_decay():
    config = resolve("nano-d12").optim
    momentum = [optim.muon_momentum(config, step, 2205) for step in (0, 200, 400, 700, 2205)]
    assert momentum == pytest.approx([0.85, 0.91, 0.97, 0.97, 0.90])
    # The warm-down of a short run begins before the rise has ended: no jump.
    short = [optim.muon_momentum(config, step, 100) for step in range(1, 101)]
    assert max(abs(a - b) for a, b in itertools.pairwise(short)) < 0.002
    assert [optim.decay_factor(s, 100) for s in (0, 50, 100)] == pytest.approx([1, 0.5, 0])


def test_set_step_writes_the_groups():
    resolved = resolve("cpu-demo", {"model.width": 64, "model.heads": 1, "model.vocab_size": 64})
    model = models.build(resolved)
    made = optim.optimizers(model.parameter_groups(resolved.optim))
    factor = optim.set_step(made, resolved.optim, 1, 100)
    for optimizer in made:
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(group["initial_lr"] * factor)
