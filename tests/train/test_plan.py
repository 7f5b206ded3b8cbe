"""Parameters and FLOPs against published counts, and what a plan says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nanotrain import accounting, models
from nanotrain.config import resolve
from nanotrain.models.parts import Linear
from nanotrain.plan import plan

FEBRUARY = {"model.smear": "false", "model.backout": "false", "model.gate_channels": "32"}


def build_meta(name, flags=None):
    with torch.device("meta"):
        return models.build(resolve(name, flags))


@pytest.mark.parametrize(
    ("name", "flags", "params"),
    [
        ("nano-d12", {}, 286_261_730),
        ("nano-d12", FEBRUARY, 286_262_424),
        ("nano-d8", FEBRUARY, 125_829_648),
        ("wavenet-16", {}, 292_855_610),
        ("mlp-bengio", {}, 20_562_681),
        # 124,439,808 and 22,696,448 with the vocabularies unpadded.
        ("gpt2-124m", {}, 124_439_808 + 47 * 768),
        ("cs336-tinystories", {}, 22_696_448 + 2 * 48 * 512),
    ],
)
def test_parameter_counts(name, flags, params):
    assert build_meta(name, flags).num_parameters() == params


def linear_weights(model: nn.Module) -> int:
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, Linear))


@pytest.mark.parametrize("name", ["nano-d4", "cs336-tinystories", "mlp-bengio", "wavenet-16"])
def test_flops_count_every_linear_layer(name):
    model = build_meta(name)
    config, row = model.config, model.row_tokens
    reach = 0 if name in ("mlp-bengio", "wavenet-16") else sum(accounting.windows(config, row))
    want = 6 * linear_weights(model) + 12 * config.width * reach
    assert model.flops_per_token() == want


@pytest.mark.parametrize(
    ("name", "row", "forward"),
    [
        ("gpt2-124m", 1024, 2.916e11),
        ("gpt2-355m", 1024, 8.270e11),
        ("gpt2-774m", 1024, 1.7746e12),
        ("gpt2-1558m", 1024, 3.5067e12),
        ("gpt2-1558m", 16384, 1.3342e14),
    ],
)
def test_flops_of_gpt2_equal_hand_counts(name, row, forward):
    model = build_meta(name, {"data.row_tokens": row, "train.micro_rows": 1})
    # Hand counts use 50,257 ids; padding to 50,304 adds 0.03 %.
    assert model.flops_per_token() * row / 3 == pytest.approx(forward, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("gpt2-124m", (19.88, 13.25, 39.76, 27.10)),
        ("gpt2-355m", (24.93, 12.47, 49.86, 12.75)),
        ("gpt2-774m", (27.23, 10.89, 54.46, 7.42)),
        ("gpt2-1558m", (28.71, 9.19, 57.41, 4.70)),
    ],
)
def test_flop_shares_of_gpt2(name, shares):
    model = build_meta(name)
    width, depth = model.config.width, model.config.depth
    parts = (
        6 * depth * 4 * width**2,
        12 * depth * width * 1024,
        6 * depth * 8 * width**2,
        6 * 50257 * width,
    )
    assert sum(parts) == pytest.approx(model.flops_per_token(), rel=1e-3)
    assert [100 * p / sum(parts) for p in parts] == pytest.approx(shares, abs=0.01)


def test_plan_of_depth_12():
    p = plan(resolve("nano-d12"))
    assert (p.params, p.steps, p.batch_tokens) == (286_261_730, 2205, 2**19)
    assert p.tokens == 1_156_055_040
    assert p.scaling_params == 110_100_480
    assert p.total_flops == p.flops_per_token * p.tokens
    assert p.flops_per_token == pytest.approx(759_693_312, rel=1e-5)


def test_what_cannot_fit_does_not():
    assert not plan(resolve(None, {"depth": 100})).fits
    assert plan(resolve("cpu-demo", {"model.width": 64, "model.heads": 1})).fits


def test_lines_name_the_figures():
    text = "\n".join(plan(resolve("nano-d8")).lines())
    for part in ("125.8 M parameters", "41.9 M scaling", "1,680 steps x 262,144", "batch 2^18"):
        assert part in text
    assert "warm-down 1,092" in text


def test_memory_grows_with_the_batch():
    flags = {"train.batch_tokens": 65536, "train.steps": 1}
    small, large = (
        plan(resolve("nano-d8", {**flags, "train.micro_rows": rows})).peak_mib for rows in (4, 32)
    )
    assert large > 2 * small
