"""How near an op is to what the device can do: its declared cost (`bench/ops/costs.py`) against peaks measured here.

    python -m bench.roofline [--device DEVICE] [--dtype DTYPE ...]

measures the peaks and appends them to `bench/results/peaks.jsonl`. No peak is typed in anywhere.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from bench import harness
from bench.ops.costs import Cost
from fastvits.planning.tuning import MODES, allowing_tf32
from fastvits_kernels import onednn

DTYPES = {name: dtype for name, (dtype, tf32) in MODES.items() if not tf32}
"""What every device has; TF32, which GPUs alone have, is float32 with torch's flags set."""

TF32 = "tf32"

PEAKS = harness.RESULTS / "peaks.jsonl"
SLOW = 0.1
"""A CPU without instructions for a dtype takes longer, in seconds, for a product: larger ones are not tried then."""


@dataclass(frozen=True)
class Peaks:
    """What a device was seen to do: bytes a second in a copy, read and written, operations a second in a product."""

    bytes_per_second: float
    flops_per_second: float

    def least_seconds(self, cost: Cost) -> float:
        """The roofline: no call of this cost can be faster, unless its data lie in a cache."""
        return max(cost.bytes / self.bytes_per_second, cost.flops / self.flops_per_second)

    def bound(self, cost: Cost) -> str:
        """Which of the two limits a call of this cost: `memory` or `compute`."""
        memory_bound = cost.bytes / self.bytes_per_second >= cost.flops / self.flops_per_second
        return "memory" if memory_bound else "compute"


def modes_for(device: torch.device | str, names: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """The names of `MODES` that were asked for, else the default's; raises ValueError for TF32 on a CPU."""
    on_gpu = torch.device(device).type == "cuda"
    if names and TF32 in names and not on_gpu:
        raise ValueError(f"dtype {TF32} is for GPUs; device {device} has {', '.join(DTYPES)}")
    return list(names or [name for name in default if on_gpu or name != TF32])


def measure_peaks(device: torch.device | str, dtype: torch.dtype, *, quick: bool = False, tf32: bool = False) -> Peaks:
    """The peaks of `device` in `dtype`: the fastest of several copies and of several matrix products.

    `quick` measures less, on smaller tensors: for tests only. TF32 is used where `tf32` says so only.
    """
    device = torch.device(device)
    large = device.type == "cuda"
    copied = (1 << 30 if large else 256 << 20) if not quick else 8 << 20
    sizes = ((4096, 8192) if large else (512, 1024, 2048)) if not quick else (256,)
    source = torch.ones(copied, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    candidates: dict[str, Callable[[], Any]] = {"copy": lambda: target.copy_(source)}
    for size in sizes:
        # Of ordinary magnitude: zeros are faster than anything real on some devices.
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        product = partial(torch.mm, a, b, out=torch.empty(size, size, dtype=dtype, device=device))
        candidates[str(size)] = product
        if large:
            continue
        if min(harness.time_in_turn({"": product}, rounds=2, warmup=0, flush=False)[""]) > SLOW:
            break
        # On some processors torch asks a library that does not use all that they have.
        if dtype in onednn.convolution.native_dtypes() and onednn.convolution.unsupported(a) is None:
            candidates[f"{size} by oneDNN"] = partial(onednn.convolution.linear, a, b)
    with allowing_tf32(tf32):
        samples = harness.time_in_turn(
            candidates,
            device=device,
            rounds=3 if quick else 20,
            warmup=1,
            budget=10.0,
            flush=False,
        )
    rate = max(2 * int(name.split()[0]) ** 3 / min(times) for name, times in samples.items() if name != "copy")
    return Peaks(2 * copied / min(samples["copy"]), rate)


def peak_row(peaks: Peaks, dtype: str) -> dict[str, Any]:
    """A result row of kind `peaks`."""
    return {"kind": "peaks", "dtype": dtype, **asdict(peaks)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and append the peaks."""
    parser = argparse.ArgumentParser(prog="python -m bench.roofline", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", action="append", choices=MODES, help="can be repeated; all without it")
    parser.add_argument("--quick", action="store_true", help="small tensors, and nothing is kept")
    options = parser.parse_args(arguments)
    try:
        names = modes_for(options.device, options.dtype, list(MODES))
    except ValueError as error:
        parser.error(str(error))
    run = harness.Run(options.device, keep=not options.quick)
    rows = []
    for name in names:
        dtype, tf32 = MODES[name]
        peaks = measure_peaks(options.device, dtype, quick=options.quick, tf32=tf32)
        print(f"{name:<9} {peaks.bytes_per_second / 1e9:8.1f} GB/s  {peaks.flops_per_second / 1e9:10.1f} GFLOP/s")
        rows.append(peak_row(peaks, name))
    run.keep(PEAKS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
