"""What each command of `nanotrain` does, and how it reads its options."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanotrain import flags
from nanotrain.errors import RunError, UsageError

if TYPE_CHECKING:
    from nanotrain.plan import Plan


def presets(arguments: argparse.Namespace) -> int:
    """`nanotrain presets [list | show NAME | copy NAME FILE]`."""
    from nanotrain import files
    from nanotrain.config import preset_names, preset_text

    action, name, file = arguments.action, arguments.name, arguments.file
    wanted = {"list": 0, "show": 1, "copy": 2}[action]
    if (name is not None) + (file is not None) != wanted:
        usage = {"list": "list", "show": "show NAME", "copy": "copy NAME FILE"}[action]
        raise UsageError(f"want `nanotrain presets {usage}`")
    if action == "list":
        for known in preset_names():
            print(f"{known:<20}{_first_comment(preset_text(known))}".rstrip())
    elif action == "show":
        print(preset_text(name), end="")
    else:
        target = Path(file)
        if target.exists():
            raise RunError(f"{file} exists already", "choose another file")
        files.write(target, preset_text(name))
        print(f"wrote {file}", file=sys.stderr)
    return 0


def _first_comment(toml: str) -> str:
    first = toml.partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def plan(arguments: argparse.Namespace) -> int:
    """`nanotrain plan`."""
    from nanotrain.config import resolve
    from nanotrain.plan import plan as make_plan

    resolved = resolve(arguments.preset, arguments.overrides)
    made = make_plan(resolved)
    _print_plan(made, as_json=arguments.json)
    return 0 if made.fits else 3


def _print_plan(made: Plan, *, as_json: bool) -> None:
    from nanotrain.cli import print_json

    if as_json:
        print_json(made.as_dict())
    else:
        print("\n".join(made.lines()))


def run(arguments: argparse.Namespace) -> int:
    """`nanotrain run`."""
    from nanotrain.cli import print_json
    from nanotrain.config import resolve

    overrides = dict(arguments.overrides)
    if arguments.data is not None:
        overrides["data.path"] = arguments.data
    if "data.path" in overrides:
        # The record must lead to the shards from any folder.
        overrides["data.path"] = os.path.abspath(overrides["data.path"])  # noqa: PTH100
    if not arguments.resume:
        # Mistakes in the configuration are told before PyTorch is loaded.
        resolve(arguments.preset, overrides)
    preset = arguments.preset
    out = Path(arguments.out or _default_out(preset, overrides))

    import signal

    from nanotrain import distributed
    from nanotrain import run as runs
    from nanotrain.observe.log import Log

    if arguments.gpus is not None:
        _check_gpus(arguments.gpus)
    prepared = runs.prepare(preset, overrides, out, resume=arguments.resume)
    if arguments.dry_run:
        _print_plan(prepared.plan, as_json=arguments.json)
        return 0
    log = Log(enabled=distributed.world().is_main)
    try:
        outcome = runs.run(prepared, log, preset=preset)
    finally:
        log.close()
    if arguments.json and distributed.world().is_main:
        print_json(outcome.summary)
    return 130 if outcome.signal == signal.SIGINT else 0


def _default_out(preset: str | None, overrides: dict[str, Any]) -> str:
    depth = overrides.get("model.depth", "12")
    return f"runs/{Path(preset).stem if preset else f'd{depth}'}"


def _check_gpus(wanted: int) -> None:
    """One process trains on one GPU; several are torchrun's to start."""
    import torch

    from nanotrain import distributed

    found = torch.cuda.device_count()
    if wanted > found:
        raise RunError(
            f"--gpus {wanted} is asked for, this machine has {found} GPU{'s'[: found != 1]}",
            "leave out `--gpus` to use what there is",
        )
    if wanted != distributed.processes():
        raise RunError(
            f"--gpus {wanted} needs {wanted} processes, got {distributed.processes()}",
            f"start it with `torchrun --nproc-per-node {wanted} -m nanotrain run ...`",
        )


def evaluate(arguments: argparse.Namespace) -> int:
    """`nanotrain eval`."""
    for measure in arguments.on.split(","):
        if measure != "bpb":
            raise UsageError(f"--on is {measure!r}, allowed: bpb")

    from nanotrain.cli import print_json
    from nanotrain.evals.command import evaluate_run

    splits = None if arguments.split is None else arguments.split.split(",")
    result = evaluate_run(
        Path(arguments.run),
        step=arguments.step,
        splits=splits,
        tokens=arguments.tokens,
        data=arguments.data,
        device=arguments.device,
    )
    if arguments.json:
        print_json(result)
    else:
        for key, value in result.items():
            print(f"{key:<12}{value:.4f}" if isinstance(value, float) else f"{key:<12}{value}")
    return 0


def sample(arguments: argparse.Namespace) -> int:
    """`nanotrain sample`."""
    from dataclasses import asdict

    from nanotrain import folder
    from nanotrain.cli import print_json
    from nanotrain.infer import generate

    loaded = folder.load(arguments.run, step=arguments.step, device=arguments.device)
    # The newline that ends a piped line is the shell's, not the text's.
    piped = arguments.prompt == "-"
    prompt = sys.stdin.read().removesuffix("\n") if piped else arguments.prompt
    stream = not arguments.json and arguments.n == 1

    def write(_: int, piece: str) -> None:
        print(piece, end="", flush=True)

    if stream:
        print(prompt, end="", flush=True)
    samples = generate(
        loaded.model,
        loaded.tokenizer,
        [prompt] * arguments.n,
        max_tokens=arguments.max,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        seed=arguments.seed,
        write=write if stream else None,
    )
    if stream:
        print()
    for number, one in enumerate(samples, 1):
        if arguments.json:
            print_json(asdict(one))
        elif not stream:
            print(f"--- {number} of {len(samples)}\n{prompt}{one.text}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """`nanotrain report`."""
    from nanotrain.folder import Folder
    from nanotrain.observe.report import write_report
    from nanotrain.summary import progress, summary

    folder = Folder(Path(arguments.run)).require()
    path = write_report(folder)
    if line := progress(summary(folder)):
        print(line, file=sys.stderr)
    print(path)
    return 0


def count(text: str) -> int:
    """Reads a positive count, such as 40M."""
    try:
        return flags.size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole(text: str) -> int:
    """Reads a whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}, allowed: a whole number from 0")
    return int(text)


def step(text: str) -> int | Literal["best"]:
    """Reads a step or "best"."""
    if text == "best":
        return "best"
    try:
        return whole(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r}, allowed: a step or best") from None


def temperature(text: str) -> float:
    """Reads a temperature."""
    return _number(text, 0, 100, "0 (the likeliest) to 100")


def count_or_off(text: str) -> int | None:
    """Reads a count; off is None."""
    return None if text == "off" else count(text)


def share_or_off(text: str) -> float | None:
    """Reads a probability; off is None."""
    return None if text == "off" else _number(text, 1e-9, 1, "above 0 to 1, off")


def _number(text: str, low: float, high: float, allowed: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r}, allowed: {allowed}")
    return value
