"""A Triton driver for a GPU that is not there: kernels are compiled for it, and launches do nothing.

From here on `fastvits_kernels.launch.jit` takes tensors on the CPU for tensors there. Raises RuntimeError in Triton's
interpreter, which compiles nothing.
"""

from typing import Any

from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from fastvits_kernels.launch import jit

if jit.interpreting():
    raise RuntimeError("Triton runs in its interpreter (TRITON_INTERPRET is set): nothing would be compiled")

compiled: list[str] = []
"""The names of the kernels compiled so far."""

launched: list[str] = []
"""The names of the kernels launched so far."""

shared_bytes = 227 * 1024
"""What a block can have of shared memory; asked once."""


class _Utilities:
    def load_binary(self, name: str, *_: Any) -> tuple[Any, ...]:
        # The module, the function, registers, spills and the most threads.
        return name, name, 32, 0, 1024

    def unload_module(self, module: Any) -> None:
        pass

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": shared_bytes}


class _Driver:
    utils = _Utilities()

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        return lambda *_: launched.append(source.name)


def _listen(*, src: Any, **_: Any) -> None:
    compiled.append(src.name)


driver.set_active(_Driver())
knobs.compilation.listener = _listen
jit.compiles_for = lambda device: True
