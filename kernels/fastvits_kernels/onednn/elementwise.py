"""The ops without a convolution, so that backend `onednn` has all of them: layer norm, splines, and those around them
that move tokens and count frames.

They cost next to nothing on a CPU, and torch's own kernels serve. Half precision is computed in float32, and splines,
which have a few numbers a token and subtract knots, in float64.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from ..dispatch.devices import device_of
from ..dispatch.registry import Implementation, named, ops
from ..ops.durations import durations_reference
from ..ops.left_align import left_align_reference
from ..ops.length_regulator import length_regulator_reference
from ..ops.spline.reference import rational_quadratic_spline_reference
from ..ops.spline_coupling.reference import spline_coupling_reference
from .convolution import clear_beyond, unsupported


def _layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, lengths: Tensor | None, eps: float
) -> Tensor:
    z = x.float() if residual is None else x.float() + residual
    normed = functional.layer_norm(z, (z.shape[-1],), weight.float(), bias.float(), eps)
    return clear_beyond(normed.contiguous(), lengths).to(x.dtype)


def _spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, tail_bound: float, reverse: bool
) -> tuple[Tensor, Tensor]:
    tables = (widths.double(), heights.double(), derivatives.double())
    out, log_det = rational_quadratic_spline_reference(x.double(), *tables, tail_bound, reverse)
    return out.to(x.dtype), log_det.to(x.dtype)


def _spline_coupling(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    lengths: Tensor | None,
    num_bins: int,
    tail_bound: float,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    out, log_det = spline_coupling_reference(
        h.double(), weight.double(), bias.double(), x.double(), lengths, num_bins, tail_bound, reverse
    )
    return out.to(x.dtype), log_det.to(x.dtype)


def _supports_left_align(input_ids: Tensor) -> str | None:
    kind = device_of(input_ids).type
    return None if kind == "cpu" else f"oneDNN is for CPUs, not {kind}"


def _register(op: str, run: Callable[..., Any], *floats: str) -> None:
    ops()[op].register("onednn", Implementation(run, named(unsupported, *floats)))


_register("durations", durations_reference, "log_durations", "inverse_rates")
_register("layer_norm", _layer_norm, "x", "residual", "weight", "bias")
_register("length_regulator", length_regulator_reference, "means", "log_scales", "noise", "noise_scale")
_register("rational_quadratic_spline", _spline, "x", "widths", "heights", "derivatives")
_register("spline_coupling", _spline_coupling, "h", "weight", "bias", "x")
ops()["left_align"].register("onednn", Implementation(left_align_reference, _supports_left_align))
