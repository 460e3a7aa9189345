"""Render what was measured: BENCHMARKS.md, the plots, and the figures in README.md.

    python -m bench.report [--check]

All of it follows from `bench/results/*.jsonl`: of each thing measured on a device, the latest row counts, and of what
is compared with one another only the rows of the latest run. BENCHMARKS.md has every device, README.md the CPU and the
GPU that were measured last. Between the markers in README.md nothing is written by hand, and outside of them no figure
is. `--check` writes nothing and exits with 1 where a file is not what the results say.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import harness, launches, plots, streaming
from tests.support.op_cases import MODEL_CASES
from tests.support.tolerances import LONG_TEXT_MEMORY_GROWTH

ROOT = harness.ROOT
PLOTS = Path("docs") / "plots"
BEGIN = "<!-- Figures: written by `python -m bench.report`, not by hand -->"
END = "<!-- End of figures -->"
SPEED = (
    r"\d\s*(?:GB/s|[GT]FLOP/s)|\d\s*(?:×|x|times)\s+(?:as fast|faster|slower|real[ -]time|the speed)|\d\s*% faster"
    r"|real-time factor (?:of |is )?\d"
)
"""What counts as a quoted figure of speed, on any page."""

MEASURED = r"\d\s*(?:(?:ms|µs|us|s|seconds?)\b|×|%|[kKMG]i?B\b)"
"""What counts as one on the front page too."""

Row = dict[str, Any]


def latest(rows: Iterable[Row], *names: str) -> list[Row]:
    """Of rows that agree in the device and in `names`, the last one; in the order in which they first came."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        found[(row["environment"]["device"], *(row.get(name) for name in names))] = row
    return list(found.values())


def of_latest_run(rows: Iterable[Row], *names: str) -> list[Row]:
    """Of rows that agree in the device and in `names`, those of the run that wrote the last one."""
    keyed = [((row["environment"]["device"], *(row[name] for name in names)), row) for row in rows]
    runs = {key: row["run"] for key, row in keyed}
    return [row for key, row in keyed if row["run"] == runs[key]]


def devices(rows: Iterable[Row]) -> list[str]:
    """The devices that rows are from, GPUs first, and of each type the one that was measured last first."""
    types, times = {}, {}
    for row in rows:
        found = row["environment"]
        types[found["device"]] = found["device_type"]
        times[found["device"]] = max(times.get(found["device"], ""), found["time"])
    newest_first = sorted(types, key=lambda name: (times[name], name), reverse=True)
    return sorted(newest_first, key=lambda name: types[name] != "cuda")


class Plot(NamedTuple):
    """A plot of one device: what it shows, in words, and the text of its SVG."""

    device: str
    shows: str
    svg: str


def slug(text: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines)) + "\n"


def seconds(value: float) -> str:
    """A time with three significant digits and its unit."""
    if value >= 1:
        return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
    return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


