"""The keys of a configuration: sections, types, defaults and what each key means.

A field without a default is automatic: `rules.py` fills it from the fields that were given. The
models below describe a configuration in which every field has its value, so nothing downstream
ever sees "not set"; `None` always means off.

Keys are written `section.key` in flags and messages, `[section]` tables in TOML.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError


class ConfigError(ValueError):
    """A mistake in flags or configuration: one line, and a hint where there is one."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def _whole(value: object) -> object:
    """Lets 1e9 stand for an integer, as people write token counts."""
    if isinstance(value, str) and not value.strip().lstrip("+-").replace("_", "").isdigit():
        try:
            value = float(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Count = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Number = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Family = Literal["nano", "gpt2", "cs336", "wavenet", "mlp"]


class Section(BaseModel):
    """One table of the configuration: strict keys, fixed once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Model(Section):
    """What is trained."""

    family: Family = Field("nano", description="architecture that sets the other defaults")
    depth: Count = Field(description="layers")
    width: Count = Field(description="channels of the residual stream")
    heads: Count = Field(description="query heads")
    kv_heads: Count = Field(description="key and value heads, a divisor of heads")
    vocab_size: Count = Field(description="token ids; tables are padded to a multiple of 64")
    hidden: Count = Field(description="hidden width of the feed-forward layer")
    act: Literal["relu2", "gelu", "silu", "swiglu"] = Field(description="activation")
    softcap: Positive | None = Field(description="logits become c tanh(logits / c)")
    norm: Literal["rms", "rms_weight", "layernorm", "none"] = Field(description="normalisation")
    norm_position: Literal["pre", "post"] = Field(description="norm before or after each part")
    positions: Literal["rope", "learned", "none"] = Field(description="position information")
    rope_base: Positive = Field(description="base of the rotation frequencies")
    qk_norm: bool = Field(description="normalise queries and keys")
    window: str = Field(
        pattern="^[SL]+$",
        description="letters S and L, short and long attention, tiled over layers",
    )
    value_embeddings: bool = Field(
        description="token tables added to the values of half the layers"
    )
    residual_scalars: bool = Field(description="learned mix of stream and embedding per layer")
    smear: bool = Field(description="gated share of the previous token's embedding")
    backout: bool = Field(description="subtract the middle layer's stream before the head")
    gate_channels: Count = Field(12, description="channels that gate the value embeddings")
    tied: bool = Field(description="head and embedding share their weight")
    bias: bool = Field(description="biases in linear layers")
    init: Literal["nano", "gpt2", "cs336"] = Field(description="initialisation")
    context: Count = Field(description="tokens that the mlp family sees")
    kernels: Literal["auto", "torch"] = Field("auto", description="implementation of the kernels")


class Optim(Section):
    """How the weights move. Learning rates are peaks, before `lr_multiplier`."""

    optimizer: Literal["muon", "adamw"] = Field(description="for the block matrices")
    lr: NonNegative = Field(description="AdamW's rate when it trains everything")
    muon_lr: NonNegative = Field(0.02, description="block matrices")
    head_lr: NonNegative = Field(0.008, description="output head, times sqrt(768 / width)")
    embedding_lr: NonNegative = Field(0.3, description="embedding, times sqrt(768 / width)")
    value_embedding_lr: NonNegative = Field(0.15, description="tables, times sqrt(768 / width)")
    residual_lr: NonNegative = Field(0.005, description="residual scalars")
    x0_lr: NonNegative = Field(0.5, description="embedding scalars")
    smear_lr: NonNegative = Field(0.2, description="smear and backout, not multiplied")
    lr_multiplier: Positive = Field(description="factor on the rates for the batch size")
    weight_decay: NonNegative = Field(description="decay of the block matrices")
    schedule: Literal["constant", "linear", "cosine", "trapezoid"] = Field(
        description="course of the learning rate after the warm-up"
    )
    warmup_steps: Number = Field(description="steps of linear warm-up")
    warmdown: Share = Field(0.65, description="share of the steps in the trapezoid's descent")
    final_lr: Share = Field(description="last learning rate as a share of the peak")


class Train(Section):
    """The horizon, the batch and the machine. Exactly one of the four horizons governs."""

    steps: Count = Field(description="horizon in optimizer steps")
    tokens: Count | None = Field(None, description="horizon in tokens")
    ratio: Positive | None = Field(None, description="horizon in tokens per scaling parameter")
    flops: Positive | None = Field(None, description="horizon in floating-point operations")
    batch_tokens: Count = Field(description="tokens per step over all processes")
    micro_rows: Count = Field(description="rows per forward pass on one process")
    seed: Number = Field(1, description="seed of weights and data order")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N, mps"
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="compute type")
    compile: bool | Literal["auto"] = Field("auto", description="torch.compile the model")
    grad_clip: Positive | None = Field(description="largest gradient norm")


class Data(Section):
    """The shards and how rows are cut from them."""

    path: str | None = Field(None, description="folder of shards")
    row_tokens: Count = Field(description="context length T; a row holds T + 1 tokens")
    packing: Literal["best_fit", "greedy", "contiguous", "random"] = Field(
        "best_fit", description="how documents fill rows"
    )
    split: str = Field("train", min_length=1, description="split to train on")


class Eval(Section):
    """Bits per byte while training."""

    every: Count | None = Field(250, description="steps between evaluations")
    tokens: Count = Field(4_194_304, description="tokens per evaluation")
    split: str = Field("val", min_length=1, description="split to evaluate")


class Checkpoint(Section):
    """What is kept on disk."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True
    )
    every: Count | None = Field(500, description="steps between checkpoints")
    keep: Count = Field(2, description="newest checkpoints that stay")
    keep_every: Count | None = Field(None, description="multiples of this step that stay")
    async_: bool = Field(False, alias="async", description="write while the next steps run")


