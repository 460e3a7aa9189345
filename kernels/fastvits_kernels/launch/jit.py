"""The shim between the ops and Triton: kernels are built when first launched, and launches can be recorded instead.

An op's file decorates its kernels with `@kernel` and imports nothing of Triton: `tl` in their bodies is put in place on
the first launch. So every op imports where Triton is missing, and importing fastvits imports no Triton.

`recording()` collects what the launchers would launch, on tensors of any device (meta tensors too), without launching
it: what is compiled ahead or counted is thereby exactly what runs.
"""

import importlib.util
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..dispatch.devices import device_of
from ..dispatch.precision import tf32_allowed

OLDEST = (3, 6)
"""The first version of Triton that the kernels are for: older ones multiply no matrices of fewer than 16 rows."""

_lock = threading.RLock()

# Triton compiles one binary for integers that 16 divides, one for 1 and one for all others. Of strides it has to know,
# for wide loads; lengths and dilations would only compile the same three times. So would a `row_stride`, that between
# the rows of a tensor [B, T], which is T where it is contiguous.
_VARYING = re.compile(r"steps|T|T_\w+|row_stride_\w+|dilation\d*|kernel_size\d*")


@lru_cache
def varying_names(fn: Callable[..., Any]) -> tuple[str, ...]:
    """The run-time parameters of a kernel whose values compile nothing anew."""
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    constants = {name for name, kind in fn.__annotations__.items() if "constexpr" in str(kind)}
    return tuple(name for name in names if _VARYING.fullmatch(name) and name not in constants)


class LazyKernel:
    """A Triton kernel, or a function that kernels call, that is built on first use."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.name = fn.__name__
        self._jitted: Any = None

    def jitted(self) -> Any:
        """The `triton.jit` function; raises ImportError where Triton is not installed."""
        if self._jitted is None:
            with _lock:
                if self._jitted is None:
                    import triton
                    import triton.language

                    if interpreting():
                        _interpret_bfloat16_dots()
                        _interpret_scalars_as_indices()
                        _patch_language_once_a_launch()
                        _look_for_no_overflow_in_vain()
                    scope = self.fn.__globals__
                    scope["tl"] = triton.language
                    self._jitted = triton.jit(self.fn, do_not_specialize=varying_names(self.fn))
                    if interpreting():
                        # The interpreter's copy of the function quotes its annotations twice, and so loses constants.
                        self._jitted.rewrite().__annotations__.update(self.fn.__annotations__)
                    # Triton resolves what a kernel calls through the module's globals, and knows its own type only.
                    for name, value in list(scope.items()):
                        if isinstance(value, LazyKernel):
                            scope[name] = value.jitted()
        return self._jitted


def _interpret_bfloat16_dots() -> None:
    """Make Triton's interpreter multiply bfloat16 matrices; it stores them as 16-bit integers and would multiply those.

    The products of bfloat16 operands are exact in float32, so widening them first is what hardware computes.
    """
    import numpy
    import triton.language
    from triton.runtime.interpreter import InterpreterBuilder

    create_dot = InterpreterBuilder.create_dot
    if getattr(create_dot, "widens_bfloat16", False):
        return

    def widened(operand: Any) -> Any:
        if operand.dtype.scalar != triton.language.bfloat16 or operand.data.dtype != numpy.uint16:
            return operand
        bits = operand.data.astype(numpy.uint32) << 16
        return type(operand)(bits.view(numpy.float32), triton.language.float32)

    def create_widened_dot(self: Any, a: Any, b: Any, *rest: Any, **options: Any) -> Any:
        return create_dot(self, widened(a), widened(b), *rest, **options)

    create_widened_dot.widens_bfloat16 = True  # type: ignore[attr-defined]
    InterpreterBuilder.create_dot = create_widened_dot


def _interpret_scalars_as_indices() -> None:
    """Let kernels loop over `range(scalar)` in the interpreter of Triton 3.6 too.

    It holds a scalar as an array of one element and takes `int(array)` for its index, which numpy 2.4 refuses unless
    the array has no axes. Later versions of Triton drop the axis first, as is done here.
    """
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor
    if getattr(patch_tensor, "takes_any_index", False):
        return

    def patch_tensor_with_index(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    patch_tensor_with_index.takes_any_index = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patch_tensor_with_index


def _patch_language_once_a_launch() -> None:
    """Have Triton's interpreter replace its language once for each launch, not for each call of a device function too.

    It looks through some thousand attributes every time, only to find them replaced: a third of the time of kernels
    that are made of small functions.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    patch_lang = interpreter._patch_lang
    if getattr(patch_lang, "once_a_launch", False):
        return
    patched: set[Any] = set()

    class Scope:
        """The replacements of a launch, which ends when they are undone; without them, those of a call within it."""

        def __init__(self, of_launch: Any = None) -> None:
            self.of_launch = of_launch

        def restore(self) -> None:
            if self.of_launch is not None:
                patched.clear()
                self.of_launch.restore()

    def patch_lang_once(fn: Callable[..., Any]) -> Any:
        languages = {value for value in fn.__globals__.values() if value is tl or value is tl.core}
        if patched and languages <= patched:
            return Scope()
        within = bool(patched)
        scope = patch_lang(fn)
        patched.update(languages)
        return scope if within else Scope(scope)

    patch_lang_once.once_a_launch = True  # type: ignore[attr-defined]
    interpreter._patch_lang = patch_lang_once


