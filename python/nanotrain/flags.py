"""Configuration flags on the command line: `--section.key value` or `--section.key=value`.

They are taken out before argparse sees the rest, so that a flag's value is never mistaken for a
preset's name, and every flag that is neither an option nor a key is refused with the nearest name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from nanotrain.errors import UsageError

_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


def split_flags(
    arguments: Sequence[str], *, options: Collection[str], keys: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """The arguments for argparse, and values by configuration key; of one key the last.

    Args:
        arguments: What follows the command's name.
        options: The command's own options, with their dashes.
        keys: Configuration keys that it takes, `section.name`; with any, `--depth` is one too.

    Raises:
        UsageError: For an unknown flag or a missing value.
    """
    known = {f"--{key}": key for key in keys} | ({"--depth": "model.depth"} if keys else {})
    rest: list[str] = []
    overrides: dict[str, str] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":
            return [*rest, argument, *remaining], overrides
        flag, given, value = argument.partition("=")
        if not flag.startswith("--") or flag in options:
            rest.append(argument)
            continue
        if flag not in known:
            raise _unknown(flag, [*options, *known])
        if not given:
            if not remaining or remaining[0].startswith("--"):
                raise UsageError(f"{flag} needs a value")
            value = remaining.pop(0)
        overrides[known[flag]] = value
    return rest, overrides


def _unknown(flag: str, allowed: list[str]) -> UsageError:
    from nanotrain.config import nearest

    guess = nearest(flag.lstrip("-"), [name.lstrip("-") for name in allowed])
    hint = f"did you mean `--{guess}`?" if guess else "`--help` lists the options"
    return UsageError(f"unknown flag {flag}", hint)


def size(text: str) -> int:
    """A count such as 4096, 40M or 1e6.

    Raises:
        ValueError: If it is no positive whole number.
    """
    match = re.fullmatch(r"([\d_.]+(?:e\d+)?)([KMGBT]?)", text, re.IGNORECASE)
    value = float(match[1]) * _SIZES[match[2].upper()] if match else 0.0
    if value < 1 or value != int(value):
        raise ValueError(f"{text!r} is no count, allowed: 4096, 40M, 1e6")
    return int(value)
