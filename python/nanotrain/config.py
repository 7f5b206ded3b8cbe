"""Configuration: presets, TOML files and flags merged into one fully resolved set of values.

    >>> resolved = resolve("nano-d8", {"train.ratio": "9"})
    >>> resolved.model.width, resolved.origin["train.batch_tokens"]
    (512, 'auto: 2^19 (D / D_12)^0.383')

Later sources win: defaults, preset or file, flags; what none of them gives follows from the
automatic rules (`rules.py`). `to_toml` writes every value with where it came from; the written
file resolves to the same values.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

from nanotrain import rules
from nanotrain.schema import (
    HORIZONS,
    SECTIONS,
    Checkpoint,
    ConfigError,
    Data,
    Eval,
    Model,
    Observe,
    Optim,
    Train,
    defaults,
    keys,
    nearest,
    typed,
)

__all__ = [
    "ConfigError",
    "Resolved",
    "keys",
    "nearest",
    "preset_names",
    "preset_text",
    "resolve",
    "to_toml",
]


@dataclass(frozen=True)
class Resolved:
    """A configuration in which every key has its value.

    Attributes:
        origin: Where each value came from, by key: "default", "preset nano-d8", "file x.toml",
            "flag", "tokenizer", "device" or "auto: rule".
        notes: What a user should hear about the choices made, one line each.
    """

    model: Model
    optim: Optim
    train: Train
    data: Data
    eval: Eval
    checkpoint: Checkpoint
    observe: Observe
    origin: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Every value by key, `section.name`."""
        return {
            f"{section}.{name}": value
            for section in SECTIONS
            for name, value in getattr(self, section).model_dump(by_alias=True).items()
        }


def resolve(
    source: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    vocab_size: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    processes: int = 1,
) -> Resolved:
    """The configuration of a preset or TOML file under overrides.

    Args:
        source: Name of a preset, path of a TOML file, or None for the defaults.
        overrides: Values by key as text from flags or typed, or nested by section. `depth` is
            short for `model.depth`. A horizon here replaces the source's.
        vocab_size: Size of the tokenizer; stands in for a preset's or the default vocabulary,
            and what flags or a file ask for must hold it.
        device: What `train.device` auto means on this machine.
        dtype: What `train.dtype` auto means on this machine.
        processes: Processes that share the global batch.

    Raises:
        ConfigError: For unknown presets, files and keys, and for values that are out of range or
            contradict each other.
    """
    values: dict[str, Any] = defaults()
    origin = dict.fromkeys(values, "default")
    layers: list[tuple[str, str, Mapping[str, Any]]] = []
    if source is not None:
        name, where, text = _source(source)
        layers.append((name, where, _toml(where, text)))
    if overrides:
        layers.append(("flag", "", overrides))
    for name, where, layer in layers:
        given = {key: typed(key, value, where=where) for key, value in _flat(layer, where)}
        horizons = [key for key in HORIZONS if given.get(key) is not None]
        if len(horizons) > 1:
            raise ConfigError(
                f"{where + ': ' if where else ''}{' and '.join(horizons)} are both given,"
                " allowed: one horizon"
            )
        if horizons:
            for key in HORIZONS:
                values.pop(key, None)
        values |= given
        origin |= dict.fromkeys(given, name)
    values = {key: v for key, v in values.items() if not (key in HORIZONS and v is None)}
    _vocabulary(values, origin, vocab_size)
    for key, choice in (("train.device", device), ("train.dtype", dtype)):
        if choice is not None and values[key] == "auto":
            values[key], origin[key] = choice, "device"
    if values["train.compile"] == "auto" and values["train.device"] != "auto":
        values["train.compile"] = values["train.device"].startswith("cuda")
        origin["train.compile"] = "device"
    notes = rules.complete(values, origin, processes=processes)
    sections = {
        section: model.model_validate(
            {k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{section}.")}
        )
        for section, model in SECTIONS.items()
    }
    ordered = {key: origin[key] for key in keys()}
    return Resolved(**sections, origin=ordered, notes=tuple(notes))  # type: ignore[arg-type]


def _vocabulary(values: dict[str, Any], origin: dict[str, str], vocab_size: int | None) -> None:
    """Takes the tokenizer's size unless flags or a file ask for a larger vocabulary."""
    if vocab_size is None:
        return
    asked = values.get("model.vocab_size")
    if asked is None or origin["model.vocab_size"].startswith("preset"):
        values["model.vocab_size"], origin["model.vocab_size"] = vocab_size, "tokenizer"
    elif asked < vocab_size:
        raise ConfigError(
            f"model.vocab_size is {asked}, the tokenizer has {vocab_size} ids",
            f"use `--model.vocab_size {vocab_size}` or leave it out",
        )


def _flat(layer: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Key and value of each entry, nested by section or written `section.key`."""
    for key, value in layer.items():
        if isinstance(value, Mapping):
            if key not in SECTIONS:
                guess = nearest(key, SECTIONS)
                raise ConfigError(
                    f"{where + ': ' if where else ''}unknown section [{key}]",
                    f"did you mean [{guess}]?" if guess else f"sections: {', '.join(SECTIONS)}",
                )
            yield from ((f"{key}.{name}", entry) for name, entry in value.items())
        elif key == "depth" and not where:
            yield "model.depth", value
        elif key in SECTIONS:
            raise ConfigError(f"{where + ': ' if where else ''}{key} is {value!r}, not a table")
        else:
            yield key, value


def preset_names() -> list[str]:
    """The presets, by family and size."""
    names = [
        entry.name.removesuffix(".toml")
        for entry in (files("nanotrain") / "presets").iterdir()
        if entry.name.endswith(".toml")
    ]

    def by_size(name: str) -> tuple[str, int, str]:
        stem = name.rstrip("0123456789m")
        digits = "".join(c for c in name[len(stem) :] if c.isdigit())
        return stem, int(digits or 0), name

    return sorted(names, key=by_size)


def preset_text(name: str) -> str:
    """The TOML of a preset.

    Raises:
        ConfigError: If there is no preset of this name.
    """
    names = preset_names()
    if name not in names:
        guess = nearest(name, names)
        raise ConfigError(
            f"no preset or file {name!r}",
            f"did you mean `{guess}`?" if guess else f"presets: {', '.join(names)}",
        )
    return (files("nanotrain") / "presets" / f"{name}.toml").read_text("utf-8")


def _source(source: str | os.PathLike[str]) -> tuple[str, str, str]:
    """What to call a preset or file in `origin` and in messages, and its text."""
    path = Path(source)
    looks_like_file = path.suffix == ".toml" or len(path.parts) > 1
    if isinstance(source, str) and not looks_like_file and not path.is_file():
        return f"preset {source}", f"preset {source}", preset_text(source)
    try:
        return f"file {path.name}", str(path), path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"cannot read configuration file {path}: {reason}") from None


def _toml(where: str, text: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(f"{where}: {message[:1].lower()}{message[1:]}") from None
    return parsed


def to_toml(resolved: Resolved) -> str:
    """The whole configuration as TOML, each value with a comment that says where it came from.

    Keys that nothing reads under the family and optimizer are left out.
    """
    values = resolved.values()
    unused = rules.without_effect(values)
    lines: list[str] = []
    for section in SECTIONS:
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        for key, value in values.items():
            if key.startswith(f"{section}.") and key not in unused:
                entry = f"{key.partition('.')[2]} = {_toml_value(value)}"
                lines.append(f"{entry:<34}  # {resolved.origin[key]}")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if value is None:
        return '"off"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(part) for part in value) + "]"
    return repr(value)
