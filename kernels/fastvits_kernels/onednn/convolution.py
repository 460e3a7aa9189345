"""oneDNN's convolution with prepacked weights and post-operations, for channels-last sequences.

Three things decide the speed of a convolution here, in CPU time of one AVX-512 thread: channels-last instead of
channels-first is worth a factor of 1.5 to 3; a dilated convolution that pads by itself is half as fast as one whose
input is padded in memory; a call costs some 50 us beside its work. Hence weights are packed once, the pass that a leaky
ReLU needs anyway writes into a padded buffer, and the residual is summed by the convolution itself.

An undilated convolution may also be a product of matrices, whose rows are the windows that its taps see (`windows`):
copying them takes 1 to 3 % of the product. See `packed_windows`.

Half precision takes the processor's own instructions where it has them. Elsewhere activations are widened to float32,
computed there and rounded at the end of an op, which is said once.
"""

import logging
import math
import platform
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..dispatch.devices import has_matrix_units, stands_for
from ..dispatch.packing import packed
from .scratch import scratch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

logger = logging.getLogger("fastvits")


@lru_cache
def native_dtypes() -> frozenset[torch.dtype]:
    """The dtypes that this processor has instructions for and oneDNN uses."""
    found = {torch.float32}

    def processor_has(*names: str) -> bool:
        return any(getattr(torch.cpu, name, bool)() for name in names)

    if processor_has("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        found.add(torch.bfloat16)
    if processor_has("_is_amx_fp16_supported"):
        found.add(torch.float16)
    return frozenset(found)


@lru_cache
def _say_widened(dtype: torch.dtype) -> None:
    logger.warning("this CPU has no instructions for %s: computing in float32", str(dtype).removeprefix("torch."))


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that activations of `dtype` are computed in; warns once where it is another one."""
    if dtype in native_dtypes() or dtype not in DTYPES:
        return dtype
    _say_widened(dtype)
    return torch.float32


@lru_cache
def _broken() -> str | None:
    """Why oneDNN's convolutions cannot be used, found by trying a small one; None where they can.

    Tried in a thread of its own, for that starts without whatever surrounds the first call: autocast, tracing, function
    transforms, fake tensors and other modes are a thread's. What was found is said once.
    """
    found = ["the trial of oneDNN's convolutions ended early"]

    def run() -> None:
        found[0] = _tried() or ""

    trial = threading.Thread(target=run, name="fastvits-trial-of-onednn")
    trial.start()
    trial.join()
    if found[0]:
        logger.warning("%s: speech takes longer, on plain torch", found[0])
    else:
        logger.debug("oneDNN's fused convolutions were tried, and are right")
    return found[0] or None


def _tried() -> str | None:
    if not torch.backends.mkldnn.is_available():
        return "this torch is built without oneDNN"
    with torch.no_grad():
        # Whatever torch's default dtype is, which all threads share.
        x, out, weight, bias = (
            torch.linspace(-1, 1, math.prod(shape), dtype=torch.float32, device="cpu").view(shape)
            for shape in ((1, 9, 16), (1, 9, 16), (3, 16, 16), (16,))
        )
        expected = functional.conv1d(x.transpose(1, 2), weight.permute(2, 1, 0), bias).transpose(1, 2)
        try:
            one = convolve(x, reordered(weight, 1, 9), bias, activation="leaky_relu", slope=0.1)
            convolve_onto(out[:, 1:8], x, reordered(weight, 1, 9), bias)
        except (AttributeError, RuntimeError, TypeError) as error:
            return f"oneDNN's fused convolutions do not run here: {str(error).splitlines()[0]}"
        right = torch.allclose(one, functional.leaky_relu(expected, 0.1), atol=1e-4)
        right = right and torch.allclose(out[:, 1:8], x[:, 1:8] + expected, atol=1e-4)
    return None if right else "oneDNN's fused convolutions give wrong results here"


def unsupported(x: Tensor, *others: Tensor | None) -> str | None:
    """Why activations `x` with these weights and further inputs cannot run on oneDNN, or None.

    Weights may have another dtype than the activations: they are converted when they are packed.
    """
    if not x.is_cpu and stands_for(x.device).type != "cpu":
        return f"oneDNN is for CPUs, not {stands_for(x.device).type}"
    for tensor in (x, *others):
        if tensor is not None and tensor.dtype not in DTYPES:
            return f"oneDNN is for float32, bfloat16 and float16, not {tensor.dtype}"
    return _broken()


def prefers_eager_with_dropout(dropout: float) -> tuple[str, str, bool]:
    """With dropout, which is for learning, the reference: oneDNN has no gradients of these ops, so that it would be
    computed again for them."""
    if dropout:
        return "eager", "gradients of dropout on a CPU are the reference's", False
    return "onednn", "auto on cpu", False


_FEW_ROWS = 60
"""So many rows of a product of float32 matrices torch computes itself, wherever."""

_SHORT = 64
"""Up to this many steps oneDNN wants some weights in another layout."""


@lru_cache
def whole_steps(steps: int) -> int:
    """The number of steps, at least `steps`, that a convolution is to have: a multiple of 16, beyond 512 of a 32nd to a
    16th of it, and of 512 at most.

    Two costs depend on the very number. Weights in a layout other than the one that oneDNN wants for it are rearranged
    in every call, which takes 5 to 15 ms for those of 192 channels; with multiples of 16 there is one layout up to 64
    steps and one beyond (seen on one and two threads, AVX-512 and AMX). And oneDNN generates code for each number, in
    0.3 ms for float32 and 1 ms for the matrix units of half precision, and keeps it: with few numbers it often has it,
    and the memory of a long text ends lower.
    """
    quantum = min(max(16, 1 << max(steps.bit_length() - 5, 0)), 512)
    return -(-steps // quantum) * quantum


@lru_cache
def torch_is_slow() -> bool:
    """Whether torch's own products of float32 matrices are slower than oneDNN's.

    MKL, which torch asks, has AVX-512 for Intel's processors only. On two threads of an AMD EPYC 9005 it takes twice as
    long for 60 rows and more; for fewer (`_FEW_ROWS`) it takes no longer.
    """
    if not torch.backends.mkl.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        maker = Path("/proc/cpuinfo").read_text()
    except OSError:
        maker = platform.processor()
    return "AuthenticAMD" in maker


def product_rows(rows: int, dtype: torch.dtype) -> int:
    """The number of rows, at least `rows`, that a product of matrices is to have: `whole_steps` where oneDNN computes
    it, for it generates code for each number of rows, in 0.3 ms."""
    return whole_rows(rows) if _is_onednns(rows, dtype) else rows


def _is_onednns(rows: int, dtype: torch.dtype) -> bool:
    """Whether a product of matrices with so many rows is oneDNN's to compute, or torch's."""
    return dtype != torch.float32 or (rows >= _FEW_ROWS and torch_is_slow())


def whole_rows(rows: int) -> int:
    """As `whole_steps`, but for multiples of 8 up to 128: a product's packed weight has one layout for all."""
    return -(-rows // 8) * 8 if rows <= 128 else whole_steps(rows)


def is_short(steps: int) -> bool:
    """Whether sequences of `steps` want their weights in the layout for short ones."""
    return steps <= _SHORT


def layout(steps: int) -> str:
    """Which layout of packed weights sequences of `steps` want."""
    return "only" if _one_layout() else "short" if is_short(steps) else "long"


def reordered(weight: Tensor, dilation: int, steps: int) -> Tensor:
    """`weight` `[K, C_in, C_out]` in the opaque layout that oneDNN wants for sequences of `steps`."""
    image = weight.permute(2, 1, 0).unsqueeze(2).contiguous(memory_format=torch.channels_last)
    # With its padding, which the width must hold.
    shape = [1, weight.shape[1], 1, (_SHORT if is_short(steps) else 1024) + (weight.shape[0] - 1) * dilation]
    return torch.ops.mkldnn._reorder_convolution_weight(image, [0, 0], [1, 1], [1, dilation], 1, shape)


def packed_weight(weight: Tensor, dtype: torch.dtype, steps: int, dilation: int = 1, alpha: float = 1.0) -> Tensor:
    """`alpha * weight`, `[K, C_in, C_out]`, converted to `dtype` and packed once, for `convolve` over `steps`.

    A single tap is a product of matrices, and its weight a `packed_matrix`: a convolution of oneDNN would want a layout
    that depends on the number of steps, and rearrange the weights, for milliseconds, in every call where it is not the
    packed one.
    """
    if weight.shape[0] == 1:
        return packed_matrix(weight[0], dtype, alpha)
    form = ("onednn", dtype, dilation, alpha, layout(steps))
    return packed(weight, form, lambda: reordered(_scaled(weight, dtype, alpha), dilation, steps))


def planned(
    weight: Tensor, dtype: torch.dtype, steps: int, dilation: int = 1, alpha: float = 1.0
) -> tuple[int, Tensor]:
    """The number of steps, at least `steps`, that a convolution with `alpha * weight`, `[K, C_in, C_out]`, is to have,
    all of its padding in memory; and its packed weight, for `convolve`."""
    if weight.shape[0] == 1:
        return product_rows(steps, dtype), packed_matrix(weight[0], dtype, alpha)
    if dilation == 1 and _windows_pay(steps, dtype):
        return whole_rows(steps), packed_windows(weight, dtype, alpha)
    whole = whole_rows(steps) if _one_layout() else whole_steps(steps)
    return whole, packed_weight(weight, dtype, whole, dilation, alpha)


@lru_cache
def has_avx2_only() -> bool:
    """Whether torch computes with AVX2, and not with AVX-512."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def _one_layout() -> bool:
    """Whether a convolution's packed weight has one layout for all lengths: with AVX2 on one thread (16 steps to 8,192,
    if it does not pad by itself). On two threads it has others in between."""
    return has_avx2_only() and torch.get_num_threads() == 1


def _windows_pay(steps: int, dtype: torch.dtype) -> bool:
    """Whether an undilated convolution of so many steps is faster as a product with windows.

    Not with AVX2 on one thread: oneDNN's convolutions take 15 to 30 % less time there at all lengths (AMD EPYC 7003).

    Not where matrix units compute long ones in half precision: from 400 steps on oneDNN's convolutions take 10 to 40 %
    less time in bfloat16 on one thread of an Intel Xeon, on two threads more. In float32 they take 0 to 15 % less there
    from 100 steps on, which is not worth that an item rounds otherwise beside a longer one. See `packed_windows` for a
    processor without such units.
    """
    if _one_layout():
        return False
    return is_short(steps) or dtype == torch.float32 or not has_matrix_units()


def packed_windows(weight: Tensor, dtype: torch.dtype, alpha: float = 1.0) -> Tensor:
    """`alpha * weight`, `[K, C_in, C_out]`, in `dtype`, packed once as a matrix for products with windows: for
    `convolve` over any number of steps, undilated.

    Against oneDNN's convolution, bfloat16 and float32, 192 to 768 channels, one and two threads of an AMD EPYC 9004: a
    sixth to a third less time for 33 to 66 steps, no more for 130 to 1,000, 5 % more for 2,600 from 768 channels. One
    layout serves every length, where convolutions want two (`is_short`), and rearrange weights if they get the other.
    """

    def build() -> Tensor:
        matrix = _scaled(weight, dtype, alpha).flatten(0, 1).t().contiguous()
        packed_: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix, _SHORT)
        return packed_

    return packed(weight, ("onednn windows", dtype, alpha), build)


_MANY_WINDOWS = 1024
"""So many windows of an item are copied at a time, for the cache's sake and memory's."""


def _window_products(x: Tensor, weight: Tensor, bias: Tensor | None, *post_operation: Any) -> Tensor:
    """Contiguous `[N, T, C]`, `packed_windows` -> `[N, T - taps + 1, C_out]`."""
    batch, steps, channels = x.shape
    taps = weight.shape[1] // channels
    count = steps - taps + 1

    def products(x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(windows(x, taps), weight, bias, *post_operation)
        return y

    if batch > 1 or count <= 2 * _MANY_WINDOWS:
        return products(x)
    out = x.new_empty(1, count, weight.shape[0])
    for first in range(0, count, _MANY_WINDOWS):
        last = min(first + _MANY_WINDOWS, count)
        out[:, first:last] = products(x[:, first : last + taps - 1])
    return out


def windows(x: Tensor, taps: int) -> Tensor:
    """Contiguous `[N, T, C]` -> `[N, T - taps + 1, taps * C]`: what each step of an undilated convolution sees. Memory
    that the next call in this thread takes."""
    batch, steps, channels = x.shape
    seen = (batch, steps - taps + 1, taps * channels)
    return scratch("windows", seen, x.dtype).copy_(x.as_strided(seen, (steps * channels, channels, 1)))


def packed_matrix(weight: Tensor, dtype: torch.dtype, alpha: float = 1.0) -> Tensor:
    """`alpha * weight`, `[C_in, C_out]`, in `dtype`, for `convolve` with a single tap: the transpose of a contiguous
    matrix, as a parameter's is."""
    if weight.dtype == dtype and alpha == 1.0:
        return weight.detach()
    return packed(weight, ("onednn", dtype, alpha), lambda: _scaled(weight, dtype, alpha).t().contiguous().t())


def _scaled(weight: Tensor, dtype: torch.dtype, alpha: float) -> Tensor:
    """The product, rounded once."""
    return weight.detach().to(dtype) if alpha == 1.0 else (weight.detach().float() * alpha).to(dtype)


def scaled_bias(bias: Tensor | None, cond: Tensor | None, dtype: torch.dtype, alpha: float = 1.0) -> Tensor | None:
    """`alpha * (bias + cond)`, `[C_out]`; None if both are."""
    total = None if bias is None else bias.to(dtype)
    if cond is not None:
        total = cond.to(dtype) if total is None else total + cond.to(dtype)
    if total is None:
        return None
    return (total if alpha == 1.0 else total * alpha).contiguous()


def _image(x: Tensor) -> Tensor:
    """A contiguous `[N, T, C]` as the image `[N, C, 1, T]`, channels last."""
    return x.transpose(1, 2).unsqueeze(2)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    dilation: int = 1,
    activation: str = "none",
    slope: float | None = None,
    algorithm: str = "",
    groups: int = 1,
) -> Tensor:
    """Contiguous `x` `[N, T, C_in]`, packed weight -> `[N, T - (K - 1) dilation, C_out]`, contiguous. Of windows
    (`packed_windows`) not dilated.

    `activation` is a post-operation of oneDNN: none, relu, leaky_relu (with `slope`), tanh, sigmoid, gelu (with
    `algorithm`).
    """
    if not weight.is_mkldnn:
        y = _matrix_product(x, weight, bias)
        return y if activation == "none" else _apply_in_place(y, activation, slope, algorithm)
    scalars = [] if slope is None else [slope]
    if weight.dim() == 2:
        return _window_products(x, weight, bias, activation, scalars, algorithm)
    y = torch.ops.mkldnn._convolution_pointwise(
        _image(x), weight, bias, [0, 0], [1, 1], [1, dilation], groups, activation, scalars, algorithm
    )
    return y.squeeze(2).transpose(1, 2)


