"""The monotonic rational-quadratic spline with linear tails, forward and inverse.

On `[-tail_bound, tail_bound]` the function interpolates `K + 1` knots `(x_k, y_k)` with positive derivatives `d_k`
(Durkan et al. 2019, "Neural Spline Flows", equations 4 to 8); outside it is the identity. With
`s = (y_{k+1} - y_k) / (x_{k+1} - x_k)` and `theta = (x - x_k) / (x_{k+1} - x_k)`,

    y = y_k + (y_{k+1} - y_k) (s theta^2 + d_k theta (1 - theta)) / (s + (d_{k+1} + d_k - 2 s) theta (1 - theta))

and the inverse solves the quadratic in `theta`. Widths and heights are softmaxes with a floor of `MIN_BIN` of the whole
each, derivatives softpluses with a floor of `MIN_DERIVATIVE`, and 1 at both ends. Branch-free: every element takes the
same path, no value is looked at by the host.

The quadratic `a theta^2 + b theta + c` is solved in a form without cancellation. With `p = (y - y_k) / (y_{k+1} - y_k)`
and `q = (y_{k+1} - y) / (y_{k+1} - y_k)`, both from the nearer knot and neither below 0, and `u = d_k q - d_{k+1} p`,

    b = 2 s p + u,   c = -s p   (over the bin height),   b^2 - 4 a c = u^2 + 4 p q s^2 = D

since `a + b + c = s q` (the quadratic at `theta = 1`): `D` is a sum of terms that are not negative, so that rounding
cannot take it below 0, and it is 0 nowhere, since `u` is `d_k` or `-d_{k+1}` where `p q` is 0. Then

    theta = -2 c / (b + sqrt(D)) = 2 s p / (2 s p + w),   1 - theta = w / (2 s p + w),
    w = u + sqrt(D) = 4 p q s^2 / (sqrt(D) - u)

with the form of `w` whose terms have one sign. Knots are summed from the nearer end of the spline.

Axes: any, flattened; an element has its `3 K - 1` parameters in a register tile of `K` padded to a power of two. The
bin is the number of inner knots at or below the value, and its entries are picked by sums over one-hot selections.
Half precision is computed in float32, where even the narrowest bin is wide beside the rounding of its knots. The Triton
kernels compute in float32 and take any strides; they have none for float64. Gradients have a kernel: see `backward`.
"""

from torch import Tensor

from ...dispatch.registry import Implementation, Op
from ...launch.jit import unsupported
from ...launch.tiles import preference
from .backward import spline_backward
from .forward import _launch_spline, tile_of
from .reference import MIN_BIN, rational_quadratic_spline_reference


def _supports_spline(x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor) -> str | None:
    return refused_bins(widths.shape[-1]) or unsupported(x, widths, heights, derivatives)


def refused_bins(bins: int) -> str | None:
    return None if bins <= 64 else f"an element's parameters do not fit in registers: {bins} bins, at most 64"


def fake(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def check_bins(bins: int) -> None:
    if not 0 < bins < round(1 / MIN_BIN):
        raise ValueError(f"the spline takes 1 to {round(1 / MIN_BIN) - 1} bins, got {bins}")


def _check_spline(x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor) -> None:
    bins = widths.shape[-1] if widths.dim() else 0
    for name, tensor, axis, size in (
        ("widths", widths, "K", bins),
        ("heights", heights, "K", bins),
        ("derivatives", derivatives, "K - 1", bins - 1),
    ):
        if tensor.shape != (*x.shape, size):
            raise ValueError(f"{name} must be {(*x.shape, size)}, the shape of x and {axis}, got {tuple(tensor.shape)}")
    check_bins(bins)


_SPLINE = Op("rational_quadratic_spline", rational_quadratic_spline_reference, fake, _check_spline)
_SPLINE.register(
    "triton",
    Implementation(
        _launch_spline,
        _supports_spline,
        lambda x, widths: preference(tile_of(x, widths)),
        backward=spline_backward,
    ),
)


def rational_quadratic_spline(
    x: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, *, tail_bound: float = 5.0, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """The spline, or its inverse, at `x`, and the logarithm of its derivative; see the module's docstring."""
    return _SPLINE(x, widths, heights, derivatives, tail_bound, reverse)
