"""The `nanotrain` command.

Logs go to stderr, data to stdout. Every mistake ends as one `error:` line, with a `hint:` where
there is one, and an exit code: 0 done, 1 error, 2 usage, 3 will not fit, 4 diverged,
130 interrupted. PyTorch is imported only by the commands that use it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from nanotrain import __version__
from nanotrain.errors import DivergedError, UsageError
from nanotrain.flags import split_flags

OK, ERROR, USAGE, TOO_LARGE, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_CONFIG_EPILOG = (
    "Every key of the configuration is a flag too: --train.steps 100, --model.softcap off."
    " --depth N is short for --model.depth N. `nanotrain presets show cpu-demo` shows an example."
)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing its own usage lines."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"`{self.prog} --help` shows the usage")


# Turns that an OpenMP thread spins before it sleeps, some 0.1 ms. The default of 300,000 blocks the
# cores that others need: with 5 processes on 2 cores, steps of cpu-demo took 2.2 s instead of 1.1.
_SPIN_TURNS = "2000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives back its exit code."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # Read by OpenMP when PyTorch is loaded, so it cannot wait any longer.
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_TURNS)
    try:
        code = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left, as `| head` does: keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except KeyboardInterrupt:
        return _fail("interrupted", None, INTERRUPTED)
    except ImportError as error:
        return _missing_package(error)
    except Exception as error:
        return _report(error)
    return code


def _report(error: Exception) -> int:
    """The lines and the exit code of an error that a user can cause; others are raised again."""
    hint = getattr(error, "hint", None)
    if isinstance(error, DivergedError):
        return _fail(str(error), hint, DIVERGED)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        place = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{place}{reason}", hint, ERROR)
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
        hint = "use fewer `--train.micro_rows`; `nanotrain plan` shows what fits"
        return _fail("out of memory", hint, TOO_LARGE)
    if isinstance(error, UsageError) or type(error).__name__ == "ConfigError":
        return _fail(str(error), hint, USAGE)
    if isinstance(error, (ValueError, RuntimeError)):
        return _fail(str(error), hint, ERROR)
    raise error


def _fail(message: str, hint: str | None, code: int) -> int:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not hint and len(lines) > 1 and lines[1].startswith("hint:"):
        hint = lines[1].removeprefix("hint:").strip()
    print(f"error: {lines[0] if lines else 'unknown'}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code


def _missing_package(error: ImportError) -> int:
    name = (error.name or str(error)).partition(".")[0]
    if name in ("nanotrain", "nanobpe"):
        raise error
    return _fail(f"nanotrain needs the package {name}", 'pip install "nanobpe[train]"', ERROR)


def _dispatch(arguments: list[str]) -> int:
    parser, commands = _parsers()
    if not arguments or arguments[0].startswith("-") or arguments[0] not in commands:
        if arguments and not arguments[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(arguments[0], commands, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"commands: {', '.join(commands)}"
            raise UsageError(f"unknown command {arguments[0]}", hint)
        if not arguments:
            parser.print_help(sys.stderr)
            return USAGE
        parser.parse_args(arguments)
    command, function, configured = commands[arguments[0]]
    keys: Sequence[str] = ()
    if configured and not {"-h", "--help"} & set(arguments):
        from nanotrain.config import keys as all_keys

        keys = list(all_keys())
    options = command._option_string_actions.keys()
    rest, overrides = split_flags(arguments[1:], options=options, keys=keys)
    parsed = command.parse_args(rest)
    parsed.overrides = overrides
    return function(parsed)


def _parsers() -> tuple[
    _Parser, dict[str, tuple[_Parser, Callable[[argparse.Namespace], int], bool]]
]:
    """The parser of the program, and of each command with its function."""
    from nanotrain import commands as c

    parser = _Parser(
        prog="nanotrain", description="A lean trainer of small language models.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"nanotrain {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    found = {}

    def command(
        name: str, function: Callable[[argparse.Namespace], int], text: str, *, keys: bool = False
    ) -> _Parser:
        sub = subparsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=_CONFIG_EPILOG if keys else None,
            allow_abbrev=False,
        )
        found[name] = (sub, function, keys)
        return sub

    sub = command("presets", c.presets, "list, show or copy presets")
    sub.add_argument("action", nargs="?", choices=("list", "show", "copy"), default="list")
    sub.add_argument("name", nargs="?", help="of the preset to show or copy")
    sub.add_argument("file", nargs="?", help="to copy to")

    sub = command("plan", c.plan, "parameters, FLOPs, tokens, memory and time of a run", keys=True)
    _add_source(sub)
    _add_json(sub)

    sub = command("run", c.run, "train a model", keys=True)
    _add_source(sub)
    sub.add_argument("--data", metavar="SHARDS", help="folder of shards; short for --data.path")
    sub.add_argument("--out", metavar="FOLDER", help="run folder, runs/PRESET by default")
    sub.add_argument("--gpus", metavar="N", type=c.count, help="GPUs to train on")
    sub.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    sub.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    _add_json(sub)

    sub = command("eval", c.evaluate, "measure a trained model")
    _add_run(sub)
    sub.add_argument("--on", metavar="MEASURES", default="bpb", help="bpb (bits per byte)")
    sub.add_argument("--tokens", type=c.count, metavar="N", help="budget per split, such as 40M")
    sub.add_argument("--split", metavar="SPLITS", help="such as train,val")
    sub.add_argument("--data", metavar="SHARDS", help="other shards than the run's")
    _add_json(sub)

    sub = command("sample", c.sample, "let a trained model write")
    _add_run(sub)
    sub.add_argument("--prompt", default="", help="text to go on from, - for standard input")
    sub.add_argument("--max", type=c.count, default=200, metavar="N", help="most tokens, 200")
    sub.add_argument("--temperature", type=c.temperature, default=0.8, metavar="T", help="0.8")
    sub.add_argument("--top-k", type=c.count_or_off, default=50, metavar="K", help="50, or off")
    sub.add_argument("--top-p", type=c.share_or_off, metavar="P", help="0.95, or off (default)")
    sub.add_argument("--n", type=c.count, default=1, metavar="N", help="texts, 1")
    sub.add_argument("--seed", type=c.whole, default=1, metavar="S", help="1")
    _add_json(sub)

    sub = command("report", c.report, "write a run's report again")
    sub.add_argument("run", metavar="RUN", help="run folder")
    return parser, found


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", nargs="?", metavar="PRESET|FILE.toml", help="what to start from")


def _add_run(parser: argparse.ArgumentParser) -> None:
    from nanotrain import commands as c

    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--step", type=c.step, metavar="N|best", help="checkpoint, newest first")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def print_json(value: dict[str, Any]) -> None:
    """One object on one line of stdout."""
    print(json.dumps(value, ensure_ascii=False), flush=True)