class Results:
    """All rows, the latest of each thing measured."""

    def __init__(self, folder: Path = harness.RESULTS) -> None:
        # A small model is for tests, and a peer whose output is wrong is none.
        utterances = [
            row
            for row in harness.read(folder / "end_to_end.jsonl")
            if row["kind"] == "end_to_end" and row["model"] != "small" and row.get("passed", True)
        ]
        utterances = of_latest_run(utterances, "model", "seconds", "batch")
        self.utterances = latest(utterances, "model", "candidate", "seconds", "batch")
        # An op that models have ceased to call has no such case any more.
        called = {(case.op, case.name) for case in MODEL_CASES}
        ops = [
            row
            for row in harness.read(folder / "ops.jsonl")
            if (row["op"], row["case"]) in called or not row["case"].startswith("model-")
        ]
        ops = of_latest_run(ops, "op", "case", "dtype")
        self.ops = latest(ops, "op", "case", "dtype", "backend")
        self.peaks = latest(harness.read(folder / "peaks.jsonl"), "dtype")
        accuracy = of_latest_run(harness.read(folder / "accuracy.jsonl"), "subject", "dtype")
        self.accuracy = latest(accuracy, "subject", "case", "dtype", "backend")
        self.scaling = latest(harness.read(folder / "scaling.jsonl"), "candidate", "against", "seconds", "batch")
        self.startup = latest(harness.read(folder / "startup.jsonl"), "candidate", "seconds")
        # Rows of single sentences, as an earlier bench.quality wrote them, have no way of speaking.
        self.quality = latest((r for r in harness.read(folder / "quality.jsonl") if "way" in r), "model", "way")
        streaming = harness.read(folder / "streaming.jsonl")
        self.streaming = latest((r for r in streaming if r["kind"] == "streaming"), "model")
        self.long_texts = latest((r for r in streaming if r["kind"] == "long_text"), "model")
        # Counted, not measured: the machine makes no difference.
        counted = {(r["model"], r["candidate"], r["masked"]): r for r in harness.read(folder / "launches.jsonl")}
        self.launches = list(counted.values())
        self.compiling = latest(harness.read(folder / "compiling.jsonl"), "dtype", "order")

    @property
    def all(self) -> list[Row]:
        """Everything that was measured on a device."""
        return [
            *self.utterances,
            *self.ops,
            *self.peaks,
            *self.accuracy,
            *self.scaling,
            *self.startup,
            *self.quality,
            *self.streaming,
            *self.long_texts,
            *self.compiling,
        ]


def of(device: str, rows: Iterable[Row]) -> list[Row]:
    """The rows of one device."""
    return [row for row in rows if row["environment"]["device"] == device]


def groups(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by what `names` say."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return dict(sorted(found.items()))


def sources(rows: Iterable[Row]) -> str:
    """One line on where rows are from: commit, versions, and how busy the machine was."""
    lines = []
    for row in latest(rows, "run"):
        found = row["environment"]
        commit = (found["commit"] or "unknown")[:10] + (" with changes" if found["dirty"] else "")
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if name != "python")
        lines.append(f"Commit {commit}; {versions}; load before it {found['load']}.")
    return "\n".join(f"- {line}" for line in dict.fromkeys(lines)) + "\n"


def utterance_tables(rows: list[Row]) -> Iterator[str]:
    """For each model: every candidate at every length and batch."""
    for (model,), of_model in groups(rows, "model").items():
        baseline = of_model[0]["baseline"]
        lines = []
        for (_, batch), same in groups(of_model, "seconds", "batch").items():
            for row in same:
                spread = harness.percentiles(row["times"])
                speed = row["audio_seconds"] * batch / spread["p50"]
                lines.append(
                    (
                        row["candidate"],
                        f"{row['audio_seconds']:.1f} s",
                        str(batch),
                        seconds(spread["p50"]),
                        f"{seconds(spread['p20'])} to {seconds(spread['p80'])}",
                        f"{speed:.1f} ×",
                        f"{statistics.median(row['ratios']):.2f} ×" if row["ratios"] else "-",
                    )
                )
        head = ("", "audio", "batch", "median", "p20 to p80", "real time", f"speed against {baseline}")
        yield f"#### The {model} model\n\n{table(head, lines)}"


def op_table(rows: list[Row]) -> str:
    """Every op, case and provider of one dtype."""
    lines = []
    for (op, case), same in groups(rows, "op", "case").items():
        eager = next((row for row in same if row["backend"] == "eager" and row["status"] == "ok"), None)
        for row in same:
            name = f"`{op}` {case.removeprefix('model-')}"
            if row["status"] == "refused":
                refusal = f"refused: error {row['error']:.1g}"
                lines.append((name, row["backend"], refusal, "", "", "", f"{row['error']:.1g}"))
            elif row["status"] == "ok":
                spread = row["seconds"]
                against = f"{eager['seconds']['p50'] / spread['p50']:.2f} ×" if eager else ""
                lines.append(
                    (
                        name,
                        row["backend"],
                        seconds(spread["p50"]),
                        f"{seconds(spread['p20'])} to {seconds(spread['p80'])}",
                        against,
                        f"{row['roofline']:.0%} ({row['bound']})",
                        f"{row['error']:.1g}",
                    )
                )
    head = ("op", "provider", "median", "p20 to p80", "speed against eager", "of the roofline", "error")
    return table(head, lines)