def convolve_onto(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *, dilation: int = 1) -> None:
    """`out += convolution of x`: contiguous `[N, T_out, C_out]` and `[N, T, C_in]`."""
    if not weight.is_mkldnn:
        if bias is not None:
            out.add_(bias)
        out.view(-1, out.shape[2]).addmm_(x.reshape(-1, x.shape[2]), weight)
        return
    torch.ops.mkldnn._convolution_pointwise_(
        _image(out), _image(x), weight, bias, [0, 0], [1, 1], [1, dilation], 1, "add", 1.0, None, [], None
    )


def _matrix_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`[N, T, C_in]`, `[C_in, C_out]` -> `[N, T, C_out]`."""
    batch, steps, channels = x.shape
    if x.dtype == torch.float32 and _is_onednns(batch * steps, x.dtype) and min(weight.shape) >= 16:
        return linear(x, weight.t(), bias)
    rows = x.view(-1, channels)
    y = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
    return y.view(batch, steps, -1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` by oneDNN, `[..., K]`, `[N, K]`, `[N]` -> `[..., N]`."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight.contiguous(), bias, "none", [], "")
    return y


def _apply_in_place(y: Tensor, activation: str, slope: float | None, algorithm: str) -> Tensor:
    if activation == "leaky_relu":
        return functional.leaky_relu_(y, slope or 0.0)
    if activation == "gelu":
        return functional.gelu(y, approximate=algorithm)
    return {"relu": y.relu_, "tanh": y.tanh_, "sigmoid": y.sigmoid_}[activation]()


def activated(x: Tensor, slope: float, dtype: torch.dtype, left: int = 0, right: int = 0) -> Tensor:
    """The leaky ReLU of `x` `[N, T, C]` in `dtype`, between `left` and `right` steps of zeros; contiguous.

    `x` itself where there is nothing to do; else memory that the next call in this thread takes.
    """
    if slope == 1.0 and not left and not right:
        return x.to(dtype).contiguous()
    return padded("activated", x, slope, dtype, left, right)


def padded(use: str, x: Tensor, slope: float, dtype: torch.dtype, left: int, right: int) -> Tensor:
    """The same, always written into the `scratch` memory of this use."""
    batch, steps, channels = x.shape
    out = scratch(use, (batch, left + steps + right, channels), dtype)
    inner = out[:, left : left + steps]
    if left:
        out[:, :left].zero_()
    if right:
        out[:, left + steps :].zero_()
    if slope == 1.0:
        inner.copy_(x)
    elif x.dtype == dtype:
        torch.ops.aten.leaky_relu.out(x, slope, out=inner)
    else:
        functional.leaky_relu_(inner.copy_(x), slope)
    return out


def items(lengths: Tensor | None, batch: int, steps: int) -> Iterator[tuple[slice, int]]:
    """Which items to run together, and how many steps they have: all without lengths, else one by one.

    One by one, an item costs what its real length costs.
    """
    if lengths is None:
        if batch and steps:
            yield slice(0, batch), steps
        return
    for item, length in enumerate(lengths.expand(batch).tolist()):
        if min(length, steps) > 0:
            yield slice(item, item + 1), min(length, steps)


def clear_beyond(out: Tensor, lengths: Tensor | None) -> Tensor:
    """`out` `[B, T, ...]` with zeros written beyond the lengths, in place."""
    if lengths is not None:
        for item, length in enumerate(lengths.expand(out.shape[0]).tolist()):
            if length < out.shape[1]:
                out[item, max(length, 0) :].zero_()
    return out
