"""What records a stage on a kind of device and replays it: CUDA graphs."""

import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch

from fastvits_kernels.launch.ahead import compile_ahead

recording_lock = threading.RLock()
"""Held while a graph is recorded, and by whoever draws from a CUDA device's default random generator: torch refuses the
one during the other."""


class Recorded(Protocol):
    """A graph: `replay` computes `outputs` anew from the inputs that it was recorded with."""

    outputs: Any

    def replay(self) -> None: ...


class Recorder(Protocol):
    """What records graphs on a kind of device, and orders their replays; one for each model and device."""

    def record(self, run: Callable[[], Any]) -> Recorded:
        """Record `run`, which reads and writes the device's memory alone."""

    def before(self) -> None:
        """Make the current stream wait for the last use of any graph of this recorder."""

    def after(self) -> None:
        """Note that the current stream has used a graph."""

    def drain(self) -> None:
        """Wait, on the host, until no graph is in use: their memory is about to be given back."""

    def pool_bytes(self) -> int:
        """Device memory of the graphs recorded so far, but for their inputs."""

    def emptied(self) -> None:
        """All graphs recorded so far are gone."""


class _CudaRecorded:
    def __init__(self, graph: "torch.cuda.CUDAGraph", outputs: Any) -> None:
        self.graph, self.outputs = graph, outputs

    def replay(self) -> None:
        self.graph.replay()


class CudaRecorder:
    """Records CUDA graphs on one device, in one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # One side stream for all recordings: memory is shared between graphs recorded on the same stream only.
        self.stream = torch.cuda.Stream(device)
        self.used = torch.cuda.Event()
        self.pools: list[Any] = []
        self.fresh = True

    def record(self, run: Callable[[], Any]) -> Recorded:
        """Record `run`, after having run it once: kernels are compiled and loaded, weights packed and libraries'
        workspaces allocated before, none of which a recording allows."""
        with recording_lock, torch.cuda.device(self.device):
            current = torch.cuda.current_stream(self.device)
            self.stream.wait_stream(current)
            graph = torch.cuda.CUDAGraph()
            if self.fresh:
                self.pools.append(torch.cuda.graph_pool_handle())
                self.fresh = False
            # Also restores the current stream where a recording fails, which `torch.cuda.graph` then leaves set.
            with torch.cuda.stream(self.stream):
                compile_ahead(run, self.device)
                run()
                current.wait_stream(self.stream)
                try:
                    with torch.cuda.graph(
                        graph, pool=self.pools[-1], stream=self.stream, capture_error_mode="thread_local"
                    ):
                        outputs = run()
                except BaseException:
                    # A pool that a failed recording has touched is not used for another one.
                    self.fresh = True
                    raise
        return _CudaRecorded(graph, outputs)

    def before(self) -> None:
        torch.cuda.current_stream(self.device).wait_event(self.used)

    def after(self) -> None:
        self.used.record(torch.cuda.current_stream(self.device))

    def drain(self) -> None:
        self.used.synchronize()

    def pool_bytes(self) -> int:
        pools = set(self.pools)
        segments = torch.cuda.memory_snapshot()
        return sum(segment["total_size"] for segment in segments if tuple(segment["segment_pool_id"]) in pools)

    def emptied(self) -> None:
        # A pool without a graph is on its way out, and torch refuses to record into it.
        self.pools, self.fresh = [], True
