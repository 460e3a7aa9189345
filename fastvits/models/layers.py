"""The parameter holders that the model's modules are built of, and weights derived from parameters.

A holder keeps its parameters under the names and shapes of published checkpoints (`weight` `[C_out, C_in, K]`, weight
norm as `parametrizations.weight.original0` and `original1`) and calls the ops, which want taps-first weights `[K,
C_in, C_out]`. Holders leave their parameters uninitialised: `VitsModel` initialises all of them, unless they are on
the meta device.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels
from fastvits_kernels.dispatch import packing


class Derived:
    """Tensors computed from parameters, kept until a parameter changes; `packing.Mark` tells whether one did.

    With gradients nothing is kept, so that they flow, nor while anything traces, compiles or transforms. What `get`
    returns is for ops alone: a caller who might write to it makes his own.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[packing.Mark, ...], Any]] = {}

    def get(self, name: str, sources: tuple[Tensor, ...], build: Callable[[], Any]) -> Any:
        """`build()`, tensors, or what it returned last time for `name` if `sources` have not changed since."""
        if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
            return build()
        if not packing.may_keep(*sources):
            return build()
        kept = self._kept.get(name)
        if kept is not None and len(kept[0]) == len(sources) and all(map(packing.Mark.is_of, kept[0], sources)):
            return kept[1]
        marks = tuple(map(packing.Mark, sources))
        # Normal tensors even in inference mode, whose own ones have no version: others derive from these in turn.
        with torch.inference_mode(False), torch.no_grad():
            made = build()
        theirs = {source.untyped_storage()._cdata for source in sources}
        for tensor in (made,) if isinstance(made, Tensor) else made:
            if tensor.untyped_storage()._cdata not in theirs:
                packing.make_private(tensor)
        self._kept[name] = (marks, made)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> "Derived":
        return Derived()

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": {}}


def taps_first(weight: Tensor) -> Tensor:
    """The view `[K, C_in, C_out]` of a convolution's weight `[C_out, C_in, K]`."""
    return weight.permute(2, 1, 0)


class Float32Module(nn.Module):
    """A module that stays in float32 when the model goes to half precision, and in float64 when it goes there.

    What decides an utterance's length lives here: `ceil(exp(log_duration))` amplifies noise, so lengths would depend
    on the precision otherwise.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float32Module":
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype in (torch.float16, torch.bfloat16) and tensor.dtype in (torch.float32, torch.float64):
                return tensor.to(device=moved.device, dtype=torch.float32)
            return moved

        return super()._apply(keep_precision, recurse)


class Conv1d(nn.Module):
    """A convolution's parameters: `weight` `[C_out, C_in / groups, K]`, `bias` `[C_out]` or None."""

    bias: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1, bias: bool = True):
        super().__init__()
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """`[B, T, C_in]` -> `[B, T, C_out]`; `options` are those of `fastvits_kernels.conv1d`."""
        return kernels.conv1d(x, taps_first(self.weight), self.bias, dilation=self.dilation, **options)

    def project(self, x: Tensor, ieee: bool = False) -> Tensor:
        """A convolution of kernel size 1 applied to vectors: `[B, C_in]` -> `[B, C_out]`; `ieee` as in
        `fastvits_kernels.conv1d`."""
        if ieee:
            return kernels.conv1d(x.unsqueeze(1), taps_first(self.weight), self.bias, ieee=True).squeeze(1)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return nn.functional.linear(x, self.weight.squeeze(-1).to(x.dtype), bias)


class _WeightNorm(nn.Module):
    """Magnitude `original0` `[C_out, 1, 1]` and direction `original1` `[C_out, C_in, K]` of a weight."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.original0 = nn.Parameter(torch.empty(out_channels, 1, 1))
        self.original1 = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size))


class WeightNormConv1d(nn.Module):
    """A convolution with weight normalisation, `weight = g * v / |v|` (Salimans and Kingma 2016, equation 2)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.parametrizations = nn.ModuleDict({"weight": _WeightNorm(in_channels, out_channels, kernel_size)})
        self.derived = Derived()

    @property
    def weight(self) -> Tensor:
        """The normalised weight `[C_out, C_in, K]`, computed anew: the caller's own."""
        return _normalized(*self._parts())

    def folded(self) -> Tensor:
        """The same for an op, which does not write to it: kept for as long as its two parts are what they were."""
        parts = self._parts()
        return cast(Tensor, self.derived.get("weight", parts, lambda: _normalized(*parts)))

    def _parts(self) -> tuple[Tensor, Tensor]:
        parts = self.parametrizations["weight"]
        return cast(Tensor, parts.original0), cast(Tensor, parts.original1)

    def project(self, x: Tensor) -> Tensor:
        """As `Conv1d.project`."""
        return nn.functional.linear(x, self.folded().squeeze(-1).to(x.dtype), self.bias.to(x.dtype))


def _normalized(g: Tensor, v: Tensor) -> Tensor:
    return v * (g / torch.linalg.vector_norm(v, dim=(1, 2), keepdim=True))


class ConvTranspose1d(nn.Module):
    """A transposed convolution that multiplies the length by `stride`: `weight` `[C_in, C_out, K]`, `bias`
    `[C_out]`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (kernel_size - stride) // 2
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))

    def forward(self, x: Tensor, lengths: Tensor | None, slope: float, out_slope: float = 1.0) -> Tensor:
        """`[B, T, C_in]` -> `[B, T * stride, C_out]`, with leaky ReLUs of `slope` in front and `out_slope` behind (1:
        none)."""
        return kernels.conv_transpose1d(
            x,
            self.weight.permute(2, 0, 1),
            self.bias,
            lengths=lengths,
            stride=self.stride,
            padding=self.padding,
            slope=slope,
            out_slope=out_slope,
        )


class LayerNorm(nn.Module):
    """Layer normalisation over the channels: `weight`, `bias` `[C]`."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor, residual: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """`LayerNorm(x + residual)`, `[B, T, C]`, zero beyond `lengths`."""
        return kernels.layer_norm(x, residual, self.weight, self.bias, lengths=lengths, eps=self.eps)


class Linear(nn.Module):
    """An affine map's parameters: `weight` `[C_out, C_in]`, `bias` `[C_out]` or None."""

    bias: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        if bias:
            self.bias = nn.Parameter(torch.empty(out_channels))
        else:
            self.register_parameter("bias", None)
