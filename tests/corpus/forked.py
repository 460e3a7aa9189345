"""Runs in processes that can be killed, and that need not load torch and the voice each: one process forks them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARENT = """
import json, os, sys, fastvits, torch
torch.set_num_threads(1)
say = fastvits.pipeline(model=sys.argv[1], device="cpu")
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        try:
            fastvits.synthesize(order["items"], order["output"], model=say, batch_size=4, shard=order["shard"])
            os._exit(0)
        finally:
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runs:
    """Starts runs, one after the other."""

    def __init__(self, process):
        self.process = process

    def start(self, items, output, shard=None):
        """Begin a run."""
        order = {"items": items, "output": str(output), "shard": shard}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.child = int(self.process.stdout.readline())

    def kill(self):
        """Kill it, if it still runs; its parent takes no notice of its end before `wait`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)

    def wait(self):
        """How it ended."""
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def forked_runs(voice):
    """The runs of a voice's folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(voice)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "OMP_NUM_THREADS": "1"},
        text=True,
    )
    try:
        yield Runs(process)
    finally:
        process.kill()
        process.communicate()
