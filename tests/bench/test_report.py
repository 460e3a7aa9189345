"""The report against the results."""

from pathlib import Path
from typing import Any

import pytest

from bench import harness
from bench.gpu import launches
from bench.report import pages, plots, tables
from bench.report.results import Results, devices
from bench.utterances import quality
from tests.support.tolerances import RECOGNISER_WORD_ERROR_POINTS


def test_fitted_exponent() -> None:
    assert tables.fitted_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_the_report_follows_from_the_results() -> None:
    assert pages.outdated(pages.rendered(Results())) == []


def test_a_changed_result_makes_the_report_outdated(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# Title\n\n{pages.BEGIN}\n{pages.END}\n")
    results = tmp_path / "results"
    environment = harness.environment("cpu")
    row = {
        "kind": "end_to_end", "model": "standard", "candidate": "fastvits", "baseline": "fastvits", "seconds": 3,
        "audio_seconds": 3.0, "batch": 1, "times": [0.5, 0.5], "ratios": [1.0, 1.0], "run": "a",
        "environment": environment,
    }  # fmt: skip
    harness.append(results / "end_to_end.jsonl", [row, {**row, "seconds": 1, "audio_seconds": 1.0}])
    files = pages.rendered(Results(results), tmp_path)
    pages.write(files, tmp_path)
    assert pages.outdated(pages.rendered(Results(results), tmp_path), tmp_path) == []
    assert "6.0 ×" in (tmp_path / "README.md").read_text()
    assert "not measured" in (tmp_path / "README.md").read_text()
    assert "Not measured: no result of a GPU" in (tmp_path / "BENCHMARKS.md").read_text()

    harness.append(results / "end_to_end.jsonl", [{**row, "times": [0.25, 0.25]}])
    wrong = pages.outdated(pages.rendered(Results(results), tmp_path), tmp_path)
    assert {"BENCHMARKS.md", "README.md", pages.page_of(environment["device"]).as_posix()} < set(wrong)
    assert any(path.endswith(".svg") for path in wrong)


def page_texts(files: dict[Path, str]) -> str:
    """Everything that the pages in docs/benchmarks say."""
    return "".join(text for path, text in files.items() if path.parent == pages.PAGES)


def test_several_devices_and_runs(tmp_path: Path) -> None:
    """Every device is in BENCHMARKS.md, the last of each type in README.md, and of each the latest run."""
    (tmp_path / "README.md").write_text(f"# Title\n\n{pages.BEGIN}\n{pages.END}\n")
    before = harness.environment("cpu")

    def rows(device: str, run: str, day: int, candidates: dict[str, float], kind: str = "cpu") -> list[dict[str, Any]]:
        environment = {**before, "device": device, "device_type": kind, "time": f"2026-01-{day:02}T00:00:00+00:00"}
        shared = {"kind": "end_to_end", "model": "standard", "baseline": "peer", "audio_seconds": 3.0, "batch": 1}
        return [
            {**shared, "candidate": name, "seconds": 3, "times": [time], "ratios": [1.0], "run": run,
             "environment": environment}
            for name, time in candidates.items()
        ]  # fmt: skip

    results = tmp_path / "results"
    for found in (
        rows("EPYC, 2 threads", "first", 3, {"peer": 0.011, "left out later": 0.012}),
        rows("Xeon, 2 threads", "second", 1, {"peer": 0.021}),
        rows("EPYC, 2 threads", "third", 4, {"peer": 0.031}),
        rows("GPU", "fourth", 2, {"peer": 0.041}, "cuda"),
        rows("Large EPYC, 2 threads", "fifth", 2, {"peer": 0.051}),
    ):
        harness.append(results / "end_to_end.jsonl", found)
    assert devices(Results(results).all) == [
        "GPU", "EPYC, 2 threads", "Large EPYC, 2 threads", "Xeon, 2 threads"
    ]  # fmt: skip
    files = pages.rendered(Results(results), tmp_path)
    benchmarks, readme = page_texts(files), files[Path("README.md")]
    assert [time for time in ("11 ms", "21 ms", "31 ms", "41 ms", "51 ms") if f"| {time} |" in benchmarks] == [
        "21 ms", "31 ms", "41 ms", "51 ms"
    ]  # fmt: skip
    assert "left out later" not in benchmarks
    assert [time for time in ("21 ms", "31 ms", "41 ms", "51 ms") if f"| {time} |" in readme] == ["31 ms", "41 ms"]
    assert "Measured too: Large EPYC, 2 threads; Xeon, 2 threads." in readme
    assert "not measured" not in readme
    section = files[pages.page_of("EPYC, 2 threads")]
    assert section.startswith("# EPYC, 2 threads\n")
    assert "![Latency: standard model, EPYC, 2 threads](../plots/latency-standard-epyc-2-threads.svg)" in section
    assert "large-epyc" not in section
    # The first page has a table for each, in the same order, and the way to its page from wherever it stands.
    first = files[Path("BENCHMARKS.md")]
    headings = [line for line in first.splitlines() if line.startswith("## ")]
    assert headings == [f"## {name}" for name in devices(Results(results).all)]
    assert "| standard: peer | 96.8 |" in first
    assert "[EPYC, 2 threads](docs/benchmarks/epyc-2-threads.md)" in first
    assert "[EPYC, 2 threads](epyc-2-threads.md)" in files[Path("docs/benchmarks/index.md")]
    assert "![Latency: standard model, EPYC, 2 threads](docs/plots/latency-standard-epyc-2-threads.svg)" in readme


def test_every_kind_of_result_has_its_section(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# Title\n\n{pages.BEGIN}\n{pages.END}\n")
    shared = {"run": "a", "environment": harness.environment("cpu"), "model": "bundled"}
    process = dict.fromkeys(("import_seconds", "load_seconds", "first_call_seconds", "steady_call_seconds"), 0.25)
    rows = {
        "startup": [{"kind": "startup", "candidate": "fastvits bundled", "seconds": 10,
                     "rounds": [{**process, "peak_bytes": 300 << 20}, {**process, "peak_bytes": 200 << 20}]}],
        "quality": [
            {"kind": "quality", "text": "A row without a way of speaking.", "equal_lengths": True},
            {"kind": "quality", "way": "bfloat16", "sentences": 20, "equal_lengths": True, "word_error_rate": 0.125,
             "relative_rms": 0.04, "log_mel_db": 0.7},
        ],
        "streaming": [
            {"kind": "streaming", "audio_seconds": 10.0, "times": {"first piece": [0.1], "whole": [0.8]},
             "ratios": [0.125]},
            {"kind": "long_text", "audio_seconds": 3600.0, "memory": [{"minutes": 10, "peak_mib": 700.0},
                                                                      {"minutes": 60.0, "peak_mib": 710.0}]},
        ],
        "crowded": [{"kind": "crowded", "system": "fastvits", "neighbours": 4, "callers": 2,
                     "arrangement": "one process", "audio_seconds": 2.8, "throughput": 12.5, "p50": 0.2, "p95": 0.4}],
        "serving": [{"kind": "serving", "system": "piper", "clients": 4, "threads": 2, "texts": 24, "answers": 31,
                     "throughput": 11.25, "first_p50": 0.5, "first_p95": 0.75, "whole_p50": None, "whole_p95": 1.5,
                     "wrong": 0, "refused": 2, "errors": {"OSError: gone": 3}, "memory_first": 1, "memory_last": 1,
                     "memory_peak": 300 * 2**20},
                    {"kind": "serving", "system": "fastvits bfloat16", "clients": 4, "threads": 2, "texts": 24,
                     "answers": 90, "throughput": 22.5, "first_p50": 0.1, "first_p95": 0.125, "whole_p50": 0.5,
                     "whole_p95": 0.6, "wrong": 0, "refused": 0, "errors": {}, "memory_first": 1, "memory_last": 1,
                     "memory_peak": 700 * 2**20}],
        "training": [{"kind": "training step", "configuration": "standard", "batch": 8, "candidate": candidate,
                      "seconds": {"p50": taken}, "cpu_seconds": {"p50": 2 * taken}, "peak_bytes": memory << 20}
                     for candidate, taken, memory in (("fastvits float32", 6.0, 600), ("fastvits bfloat16", 4.0, 500),
                                                      ("coqui-tts float32", 9.0, 1200))],
        "launches": [{"kind": "launches", "candidate": "fastvits triton", "masked": True,
                      "launches": {stage: 5 for stage in launches.STAGES.values()} | {"rest": 6, "total": 31}}],
        "compiling": [{"kind": "compiling", "dtype": "float16", "order": "together", "kernels": 38, "processors": 4,
                       "seconds": [4.5, 4.0, 9.0]}],
    }  # fmt: skip
    for name, found in rows.items():
        harness.append(tmp_path / "results" / f"{name}.jsonl", [{**row, **shared} for row in found])
    text = page_texts(pages.rendered(Results(tmp_path / "results"), tmp_path))
    for line in (
        "| fastvits bundled | 10 s | 250 ms | 250 ms | 250 ms | 250 ms | 200 MiB |",
        "| bfloat16 | 20 | yes | 4.0e-02 | 0.70 dB | 12.5% |",
        "| bundled | 10.0 s | 100 ms | 800 ms | 12.5% |",
        "| bundled | 60 | 710 MiB |",
        "| fastvits | 4 | 2 | one process | 12.5 × | 200 ms | 400 ms |",
        "| piper | 4 | 11.2 × | 500 ms | 750 ms | - | 1.5 s | 300 MiB | 31 | 0 | 2 | 3 |",
        "| piper | 11.2, p95 750 ms |",
        "| fastvits bfloat16 | 22.5 (2.00 ×), p95 125 ms |",
        "| fastvits float32 | standard | 8 | 6 s (1.50 ×) | 12.0 s | 600 MiB (0.50 of theirs) |",
        "| fastvits bfloat16 | standard | 8 | 4 s | 8.0 s | 500 MiB |",
        "| float16 | together | 38 | 4 | 4.5 s |",
        "| fastvits triton | yes | 5 | 5 | 5 | 5 | 5 | 6 | 31 |",
    ):
        assert line in text
    assert "without a way" not in text


def test_the_recorded_quality_is_within_its_limits() -> None:
    results = Results()
    assert {row["way"] for row in results.quality} == {quality.PLAIN, "bfloat16", "int8", "streamed", "long text"}
    plain = {row["environment"]["device"]: row for row in results.quality if row["way"] == quality.PLAIN}
    for row in results.quality:
        assert row["equal_lengths"]
        points = 100 * (row["word_error_rate"] - plain[row["environment"]["device"]]["word_error_rate"])
        # With 8 bits a recogniser hears other words wrong, and may hear more of them.
        assert (points if row["way"] == "int8" else abs(points)) <= RECOGNISER_WORD_ERROR_POINTS


def test_a_plot_is_the_same_twice() -> None:
    rows = [
        {"op": "conv1d", "case": "model-3s", "backend": name, "roofline": share}
        for name, share in (("eager", 0.2), ("onednn", 0.5))
    ]
    assert plots.roofline(rows, "title") == plots.roofline(rows, "title")
    assert "prefers-color-scheme" in plots.roofline(rows, "title")


def test_no_figure_is_quoted_by_hand() -> None:
    assert pages.quoted_figures((harness.ROOT / "README.md").read_text(encoding="utf-8")) == []
    by_hand = (page for page in (harness.ROOT / "docs").rglob("*.md") if page.parent != harness.ROOT / pages.PAGES)
    for page in by_hand:
        assert pages.quoted_figures(page.read_text(encoding="utf-8"), pages.SPEED) == [], page


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It takes 12.5 ms, 3 × as fast.", ["5 ms", "3 × as fast"]),
        ("It is 3.2 times faster, at 2.9x the speed.", ["2 times faster", "9x the speed"]),
        ("A sentence of 3 s takes 0.2 seconds.", ["3 s", "2 seconds"]),
        ("A real-time factor of 0.047, 40% less.", ["real-time factor of 0", "0%"]),
        ("It needs 500 MiB, and was 3× that.", ["0 MiB", "3×"]),
        ("16 kHz, 22050 samples, 1,100 languages, version 3 or later.", []),
    ],
)
def test_quoted_figures_are_found(text: str, found: list[str]) -> None:
    assert pages.quoted_figures(f"{text}\n{pages.BEGIN}\n90 ms\n{pages.END}\n") == found
