"""What it costs as the work grows, drawn as curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from benchmarks.frame import Cost
from benchmarks.table import CURVES

_PANELS: dict[str, dict[str, Callable[[Cost], float]]] = {
    "requests": {
        "to the PDS": lambda cost: cost.pds,
        "to S3": lambda cost: cost.s3,
        "to Redis, round trips": lambda cost: cost.redis,
    },
    "MB": {"sent": lambda cost: cost.sent / 1e6, "received": lambda cost: cost.received / 1e6},
    "seconds": {"time": lambda cost: cost.seconds, "CPU": lambda cost: cost.cpu},
    "MB of memory over idle": {"peak": lambda cost: cost.memory},
}
_LINES = ("-", "--")
"""By what grows."""

_STYLE = {
    # Text stays text, and the same figures give the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "performance",
    "font.size": 9.0,
}


def draw(curves: Mapping[str, Sequence[Cost]], file: Path) -> None:
    """Draw costs by size, both axes logarithmic, as SVG.

    Args:
        curves: By the names of rows, which ``CURVES`` has.
        file: What is written.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10, 8), layout="constrained", facecolor="white")
        for axes, (title, lines) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
            for (name, costs), style in zip(curves.items(), _LINES, strict=False):
                for number, (label, value) in enumerate(lines.items()):
                    points = [cost.size for cost in costs], [value(cost) for cost in costs]
                    label = f"{label}: {CURVES[name]}"
                    axes.plot(*points, style, marker=".", color=f"C{number}", label=label)
            axes.set(xscale="log", yscale="log", xlabel="datasets, or shards", ylabel=title)
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axes.grid(visible=True, linewidth=0.3)
            axes.legend(fontsize="small")
        # Without the day, which stands on the page.
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