def _look_for_no_overflow_in_vain() -> None:
    """Have Triton's interpreter compute no overflow checks that it does not assert.

    It evaluates every sum and product of integers in 64 bits too and compares it with the limits of 32, half of the
    time of most kernels, and drops the answer unless it debugs.
    """
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, sanitize_overflow=builder.options.debug)


def kernel(fn: Callable[..., Any]) -> Any:
    """Decorator: a Triton kernel (or a function called by kernels), built when first launched.

    Annotate compile-time constants as the string `"tl.constexpr"`; `tl` needs no import at run time. Arguments called
    `steps`, `T`, `T_...`, `dilation...` or `kernel_size...` compile nothing anew, whatever their values.
    Gives a `LazyKernel`, typed as anything: in kernels' bodies it is called like a function.
    """
    return LazyKernel(fn)


@dataclass(frozen=True)
class Launch:
    """One recorded launch: everything that decides what is compiled, and the grid."""

    kernel: str
    op: str
    signature: tuple[tuple[str, str], ...]
    """Parameter names and types: `*fp32`, `i32`, `fp32`, ..., `constexpr`."""
    constants: tuple[tuple[str, Any], ...]
    divisible: tuple[str, ...]
    """Parameters known to be divisible by 16 (pointers and integers)."""
    num_warps: int
    num_stages: int
    grid: tuple[int, ...]
    source: Any
    """The kernel itself (a `LazyKernel` or a built one)."""

    @property
    def binary(self) -> tuple[Any, ...]:
        """What launches of one binary have in common."""
        fields = (self.source.fn, self.signature, self.constants, self.divisible)
        return (*fields, self.num_warps, self.num_stages)

    @property
    def jitted(self) -> Any:
        """The `triton.jit` function."""
        return built(self.source)

    @property
    def options(self) -> dict[str, Any]:
        """How Triton is to compile it."""
        return compiling_options(self.num_warps, self.num_stages)


