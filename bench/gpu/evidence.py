"""Everything worth knowing from a GPU that is there for ten minutes:

    python -m bench.gpu_evidence --output DIR [--minutes 9]

Needs this checkout, torch, triton, numpy, safetensors, huggingface_hub and transformers, no installation. In this
order: the device's peaks, every op in all precisions against float64, kernels compiled ahead, the whole model against
float64 by stage, in batches and in buckets, whole utterances beside transformers, first calls of fresh processes, a
profile, the decoder in pieces of several sizes, ops timed, the bundled voice where it is installed, transformers under
torch.compile, tiles for the kernels, compiled ahead too.
Each part (`bench/gpu/steps.py`) has its share of the minutes and leaves its rest to the others; what does not fit any
more is named in a row of status `skipped`. Parts run in processes of their own, so a fault costs one item: its row has
the traceback's last line, and the rest goes on.

At most 8 files in DIR, rows added as they come: `evidence.jsonl`; `end_to_end`, `ops`, `peaks` and `accuracy.jsonl`
whose rows belong behind those of the same files in `bench/results/`, for `python -m bench.report`; `profile.txt`;
`summary.txt`; and `<arch>.json`, a table for `kernels/fastvits_kernels/tuned/`. Without a GPU a small model goes the
same way in seconds. The exit status is 1 if a check failed; what fails in a peer is no check.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench import harness
from bench.gpu.context import STARTED, Context, is_lost, last_line, status_of
from bench.gpu.steps import STEPS

IMPORTS = [str(harness.ROOT), str(harness.ROOT / "kernels")]
"""What a process that is started from here has to find: the checkout need not be installed."""

LOST = 70
"""The exit status of a process whose GPU context is lost; the item that did it has its row."""

RESERVED = 8.0
"""Seconds kept for the last words."""

LEAST = 8.0
"""Seconds below which no part is begun: a process takes that long to import and make a model."""

Task = tuple[str, str]


class Worker:
    """A process that does a list of tasks, one after the other."""

    def __init__(self, tasks: list[Task], plan: dict[str, Any], folder: Path) -> None:
        self.tasks = tasks
        self._file = tempfile.mkstemp(dir=folder)[1]
        self._done = Path(self._file + ".done")
        self._done.touch()
        self._log = Path(self._file + ".log")
        Path(self._file).write_text(json.dumps({**plan, "tasks": tasks, "done": str(self._done)}))
        paths = [*IMPORTS, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            STARTED: str(time.time()),
            **plan["variables"],
        }
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.gpu_evidence", "--work", self._file],
                cwd=harness.ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._count, self._moved = 0, time.time()

    def done(self) -> int:
        """How many tasks are behind it."""
        count = len(self._done.read_text().splitlines())
        if count != self._count:
            self._count, self._moved = count, time.time()
        return count

    def still(self) -> float:
        """Seconds since it last did something."""
        return time.time() - self._moved

    def end(self) -> None:
        """Stop it, and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """The last line that it printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no output"


def supervise(tasks: list[Task], plan: dict[str, Any], folder: Path, *, processes: int, stall: float) -> None:
    """Have tasks done by some processes until `plan["deadline"]`. A task at which a process dies or hangs gets a row,
    and another process goes on behind it."""
    shares = [tasks[first::processes] for first in range(min(processes, len(tasks)))]
    workers = [Worker(share, plan, folder) for share in shares]
    try:
        while workers:
            time.sleep(0.05)
            for worker in list(workers):
                code, rest = worker.process.poll(), worker.tasks[worker.done() :]
                reason = None
                if code is None:
                    if time.time() > plan["deadline"] + 2:
                        worker.end()
                        rest = worker.tasks[worker.done() :]
                        _note(plan, rest, "skipped", "its time was over")
                        workers.remove(worker)
                        continue
                    if worker.still() <= stall:
                        continue
                    worker.end()
                    reason = f"nothing came for {stall:.0f} s; last words: {worker.last_words()}"
                elif code not in (0, LOST):
                    reason = f"the process ended with {code}; last words: {worker.last_words()}"
                workers.remove(worker)
                if reason is not None and rest:
                    _note(plan, rest[:1], "failed", reason)
                    # One that did nothing at all would do nothing again.
                    if worker.done() == 0 and code not in (None, LOST) and len(rest) > 1 and not _dies_alone(code):
                        _note(plan, rest[1:], "skipped", "the process before it did not get anywhere")
                        continue
                    rest = rest[1:]
                if rest:
                    if time.time() < plan["deadline"] - 1:
                        workers.append(Worker(rest, plan, folder))
                    else:
                        _note(plan, rest, "skipped", "no time was left")
    finally:
        for worker in workers:
            worker.end()


def _dies_alone(code: int) -> bool:
    """Whether a process was ended by a signal (a fault in an item), not by an exception on its way to the first."""
    return code < 0


def _note(plan: dict[str, Any], tasks: Sequence[Task], status: str, reason: str) -> None:
    path = Path(plan["output"]) / "evidence.jsonl"
    rows = [
        {"kind": "step", "step": step, "item": item, "status": status, "reason": reason, "run": plan["run"]}
        for step, item in tasks
    ]
    harness.append(path, rows)


def work(file: Path) -> int:
    """What a process does: its tasks, each with a row if it fails, and a line in `done` behind it."""
    plan = json.loads(file.read_text())
    device = torch.device(plan["device"])
    # A float32 row means IEEE float32.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    context = Context(device, Path(plan["output"]), plan["run"], plan["quick"], plan["deadline"])
    with open(plan["done"], "a") as done:
        for step, item in plan["tasks"]:
            lost = False
            if context.left <= 0:
                _note(plan, [(step, item)], "skipped", "no time was left")
            else:
                try:
                    STEPS[step].run(context, item)
                except TimeoutError as error:
                    _note(plan, [(step, item)], "skipped", str(error))
                except Exception as error:
                    traceback.print_exc()
                    _note(plan, [(step, item)], status_of(error), last_line(error))
                    lost = is_lost(error, device)
            done.write(f"{step} {item}\n")
            done.flush()
            if lost:
                return LOST
    return 0


def measure(plan: dict[str, Any], end: float, folder: Path) -> None:
    """All steps, until `end`."""
    steps = [(name, step) for name, step in STEPS.items() if step.items(plan["quick"])]
    # Binaries of earlier runs would tell nothing about this one, and a home folder may not be there.
    plan = {**plan, "variables": {"TRITON_CACHE_DIR": str(folder / "triton")}}
    if plan["quick"]:
        # Importing takes longer than measuring: one process for all that need none of their own.
        shared = [(name, item) for name, step in steps if not step.fresh for item in step.items(True)]
        supervise(shared, {**plan, "deadline": end}, folder, processes=1, stall=end)
        steps = [(name, step) for name, step in steps if step.fresh]
    for at, (name, step) in enumerate(steps):
        tasks = [(name, item) for item in step.items(plan["quick"])]
        left = end - time.time()
        share = left * step.weight / sum(other.weight for _, other in steps[at:])
        if share < LEAST and not plan["quick"]:
            _note(plan, tasks, "skipped", f"{share:.0f} s are its share of the time that is left")
            continue
        begin = time.time()
        print(f"{name}: up to {share:.0f} s", flush=True)
        deadline = {"deadline": begin + share}
        if step.fresh:
            for task in tasks:
                if time.time() > deadline["deadline"] - 1:
                    _note(plan, [task], "skipped", "no time was left")
                    continue
                # Cold means that Triton's cache is empty, warm that the process before filled it.
                cache = folder / f"triton-{task[1].split()[1]}"
                supervise(
                    [task],
                    {**plan, **deadline, "variables": {"TRITON_CACHE_DIR": str(cache)}},
                    folder,
                    processes=1,
                    stall=step.stall,
                )
        else:
            cores = os.cpu_count() or 1
            supervise(tasks, {**plan, **deadline}, folder, processes=min(step.processes, cores), stall=step.stall)
        print(f"{name}: {time.time() - begin:.0f} s", flush=True)


def summary(output: Path, run: str) -> tuple[str, bool]:
    """A short table of what a run found, and whether all of its checks passed."""

    def rows(name: str) -> list[dict[str, Any]]:
        return [row for row in harness.read(output / f"{name}.jsonl") if row["run"] == run]

    evidence = rows("evidence")
    lines = []
    for row in evidence:
        if row["kind"] == "environment":
            versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
            dirty = " with changes" if row["dirty"] else ""
            lines += [f"{row['device']}, driver {row['driver']}, commit {row['commit']}{dirty}", versions]
            break
    for row in rows("peaks"):
        rates = f"{row['bytes_per_second'] / 1e9:.0f} GB/s, {row['flops_per_second'] / 1e12:.1f} TFLOP/s"
        lines.append(f"peaks in {row['dtype']}: {rates}")
    lines.append("")
    passed = True
    for kind in ("op check", "stage", "invariance", "step", "tuned"):
        counts = Counter(row["status"] for row in evidence if row["kind"] == kind)
        if counts:
            name = "items" if kind == "step" else kind
            lines.append(f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    for row in evidence:
        if row.get("status") in ("failed", "failed peer", "refused", "not measured", "out of memory"):
            # Peers alone are at stake in a step of theirs: ours were checked beside them in `peers`.
            of_peers = row.get("step") == "compiled peers" or row.get("item", "").startswith("transformers ")
            if row["status"] in ("failed", "refused") and not of_peers:
                passed = False
            keys = ("step", "item", "stage", "within", "op", "candidate", "batch", "seconds")
            what = [row[key] for key in keys if key in row]
            lines.append(f"  {row['status']}: {' '.join(map(str, what))} {row.get('reason', '')}")
    skipped = Counter(
        (row.get("step", row["kind"]), row["reason"]) for row in evidence if row.get("status") == "skipped"
    )
    lines += [f"  skipped: {step}, {count} items: {reason}" for (step, reason), count in skipped.items()]
    head = f"{'':<37} {'batch':>5} {'audio':>7} {'p50':>10} {'p95':>10} {'real time':>10} {'ratio':>7} {'roofline':>8}"
    lines += ["", f"{head} {'memory':>9} {'kernels':>7}"]
    timed = ("model", "candidate", "seconds", "batch")
    calls = {tuple(row[key] for key in timed): row for row in evidence if row["kind"] == "call"}
    for row in rows("end_to_end"):
        row |= calls.get(tuple(row[key] for key in timed), {})
        memory = f"{row['peak_bytes'] / 2**20:.0f} MiB" if "peak_bytes" in row else "-"
        ratio = f"{sorted(row['ratios'])[len(row['ratios']) // 2]:.2f}" if row["ratios"] else "-"
        roof = f"{row['roofline']:.1%}" if "roofline" in row else "-"
        lines.append(
            f"{row['model'] + ' ' + row['candidate']:<37} {row['batch']:>5} {row['audio_seconds']:>6.1f}s "
            f"{1e3 * row['p50']:>8.2f}ms {1e3 * row['p95']:>8.2f}ms {row['real_time']:>9.0f}x "
            f"{ratio:>7} {roof:>8} {memory:>9} "
            f"{row.get('kernels', '-'):>7}{'' if row['passed'] else ' wrong'}"
        )
    lines.append("")
    for row in evidence:
        if row["kind"] == "startup":
            name = f"first call, {row['candidate']}, {row['state']}"
            before = f"{row['import_seconds']:.2f} s of imports"
            if "warmup_seconds" in row:
                before += f" and {row['warmup_seconds']:.2f} s of warming up ({row['graphs']} graphs)"
            lines.append(f"{name}: {row['first_call_seconds']:.2f} s, after {before}")
        elif row["kind"] == "part":
            roof = f", {row['roofline']:.1%} of the roofline" if "roofline" in row else ""
            size = f"batch {row['batch']}, {row['seconds']:g} s, {row['dtype']}"
            lines.append(f"{row['part']}, {size}: {1e3 * row['p50']:.2f} ms{roof}")
    return "\n".join(lines) + "\n", passed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, leave rows behind, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_evidence", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, metavar="DIR", help="where rows are added, made where it is missing")
    parser.add_argument("--minutes", type=float, default=9.0, help="when to be done (default: 9)")
    parser.add_argument("--device", help="a torch device (default: cuda where there is one, else cpu)")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work is not None:
        return work(options.work)
    begin = time.time()
    if options.output is None:
        parser.error("--output says where the rows go")
    if not 0 < options.minutes < float("inf"):
        parser.error(f"--minutes must be positive, got {options.minutes:g}")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        quick = torch.device(device).type != "cuda"
    except RuntimeError:
        parser.error(f"{device!r} is no torch device")
    if not quick and not torch.cuda.is_available():
        parser.error(f"{device}: torch finds no GPU here")
    options.output.mkdir(parents=True, exist_ok=True)
    output, run = options.output.resolve(), harness.new_run()
    plan = {"output": str(output), "run": run, "device": device, "quick": quick, "variables": {}}
    print(f"run {run} on {device}, {'a small model' if quick else f'{options.minutes:g} minutes'}", flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(plan, begin + 60 * options.minutes - RESERVED, Path(folder))
    finally:
        text, passed = summary(output, run)
        (output / "summary.txt").write_text(text, encoding="utf-8")
        print(f"\n{text}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
