"""The report's tables, in Markdown."""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence

from bench import harness
from bench.gpu import launches
from bench.report.results import Row, groups, latest
from bench.utterances import streaming
from tests.support.tolerances import LONG_TEXT_MEMORY_GROWTH


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines)) + "\n"


def seconds(value: float) -> str:
    """A time with three significant digits and its unit."""
    if value >= 1:
        return f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
    return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


def sources(rows: Iterable[Row]) -> str:
    """One line on where rows are from: commit, versions, and how busy the machine was."""
    lines = []
    for row in latest(rows, "run"):
        found = row["environment"]
        commit = (found["commit"] or "unknown")[:10] + (" with changes" if found["dirty"] else "")
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if name != "python")
        lines.append(f"Commit {commit}; {versions}; load before it {found['load']}.")
    return "\n".join(f"- {line}" for line in dict.fromkeys(lines)) + "\n"


def summary_table(rows: list[Row]) -> str:
    """Every candidate's seconds of audio a second, a column for each length that was asked for."""
    lengths = sorted({row["seconds"] for row in rows})
    lines = []
    for (model,), of_model in groups(rows, "model").items():
        baseline = of_model[0]["baseline"]
        names = sorted(dict.fromkeys(row["candidate"] for row in of_model), key=lambda name: name != baseline)
        for name in names:
            cells = []
            for length in lengths:
                row = next((r for r in of_model if (r["candidate"], r["seconds"]) == (name, length)), None)
                if row is None:
                    cells.append("-")
                    continue
                against = f" ({statistics.median(row['ratios']):.2f} ×)" if row["ratios"] and name != baseline else ""
                cells.append(f"{row['audio_seconds'] / statistics.median(row['times']):.1f}{against}")
            lines.append((f"{model}: {name}", *cells))
    return table(("", *(f"{length:g} s" for length in lengths)), lines)


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
        yield f"### The {model} model\n\n{table(head, lines)}"


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
        yield f"## The {model} model\n\n" + table(("", "attention mask", *stages), lines)


def crowded_table(rows: Iterable[Row]) -> str:
    """Throughput and waiting of every system, for each crowd."""
    lines = []
    for (neighbours, callers, arrangement), same in groups(rows, "neighbours", "callers", "arrangement").items():
        for row in same:
            rate = f"{row['throughput']:.1f} ×"
            crowd = (row["system"], str(neighbours), str(callers), arrangement)
            lines.append((*crowd, rate, seconds(row["p50"]), seconds(row["p95"])))
    return table(("", "busy neighbours", "callers", "in", "real time", "p50", "p95"), lines)


def servers_summary_table(rows: Sequence[Row], peer: str) -> str:
    """Every server's seconds of audio a second, a column for each number of clients, and how long clients wait for a
    first sound; in brackets against the peer of the same run, whose row comes first."""
    counts = sorted({row["clients"] for row in rows})
    cases = {(row["system"], row["clients"]): row for row in rows}
    lines = []
    for name in sorted(dict.fromkeys(row["system"] for row in rows), key=lambda name: name != peer):
        cells = []
        for count in counts:
            row, other = cases.get((name, count)), cases.get((peer, count))
            if row is None or not row["answers"]:
                cells.append("-")
                continue
            against = ""
            if name != peer and other is not None and other["throughput"]:
                against = f" ({row['throughput'] / other['throughput']:.2f} ×)"
            cells.append(f"{row['throughput']:.1f}{against}, p95 {seconds(row['first_p95'])}")
        lines.append((name, *cells))
    return table(("", *("1 client" if count == 1 else f"{count} clients" for count in counts)), lines)


def serving_table(rows: Iterable[Row]) -> str:
    """Throughput, times and memory of every server, for each number of clients."""
    header = ("", "clients", "real time", "first sound p50", "p95", "whole p50", "p95", "memory")
    lines = []
    for (clients,), same in groups(rows, "clients").items():
        for row in same:
            times = [row[name] for name in ("first_p50", "first_p95", "whole_p50", "whole_p95")]
            cells = [row["system"], str(clients), f"{row['throughput']:.1f} ×"]
            cells += ["-" if one is None else seconds(one) for one in times]
            counts = (row["answers"], row["wrong"], row["refused"], sum(row["errors"].values()))
            lines.append((*cells, f"{row['memory_peak'] / 2**20:.0f} MiB", *map(str, counts)))
    return table((*header, "answers", "wrong", "refused", "errors"), lines)


def training_table(rows: Iterable[Row]) -> str:
    """Time and memory of every party's step; in brackets against coqui-tts's step of the same run and precision."""
    lines = []
    for (configuration, batch), same in groups(rows, "configuration", "batch").items():
        cases = {row["candidate"]: row for row in same}
        for name, row in cases.items():
            peer = cases.get(f"coqui-tts {name.split()[1]}", row)
            taken, memory = row["seconds"]["p50"], row["peak_bytes"]
            against, share = "", ""
            if peer is not row:
                against = f" ({peer['seconds']['p50'] / taken:.2f} ×)"
                share = f" ({memory / peer['peak_bytes']:.2f} of theirs)"
            spent = f"{row['cpu_seconds']['p50']:.1f} s"
            lines.append(
                (name, configuration, str(batch), seconds(taken) + against, spent, f"{memory / 2**20:.0f} MiB" + share)
            )
    return table(("", "configuration", "batch", "a step", "processor time", "memory"), lines)


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
