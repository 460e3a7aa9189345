"""The files that follow from the results: the pages, the plots, and the figures in README.md."""

import os
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import harness
from bench.report import plots
from bench.report.results import Results, Row, devices, groups, of, shown_first
from bench.report.tables import (
    accuracy_table,
    compiling_table,
    crowded_table,
    launch_tables,
    long_text_table,
    memory_verdicts,
    op_table,
    quality_table,
    scaling_table,
    seconds,
    servers_summary_table,
    serving_table,
    sources,
    startup_table,
    streaming_table,
    summary_table,
    table,
    training_table,
    utterance_tables,
)

ROOT = harness.ROOT
PLOTS, PAGES = Path("docs") / "plots", Path("docs") / "benchmarks"
LAUNCHES = PAGES / "launches.md"
BEGIN = "<!-- Figures: written by `python -m bench.report`, not by hand -->"
END = "<!-- End of figures -->"
WRITTEN = "Written by `python -m bench.report` from `bench/results/`; not by hand. Repeat it with `make bench`.\n"
SERVING_PEER = "piper"
"""The server with which the others are compared."""
SPEED = (
    r"\d\s*(?:GB/s|[GT]FLOP/s)|\d\s*(?:×|x|times)\s+(?:as fast|faster|slower|real[ -]time|the speed)|\d\s*% faster"
    r"|real-time factor (?:of |is )?\d"
)
"""What counts as a quoted figure of speed, on any page."""

MEASURED = r"\d\s*(?:(?:ms|µs|us|s|seconds?)\b|×|%|[kKMG]i?B\b)"
"""What counts as one on the front page too."""


class Plot(NamedTuple):
    """A plot of one device: what it shows, in words, and the text of its SVG."""

    device: str
    shows: str
    svg: str


