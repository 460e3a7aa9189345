"""What many workers would do with ten million sentences, from what one does here: `python -m bench.scaling --predict`.

Measured on this machine: the time a worker takes to start, the sentences it speaks in a second, the time in which a
shard looks at a row of the manifest (every shard looks at all of them), the files that one process brings to this disk
in a second, and the time in which `merge` looks at a row. Then, for `W` workers and `N` rows,

    start   once a worker, all at the same time
    deal    N x seconds a row, in every worker
    speak   N / (W x sentences a second)
    store   N / files a second, of a disk that all share and that is as fast as this one
    merge   N x seconds a row, in one process

    total = start + deal + max(speak, store) + merge

and the first bottleneck is the part that comes to outweigh `speak` at the least number of workers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import harness
from bench.training.sentences import sentences

WORKERS = (1, 8, 64, 1000)
ROWS = 10_000_000


@dataclass(frozen=True)
class Costs:
    """What was measured of one worker; seconds, but for the two rates.

    Attributes:
        start: from the process's beginning to a voice that has spoken.
        sentences_a_second: spoken by one worker, files included.
        deal, merge: a row.
        files_a_second: brought to the disk by one process.
        bytes_a_file: of audio.
    """

    start: float
    sentences_a_second: float
    deal: float
    files_a_second: float
    merge: float
    bytes_a_file: float


def parts(costs: Costs, rows: int, workers: int) -> dict[str, float]:
    """Seconds of each part."""
    return {
        "start": costs.start,
        "deal": rows * costs.deal,
        "speak": rows / (workers * costs.sentences_a_second),
        "store": rows / costs.files_a_second,
        "merge": rows * costs.merge,
    }


def total(found: dict[str, float]) -> float:
    """Seconds of all parts: files are stored while others are spoken."""
    return found["start"] + found["deal"] + max(found["speak"], found["store"]) + found["merge"]


def outweighed_at(costs: Costs, rows: int) -> dict[str, float]:
    """For each other part, the number of workers at which speaking takes no longer than it."""
    found = parts(costs, rows, 1)
    return {name: found["speak"] / found[name] for name in ("start", "deal", "store", "merge")}


def lines(costs: Costs, rows: int, workers: tuple[int, ...] = WORKERS) -> Iterator[str]:
    """The prediction for people, with its arithmetic."""
    yield (
        f"one worker: {costs.start:.1f} s to start, {costs.sentences_a_second:.2f} sentences a second; a row is dealt "
        f"in {1e6 * costs.deal:.1f} µs and merged in {1e6 * costs.merge:.1f} µs; one disk takes "
        f"{costs.files_a_second:.0f} files a second of {costs.bytes_a_file / 1e3:.0f} kB"
    )
    for count in workers:
        found = parts(costs, rows, count)
        yield (
            f"{count:>5} workers, {rows:,} sentences: start {found['start']:.0f} s + deal {found['deal']:.0f} s + "
            f"max(speak {rows:,} / ({count} x {costs.sentences_a_second:.2f}) = {found['speak']:,.0f} s, "
            f"store {rows:,} / {costs.files_a_second:.0f} = {found['store']:,.0f} s) + merge {found['merge']:.0f} s "
            f"= {total(found):,.0f} s"
        )
    ranked = sorted(outweighed_at(costs, rows).items(), key=lambda pair: pair[1])
    yield "speaking takes no longer than " + ", ".join(f"{name} at {count:,.0f} workers" for name, count in ranked)
    name, count = ranked[0]
    advice = {
        "store": "give shards disks of their own, or a file system that takes more files a second",
        "deal": "cut the manifest into pieces beforehand",
        "merge": "read the shards' manifests as they are",
        "start": "give each worker more rows",
    }[name]
    yield f"the first bottleneck is {name}, from {max(count, 1):,.0f} workers on: {advice}"


def measure(device: str, count: int, batch: int) -> Costs:
    """Measure one worker, on `count` sentences."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start, speaking = worker(folder / "spoken", device, count, batch)
        sizes = [path.stat().st_size for path in (folder / "spoken").glob("*.wav")]
        files, merging = storing(folder / "stored", int(np.mean(sizes)), 300)
        return Costs(start, count / speaking, dealing(folder, 20_000), files, merging, float(np.mean(sizes)))


WORKER = """
import json, sys, time
begun = float(sys.argv[1])
import fastvits
output, device, batch = sys.argv[2], sys.argv[3], int(sys.argv[4])
texts = json.load(sys.stdin)
say = fastvits.pipeline(device=device)
fastvits.synthesize(texts[:batch], output + "-first", model=say, batch_size=batch)
ready = time.time()
report = fastvits.synthesize(texts, output, model=say, batch_size=batch)
assert report.done == len(texts), report
print(json.dumps([ready - begun, time.time() - ready]))
"""


def worker(output: Path, device: str, count: int, batch: int) -> tuple[float, float]:
    """Seconds until a new process has spoken a first batch, and seconds for `count` sentences then."""
    texts = [f"{text}." for text in sentences(count)]
    command = [sys.executable, "-c", WORKER, str(time.time()), str(output), device, str(batch)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, cwd=harness.ROOT, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"a worker failed: {done.stderr.strip()[-500:]}")
    start, speaking = json.loads(done.stdout.splitlines()[-1])
    return start, speaking


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def dealing(folder: Path, rows: int) -> float:
    """Seconds in which a shard reads and deals a row of a manifest."""
    from fastvits.corpus import Shard, read_manifest
    from fastvits.corpus.items import row_name

    manifest = folder / "rows.jsonl"
    with manifest.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"id": f"row{number:08d}", "text": "The quick brown fox jumps over it."}) + "\n")
    shard = Shard(1, 1000)

    def run() -> None:
        for number, row in enumerate(read_manifest(manifest), 1):
            shard.takes(row_name(row, number))

    return min(timed(run) for _ in range(3)) / rows


def storing(folder: Path, size: int, files: int) -> tuple[float, float]:
    """Files of so many bytes that one process brings to the disk in a second, and seconds in which one is merged."""
    from fastvits.corpus import Shard, merge
    from fastvits.corpus.folder import OutputFolder
    from fastvits.corpus.items import Item

    audio = np.zeros(max(size // 2, 1), np.float32)
    items = [Item(number, f"row{number}", "text", None, 0, 1.0, "key") for number in range(1, files + 1)]
    with OutputFolder(folder, Shard(1, 1)) as output:
        seconds = timed(lambda: [output.add(item, audio, 22050, "wav", None) for item in items])
        output.finish({item.id for item in items}, rows=files, dealt=files, names="", settings="", failures=[])
    return files / seconds, timed(lambda: merge(folder)) / files