def accuracy_table(rows: list[Row]) -> str:
    """The largest error of each subject over its cases, by dtype and backend, beside eager's."""
    lines = []
    for (subject, dtype), same in groups(rows, "subject", "dtype").items():
        worst = {backend: max(r["error"] for r in one) for (backend,), one in groups(same, "backend").items()}
        others = ", ".join(f"{name} {error:.1e}" for name, error in worst.items() if name != "eager") or "-"
        lines.append((subject, dtype, f"{worst['eager']:.1e}" if "eager" in worst else "-", others))
    return table(("", "dtype", "eager", "others"), lines)


def scaling_table(rows: list[Row]) -> Iterator[str]:
    """Time and memory against length or batch, and the exponents that fit them."""
    for (against,), same in groups(rows, "against").items():
        lines = [
            (
                row["candidate"],
                f"{row['audio_seconds']:.3g} s",
                str(row["batch"]),
                seconds(row["time"]),
                f"{row['peak_bytes'] / 2**20:.0f} MiB",
            )
            for row in sorted(same, key=lambda row: (row["seconds"], row["batch"]))
        ]
        yield f"Against {against}:\n\n" + table(("", "audio", "batch", "time", "peak memory"), lines)
        for (candidate,), points in groups(same, "candidate").items():
            sizes = [row["audio_seconds"] if against == "length" else row["batch"] for row in points]
            if len(set(sizes)) > 1:
                time = fitted_exponent(sizes, [row["time"] for row in points])
                memory = fitted_exponent(sizes, [row["peak_bytes"] for row in points])
                yield f"{candidate}: time grows as {against}^{time:.2f}, peak memory as {against}^{memory:.2f}.\n"


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms, by least squares."""
    import math

    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(v) for v in values]).slope


def startup_table(rows: Sequence[Row]) -> str:
    """From a fresh process to the waveform, and the peak of memory: the least of the processes each."""
    lines = []
    for row in sorted(rows, key=lambda row: row["seconds"]):
        least = {name: min(one[name] for one in row["rounds"]) for name in row["rounds"][0]}
        times = [seconds(least[f"{name}_seconds"]) for name in ("import", "load", "first_call", "steady_call")]
        lines.append((row["candidate"], f"{row['seconds']:g} s", *times, f"{least['peak_bytes'] / 2**20:.0f} MiB"))
    return table(("", "audio, about", "import", "load", "first call", "next call", "peak memory"), lines)


def quality_table(rows: Iterable[Row]) -> str:
    """Each way of speaking beside the plain call."""
    lines = []
    for row in rows:
        distances = ("-", "-")
        if row["equal_lengths"]:
            distances = (f"{row['relative_rms']:.1e}", f"{row['log_mel_db']:.2f} dB")
        equal = "yes" if row["equal_lengths"] else "no"
        lines.append((row["way"], str(row["sentences"]), equal, *distances, f"{row['word_error_rate']:.1%}"))
    head = ("", "sentences", "lengths equal", "largest relative RMS", "log-mel distance", "word error rate")
    return table(head, lines)


def streaming_table(rows: Iterable[Row]) -> str:
    """How soon a stream's first piece comes."""
    lines = []
    for row in rows:
        first, whole = (harness.percentiles(row["times"][name])["p50"] for name in ("first piece", "whole"))
        share = statistics.median(row["ratios"])
        lines.append((row["model"], f"{row['audio_seconds']:.1f} s", seconds(first), seconds(whole), f"{share:.1%}"))
    return table(("model", "audio", "first piece", "plain call", "share"), lines)


