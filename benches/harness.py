"""What the benches share: processes measured in turn, corpora, a dated JSON file and a table.

Every measurement is a process of its own (start-up and imports included), ours and the peers' take
turns, and the median counts: machines are shared and drift, so only figures of one run compare.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SHARED_TEXT = HERE.parent.parent / "shared" / "data" / "text"
SHARED_VOCABULARIES = HERE.parent.parent / "shared" / "data" / "tokenizers"


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every bench has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--rounds", type=int, default=5, help="runs of each job; the median counts")
    found.add_argument("--threads", type=int, default=2, help="processors that every job may use")
    found.add_argument("--peers", default=sys.executable, help="an interpreter with the peers")
    found.add_argument("--only", nargs="+", help="only these contestants")
    found.add_argument("--no-record", action="store_true", help="print the table, write nothing")
    return found


def corpus(name: str, folder: Path, max_bytes: int | None = None) -> Path:
    """A text file: a bench corpus by its name, else the standard library's sources ("code")."""
    target = folder / f"{name}.txt"
    if target.exists():
        return target
    packed = SHARED_TEXT / f"{name}_100MB.txt.zst"
    if name == "code":
        data = b"".join(p.read_bytes() + b"<|endoftext|>" for p in standard_library())
    elif packed.exists():
        import pyarrow as pa

        with pa.CompressedInputStream(pa.OSFile(str(packed)), "zstd") as stream:
            data = stream.read()
    else:
        raise SystemExit(f"error: there is no corpus {name}: {packed} is absent; code always is")
    if max_bytes and len(data) > max_bytes:
        # From all over the file: the sources of a corpus lie one after another.
        step = len(data) // 100
        parts = [data[i : i + max_bytes // 100] for i in range(0, step * 100, step)]
        data = b"\n".join(p.partition(b"\n")[2].rpartition(b"\n")[0] for p in parts)
    target.write_bytes(data)
    return target


def standard_library() -> list[Path]:
    """Python's own sources on this machine, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(p for p in root.rglob("*.py") if "site-packages" not in p.parts)


class Measured(dict[str, Any]):
    """What a job printed as JSON, with seconds, cpu_seconds and peak_mib of its process."""


def measure(code: str, python: str, threads: int, values: Mapping[str, Any]) -> Measured:
    """Runs Python code in a process; `values` are variables in it, its last line is JSON."""
    prelude = f"import json\nglobals().update(json.loads({json.dumps(json.dumps(values))}))\n"
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    env["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    with tempfile.TemporaryFile() as out:
        start = datetime.datetime.now()
        process = subprocess.Popen(
            [python, "-c", prelude + code],
            stdout=out,
            env=env,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = (datetime.datetime.now() - start).total_seconds()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        lines = out.read().decode().strip().splitlines()
    if process.returncode:
        raise RuntimeError(f"a job ended with {process.returncode}")
    printed = json.loads(lines[-1]) if lines else {}
    return Measured(
        printed,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
    )


def take_turns(
    jobs: Mapping[str, Callable[[], Measured]], rounds: int
) -> dict[str, list[Measured]]:
    """Runs every job in turn, `rounds` times; a job that fails is left out and named."""
    runs: dict[str, list[Measured]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name in [n for n in jobs if n in runs]:
            try:
                runs[name].append(jobs[name]())
            except RuntimeError as error:
                print(f"warning: {name}: {error}", file=sys.stderr)
                del runs[name]
    return runs


def median(runs: Sequence[Measured], key: str) -> float:
    """The median of a figure."""
    return statistics.median(run[key] for run in runs)


def machine(python: str, packages: Sequence[str]) -> dict[str, Any]:
    """What the figures depend on: processor, versions of what took part."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    code = (
        "import importlib.metadata as m, json, sys\n"
        "out = {}\n"
        "for p in sys.argv[1:]:\n"
        "    try: out[p] = m.version(p)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(out))"
    )
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, check=True)
    versions = json.loads(done.stdout) | {"nanobpe": importlib.metadata.version("nanobpe")}
    return {"cpu": cpu, "python": platform.python_version(), "versions": versions}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def record(name: str, data: dict[str, Any], text: str) -> None:
    """Writes results/NAME-DATE.json and puts the table into README.md between NAME's marks."""
    RESULTS.mkdir(exist_ok=True)
    date = datetime.date.today().isoformat()
    path = RESULTS / f"{name}-{date}.json"
    path.write_text(json.dumps({"date": date, **data}, indent=1) + "\n")
    readme = HERE / "README.md"
    content = readme.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, _, rest = content.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"error: {readme} has no marks {begin.strip()} and {end}")
    where = f"{data['machine']['cpu']}, {data['threads']} threads, {date}; {path.name}\n"
    readme.write_text(f"{head}{begin}{text}\n\n{where}{end}{tail}")
    print(f"wrote {path}", file=sys.stderr)