_recorder: ContextVar[list[Launch] | None] = ContextVar("fastvits_launches", default=None)
_TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "i1",
}
DTYPES = {name: dtype for dtype, name in _TYPES.items()}
"""By the names that Triton has for them."""


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Collect launches in the list instead of launching; outputs are then left as they were allocated."""
    launches: list[Launch] = []
    token = _recorder.set(launches)
    try:
        yield launches
    finally:
        _recorder.reset(token)


def is_recording() -> bool:
    """Whether launches are being recorded here and now."""
    return _recorder.get() is not None


def launch(
    op: str,
    kernel: Any,
    grid: tuple[int, ...],
    args: tuple[Any, ...],
    constants: Mapping[str, Any],
    *,
    num_warps: int = 4,
    num_stages: int = 2,
) -> None:
    """Launch `kernel` on `grid` with positional `args` (tensors, None, numbers) and named compile-time `constants`.

    An empty grid launches nothing. Runs on the device and current stream of the first tensor.
    """
    if 0 in grid:
        return
    recorder = _recorder.get()
    if recorder is not None:
        recorder.append(_describe(op, kernel, grid, args, constants, num_warps, num_stages))
        return
    jitted = built(kernel)
    options = {} if interpreting() else compiling_options(num_warps, num_stages)
    device = next(argument.device for argument in args if isinstance(argument, Tensor))
    if device.type == "cuda":
        with torch.cuda.device(device):
            jitted[grid](*args, **constants, **options)
    else:
        jitted[grid](*args, **constants, **options)


def built(kernel: Any) -> Any:
    """The `triton.jit` function of a kernel that may not be built yet."""
    return kernel.jitted() if isinstance(kernel, LazyKernel) else kernel


def compiling_options(num_warps: int, num_stages: int) -> dict[str, Any]:
    """How Triton is to compile a kernel, whether it is launched or not."""
    # Triton 3.10 flips the default of floating-point fusion, and numbers must not change with the compiler.
    return {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": True}


def _describe(
    op: str,
    kernel: Any,
    grid: tuple[int, ...],
    args: tuple[Any, ...],
    constants: Mapping[str, Any],
    warps: int,
    stages: int,
) -> Launch:
    fn = kernel.fn
    varying = varying_names(fn)
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    signature, fixed, divisible = [], dict(constants), []
    for name, argument in zip(names, args, strict=False):
        if isinstance(argument, Tensor):
            signature.append((name, "*" + _TYPES[argument.dtype]))
            # Allocations are aligned. A meta tensor has no address; where it starts in its storage says the same.
            if argument.storage_offset() * argument.element_size() % 16 == 0:
                divisible.append(name)
        elif argument is None:
            signature.append((name, "constexpr"))
            fixed[name] = None
        elif isinstance(argument, bool):
            signature.append((name, "i1"))
        elif isinstance(argument, int):
            # Triton specialises on 1 and on multiples of 16.
            if argument == 1 and name not in varying:
                signature.append((name, "constexpr"))
                fixed[name] = 1
            else:
                signature.append((name, "i32" if abs(argument) < 2**31 else "i64"))
                if argument % 16 == 0 and name not in varying:
                    divisible.append(name)
        elif isinstance(argument, float):
            signature.append((name, "fp32"))
        else:
            raise TypeError(f"kernel {kernel.name}: cannot pass {type(argument).__name__} for {name}")
    signature += [(name, "constexpr") for name in names[len(args) :]]
    missing = [name for name in names[len(args) :] if name not in constants]
    if missing:
        raise TypeError(f"{fn.__name__} misses the constants {', '.join(missing)}")
    ordered = tuple(sorted(fixed.items()))
    return Launch(fn.__name__, op, tuple(signature), ordered, tuple(divisible), warps, stages, grid, kernel)


def interpreting() -> bool:
    """Whether Triton runs kernels in its interpreter (`TRITON_INTERPRET=1`, set before Triton is imported)."""
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def unavailable(*tensors: Tensor | None) -> str | None:
    """Why Triton cannot run on these tensors' device, or None."""
    if is_recording():
        return None
    return _unavailable_on(device_of(*tensors), interpreting())


def compiles_for(device: torch.device) -> bool:
    """Whether launches on `device` run compiled kernels."""
    return not interpreting() and _unavailable_on(device, False) is None


def _installed() -> bool:
    try:
        return importlib.util.find_spec("triton") is not None
    except (ImportError, ValueError):  # a finder that refuses, or a stub in its place
        return False


@lru_cache
def _unavailable_on(device: torch.device, interpreted: bool) -> str | None:
    if device.type == "cpu" and not interpreted:
        return "triton has no kernels for tensors on cpu (set TRITON_INTERPRET=1 to interpret them)"
    if device.type not in ("cpu", "cuda"):
        return f"triton has no kernels for tensors on {device.type}"
    if not _installed():
        return "triton is not installed"
    if device.type == "cpu":
        return None
    if interpreted:
        return "triton runs in its interpreter (TRITON_INTERPRET is set)"
    try:
        import triton
    except Exception as error:  # a broken or foreign build may raise anything, and must not stop eager
        return f"triton cannot be imported: {error}"
    if tuple(map(int, triton.__version__.split(".")[:2])) < OLDEST:
        return f"triton is version {triton.__version__}, the kernels need {'.'.join(map(str, OLDEST))} or later"
    if torch.cuda.is_available() and not torch.version.hip:
        major, minor = torch.cuda.get_device_capability(device)
        if major < 8:
            return f"triton needs a GPU of compute capability 8.0 or more, this one has {major}.{minor}"
    return None


def unsupported(*tensors: Tensor | None) -> str | None:
    """Why Triton cannot run on these floating-point tensors, or None: their device, or dtypes that differ or lack a
    kernel.
    """
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor is not None}
    if len(dtypes) > 1:
        return f"the tensors differ in dtype: {', '.join(sorted(dtypes))}"
    if not dtypes <= {"float32", "float16", "bfloat16"}:
        return f"there is no kernel for {dtypes.pop()}"
    return unavailable(*tensors)


def padded(size: int, least: int = 1) -> int:
    """The smallest power of two that is no less than `size` and `least`: a side of a tile that holds all of `size`."""
    return max(1 << max(size - 1, 0).bit_length(), least)


def dot_precision(dtype: torch.dtype) -> str:
    """How a kernel multiplies float32 operands: `tf32` where torch's flags allow it, else `ieee`; `ieee` for all other
    dtypes.
    """
    return "tf32" if dtype == torch.float32 and tf32_allowed() else "ieee"