def long_text_table(rows: Iterable[Row]) -> str:
    """The peak of memory on the way through a long text."""
    lines = []
    for row in rows:
        for peak in row["memory"]:
            lines.append((row["model"], f"{peak['minutes']:.0f}", f"{peak['peak_mib']:.0f} MiB"))
    return table(("model", "minutes of speech", "peak memory so far"), lines)


def memory_verdicts(rows: Iterable[Row]) -> Iterator[str]:
    """By how much the peak grows after the first minutes, beside what it may."""
    for row in rows:
        grown, allowed = streaming.growth(row["memory"]), LONG_TEXT_MEMORY_GROWTH
        verdict = "within" if grown <= allowed else "beyond"
        yield f"{row['model']}: after ten minutes the peak grew by {grown:.0%}, {verdict} the limit of {allowed:.0%}.\n"


def launch_tables(rows: Sequence[Row]) -> Iterator[str]:
    """For each model: the launches of every candidate, stage by stage."""
    for (model,), of_model in groups(rows, "model").items():
        stages = (*launches.STAGES.values(), launches.REST, "total")
        lines = [
            (row["candidate"], "yes" if row["masked"] else "no", *(str(row["launches"][stage]) for stage in stages))
            for row in of_model
        ]
        yield f"### The {model} model\n\n" + table(("", "attention mask", *stages), lines)


def compiling_table(rows: Iterable[Row]) -> str:
    """How long the compiler takes for a first utterance, in either order."""
    header = ("dtype", "order", "kernels", "processors", "compiling")
    return table(
        header,
        [
            (
                row["dtype"],
                row["order"],
                str(row["kernels"]),
                str(row["processors"]),
                f"{statistics.median(row['seconds']):.1f} s",
            )
            for row in rows
        ],
    )


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


def image(path: Path, plot: Plot) -> str:
    """A plot in Markdown, for a file at the repository's root."""
    return f"![{plot.shows}]({path.as_posix()})\n"


def benchmarks(results: Results, drawn: dict[Path, Plot]) -> str:
    """BENCHMARKS.md."""
    parts = [
        "# Benchmarks\n",
        "Written by `python -m bench.report` from `bench/results/`; not by hand. Repeat them with `make bench`.\n",
        "Times are medians. Candidates ran in turn, after each was checked: ops against the reference in float64,\n"
        "whole utterances against the peer (on a GPU against float64). The roofline is the least time that the\n"
        "bytes and operations of a call can take, by a copy and a matrix product measured on the same device in\n"
        "the same run; operations are those of direct convolutions, of which the Fourier domain needs fewer.\n",
    ]
    for device in devices(results.all):
        ours = {path: plot for path, plot in drawn.items() if plot.device == device}

        def images(kind: str, ours: dict[Path, Plot] = ours) -> list[str]:
            return [image(path, plot) for path, plot in ours.items() if path.stem.startswith(f"{kind}-")]

        parts.append(f"## {device}\n")
        if rows := of(device, results.utterances):
            parts += ["### Whole utterances\n", sources(rows), *images("latency"), *images("speed")]
            parts += utterance_tables(rows)
        if rows := of(device, results.scaling):
            parts += ["### Scaling\n", sources(rows), *scaling_table(rows)]
        if rows := of(device, results.ops):
            parts += ["### Ops\n", sources(rows)]
            for row in of(device, results.peaks):
                rates = f"{row['bytes_per_second'] / 1e9:.0f} GB/s copied, {row['flops_per_second'] / 1e9:.0f} GFLOP/s"
                parts.append(f"Peaks measured in {row['dtype']}: {rates} in a matrix product.\n")
            for (dtype,), same in groups(rows, "dtype").items():
                parts += [f"#### {dtype}\n", *images(f"roofline-{dtype}"), op_table(same)]
        if rows := of(device, results.accuracy):
            parts += ["### Accuracy\n", "The largest relative RMS distance from float64.\n", sources(rows)]
            parts += [*images("accuracy"), accuracy_table(rows)]
        if rows := of(device, results.quality):
            parts += ["### Quality\n", "Against the plain call in float32, with the same seeds.\n", sources(rows)]
            parts.append(quality_table(rows))
        if rows := of(device, results.streaming):
            parts += ["### First piece of a stream\n", sources(rows), streaming_table(rows)]
        if rows := of(device, results.long_texts):
            parts += ["### Memory of a long text\n", sources(rows), long_text_table(rows), *memory_verdicts(rows)]
        if rows := of(device, results.startup):
            parts += ["### From a fresh process\n", "The least of several processes each.\n", sources(rows)]
            parts.append(startup_table(rows))
        if rows := of(device, results.compiling):
            parts += [
                "### Compiling for a GPU\n",
                "The kernels of a first utterance, compiled for an H100 on this processor by a new process with an"
                " empty cache: one by one as they are launched, or together ahead, as the model has it.\n",
                sources(rows),
                compiling_table(rows),
            ]
    if not any(row["environment"]["device_type"] == "cuda" for row in results.all):
        parts.append("## GPUs\n\nNot measured: no result of a GPU is here yet.\n")
    if results.launches:
        parts += [
            "## Launches of an utterance\n",
            "How many operators of torch and kernels of Triton one call would launch on a GPU without CUDA graphs,\n"
            "counted on a CPU; nothing is timed.\n",
            sources(results.launches),
            *launch_tables(results.launches),
        ]
    return "\n".join(parts)


