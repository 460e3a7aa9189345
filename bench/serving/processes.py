"""A server as a process of its own, and what the system says of it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import harness


@dataclass
class Server:
    """A server that runs.

    Attributes:
        process: it.
        port: where it listens.
        other_port: where it speaks another protocol, if it does.
    """

    process: subprocess.Popen[bytes]
    port: int
    other_port: int | None = None

    def state(self) -> dict[str, int]:
        """Resident bytes, threads and open files of the process."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return {
            "resident": int(status["VmRSS"].split()[0]) * 1024,
            "threads": int(status["Threads"]),
            "files": len(os.listdir(f"/proc/{self.process.pid}/fd")),
        }

    def processor_seconds(self) -> float:
        """What the process has computed so far, on all processors together."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def figure(self, name: str) -> float:
        """A figure of /metrics, summed over its labels; 0 where there is none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def is_idle(self) -> bool:
        """Whether it has nothing to speak."""
        return self.figure("fastvits_queue_length") == 0


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    other_port: int | None = None,
    threads: int | None = None,
    environment: Mapping[str, str] | None = None,
    ready: Callable[[int], bool] | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """A server, from the moment when it answers to the end of the block.

    Args:
        command: what starts it.
        port, other_port: where it will listen.
        threads: processors that it is held to, and told of by OMP_NUM_THREADS; None: all.
        environment: its variables; None: those of this process, and the code that this process runs.
        ready: whether it answers on its port; None: whether it takes a connection.
        log: a file for what it writes.

    Raises RuntimeError where it ends before, or does not answer within three minutes.
    """
    if environment is None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if threads is not None:
        environment = {**environment, "OMP_NUM_THREADS": str(threads)}
    with contextlib.ExitStack() as stack:
        output = subprocess.DEVNULL if log is None else stack.enter_context(open(log, "wb"))
        process = subprocess.Popen(
            command,
            cwd=harness.ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=None if threads is None else partial(hold_to, threads),
        )
        try:
            deadline = time.monotonic() + 180
            while not (ready or takes_connections)(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    what = "does not answer" if process.poll() is None else f"ended with {process.returncode}"
                    said = "" if log is None else ": " + " ".join(log.read_text(errors="replace").split())[-500:]
                    raise RuntimeError(f"{' '.join(command[:4])} {what}{said}")
                time.sleep(0.1)
            yield Server(process, port, other_port)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def hold_to(threads: int) -> None:
    """Keep this process on so many processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def takes_connections(port: int) -> bool:
    """Whether something listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def is_healthy(port: int) -> bool:
    """Whether fastvits's server answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def fastvits_command(port: int, *options: str) -> list[str]:
    """What starts our server."""
    return [sys.executable, "-m", "fastvits", "serve", "--port", str(port), *options]
