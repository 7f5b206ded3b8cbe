"""The command line: `nanobpe train | count | encode | decode | inspect | eval | convert | verify`.

Data goes to stdout, logs, warnings and errors to stderr. A mistake of the user's is one line
`error: ...`, perhaps with a `hint: ...`, and never a traceback. Exit codes: 0 done, 1 files and
data, 2 flags, 130 interrupted. What a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import TYPE_CHECKING, NoReturn

from nanobpe.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATTERN_NAMES = "nano, gpt2, r50k, p50k, cl100k, llama3, o200k, qwen2"


class Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others."""

    def error(self, message: str) -> NoReturn:
        """Prints the error and where help is, and exits with 2."""
        report(f"{message}\nhint: `{self.prog} --help` says what there is")
        sys.exit(2)


def report(message: str) -> None:
    """Prints an error; what follows its first line are hints."""
    print(f"error: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and gives the exit code."""
    # Nothing here multiplies matrices, and numpy's threads spin for a while after its import.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        arguments = make_parser().parse_args(argv)
        warnings.showwarning = _show_warning
        warnings.simplefilter("always", UserWarning)
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not try to flush it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        report(str(error))
        return 2
    except OSError as error:
        report(os_error_text(error))
        return 1
    except (ValueError, KeyError) as error:
        # A KeyError prints its argument's repr; the argument is the message.
        report(str(error.args[0] if error.args else error))
        return 1
    except MemoryError:
        report("out of memory")
        return 1
    return 0


def os_error_text(error: OSError) -> str:
    """The file and the reason, without the number; a hint where a tokenizer's folder is none."""
    if error.errno and error.strerror:
        places = [str(p) for p in (error.filename, error.filename2) if p is not None]
        text = ": ".join([*places[:1], error.strerror])
        if places and places[0].endswith("meta.json"):
            made = "`nanobpe train`, or `nanobpe convert` from other files"
            text += f"\nhint: want a tokenizer's folder, as made by {made}"
        return text
    return str(error) or type(error).__name__


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _checked(parse: Callable[[str], object]) -> Callable[[str], object]:
    """A parser of values whose ValueError argparse shows as it is."""

    def checked(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _size(text: str) -> int:
    from nanobpe.console import parse_size

    return parse_size(text)


def _share(text: str) -> float:
    from nanobpe.console import parse_share

    return parse_share(text)


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"{text!r} is no whole number from 1 on")
    return number


def _splits(text: str) -> dict[str, float]:
    parts = text.split(",")
    if len(parts) != 3:
        raise ValueError(f"{text!r} has {len(parts)} shares; train, val and test need 3")
    shares = [_share(part) for part in parts]
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares {text!r} add up to {sum(shares):g}, not to 1")
    return dict(zip(("train", "val", "test"), shares, strict=True))


def make_parser() -> Parser:
    """The parser of all commands."""
    from nanobpe import __version__, commands, reports

    parser = Parser(
        prog="nanobpe", description="Train and use byte-level BPE tokenizers, exactly and fast."
    )
    parser.add_argument("--version", action="version", version=f"nanobpe {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    size, share = _checked(_size), _checked(_share)
    positive, splits = _checked(_positive), _checked(_splits)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> Parser:
        made = subparsers.add_parser(name, help=text, description=f"{text}.")
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="last line of stdout is JSON")
        return made

    def reading(made: Parser) -> None:
        inputs = "files (.txt .jsonl .parquet, each also .gz .zst), globs, folders, URLs, or -"
        made.add_argument("inputs", nargs="+", metavar="INPUT", help=inputs)
        made.add_argument("--field", default="text", help="field of jsonl and parquet [text]")
        made.add_argument(
            "--split-on", action="append", default=[], metavar="S", help="separates documents"
        )
        made.add_argument("--max-bytes", type=size, metavar="N", help="read no more: 2G, 100M")
        made.add_argument(
            "--max-doc-chars", type=positive, metavar="N", help="first characters of a document"
        )
        made.add_argument("--threads", type=positive, metavar="N", help="[all processors]")
        progress(made)

    def progress(made: Parser) -> None:
        kinds = ("auto", "plain", "json", "off")
        made.add_argument("--progress", choices=kinds, default="auto", help="on stderr [auto]")

    def on_cluster(made: Parser, verb: str) -> None:
        text = f"{verb} on the Ray cluster of RAY_ADDRESS, or one started on this machine"
        made.add_argument("--cluster", choices=("ray",), help=text)

    def counting(made: Parser) -> None:
        reading(made)
        made.add_argument("--pattern", default="nano", help=f"{PATTERN_NAMES} or a regex [nano]")
        made.add_argument(
            "--special",
            action="append",
            metavar="S",
            help="a special token; may be repeated [<|bos|>]",
        )
        memory = "bound on counts and words: 8G; the rest goes to files in TMPDIR [none]"
        made.add_argument("--memory", type=size, metavar="N", help=memory)
        on_cluster(made, "count")

    train = command("train", commands.train, "Learn a vocabulary from a corpus")
    counting(train)
    train.add_argument("--vocab", type=size, required=True, metavar="N", help="number of ids")
    train.add_argument("--out", required=True, metavar="TOK", help="folder of the tokenizer")
    train.add_argument("--min-frequency", type=positive, default=1, metavar="N", help="[1]")
    train.add_argument("--max-token-bytes", type=positive, metavar="N")
    train.add_argument("--tie-break", choices=("id", "bytes", "hf"), default="id", help="[id]")
    train.add_argument("--counts-out", metavar="FILE", help="write the counts too (parquet)")
    train.add_argument("--resume", metavar="TOK", help="extend this tokenizer")
    train.add_argument("--strict", action="store_true", help="fail if it cannot be filled")

    count = command("count", commands.count, "Count pretokens, for training later or elsewhere")
    counting(count)
    count.add_argument("--out", required=True, metavar="FILE", help="counts (parquet)")

    encode = command("encode", commands.encode, "Write ids into shards, or to stdout")
    reading(encode)
    encode.add_argument("--tok", required=True, help="tokenizer folder")
    goal = encode.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", metavar="SHARDS", help="folder of shards")
    goal.add_argument("--ids", action="store_true", help="ids to stdout, one document a line")
    encode.add_argument(
        "--binary", action="store_true", help="ids of --ids as little-endian numbers of --dtype"
    )
    encode.add_argument("--bos", action="store_true", help="begin each document with its BOS id")
    encode.add_argument("--eos", action="store_true", help="end each document with its EOS id")
    encode.add_argument("--dtype", choices=("auto", "u16", "u32"), default="auto", help="[auto]")
    encode.add_argument(
        "--shard-tokens", type=size, default=100_000_000, metavar="N", help="[100M]"
    )
    division = encode.add_mutually_exclusive_group()
    division.add_argument("--split", type=splits, metavar="A,B,C", help="train, val, test shares")
    division.add_argument("--val", type=share, metavar="SHARE", help="share to validate on: 0.5%%")
    encode.add_argument("--shuffle", action="store_true", help="documents in random order")
    encode.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the split and the order [0]"
    )
    encode.add_argument("--resume", action="store_true", help="go on where a run stopped")
    on_cluster(encode, "encode")

    decode = command("decode", commands.decode, "Turn ids, between white space, into text")
    decode.add_argument("file", nargs="?", default="-", metavar="FILE", help="[-]")
    decode.add_argument("--tok", required=True, help="tokenizer folder")

    inspect = command("inspect", reports.inspect, "Look into a tokenizer")
    inspect.add_argument("tok", help="tokenizer folder")
    what = inspect.add_mutually_exclusive_group()
    what.add_argument("--text", metavar="S", help="show the ids of this text")
    what.add_argument("--file", metavar="F", help="show the ids of this file's text")
    what.add_argument("--token", metavar="ID|STR", help="show one token")
    inspect.add_argument("--longest", type=positive, default=20, metavar="N", help="[20]")
    inspect.add_argument(
        "--unused", nargs="+", metavar="CORPUS", help="tokens never produced on it"
    )
    inspect.add_argument("--field", default="text", help="field of jsonl and parquet [text]")

    evaluate = command("eval", reports.evaluate, "Measure a tokenizer on texts")
    evaluate.add_argument("tok", help="tokenizer folder")
    evaluate.add_argument("--on", nargs="+", required=True, metavar="FILE", help="held-out texts")
    evaluate.add_argument(
        "--against", action="append", default=[], metavar="TOK|FILE", help="another; repeatable"
    )
    evaluate.add_argument("--plot", metavar="FILE", help="draw it too: .png, .svg or .pdf")
    evaluate.add_argument("--field", default="text", help="field of jsonl and parquet [text]")
    evaluate.add_argument("--threads", type=positive, default=1, metavar="N", help="[1]")

    convert = command("convert", commands.convert, "Read and write other formats")
    convert.add_argument("tok", metavar="PATH", help="tokenizer folder, or what --from reads")
    formats = ("hf", "gpt2", "tiktoken")
    convert.add_argument("--to", choices=formats, help="[a tokenizer folder]")
    convert.add_argument("--from", dest="source", choices=formats, help="[a tokenizer folder]")
    convert.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    convert.add_argument("--pattern", help="of a .tiktoken file, which does not tell its own")
    convert.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="S[=ID]",
        help="a special token that the file lacks; a .tiktoken file needs its id",
    )

    verify = command("verify", commands.verify, "Check every byte of a folder of shards")
    verify.add_argument("shards", help="folder of shards")
    progress(verify)
    return parser