def shown_first(rows: Iterable[Row]) -> list[str]:
    """The device of each type that was measured last."""
    rows = list(rows)
    types = {row["environment"]["device"]: row["environment"]["device_type"] for row in rows}
    newest: dict[str, str] = {}
    for device in devices(rows):
        newest.setdefault(types[device], device)
    return list(newest.values())


def readme_figures(results: Results, drawn: dict[Path, Plot]) -> str:
    """What stands between README's markers."""
    parts = []
    for device in shown_first(results.utterances):
        rows = of(device, results.utterances)
        lines = []
        for (model, batch), same in groups(rows, "model", "batch").items():
            if batch != 1:
                continue
            length = min({row["seconds"] for row in same}, key=lambda value: (abs(value - 3), value))
            for row in same:
                if row["seconds"] == length:
                    median = statistics.median(row["times"])
                    speed = f"{row['audio_seconds'] / median:.1f} ×"
                    ratio = f"{statistics.median(row['ratios']):.2f} ×" if row["ratios"] else "no"
                    against = f"{ratio} {row['baseline']}"
                    lines.append(
                        (row["candidate"], model, f"{row['audio_seconds']:.1f} s", seconds(median), speed, against)
                    )
        head = ("", "model", "audio", "median", "real time", "speed against")
        parts += [f"**{device}**, one text at a time:\n", table(head, lines)]
        for path, plot in drawn.items():
            if plot.device == device and path.stem.startswith(("speed-standard-1-", "latency-", "roofline-")):
                parts.append(image(path, plot))
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
        Path("BENCHMARKS.md"): benchmarks(results, drawn),
        Path("README.md"): with_figures(readme, readme_figures(results, drawn)),
    }


def outdated(files: dict[Path, str], root: Path = ROOT) -> list[str]:
    """The paths whose content does not follow from the results, plots without results included."""
    wrong = [path for path, text in files.items() if not _holds(root / path, text)]
    wrong += [path.relative_to(root) for path in (root / PLOTS).glob("*.svg") if path.relative_to(root) not in files]
    return sorted(path.as_posix() for path in wrong)


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def write(files: dict[Path, str], root: Path = ROOT) -> None:
    """Write every file, and remove plots without results."""
    for stale in set((root / PLOTS).glob("*.svg")) - {root / path for path in files}:
        stale.unlink()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Write the report, or check it."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is outdated")
    options = parser.parse_args(arguments)
    files = rendered(Results())
    if options.check:
        wrong = outdated(files)
        for path in wrong:
            say(f"{path} does not follow from the results: run python -m bench.report")
        return 1 if wrong else 0
    write(files)
    say(f"wrote {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
