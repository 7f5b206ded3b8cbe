"""The pictures of a run: loss, bits per byte, learning rate and throughput, as SVG.

Each is drawn against steps, tokens and seconds, because runs are compared by all three.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from nanotrain.observe.log import scaled
from nanotrain.observe.metrics import Row, is_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}
_BLUE, _ORANGE, _GREY = "#2563eb", "#ea580c", "#9ca3af"
# More points than this are averaged in groups: a page of some hundred KiB whatever the run.
_MOST_POINTS = 600
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nanotrain",
    "font.family": ["sans-serif"],
    "font.size": 10,
    "axes.edgecolor": "#d1d5db",
    "axes.labelcolor": "#374151",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#eef0f3",
    "xtick.color": "#6b7280",
    "ytick.color": "#6b7280",
    "legend.frameon": False,
    "legend.fontsize": 9,
}
Points = tuple[list[float], list[float]]


def draw_all(rows: Sequence[Row]) -> dict[str, dict[str, bytes]]:
    """SVG by plot (loss, bpb, learning-rate, throughput) and by axis (steps, tokens, seconds).

    Args:
        rows: Of the metrics file.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    steps = [row for row in rows if row.get("kind") == "step"]
    places = _places(rows, steps)
    plots: dict[str, Callable[[Axes, str], None]] = {
        "loss": lambda axes, by: _loss(axes, by, steps, _evals(rows, places)),
        "bpb": lambda axes, by: _bpb(axes, by, _evals(rows, places)),
        "learning-rate": lambda axes, by: _learning_rate(axes, by, steps),
        "throughput": lambda axes, by: _throughput(axes, by, steps),
    }
    pictures: dict[str, dict[str, bytes]] = {}
    with mpl.rc_context(cast("Any", _STYLE)):
        for name, draw in plots.items():
            for label, by in AXES.items():
                figure = Figure(figsize=(6.4, 3.4), layout="constrained")
                FigureCanvasSVG(figure)
                axes = figure.add_subplot()
                draw(axes, by)
                axes.set_xlabel(label)
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: scaled(x)))
                axes.margins(x=0.01)
                file = io.BytesIO()
                figure.savefig(file, format="svg", metadata={"Date": None})
                pictures.setdefault(name, {})[label] = file.getvalue()
    return pictures


def _places(rows: Sequence[Row], steps: Sequence[Row]) -> dict[int, Row]:
    """Tokens and seconds at the end of each step, for rows that have only the step."""
    start = {"step": 0, "tokens": 0, "seconds": 0.0}
    return {0: start} | {row["step"]: row for row in steps}


def _evals(rows: Sequence[Row], places: dict[int, Row]) -> list[Row]:
    """Evaluation rows with the tokens trained on until then."""
    return [
        row | {key: places[row["step"]][key] for key in ("tokens", "seconds")}
        for row in rows
        if row.get("kind") == "eval" and row.get("bpb") is not None and row["step"] in places
    ]


def _points(rows: Sequence[Row], by: str, key: str) -> Points:
    """X and y of the rows that have both, averaged in groups if there are many."""
    pairs = [(row[by], row[key]) for row in rows if row.get(key) is not None]
    size = -(-len(pairs) // _MOST_POINTS) or 1
    groups = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return (
        [sum(x for x, _ in group) / len(group) for group in groups],
        [sum(y for _, y in group) / len(group) for group in groups],
    )


def _smooth(values: Sequence[float], share: float = 0.05) -> list[float]:
    """A running mean that forgets over a share of the values; exact from the first on."""
    keep = 1 - 1 / max(1.0, share * len(values))
    smoothed, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        smoothed.append(mean / weight)
    return smoothed


def _loss(axes: Axes, by: str, steps: Sequence[Row], evals: Sequence[Row]) -> None:
    x, y = _points(steps, by, "loss")
    axes.plot(x, y, color=_BLUE, alpha=0.25, linewidth=1)
    axes.plot(x, _smooth(y), color=_BLUE, linewidth=1.8, label="train")
    _dots(axes, by, [row for row in evals if is_score(row)], "loss", "validation")
    axes.set_title("Loss, nats per token")
    if x:
        axes.legend()


def _bpb(axes: Axes, by: str, evals: Sequence[Row]) -> None:
    scores = [row for row in evals if is_score(row)]
    _dots(axes, by, scores, "bpb", "validation")
    of_train = [row for row in evals if row["split"] == "train"]
    if of_train:
        axes.plot(
            [row[by] for row in of_train],
            [row["bpb"] for row in of_train],
            "s",
            color=_BLUE,
            markersize=5,
            label="train",
        )
    trained = [row for row in scores if row["step"]]
    if trained:
        best = min(trained, key=lambda row: float(row["bpb"]))
        axes.annotate(
            f"best {best['bpb']:.4f}",
            (best[by], best["bpb"]),
            textcoords="offset points",
            xytext=(-4, 9),
            ha="right",
            color=_ORANGE,
        )
    axes.set_title("Bits per byte (bpb)")
    if evals:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no evaluations", transform=axes.transAxes, ha="center", color=_GREY)


def _dots(axes: Axes, by: str, rows: Sequence[Row], key: str, label: str) -> None:
    if rows:
        x, y = [row[by] for row in rows], [row[key] for row in rows]
        axes.plot(x, y, "o-", color=_ORANGE, linewidth=1.5, markersize=4, label=label)


def _learning_rate(axes: Axes, by: str, steps: Sequence[Row]) -> None:
    x, y = _points(steps, by, "lr")
    axes.plot(x, y, color=_BLUE, linewidth=1.8)
    axes.set_ylim(0, max([1.05, *(1.05 * value for value in y)]))
    axes.set_title("Learning rate, share of the peak")


def _throughput(axes: Axes, by: str, steps: Sequence[Row]) -> None:
    from matplotlib.ticker import FuncFormatter

    # The first step pays for warming up; it would set the scale.
    x, y = _points(steps[1:] or steps, by, "tokens_per_s")
    axes.plot(x, y, color=_BLUE, alpha=0.25, linewidth=1)
    axes.plot(x, _smooth(y), color=_BLUE, linewidth=1.8)
    if y:
        middle = sorted(y)[len(y) // 2]
        axes.axhline(middle, color=_GREY, linewidth=1, linestyle="--")
        axes.annotate(
            f"median {scaled(middle)}",
            (0.995, middle),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            xytext=(0, 4),
            ha="right",
            color="#6b7280",
        )
        axes.set_ylim(0, 1.15 * max(y))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value)))
    axes.set_title("Throughput, tokens per second")
