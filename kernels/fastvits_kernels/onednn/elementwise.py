"""The ops without a convolution, so that backend `onednn` has all of them: layer norm, splines, and those around them
that move tokens and count frames.

They cost next to nothing on a CPU, and torch's own kernels serve. Half precision is computed in float32, and splines,
which have a few numbers a token and subtract knots, in float64.
"""

from torch import Tensor
from torch.nn import functional

from ..dispatch.devices import device_of
from ..dispatch.registry import Implementation, ops
from ..ops.durations import durations_reference
from ..ops.left_align import left_align_reference
from ..ops.length_regulator import length_regulator_reference
from ..ops.spline import rational_quadratic_spline_reference, spline_coupling_reference
from .convolution import clear_beyond, unsupported


def _layer_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, lengths: Tensor | None, eps: float
) -> Tensor:
    z = x.float() if residual is None else x.float() + residual
    normed = functional.layer_norm(z, (z.shape[-1],), weight.float(), bias.float(), eps)
    return clear_beyond(normed.contiguous(), lengths).to(x.dtype)


def _supports_layer_norm(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, *_: object) -> str | None:
    return unsupported(x, residual, weight, bias)


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


def _supports_tensors(*args: object) -> str | None:
    first, *others = [argument for argument in args if isinstance(argument, Tensor) and argument.is_floating_point()]
    return unsupported(first, *others)


def _supports_left_align(input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int) -> str | None:
    kind = device_of(input_ids).type
    return None if kind == "cpu" else f"oneDNN is for CPUs, not {kind}"


ops()["durations"].register("onednn", Implementation(durations_reference, _supports_tensors))
ops()["layer_norm"].register("onednn", Implementation(_layer_norm, _supports_layer_norm))
ops()["left_align"].register("onednn", Implementation(left_align_reference, _supports_left_align))
ops()["length_regulator"].register("onednn", Implementation(length_regulator_reference, _supports_tensors))
ops()["rational_quadratic_spline"].register("onednn", Implementation(_spline, _supports_tensors))
ops()["spline_coupling"].register("onednn", Implementation(_spline_coupling, _supports_tensors))
