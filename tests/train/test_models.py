"""Models: switches, causality, loss, initialisation, decoding and long context."""

from __future__ import annotations

import math
import zlib

import pytest
import torch

from nanotrain import models, optim
from nanotrain.config import resolve

SWITCHES = [
    {},
    {"act": "gelu"},
    {"act": "silu"},
    {"act": "swiglu"},
    {"softcap": "off"},
    {"norm": "rms_weight"},
    {"norm": "layernorm"},
    {"norm": "none"},
    {"norm_position": "post"},
    {"positions": "learned"},
    {"positions": "none"},
    {"qk_norm": False},
    {"window": "L"},
    {"window": "SL"},
    {"value_embeddings": False},
    {"residual_scalars": False},
    {"smear": False},
    {"backout": False},
    {"tied": True},
    {"bias": True},
    {"heads": 2, "kv_heads": 1},
    {"depth": 3},
]
FAMILIES = [
    {"family": "gpt2", "depth": 2, "width": 64},
    {"family": "cs336", "depth": 2, "width": 64},
    {"family": "wavenet", "depth": 3, "width": 32},
    {"family": "mlp", "width": 32},
]
NANO = {"depth": 2, "width": 64, "heads": 1}


def name(switches):
    return ",".join(f"{k}={v}" for k, v in switches.items()) or "nano"


def build(switches, *, row_tokens=32, **sections):
    model = {"vocab_size": 200, **({} if "family" in switches else NANO), **switches}
    return models.build({"model": model, "data": {"row_tokens": row_tokens}, **sections})


def shake(model):
    """Weights by the parameter's name: projections start at zero and would hide their input."""
    with torch.no_grad():
        for key, p in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def batch(rows=2, length=32, vocab=200):
    ids = torch.randint(0, vocab, (rows, length + 1), generator=torch.Generator().manual_seed(0))
    return ids[:, :-1], ids[:, 1:]


@pytest.mark.parametrize("switches", SWITCHES + FAMILIES, ids=name)
def test_every_parameter_learns(switches):
    ids, targets = batch()
    # 3 layers: behind the last one backout changes only the length, which the norm undoes.
    deeper = {} if "family" in switches else {"depth": 3}
    model = shake(build({**deeper, **switches}))
    model(ids, targets).backward()
    idle = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("switches", SWITCHES[1:], ids=name)
def test_every_switch_changes_the_output(switches):
    # 256 tokens, so that the short window of 128 hides some; 4 layers, so that backout matters.
    ids, _ = batch(rows=1, length=256)
    with torch.no_grad():
        base, other = (shake(build({"depth": 4, **s}, row_tokens=256))(ids) for s in ({}, switches))
    assert (base - other).abs().max() > 1e-4


@pytest.mark.parametrize("switches", SWITCHES + FAMILIES, ids=name)
def test_no_position_sees_later_ids(switches):
    ids, _ = batch()
    changed = ids.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 200
    model = shake(build(switches))
    with torch.no_grad():
        a, b = model(ids), model(changed)
    assert (a - b)[:, :20].abs().max() < 1e-5
    assert (a - b)[:, 20:].abs().max() > 1e-6


@pytest.mark.parametrize("switches", [s for s in SWITCHES if "act" not in s] + FAMILIES, ids=name)
def test_decoding_equals_the_full_forward(switches):
    # Row of 300: the short window is 128, so keys leave it while decoding.
    ids, _ = batch(length=300)
    model = shake(build(switches, row_tokens=300))
    with torch.no_grad():
        full = model(ids)
        cache, parts, start = model.make_cache(2, 300), [], 0
        for length in (140, 1, 1, 29, 1, 128):
            parts.append(model(ids[:, start : start + length], cache=cache))
            start += length
    # float32 sums in another order.
    torch.testing.assert_close(torch.cat(parts, 1), full, rtol=1e-4, atol=1e-4)


