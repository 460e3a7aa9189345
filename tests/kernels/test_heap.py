"""Whence glibc takes large blocks of memory."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from fastvits_kernels.dispatch import heap


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """As in a process that has made no setting."""
    heap._mallopt.cache_clear()
    heap.keep_freed_memory.cache_clear()
    yield
    heap._mallopt.cache_clear()
    heap.keep_freed_memory.cache_clear()


def test_blocks_are_mapped_inside_and_from_the_heap_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[int, int] = {}
    monkeypatch.setattr(heap, "_mallopt", lambda: lambda name, value: made.update({name: value}) or 1)
    with heap.mapped():
        assert made == {heap._MMAP_THRESHOLD: 128 << 10, heap._TRIM_THRESHOLD: 64 << 20}
    assert made == {heap._MMAP_THRESHOLD: 32 << 20, heap._TRIM_THRESHOLD: 64 << 20}
    heap.keep_freed_memory()
    assert made == {heap._MMAP_THRESHOLD: 32 << 20, heap._TRIM_THRESHOLD: 64 << 20}


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "1000000"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")]
)
def test_settings_of_the_environment_are_left_alone(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert heap._mallopt() is None
    with heap.mapped():
        pass


GROWING = """
from pathlib import Path
import torch
from fastvits_kernels.dispatch import heap
from fastvits_kernels.onednn.scratch import scratch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kept = []
heap.keep_freed_memory()
before = resident()
for megabytes in range(1, 25):
    scratch("growing", (megabytes << 20,), torch.uint8).fill_(1)
    kept.append(torch.ones(1 << 17, dtype=torch.uint8))  # that stays above it
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(heap._mallopt() is None, reason="for glibc")
def test_memory_that_grows_leaves_no_holes() -> None:
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True)
    assert 24 <= int(done.stdout) < 60  # of 24 + 3; some 300 from the heap