class Observe(Section):
    """What is told while training."""

    every: Count = Field(50, description="steps between log lines and health rows")
    report: bool = Field(True, description="write report.html")
    trackers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], BeforeValidator(_names)] = (
        Field((), description="tensorboard, wandb, both joined by a comma, or off")
    )


SECTIONS: dict[str, type[Section]] = {
    "model": Model,
    "optim": Optim,
    "train": Train,
    "data": Data,
    "eval": Eval,
    "checkpoint": Checkpoint,
    "observe": Observe,
}
HORIZONS = ("train.steps", "train.tokens", "train.ratio", "train.flops")


def keys() -> dict[str, str]:
    """Every key, `section.name`, with its description, in the order of the file."""
    return {
        f"{section}.{field.alias or name}": field.description or ""
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
    }


def defaults() -> dict[str, Any]:
    """The keys that have a fixed default, with it."""
    return {
        f"{section}.{field.alias or name}": field.default
        for section, model in SECTIONS.items()
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that looks most like this one; the part after a dot counts alone too."""
    allowed = list(allowed)
    close = difflib.get_close_matches(word, allowed, 1, 0.6)
    if not close:
        by_name = {name.rpartition(".")[2]: name for name in reversed(allowed)}
        last = difflib.get_close_matches(word.rpartition(".")[2], by_name, 1, 0.6)
        close = [by_name[name] for name in last]
    return close[0] if close else None


def typed(key: str, value: object, *, where: str = "") -> Any:
    """The value of a key in the key's own type.

    Text is read as on the command line: numbers, true | false, and `off` for None. Any other value
    must already be of the type, except that integers pass for floats.

    Args:
        key: `section.name`.
        value: Text from a flag, or a TOML or Python value.
        where: Prefix of error messages, such as a file name.

    Raises:
        ConfigError: If the key is unknown or the value outside its range.
    """
    section, _, name = key.partition(".")
    prefix = f"{where}: " if where else ""
    if key not in keys():
        guess = nearest(key, keys())
        raise ConfigError(
            f"{prefix}unknown key {key}", f"did you mean `{guess}`?" if guess else None
        )
    model = SECTIONS[section]
    field = next(f for n, f in model.model_fields.items() if name == (f.alias or n))
    annotation: Any = field.rebuild_annotation()
    if isinstance(value, str) and value == "off":
        value = () if key == "observe.trackers" else False if annotation is bool else None
    elif isinstance(value, list):
        value = tuple(value)
    is_text = isinstance(value, str)
    if is_text and value in ("true", "false"):
        value, is_text = value == "true", False
    try:
        return TypeAdapter(annotation).validate_python(value, strict=not is_text)
    except ValidationError as error:
        allowed = _allowed(annotation, error, field.description or "")
        options = _options(annotation)
        guess = nearest(str(value), options) if options else None
        shown = "off" if value is None else value
        raise ConfigError(
            f"{prefix}{key} is {shown!r}, allowed: {allowed}",
            f"did you mean `{guess}`?" if guess else None,
        ) from None


def _options(annotation: Any) -> list[str]:
    """The words that an annotation allows, looking through unions and tuples."""
    if typing.get_origin(annotation) is Literal:
        return [str(option) for option in typing.get_args(annotation)]
    return [word for part in typing.get_args(annotation) for word in _options(part)]


def _allowed(annotation: Any, error: ValidationError, description: str) -> str:
    """What may stand in place of a refused value, in words."""
    parts = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    words = _options(annotation)
    if bool in parts:
        words += ["true", "false"]
    if not words:
        pattern = error.errors()[0]["type"] == "string_pattern_mismatch"
        words = [description if pattern else _range(error)]
    if type(None) in parts:
        words.append("off")
    return ", ".join(words)


def _range(error: ValidationError) -> str:
    """The constraint that was broken, from pydantic's own account of it."""
    messages = [entry["msg"].removeprefix("Input should be ") for entry in error.errors()]
    message = next((m for m in messages if not m.startswith("None")), messages[0])
    return message.split(", ")[0].replace("a valid integer", "a whole number")