def test_a_full_cache_says_so():
    model = build({})
    cache = model.make_cache(1, 4)
    with pytest.raises(ValueError, match="holds 4 tokens, 5 are needed"):
        model(torch.zeros(1, 5, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match="at most 32"):
        build({"positions": "learned"}).make_cache(1, 33)


@pytest.mark.parametrize("switches", [{}, *FAMILIES], ids=name)
def test_loss_is_the_cross_entropy_of_the_logits(switches):
    ids, targets = batch()
    targets = targets.clone()
    targets[0, :5] = -100
    model = shake(build(switches))
    with torch.no_grad():
        logits = model(ids)
        assert logits.shape == (2, 32, 200)
        assert logits.dtype == torch.float32
        for reduction in ("mean", "sum", "none"):
            want = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction=reduction
            )
            got = model(ids, targets, reduction=reduction)
            torch.testing.assert_close(got.flatten(), want.view(-1), rtol=1e-5, atol=1e-5)


def test_nano_starts_from_its_distributions():
    model = build({"width": 256, "heads": 2, "vocab_size": 1024})
    block = model.blocks[1]
    for weight, std in (
        (model.embedding.weight, 0.8),
        (model.head.weight, 0.001),
        (block.attention.query.weight, 1 / 16),
        (block.attention.value_table.weight, 1 / 16),
        (block.mlp.fc.weight, 0.4 / 16),
        (block.attention.out.weight, 0),
        (block.mlp.out.weight, 0),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    bound = math.sqrt(3) / 16
    assert block.attention.key.weight.abs().max() <= bound
    assert model.residual_scales.tolist() == pytest.approx([1.15, 1.05])
    assert model.x0_scales.tolist() == pytest.approx([0.20, 0.05])
    assert (model.smear_scale.item(), model.backout_scale.item()) == pytest.approx((0, 0.2))
    ids, targets = batch(vocab=1024)
    assert model(ids, targets).item() == pytest.approx(math.log(1024), abs=0.02)


def test_gpt2_starts_from_its_distributions():
    model = build({"family": "gpt2", "depth": 4, "width": 256})
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    out = model.blocks[0].mlp.out
    assert out.weight.std().item() == pytest.approx(0.02 / math.sqrt(8), rel=0.05)
    assert not out.bias.any()


def test_the_seed_sets_the_weights():
    first, same, other = (build({}, train={"seed": seed}).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_longer_context_takes_the_same_weights():
    short, long = build({"window": "L"}), build({"window": "L"}, row_tokens=64)
    long.load_state_dict(shake(short).state_dict())
    ids, _ = batch()
    with torch.no_grad():
        torch.testing.assert_close(short(ids), long(ids), rtol=1e-5, atol=1e-5)
        assert long(ids.repeat(1, 2)).shape == (2, 64, 200)


def test_bf16_follows_float32():
    ids, targets = batch()
    exact, rounded = shake(build({})), shake(build({}, train={"dtype": "bf16"}))
    loss = rounded(ids, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 for p in rounded.parameters())
    assert loss.item() == pytest.approx(exact(ids, targets).item(), rel=0.01)
    assert loss.item() != exact(ids, targets).item()


@pytest.mark.parametrize("switches", [{}, {"family": "gpt2", "depth": 2, "width": 64}], ids=name)
def test_one_batch_is_learnt_by_heart(switches):
    ids, targets = batch(rows=4)
    rate = 3.0 if "family" in switches else 0.5
    resolved = resolve(
        None,
        {
            "model": {"vocab_size": 200, **({} if "family" in switches else NANO), **switches},
            "data": {"row_tokens": 32},
            "train": {"steps": 150, "batch_tokens": 128},
            "optim": {"schedule": "constant", "lr_multiplier": rate, "weight_decay": 0.0},
        },
    )
    model = models.build(resolved)
    made = optim.optimizers(model.parameter_groups(resolved.optim))
    for step in range(1, 151):
        loss = model(ids, targets)
        if loss.item() < 0.05:
            return
        loss.backward()
        optim.set_step(made, resolved.optim, step, 150)
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad()
    raise AssertionError(f"loss {loss.item():.3f} after 150 steps")


def test_the_model_is_one_graph():
    ids, targets = batch()
    model = shake(build({}))
    loss = model(ids, targets)
    loss.backward()
    grads = {key: p.grad.clone() for key, p in model.named_parameters()}
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="aot_eager")
    again = compiled(ids, targets)
    again.backward()
    torch.testing.assert_close(again, loss, rtol=1e-6, atol=1e-6)
    for key, p in model.named_parameters():
        assert (p.grad - grads[key]).norm() <= 1e-4 * grads[key].norm() + 1e-9, key
