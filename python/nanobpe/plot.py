"""The picture of `nanobpe eval --plot`: bytes per token of every file, and how long the tokens are.

Needs matplotlib, which the `report` extra brings; it is imported when something is drawn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nanobpe.inspect import short_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
# Told apart by people of every colour vision (Okabe and Ito), then in greys.
_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#4b5563", "#9ca3af"]
# Tokens of more bytes share the last place of a histogram.
_LONGEST = 20
# Characters of a name; what is cut stands at its front, as paths differ at their ends.
_NAME_CHARS = 30
_BAR_INCHES = 0.24
_HISTOGRAM_INCHES = 2.6
# Few bars stay as thin as many.
_LEAST_BARS = 14
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nanobpe",
    "font.size": 10,
    "axes.edgecolor": "#d1d5db",
    "axes.labelcolor": "#374151",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#eef0f3",
    "xtick.color": "#4b5563",
    "ytick.color": "#4b5563",
    "legend.frameon": False,
}


def check_name(path: str) -> None:
    """Refuses a file whose name ends in no known format.

    Raises:
        ValueError: If it does.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise ValueError(f"--plot {path}: names that end in {', '.join(FORMATS)} are allowed")


def check_ready(path: str) -> None:
    """Finds before the work what would keep a picture from being drawn after it.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If matplotlib is not installed.
    """
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder is not there")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError('a plot needs matplotlib\nhint: pip install "nanobpe[report]"')


def draw(
    path: str, rows: Sequence[Mapping[str, Any]], lengths: Mapping[str, Mapping[int, int]]
) -> None:
    """Draws the rows of `inspect.evaluate` into a file, which appears when it is complete.

    Args:
        path: Its ending says the format.
        rows: One per tokenizer and file.
        lengths: Per tokenizer, how many of its tokens have how many bytes.

    Raises:
        OSError: If the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(lengths)
    files = list(dict.fromkeys(str(row["file"]) for row in rows))
    produced: dict[str, dict[int, int]] = {name: {} for name in names}
    for row in rows:
        sums = produced[row["tokenizer"]]
        for length, number in row["lengths"].items():
            sums[length] = sums.get(length, 0) + number
    # The histograms to the right set the least height; beside many bars they keep theirs.
    heights = [_HISTOGRAM_INCHES, _HISTOGRAM_INCHES]
    rest = 1.6 + _BAR_INCHES * len(files) * (len(names) + 1) - sum(heights)
    if rest > 1:
        heights.append(rest)
    with mpl.rc_context(cast("Any", _STYLE)):
        figure = Figure(figsize=(11, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(len(heights), 2, width_ratios=(6, 5), height_ratios=heights)
        _bars(figure.add_subplot(grid[:, 0]), rows, files, names)
        _histogram(figure.add_subplot(grid[0, 1]), "Tokens of the vocabulary", lengths)
        _histogram(figure.add_subplot(grid[1, 1]), "Tokens that the files became", produced)
        handles = [mpl.patches.Patch(color=_colour(i)) for i in range(len(names))]
        figure.legend(
            handles,
            [_shortened(name) for name in short_names(names).values()],
            loc="outside upper left",
            ncols=min(len(names), 3),
        )
        _save(figure, Path(path))


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _shortened(name: str) -> str:
    # A dollar sign would begin a formula.
    shown = name if len(name) <= _NAME_CHARS else f"...{name[3 - _NAME_CHARS :]}"
    return shown.replace("$", r"\$")


def _bars(
    axes: Axes, rows: Sequence[Mapping[str, Any]], files: Sequence[str], names: Sequence[str]
) -> None:
    most = max(row["bytes_per_token"] for row in rows)
    for row in rows:
        index = names.index(row["tokenizer"])
        place = files.index(row["file"]) * (len(names) + 1) + index
        value = row["bytes_per_token"]
        axes.barh(place, value, height=0.9, color=_colour(index))
        axes.text(value + 0.01 * most, place, f"{value:.2f}", va="center", size=8, color="#4b5563")
    middle = (len(names) - 1) / 2
    axes.set_yticks([i * (len(names) + 1) + middle for i in range(len(files))])
    axes.set_yticklabels([_shortened(file) for file in files])
    axes.tick_params("y", length=0)
    axes.set_ylim(max(len(files) * (len(names) + 1), _LEAST_BARS) - 1, -1)
    # Room for the number at the end of the longest bar.
    axes.set_xlim(0, 1.12 * most)
    axes.grid(axis="x")
    axes.set_xlabel("bytes per token (more is better)")
    axes.set_title("Compression by file")


def _histogram(axes: Axes, title: str, lengths: Mapping[str, Mapping[int, int]]) -> None:
    width = 0.84 / len(lengths)
    for index, counts in enumerate(lengths.values()):
        total = sum(counts.values())
        shares = [0.0] * _LONGEST
        for length, number in counts.items():
            shares[min(length, _LONGEST) - 1] += 100 * number / total
        shift = (index - (len(lengths) - 1) / 2) * width
        places = [length + 1 + shift for length in range(_LONGEST)]
        axes.bar(places, shares, width=width, color=_colour(index))
    ticks = [1, *range(2, _LONGEST + 1, 2)]
    axes.set_xticks(ticks)
    axes.set_xticklabels([f"{tick}+" if tick == _LONGEST else str(tick) for tick in ticks])
    axes.tick_params("x", length=0)
    axes.grid(axis="y")
    axes.margins(x=0.01)
    axes.set_xlabel("bytes of a token")
    axes.set_ylabel("share, %")
    axes.set_title(title)


def _save(figure: Any, path: Path) -> None:
    kind = path.suffix.lower()[1:]
    # Without a date the same figures give the same file.
    metadata = {} if kind == "png" else {"Date" if kind == "svg" else "CreationDate": None}
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            figure.savefig(file, format=kind, dpi=150, metadata=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
