"""The automatic rules: what a configuration leaves out follows from what it gives.

Width, heads and switches follow from family and depth. The horizon D = ratio x scaling parameters
sets the batch, B = 2^19 (D / D_12)^0.383 rounded to a power of two (Bergsma et al. 2025,
arXiv:2505.13738), and with it the learning rates, x sqrt(B / 2^19), and the weight decay,
0.28 sqrt(B / 2^19) D_12 / D. D_12 is the horizon at depth 12 and a vocabulary of 32,768 with
10.5 tokens per scaling parameter, where all of it was tuned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nanotrain.accounting import flops_per_token, scaling_parameters
from nanotrain.schema import HORIZONS, ConfigError, Model

REFERENCE_BATCH = 2**19
REFERENCE_HORIZON = 1_156_055_040
REFERENCE_DECAY = 0.28
# Muon's rate times its decay per step; more than 1 % a step undoes what a step learns.
LARGEST_DECAY_STEP = 0.01

Auto = Callable[[str, Any, str], None]

_SWITCHES_OFF: dict[str, Any] = {
    "qk_norm": False,
    "window": "L",
    "value_embeddings": False,
    "residual_scalars": False,
    "smear": False,
    "backout": False,
    "softcap": None,
    "tied": False,
    "bias": False,
    "norm": "none",
    "norm_position": "pre",
    "positions": "none",
    "rope_base": 10_000.0,
    "act": "gelu",
    "init": "gpt2",
    "context": 1,
}
_ADAMW: dict[str, Any] = {
    "optim.optimizer": "adamw",
    "optim.schedule": "cosine",
    "optim.final_lr": 0.1,
    "train.grad_clip": 1.0,
}


def _family(model: dict[str, Any], **other: Any) -> dict[str, Any]:
    prefixed = {f"model.{k}": v for k, v in {**_SWITCHES_OFF, **model}.items()}
    return prefixed | other


FAMILIES: dict[str, dict[str, Any]] = {
    "nano": _family(
        {
            "depth": 12,
            "vocab_size": 32768,
            "act": "relu2",
            "softcap": 15.0,
            "norm": "rms",
            "positions": "rope",
            "rope_base": 100_000.0,
            "qk_norm": True,
            "window": "SSSL",
            "value_embeddings": True,
            "residual_scalars": True,
            "smear": True,
            "backout": True,
            "init": "nano",
        },
        **{
            "optim.optimizer": "muon",
            "optim.schedule": "trapezoid",
            "optim.final_lr": 0.05,
            "train.grad_clip": None,
            "data.row_tokens": 2048,
        },
    ),
    "gpt2": _family(
        {
            "depth": 12,
            "vocab_size": 50257,
            "norm": "layernorm",
            "positions": "learned",
            "tied": True,
            "bias": True,
        },
        **_ADAMW,
        **{"data.row_tokens": 1024},
    ),
    "cs336": _family(
        {
            "depth": 4,
            "vocab_size": 10_000,
            "act": "swiglu",
            "norm": "rms_weight",
            "positions": "rope",
            "init": "cs336",
        },
        **_ADAMW,
        **{"data.row_tokens": 256},
    ),
    "wavenet": _family({"depth": 4, "width": 2048, "vocab_size": 30_522}, **_ADAMW),
    "mlp": _family({"depth": 1, "width": 200, "vocab_size": 50_281, "context": 10}, **_ADAMW),
}
# Keys of [model] that shape a transformer alone; another family given one of them is refused.
_TRANSFORMER_KEYS = frozenset(
    f"model.{name}"
    for name in (*(n for n in _SWITCHES_OFF if n != "context"), "heads", "kv_heads", "hidden")
) | {"model.gate_channels"}
_MUON_KEYS = frozenset(
    f"optim.{name}_lr"
    for name in ("muon", "head", "embedding", "value_embedding", "residual", "x0", "smear")
)


def without_effect(values: dict[str, Any]) -> set[str]:
    """Keys that nothing reads under this family and optimizer."""
    family = values["model.family"]
    unused: set[str] = set()
    if family in ("wavenet", "mlp"):
        unused |= _TRANSFORMER_KEYS
    if family != "mlp":
        unused.add("model.context")
    if family == "mlp":
        unused.add("model.depth")
    return unused | ({"optim.lr"} if values["optim.optimizer"] == "muon" else _MUON_KEYS)


def complete(values: dict[str, Any], origin: dict[str, str], *, processes: int = 1) -> list[str]:
    """Adds every missing value and where it came from; gives back what is worth saying.

    Args:
        values: Typed values by key, `model.family` among them; completed in place.
        origin: Where each value came from, by key; completed in place.
        processes: Processes that share the global batch.

    Raises:
        ConfigError: If values contradict each other.
    """
    given = set(values)
    family = values["model.family"]

    def auto(key: str, value: Any, why: str) -> None:
        if key not in values:
            values[key], origin[key] = value, f"auto: {why}"

    if family not in ("wavenet", "mlp"):
        _transformer_sizes(values, auto)
    for key, value in FAMILIES[family].items():
        auto(key, value, f"family {family}")
    auto("optim.lr", 1e-3, "usual for AdamW")
    if values["optim.optimizer"] == "adamw":
        auto("optim.lr_multiplier", 1.0, "AdamW's rate is not scaled")
        auto("optim.weight_decay", 0.1, "usual for AdamW")
    for key in ("heads", "kv_heads", "hidden"):
        auto(f"model.{key}", 1, "not used")
    auto("data.row_tokens", _receptive_field(values), "receptive field")
    _check_model(values)
    notes = _course(values, origin, auto, processes)
    for key in sorted(given & without_effect(values)):
        # A preset's or file's value may be idle under a flag; a flag itself must not be.
        if origin[key] == "flag":
            raise ConfigError(
                f"{key} has no effect with model.family {family} and optim.optimizer"
                f" {values['optim.optimizer']}",
                f"leave out `--{key}`",
            )
    return notes


def _transformer_sizes(values: dict[str, Any], auto: Auto) -> None:
    """Width from depth, heads from width, hidden width from both."""
    family = values["model.family"]
    head_width = {"nano": 128, "gpt2": 64, "cs336": 32}[family]
    auto("model.depth", FAMILIES[family]["model.depth"], f"family {family}")
    depth = values["model.depth"]
    if family == "cs336":
        auto("model.width", 128 * depth, "128 x depth")
    else:
        step = head_width if family == "gpt2" else 128
        auto("model.width", -(-64 * depth // step) * step, f"64 x depth up to x{step}")
    width = values["model.width"]
    heads = max(1, width // head_width)
    while width % heads:
        heads -= 1
    auto("model.heads", heads, f"width / {head_width}")
    auto("model.kv_heads", values["model.heads"], "heads")
    auto("model.act", FAMILIES[family]["model.act"], f"family {family}")
    if values["model.act"] == "swiglu":
        # Three matrices of 8/3 W hold as many weights as two of 4 W.
        auto("model.hidden", -(-8 * width // 3 // 64) * 64, "8/3 width up to x64")
    else:
        auto("model.hidden", 4 * width, "4 x width")


def _receptive_field(values: dict[str, Any]) -> int:
    if values["model.family"] == "wavenet":
        return int(2 ** values["model.depth"])
    return int(values["model.context"])


def _check_model(values: dict[str, Any]) -> None:
    """Refuses values that do not go together."""
    family = values["model.family"]
    if family in ("wavenet", "mlp") and values["optim.optimizer"] == "muon":
        raise ConfigError(
            f"optim.optimizer is 'muon', allowed with model.family {family}: adamw",
        )
    width, heads, kv_heads = (values[f"model.{k}"] for k in ("width", "heads", "kv_heads"))
    if width % heads:
        raise ConfigError(f"model.heads {heads} does not divide model.width {width}")
    if heads % kv_heads:
        raise ConfigError(f"model.kv_heads {kv_heads} does not divide model.heads {heads}")
    if values["model.positions"] == "rope" and width // heads % 2:
        raise ConfigError(
            f"model.positions rope needs an even head width, got {width} / {heads} ="
            f" {width // heads}"
        )
    if values["model.value_embeddings"] and values["model.gate_channels"] > width:
        raise ConfigError(
            f"model.gate_channels is {values['model.gate_channels']}, allowed: at most"
            f" model.width {width}"
        )
    if values["model.smear"] and width < 24:
        raise ConfigError(
            f"model.smear reads 24 channels, model.width is {width}", "use `--model.smear false`"
        )


def global_batch(horizon: float) -> int:
    """Tokens per step for a training horizon in tokens, as a power of two."""
    return int(2 ** round(math.log2(REFERENCE_BATCH * (horizon / REFERENCE_HORIZON) ** 0.383)))


def _batch_of_steps(steps: int) -> int:
    """The batch that the same law gives when steps are fixed: D = steps x B, solved for B."""
    slope = REFERENCE_BATCH * (steps / REFERENCE_HORIZON) ** 0.383
    return int(2 ** round(math.log2(slope ** (1 / (1 - 0.383)))))


def _horizon(values: dict[str, Any], origin: dict[str, str]) -> tuple[float, str]:
    """Planned training tokens D and how they follow, where steps do not govern."""
    model = Model(**{k[6:]: v for k, v in values.items() if k.startswith("model.")})
    if tokens := values.get("train.tokens"):
        return tokens, f"{tokens:,} tokens ({origin['train.tokens']})"
    if flops := values.get("train.flops"):
        cost = flops_per_token(model, values["data.row_tokens"])
        return flops / cost, f"{flops:.3g} / {cost:,} FLOPs per token ({origin['train.flops']})"
    ratio = values.get("train.ratio") or 10.5
    scaling = scaling_parameters(model)
    where = origin.get("train.ratio", "default")
    return ratio * scaling, f"ratio {ratio:g} x {scaling:,} ({where})"


def _course(
    values: dict[str, Any], origin: dict[str, str], auto: Auto, processes: int
) -> list[str]:
    """Batch, steps, multiplier, decay and warm-up; the horizon ends up as steps."""
    notes: list[str] = []
    steps, row_tokens = values.get("train.steps"), values["data.row_tokens"]
    horizon, source = _horizon(values, origin)
    if steps and "train.batch_tokens" in values:
        horizon = steps * values["train.batch_tokens"]
    wanted = values.get("train.batch_tokens") or (
        _batch_of_steps(steps) if steps else global_batch(horizon)
    )
    rows = wanted // (row_tokens * processes)
    auto("train.micro_rows", _micro_rows(values, rows), "65,536 tokens at depth 12")
    unit = values["train.micro_rows"] * row_tokens * processes
    auto("train.batch_tokens", max(1, round(wanted / unit)) * unit, "2^19 (D / D_12)^0.383")
    batch = values["train.batch_tokens"]
    if batch % unit:
        raise ConfigError(
            f"global batch {batch} tokens is not a multiple of {values['train.micro_rows']} rows x"
            f" {row_tokens} tokens x {processes} process{'es' * (processes > 1)} = {unit}",
            f"use `--train.batch_tokens {max(1, batch // unit) * unit}`",
        )
    if steps:
        horizon = steps * batch
    elif horizon < batch:
        notes.append(f"the horizon of {horizon:,.0f} tokens is less than one batch: 1 step")
    auto("train.steps", max(1, int(horizon / batch)), f"D / B, D = {source}")
    steps = values["train.steps"]
    for key in HORIZONS[1:]:
        values[key], origin[key] = None, "auto: train.steps governs"
    auto("optim.lr_multiplier", math.sqrt(batch / REFERENCE_BATCH), "sqrt(B / 2^19)")
    if "optim.weight_decay" not in values:
        decay = REFERENCE_DECAY * math.sqrt(batch / REFERENCE_BATCH) * REFERENCE_HORIZON / horizon
        rate = values["optim.muon_lr"] * values["optim.lr_multiplier"]
        largest = LARGEST_DECAY_STEP / rate if rate else decay
        why = "0.28 sqrt(B / 2^19) D_12 / D"
        if decay > largest:
            notes.append(
                f"weight decay {decay:.3g} of the law capped at {largest:.3g}:"
                f" lr x wd stays at {LARGEST_DECAY_STEP:g} a step"
            )
            why = f"lr x wd = {LARGEST_DECAY_STEP:g}, below {why} = {decay:.3g}"
        auto("optim.weight_decay", min(decay, largest), why)
    auto("optim.warmup_steps", min(40, max(1, steps // 10)), "40, at most steps / 10")
    return notes


def _micro_rows(values: dict[str, Any], rows: int) -> int:
    """Rows per forward pass: as many as 32 rows of 2,048 tokens at depth 12 would fill."""
    model_size = values["model.depth"] * values["model.width"] / (12 * 768)
    most = 32 * 2048 / values["data.row_tokens"] / model_size
    largest = max(1, min(int(most), rows, 1024))
    if not rows or values.get("train.batch_tokens", 0) % values["data.row_tokens"]:
        return 1
    return next(n for n in range(largest, 0, -1) if rows % n == 0)
