"""The rows of `bench/results/`: of each thing measured on a device the latest, and of what is compared with one
another only those of the latest run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import harness
from tests.support.op_cases import MODEL_CASES

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
        crowded = of_latest_run(harness.read(folder / "crowded.jsonl"), "neighbours", "callers", "arrangement")
        self.crowded = latest(crowded, "system", "neighbours", "callers", "arrangement")
        serving = of_latest_run(harness.read(folder / "serving.jsonl"), "clients")
        self.serving = latest(serving, "system", "clients")
        training = of_latest_run(harness.read(folder / "training.jsonl"), "configuration", "batch")
        self.training = latest(training, "configuration", "batch", "candidate")
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
            *self.crowded,
            *self.serving,
            *self.training,
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


def shown_first(rows: Iterable[Row]) -> list[str]:
    """The device of each type that was measured last."""
    rows = list(rows)
    types = {row["environment"]["device"]: row["environment"]["device_type"] for row in rows}
    newest: dict[str, str] = {}
    for device in devices(rows):
        newest.setdefault(types[device], device)
    return list(newest.values())