def slug(text: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def plot_files(results: Results) -> dict[Path, Plot]:
    """Every plot, by its path."""
    found = {}

    def add(
        name: str, device: str, shows: str, what: str, draw: Callable[[list[Row], str], str], of: list[Row]
    ) -> None:
        title = f"{what}, {device}"
        found[PLOTS / f"{name}-{slug(device)}.svg"] = Plot(device, f"{shows}: {title}", draw(of, title))

    for device in devices(results.all):
        for (model,), rows in groups(of(device, results.utterances), "model").items():
            for (batch,), same in groups(rows, "batch").items():
                if len({round(row["audio_seconds"], 1) for row in same}) > 1:
                    what = f"{model} model, batch {batch}"
                    add(f"speed-{model}-{batch}", device, "Speed against length", what, plots.speed, same)
            short = [row for row in rows if row["batch"] == 1]
            if short:
                add(f"latency-{model}", device, "Latency", f"{model} model", plots.latency, short)
        for (dtype,), rows in groups(of(device, results.ops), "dtype").items():
            timed = [row for row in rows if row["status"] == "ok"]
            if timed:
                add(f"roofline-{dtype}", device, "Share of the roofline", f"ops in {dtype}", plots.roofline, timed)
        if rows := of(device, results.accuracy):
            add("accuracy", device, "Distance from float64", "ops and model", plots.accuracy, rows)
    return found


def image(path: Path, plot: Plot, page: Path) -> str:
    """A plot in Markdown, for a page of the repository."""
    return f"![{plot.shows}]({_link(path, page)})\n"


def _link(target: Path, page: Path) -> str:
    """The way from a page of the repository to a file of it."""
    return Path(os.path.relpath(target, page.parent)).as_posix()


def page_of(device: str) -> Path:
    """Where the figures of a device stand."""
    return PAGES / f"{slug(device)}.md"


def benchmarks(results: Results, page: Path) -> str:
    """The first page: a table a device. It stands twice, at the repository's root and in its documentation."""
    parts = [
        "# Benchmarks\n",
        WRITTEN,
        "How many seconds of speech a second of work makes, one text at a time: medians of runs in turn, after every\n"
        "output was found to be right. In brackets the speed against the peer, whose row comes first.\n",
    ]
    for device in devices(results.all):
        parts.append(f"## {device}\n")
        if alone := [row for row in of(device, results.utterances) if row["batch"] == 1]:
            parts.append(summary_table(alone))
        if servers := of(device, results.serving):
            parts.append(
                f"Servers held to {servers[0]['threads']} processors, asked by clients at once: seconds of speech in a"
                " second, and within\nhow long 95 % of the first sounds came.\n"
            )
            parts.append(servers_summary_table(servers, SERVING_PEER))
        name = "Batches, ops, memory, accuracy and more" if alone else "What was measured there"
        parts.append(f"{name}: [{device}]({_link(page_of(device), page)}).\n")
    if not any(row["environment"]["device_type"] == "cuda" for row in results.all):
        parts.append("## GPUs\n\nNot measured: no result of a GPU is here yet.\n")
    if results.launches:
        parts.append(
            f"What an utterance [launches on a GPU]({_link(LAUNCHES, page)}) was counted without one.\n",
        )
    return "\n".join(parts)


def device_page(results: Results, device: str, drawn: dict[Path, Plot]) -> str:
    """All that was measured on a device."""
    page = page_of(device)
    parts = [
        f"# {device}\n",
        WRITTEN,
        "Times are medians. Candidates ran in turn, after each was checked: ops against the reference in float64,\n"
        "whole utterances against the peer (on a GPU against float64). The roofline is the least time that the\n"
        "bytes and operations of a call can take, by a copy and a matrix product measured on the same device in\n"
        "the same run; operations are those of direct convolutions, of which the Fourier domain needs fewer.\n",
    ]

    def images(kind: str) -> list[str]:
        ours = ((path, plot) for path, plot in drawn.items() if plot.device == device)
        return [image(path, plot, page) for path, plot in ours if path.stem.startswith(f"{kind}-")]

    if rows := of(device, results.utterances):
        parts += ["## Whole utterances\n", sources(rows), *images("latency"), *images("speed")]
        parts += utterance_tables(rows)
    if rows := of(device, results.scaling):
        parts += ["## Scaling\n", sources(rows), *scaling_table(rows)]
    if rows := of(device, results.ops):
        parts += ["## Ops\n", sources(rows)]
        for row in of(device, results.peaks):
            rates = f"{row['bytes_per_second'] / 1e9:.0f} GB/s copied, {row['flops_per_second'] / 1e9:.0f} GFLOP/s"
            parts.append(f"Peaks measured in {row['dtype']}: {rates} in a matrix product.\n")
        for (dtype,), same in groups(rows, "dtype").items():
            parts += [f"### {dtype}\n", *images(f"roofline-{dtype}"), op_table(same)]
    if rows := of(device, results.accuracy):
        parts += ["## Accuracy\n", "The largest relative RMS distance from float64.\n", sources(rows)]
        parts += [*images("accuracy"), accuracy_table(rows)]
    if rows := of(device, results.quality):
        parts += ["## Quality\n", "Against the plain call in float32, with the same seeds.\n", sources(rows)]
        parts.append(quality_table(rows))
    if rows := of(device, results.streaming):
        parts += ["## First piece of a stream\n", sources(rows), streaming_table(rows)]
    if rows := of(device, results.long_texts):
        parts += ["## Memory of a long text\n", sources(rows), long_text_table(rows), *memory_verdicts(rows)]
    if rows := of(device, results.crowded):
        parts += [
            "## In a crowd\n",
            f"The bundled voice says {rows[0]['audio_seconds']:.1f} s of speech again and again, for several callers at"
            " once.\n",
            sources(rows),
            crowded_table(rows),
        ]
    if rows := of(device, results.serving):
        parts += [
            "## Servers\n",
            "Clients that ask for sentences of the bundled voice, each again as soon as it has its answer, of servers"
            f" held to {rows[0]['threads']} processors. Every answer is compared with the library's samples.\n",
            sources(rows),
            serving_table(rows),
        ]
    if rows := of(device, results.training):
        parts += [
            "## A step of training\n",
            "One update of generator and discriminator on the same texts and recordings, 32 frames a segment, by every"
            " party in a process of its own, in turn. Memory is that of the whole process.\n",
            sources(rows),
            training_table(rows),
        ]
    if rows := of(device, results.startup):
        parts += ["## From a fresh process\n", "The least of several processes each.\n", sources(rows)]
        parts.append(startup_table(rows))
    if rows := of(device, results.compiling):
        parts += [
            "## Compiling for a GPU\n",
            "The kernels of a first utterance, compiled for an H100 on this processor by a new process with an"
            " empty cache: one by one as they are launched, or together ahead, as the model has it.\n",
            sources(rows),
            compiling_table(rows),
        ]
    return "\n".join(parts)


def launches_page(results: Results) -> str:
    """What was counted, which is the same on every machine."""
    parts = [
        "# Launches of an utterance\n",
        WRITTEN,
        "How many operators of torch and kernels of Triton one call would launch on a GPU without CUDA graphs,\n"
        "counted on a CPU; nothing is timed.\n",
        sources(results.launches),
        *launch_tables(results.launches),
    ]
    return "\n".join(parts)


def readme_figures(results: Results, drawn: dict[Path, Plot]) -> str:
    """What stands between README's markers: of each type of device the one measured last, a table beside one plot."""
    parts = []
    for device in shown_first(results.utterances):
        rows = of(device, results.utterances)
        lines = []
        for (model, batch), same in groups(rows, "model", "batch").items():
            if batch != 1:
                continue
            length = min({row["seconds"] for row in same}, key=lambda value: (abs(value - 3), value))
            for row in same:
                if row["seconds"] == length and row["candidate"] != "fastvits eager float32":
                    median = statistics.median(row["times"])
                    speed = f"{row['audio_seconds'] / median:.1f} ×"
                    ratio = f"{statistics.median(row['ratios']):.2f} ×" if row["ratios"] else "no"
                    against = f"{ratio} {row['baseline']}"
                    lines.append(
                        (row["candidate"], model, f"{row['audio_seconds']:.1f} s", seconds(median), speed, against)
                    )
        head = ("", "model", "audio", "median", "real time", "speed against")
        parts += [f"**{device}**, one text at a time:\n", table(head, lines)]
        ours = {path: plot for path, plot in drawn.items() if plot.device == device}
        kinds = ("speed-bundled-1-", "speed-standard-1-", "latency-")
        first = next((path for kind in kinds for path in ours if path.stem.startswith(kind)), None)
        if first is not None:
            parts.append(image(first, ours[first], Path("README.md")))
    if not any(row["environment"]["device_type"] == "cuda" for row in results.utterances):
        parts.append("GPUs: not measured.\n")
    others = [device for device in devices(results.all) if device not in shown_first(results.utterances)]
    if others:
        parts.append(f"Measured too: {'; '.join(others)}.\n")
    parts.append("All figures, and how to repeat them: [BENCHMARKS.md](BENCHMARKS.md).\n")
    return "\n".join(parts)


def with_figures(readme: str, figures: str) -> str:
    """README with other figures between its markers; raises ValueError where the markers are missing."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"README.md must have one line {BEGIN!r} and one line {END!r}")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{figures}\n{END}{rest.partition(END)[2]}"


def quoted_figures(text: str, pattern: str = f"{SPEED}|{MEASURED}") -> list[str]:
    """Figures of speed outside the markers, where nothing keeps them true."""
    outside = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", "", text, flags=re.DOTALL)
    return [match.group().strip() for match in re.finditer(pattern, outside)]


def rendered(results: Results, root: Path = ROOT) -> dict[Path, str]:
    """Every file that follows from the results, by its path within the repository."""
    drawn = plot_files(results)
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        **{path: plot.svg for path, plot in drawn.items()},
        **{page_of(device): device_page(results, device, drawn) for device in devices(results.all)},
        **({LAUNCHES: launches_page(results)} if results.launches else {}),
        **{page: benchmarks(results, page) for page in (Path("BENCHMARKS.md"), PAGES / "index.md")},
        Path("README.md"): with_figures(readme, readme_figures(results, drawn)),
    }


def outdated(files: dict[Path, str], root: Path = ROOT) -> list[str]:
    """The paths whose content does not follow from the results, plots and pages without results included."""
    wrong = [path for path, text in files.items() if not _holds(root / path, text)]
    wrong += [path.relative_to(root) for path in _generated(root) if path.relative_to(root) not in files]
    return sorted(path.as_posix() for path in wrong)


def _generated(root: Path) -> set[Path]:
    """What an earlier report may have left behind."""
    return {*(root / PLOTS).glob("*.svg"), *(root / PAGES).glob("*.md")}


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def write(files: dict[Path, str], root: Path = ROOT) -> None:
    """Write every file, and remove plots and pages without results."""
    for stale in _generated(root) - {root / path for path in files}:
        stale.unlink()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
