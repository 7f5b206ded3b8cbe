"""A run on one page: figures, plots, evaluations, samples, configuration.

`report.html` loads nothing: pictures and style are in it. It can be mailed and opened anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from nanotrain import files
from nanotrain.folder import Folder
from nanotrain.observe.log import duration, scaled
from nanotrain.observe.metrics import Row, read_rows
from nanotrain.observe.page import PAGE
from nanotrain.observe.plots import AXES, draw_all
from nanotrain.summary import summary

_TITLES = {
    "loss": "Loss",
    "bpb": "Bits per byte",
    "learning-rate": "Learning rate",
    "throughput": "Throughput",
}
# A long run has hundreds of evaluations; the table shows them evenly thinned, the ends included.
_MOST_EVALUATIONS = 24


def write_report(folder: Folder) -> Path:
    """Writes the page and its plots as single files; gives back the page's path.

    Raises:
        OSError: If the folder cannot be written.
    """
    rows = list(read_rows(folder.metrics))
    pictures = draw_all(rows)
    folder.plots.mkdir(exist_ok=True)
    for name, by_axis in pictures.items():
        for axis, svg in by_axis.items():
            files.write(folder.plots / f"{name}-{axis}.svg", svg)
    facts = folder.facts()
    page = Template(PAGE).substitute(
        title=escape(folder.path.resolve().name),
        subtitle=_subtitle(facts),
        cards=_cards(summary(folder), rows),
        plots=_plots(pictures),
        evaluations=_evaluations(rows),
        samples=_samples(list(read_rows(folder.samples))),
        events=_events(rows, facts),
        config=escape(folder.config.read_text("utf-8")),
        facts=_facts(facts),
    )
    files.write(folder.report, page)
    return folder.report


def _subtitle(facts: dict[str, Any]) -> str:
    versions, machine = facts.get("versions", {}), facts.get("machine", {})
    parts = [
        str(facts.get("preset") or "from flags"),
        str(machine.get("device", "")),
        f"nanotrain {versions.get('nanotrain', '')}",
        f"torch {versions.get('torch', '')}",
        f"started {str(facts.get('started', '')).replace('T', ' ').replace('+00:00', ' UTC')}",
    ]
    return " &middot; ".join(escape(part) for part in parts if part)


def _cards(result: dict[str, Any], rows: Sequence[Row]) -> str:
    """The figures that people look for first."""
    untrained, best = result["untrained_val_bpb"], result["best_val_bpb"]
    mfu = [r["mfu"] for r in rows if r.get("mfu")]
    fall = f"{100 * (1 - best / untrained):.0f} % below untrained" if best and untrained else ""
    entries = [
        ("best validation", _bpb(best), fall),
        ("validation, last", _bpb(result["val_bpb"]), "bits per byte"),
        ("training", _bpb(result["train_bpb"]), "bits per byte"),
        ("steps", f"{result['step']:,}", f"{scaled(result['tokens'])} tokens"),
        ("time", duration(result["seconds"]), f"{result['seconds']:,.0f} seconds"),
        (
            "throughput",
            scaled(result["tokens_per_s"] or 0),
            "tokens/s" + (f", MFU {100 * sorted(mfu)[len(mfu) // 2]:.1f} %" if mfu else ""),
        ),
    ]
    return "\n".join(
        f'<div class="card"><span>{name}</span><b>{value}</b><small>{note}</small></div>'
        for name, value, note in entries
    )


def _bpb(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.4f}"


def _plots(pictures: dict[str, dict[str, bytes]]) -> str:
    """Every picture by every axis; the page's style shows those of the chosen axis."""
    found = []
    for name, by_axis in pictures.items():
        for axis in AXES:
            data = base64.b64encode(by_axis[axis]).decode()
            found.append(
                f'<figure class="by-{axis}"><img alt="{_TITLES[name]} against {axis}"'
                f' src="data:image/svg+xml;base64,{data}"></figure>'
            )
    return "\n".join(found)


def _evaluations(rows: Sequence[Row]) -> str:
    """A table row per evaluated step."""
    by_step: dict[int, dict[str, Row]] = {}
    for row in rows:
        if row.get("kind") == "eval":
            by_step.setdefault(row["step"], {})[row["split"]] = row
    losses = {row["step"]: row["loss"] for row in rows if row.get("kind") == "step"}
    shown = sorted(by_step)
    if len(shown) > _MOST_EVALUATIONS:
        last = len(shown) - 1
        shown = [shown[round(i * last / (_MOST_EVALUATIONS - 1))] for i in range(_MOST_EVALUATIONS)]
    lines = []
    for step in shown:
        for split, row in by_step[step].items():
            cells = (
                f"{step:,}",
                escape(split),
                _bpb(row.get("bpb")),
                f"{row['loss']:.4f}" if row.get("loss") is not None else "&ndash;",
                f"{losses[step]:.4f}" if step in losses else "&ndash;",
                f"{row['tokens']:,}",
            )
            lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join(lines) or '<tr><td colspan="6">no evaluations</td></tr>'


def _samples(samples: Sequence[Row]) -> str:
    """The newest text for each prompt, the older ones folded away."""
    if not samples:
        return "<p>no samples</p>"
    by_step: dict[int, list[Row]] = {}
    for sample in samples:
        by_step.setdefault(sample["step"], []).append(sample)
    *older, newest = sorted(by_step)
    found = [f"<h3>step {newest:,}</h3>", *map(_sample, by_step[newest])]
    for step in reversed(older):
        texts = "".join(map(_sample, by_step[step]))
        found.append(f"<details><summary>step {step:,}</summary>{texts}</details>")
    return "\n".join(found)


def _sample(sample: Row) -> str:
    return f'<pre class="sample"><b>{escape(sample["prompt"])}</b>{escape(sample["text"])}</pre>'


def _events(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """What went another way than asked: notes, fallbacks, interruptions."""
    lines = [escape(str(note)) for key in ("notes", "fallbacks") for note in facts.get(key, [])]
    for row in rows:
        if row.get("kind") == "event":
            rest = {k: v for k, v in row.items() if k not in ("kind", "step", "event") and v}
            more = ", ".join(
                f"{', '.join(map(str, v)) if isinstance(v, list) else v}" for v in rest.values()
            )
            lines.append(escape(f"step {row.get('step', 0):,}: {row.get('event')} {more}".strip()))
    return "\n".join(f"<li>{line}</li>" for line in lines) or "<li>none</li>"


def _facts(facts: dict[str, Any]) -> str:
    """Versions, machine, data and kernels as a definition list."""
    lines = []
    for section in ("data", "machine", "versions", "kernels"):
        for name, value in facts.get(section, {}).items():
            label = f"{section} {name}".replace("_", " ")
            lines.append(f"<dt>{escape(label)}</dt><dd>{escape(str(value))}</dd>")
    command = " ".join(map(str, facts.get("command", [])))
    return f"<dt>command</dt><dd>nanotrain {escape(command)}</dd>" + "".join(lines)
