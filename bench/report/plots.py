"""The plots of the report, as SVG texts that are the same for the same rows, legible on light and dark pages."""

import io
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

COLOURS = ("#3b8fd9", "#e08214", "#2ca25f", "#c4504b", "#9a6fc9", "#8c8c8c", "#b5a21d")
GREY = "#808080"
STYLE = (
    "text{fill:#4d5561!important}@media(prefers-color-scheme:dark){text{fill:#c9d1d9!important}}"
    "*{stroke-linejoin:round;stroke-linecap:butt}"
)
SETTINGS = {
    "svg.hashsalt": "fastvits",
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlesize": 11,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}

TICKS = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600)
SHORT = 4.5
"""Up to how many seconds a text counts as short where latency is shown."""

Row = dict[str, Any]


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    text = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    return text.getvalue().replace("*{stroke-linejoin: round; stroke-linecap: butt}", STYLE, 1)


def _finished(figure: Any, axes: Any, title: str) -> str:
    """The plot with its title above and its legend below, where neither covers anything."""
    axes.set_title(title, loc="left")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(labels) == 4 else 3)
    return _svg(figure)


def _styled() -> Any:
    import matplotlib

    return matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "svg", **SETTINGS})


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in the order of the names."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def speed(rows: Sequence[Row], title: str) -> str:
    """Seconds of audio a second against the length of the text, a line for each system."""
    with _styled():
        figure, axes = _axes(7.2, 4.0)
        for name, colour in colours_of(row["candidate"] for row in rows).items():
            own = sorted((row for row in rows if row["candidate"] == name), key=lambda row: row["audio_seconds"])
            lengths = [row["audio_seconds"] for row in own]
            rates = [row["audio_seconds"] * row["batch"] / statistics.median(row["times"]) for row in own]
            axes.plot(lengths, rates, marker="o", markersize=4, color=colour, label=name)
        axes.set_xscale("log")
        lengths = [row["audio_seconds"] for row in rows]
        ticks = [t for t in TICKS if 0.9 * min(lengths) <= t <= 1.1 * max(lengths)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_xlabel("length of the audio (s)")
        axes.set_ylabel("speed (s of audio a second)")
        return _finished(figure, axes, title)


def latency(rows: Sequence[Row], title: str) -> str:
    """The time to the whole waveform of short texts, a bar for each system and length, p20 to p80 marked."""
    from bench.harness import percentiles

    shortest = min(row["audio_seconds"] for row in rows)
    rows = [row for row in rows if row["audio_seconds"] <= max(SHORT, shortest)]
    with _styled():
        names = colours_of(row["candidate"] for row in rows)
        lengths = sorted({_length(row) for row in rows})
        figure, axes = _axes(7.2, 1.5 + 0.24 * len(names) * len(lengths))
        thickness = 0.84 / len(names)
        for index, (name, colour) in enumerate(names.items()):
            own = {_length(row): percentiles(row["times"]) for row in rows if row["candidate"] == name}
            positions = [i + (index - (len(names) - 1) / 2) * thickness for i, c in enumerate(lengths) if c in own]
            spreads = [own[length] for length in lengths if length in own]
            whiskers = [[s["p50"] - s["p20"] for s in spreads], [s["p80"] - s["p50"] for s in spreads]]
            medians = [s["p50"] for s in spreads]
            bars = {"color": colour, "label": name, "ecolor": GREY, "capsize": 2}
            axes.barh(positions, medians, 0.9 * thickness, xerr=whiskers, **bars)
        axes.set_yticks(range(len(lengths)), [f"{length:g} s" for length in lengths])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_ylabel("length of the audio")
        axes.set_xlabel("time to the whole waveform (s); whiskers from p20 to p80")
        return _finished(figure, axes, title)


def _length(row: Row) -> float:
    return round(row["audio_seconds"], 1)


def roofline(rows: Sequence[Row], title: str) -> str:
    """The share of the roofline that each op reaches, a mark for each provider."""
    with _styled():
        order = ("eager", "compile", "channels_last", "onednn", "triton")
        names = colours_of(name for name in order if any(row["backend"] == name for row in rows))
        marks = dict(zip(order, ("o", "^", "s", "D", "D"), strict=True))
        cases = sorted({(row["op"], row["case"]) for row in rows})
        figure, axes = _axes(8.2, 1.4 + 0.27 * len(cases))
        for name, colour in names.items():
            shares = {(row["op"], row["case"]): row["roofline"] for row in rows if row["backend"] == name}
            positions = [i for i, case in enumerate(cases) if case in shares]
            values = [100 * shares[case] for case in cases if case in shares]
            axes.scatter(values, positions, marker=marks[name], s=30, color=colour, alpha=0.85, label=name)
        axes.set_yticks(range(len(cases)), [f"{op} {_short(case)}" for op, case in cases])
        axes.set_ylim(len(cases) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.axvline(100, color=GREY, linewidth=1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid()
        axes.set_axisbelow(True)
        axes.set_xlabel("share of the roofline (%, logarithmic)")
        return _finished(figure, axes, title)


def _short(case: str) -> str:
    return case.removeprefix("model-")


def accuracy(rows: Sequence[Row], title: str) -> str:
    """The largest error of each subject, a mark for each dtype and backend."""
    with _styled():
        subjects = sorted({row["subject"] for row in rows}, key=lambda name: (name != "whole model", name))
        colours = colours_of(sorted({row["dtype"] for row in rows}, reverse=True))
        marks = dict(zip(("eager", "onednn", "triton"), ("o", "x", "+"), strict=True))
        figure, axes = _axes(7.6, 1.2 + 0.3 * len(subjects))
        for dtype, colour in colours.items():
            for backend, mark in marks.items():
                points = []
                for position, subject in enumerate(subjects):
                    errors = [
                        row["error"]
                        for row in rows
                        if (row["subject"], row["dtype"], row["backend"]) == (subject, dtype, backend)
                    ]
                    if errors:
                        points.append((max(errors), position))
                if points:
                    label = f"{dtype} {backend}"
                    hollow = {"facecolors": "none", "edgecolors": colour} if mark == "o" else {"color": colour}
                    axes.scatter(*zip(*points, strict=True), marker=mark, s=44, label=label, **hollow)
        axes.set_xscale("log")
        axes.set_yticks(range(len(subjects)), subjects)
        axes.invert_yaxis()
        axes.grid()
        left_out = "\n(infinite ones not shown)" if any(math.isinf(row["error"]) for row in rows) else ""
        axes.set_xlabel(f"relative RMS distance from float64, the largest over the cases{left_out}")
        return _finished(figure, axes, title)
