"""The plots of the report, as SVG texts that are the same for the same rows, legible on light and dark pages."""

import io
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
        ticks = sorted({row["seconds"] for row in rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_xlabel("length of the audio (s)")
        axes.set_ylabel("speed (s of audio a second)")
        axes.set_title(title, loc="left")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        return _svg(figure)


def latency(rows: Sequence[Row], title: str) -> str:
    """The time to a whole waveform, a bar for each system and length, p20 to p80 marked."""
    from bench.harness import percentiles

    with _styled():
        names = colours_of(row["candidate"] for row in rows)
        lengths = sorted({row["seconds"] for row in rows})
        figure, axes = _axes(7.2, 0.9 + 0.2 * len(names) * len(lengths) + 0.2 * len(lengths))
        thickness = 0.8 / len(names)
        for index, (name, colour) in enumerate(names.items()):
            for position, length in enumerate(lengths):
                for row in rows:
                    if row["candidate"] == name and row["seconds"] == length:
                        spread = percentiles(row["times"])
                        error = [[spread["p50"] - spread["p20"]], [spread["p80"] - spread["p50"]]]
                        axes.barh(
                            position + (index - (len(names) - 1) / 2) * thickness,
                            spread["p50"],
                            0.9 * thickness,
                            xerr=error,
                            ecolor=GREY,
                            color=colour,
                            label=name if position == 0 else None,
                        )
        axes.set_xscale("log")
        axes.set_yticks(range(len(lengths)), [f"{length:g} s" for length in lengths])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_ylabel("length of the audio")
        axes.set_xlabel("time to the whole waveform (s, logarithmic; whiskers from p20 to p80)")
        axes.set_title(title, loc="left")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        return _svg(figure)


def roofline(rows: Sequence[Row], title: str) -> str:
    """The share of the roofline that each op reaches, a bar for each provider."""
    with _styled():
        names = colours_of(
            name
            for name in ("eager", "compile", "channels_last", "onednn", "triton")
            for r in rows
            if r["backend"] == name
        )
        cases = sorted({(row["op"], row["case"]) for row in rows})
        figure, axes = _axes(8.2, 0.9 + 0.13 * len(names) * len(cases) + 0.08 * len(cases))
        thickness = 0.84 / len(names)
        for index, (name, colour) in enumerate(names.items()):
            shares = {(row["op"], row["case"]): row["roofline"] for row in rows if row["backend"] == name}
            positions = [i + (index - (len(names) - 1) / 2) * thickness for i, c in enumerate(cases) if c in shares]
            values = [100 * shares[case] for case in cases if case in shares]
            axes.barh(positions, values, 0.92 * thickness, color=colour, label=name)
        axes.set_yticks(range(len(cases)), [f"{op} {_short(case)}" for op, case in cases])
        axes.set_ylim(len(cases) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlim(0, max(100, 105 * max(row["roofline"] for row in rows)))
        axes.set_xlabel("share of the roofline (%)")
        axes.set_title(title, loc="left")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        return _svg(figure)


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
        axes.set_xlabel("relative RMS distance from float64, the largest over the cases")
        axes.set_title(title, loc="left")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        return _svg(figure)
