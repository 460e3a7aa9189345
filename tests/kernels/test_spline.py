"""The rational-quadratic spline as mathematics: bins, bounds, inverse, derivative, gradients, extremes, padding.

What every op is checked for stands in test_ops.py.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fastvits_kernels import rational_quadratic_spline, spline_coupling, use_backend
from fastvits_kernels.ops.spline.reference import _knots, rational_quadratic_spline_reference
from tests.support.numerics import relative_error
from tests.support.tolerances import (
    SPLINE_AT_BOUNDS,
    SPLINE_DERIVATIVE_FLOAT64,
    SPLINE_FLOAT32,
    SPLINE_GRADIENTS_UNDONE,
    SPLINE_KNOT_MARGIN,
    SPLINE_ROUND_TRIP,
)

BOUND = 5.0
BINS = 10


@pytest.fixture(params=["eager", "triton"])
def backend(request: pytest.FixtureRequest) -> object:
    with use_backend(request.param):
        yield request.param


def drawn(shape: tuple[int, ...], scale: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs well beyond both bounds, and unnormalised widths, heights and derivatives, all float32."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(shape, generator=generator) - 0.5) * 2.4 * BOUND
    parameters = torch.randn(*shape, 3 * BINS - 1, generator=generator) * scale
    return x, *parameters.split([BINS, BINS, BINS - 1], dim=-1)


def bin_of(value: Tensor, knots: Tensor) -> Tensor:
    return torch.searchsorted(knots[..., 1:-1].contiguous(), value.unsqueeze(-1), right=True).squeeze(-1)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_bin_is_that_of_float64(backend: str, reverse: bool) -> None:
    _, widths, heights, derivatives = drawn((400,), 1.5)
    knots_x, _ = _knots(widths.double(), BOUND)
    knots_y, _ = _knots(heights.double(), BOUND)
    source, target = (knots_y, knots_x) if reverse else (knots_x, knots_y)
    # The middle of each bin, and near its ends but clear of ties.
    share = torch.tensor([SPLINE_KNOT_MARGIN, 0.5, 1 - SPLINE_KNOT_MARGIN], dtype=torch.float64)
    expected = torch.arange(400) % BINS
    left, right = (source.gather(-1, (expected + i).unsqueeze(-1)) for i in (0, 1))
    for column in (left + (right - left) * share).float().unbind(-1):
        out, _ = rational_quadratic_spline(column, widths, heights, derivatives, tail_bound=BOUND, reverse=reverse)
        assert torch.equal(bin_of(column.double(), source), expected)
        assert torch.equal(bin_of(out.double(), target), expected)


def test_the_bounds_are_fixed_points_and_the_tails_the_identity(backend: str) -> None:
    _, widths, heights, derivatives = drawn((6,), 2.0)
    x = torch.tensor([-BOUND, BOUND, -BOUND * 1.000001, BOUND * 1.000001, -1e30, float("inf")])
    for reverse in (False, True):
        out, log_det = rational_quadratic_spline(x, widths, heights, derivatives, tail_bound=BOUND, reverse=reverse)
        torch.testing.assert_close(out[:2], x[:2], rtol=SPLINE_AT_BOUNDS, atol=0)
        assert torch.equal(out[2:], x[2:])
        assert not log_det[2:].any()
        # The derivative is 1 at both bounds.
        torch.testing.assert_close(log_det[:2], torch.zeros(2), rtol=0, atol=SPLINE_AT_BOUNDS)


def test_the_inverse_undoes_the_spline(backend: str) -> None:
    x, widths, heights, derivatives = drawn((500,), 1.0)
    y, log_det = rational_quadratic_spline(x, widths, heights, derivatives, tail_bound=BOUND)
    back, inverse_log_det = rational_quadratic_spline(y, widths, heights, derivatives, tail_bound=BOUND, reverse=True)
    torch.testing.assert_close(back, x, rtol=0, atol=SPLINE_ROUND_TRIP * BOUND * BINS)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=SPLINE_ROUND_TRIP * BOUND * BINS)


def test_the_log_determinant_is_that_of_the_derivative() -> None:
    x, *parameters = (tensor.double() for tensor in drawn((300,), 2.0))
    x.requires_grad_(True)
    for reverse in (False, True):
        out, log_det = rational_quadratic_spline(x, *parameters, tail_bound=BOUND, reverse=reverse)
        (derivative,) = torch.autograd.grad(out.sum(), x)
        torch.testing.assert_close(log_det, derivative.log(), rtol=0, atol=SPLINE_DERIVATIVE_FLOAT64)


@pytest.mark.parametrize("reverse", [False, True])
def test_parameters_of_ten_thousand_give_a_rising_curve_of_finite_numbers(backend: str, reverse: bool) -> None:
    _, widths, heights, derivatives = drawn((1,), 1e4, seed=3)
    x = torch.linspace(-BOUND, BOUND, 301)
    parameters = [p.expand(len(x), -1) for p in (widths, heights, derivatives)]
    out, log_det = rational_quadratic_spline(x, *parameters, tail_bound=BOUND, reverse=reverse)
    assert torch.isfinite(out).all()
    assert torch.isfinite(log_det).all()
    assert (out.abs() <= BOUND * (1 + SPLINE_ROUND_TRIP)).all()
    assert (out.diff() >= -SPLINE_ROUND_TRIP * BOUND).all()


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_parameters_cancel_the_digits(backend: str, reverse: bool, scale: float) -> None:
    """The quadratic of flat and of steep bins, at knots and between them, is solved to the last digits but a few."""
    x, *parameters = drawn((3000,), scale, seed=4)
    exact = rational_quadratic_spline_reference(x.double(), *(p.double() for p in parameters), BOUND, reverse)
    found = rational_quadratic_spline(x, *parameters, tail_bound=BOUND, reverse=reverse)
    for one, other in zip(found, exact, strict=True):
        assert relative_error(one, other) <= SPLINE_FLOAT32


def test_what_is_beyond_the_lengths_reaches_nothing(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    h, x = torch.randn(2, 40, 16, generator=generator), torch.randn(2, 40, 1, generator=generator)
    weight, bias = torch.randn(16, 29, generator=generator), torch.randn(29, generator=generator)
    lengths = torch.tensor([40, 13])
    h[1, 13:], x[1, 13:] = float("nan"), float("inf")
    out, log_det = spline_coupling(h, weight, bias, x, lengths=lengths, reverse=True)
    alone, log_det_alone = spline_coupling(h[1:, :13], weight, bias, x[1:, :13], reverse=True)
    assert not out[1, 13:].any()
    assert not log_det[1, 13:].any()
    torch.testing.assert_close(out[1:, :13], alone, rtol=0, atol=SPLINE_ROUND_TRIP * BOUND)
    torch.testing.assert_close(log_det[1:, :13], log_det_alone, rtol=0, atol=SPLINE_ROUND_TRIP * BOUND * BINS)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_reference_has_the_gradients_of_finite_differences(reverse: bool) -> None:
    """Inside the bounds and outside, of the log-determinant as well, in both directions."""
    inputs = [tensor.double().requires_grad_() for tensor in drawn((12,), 1.0, seed=1)]
    assert (inputs[0].abs() > BOUND).any()

    def function(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return rational_quadratic_spline_reference(*tensors, BOUND, reverse)

    assert torch.autograd.gradcheck(function, inputs)


def gradients(
    inputs: Sequence[Tensor], of_out: float | Tensor, of_log_det: float | Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    """Of `x`, widths, heights and derivatives, for these gradients of the two results."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    out, log_det = rational_quadratic_spline(*leaves, tail_bound=BOUND, reverse=reverse)
    return torch.autograd.grad((of_out * out + of_log_det * log_det).sum(), leaves)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_of_the_bin_of_float64(backend: str, reverse: bool) -> None:
    """Only the derivatives at both ends of a value's bin have one: away from ties, those of float64's bin."""
    _, widths, heights, derivatives = drawn((40,), 1.5)
    source, _ = _knots((heights if reverse else widths).double(), BOUND)
    expected = torch.arange(40).unsqueeze(-1) % BINS
    left, right = (source.gather(-1, expected + i) for i in (0, 1))
    inner = torch.arange(BINS - 1)
    for share in (SPLINE_KNOT_MARGIN, 0.5, 1 - SPLINE_KNOT_MARGIN):
        x = (left + (right - left) * share).squeeze(-1).float()
        of_derivatives = gradients((x, widths, heights, derivatives), 1.0, 0.5, reverse)[3]
        assert torch.equal(of_derivatives != 0, (inner == expected) | (inner == expected - 1))


@pytest.mark.parametrize("reverse", [False, True])
def test_tails_have_the_gradients_of_the_identity(backend: str, reverse: bool) -> None:
    _, *parameters = drawn((6,), 2.0)
    x = torch.tensor([-BOUND, BOUND, -BOUND * 1.000001, BOUND * 1.000001, -1e30, float("inf")])
    of_x, *of_parameters = gradients((x, *parameters), 3.0, 0.0, reverse)
    # The derivative is 1 at both bounds.
    torch.testing.assert_close(of_x[:2], torch.full((2,), 3.0), rtol=SPLINE_AT_BOUNDS, atol=0)
    assert torch.equal(of_x[2:], torch.full((4,), 3.0))
    of_x, *more = gradients((x, *parameters), 0.0, 3.0, reverse)
    assert not of_x[2:].any()
    assert not any(tensor[2:].any() for tensor in of_parameters + more)


def test_the_inverse_undoes_the_gradients(backend: str) -> None:
    x, *parameters = drawn((200,), 1.0)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, *parameters)]
    y, _ = rational_quadratic_spline(*leaves, tail_bound=BOUND)
    back, _ = rational_quadratic_spline(y, *leaves[1:], tail_bound=BOUND, reverse=True)
    of_x, *undone = torch.autograd.grad(back.sum(), leaves)
    torch.testing.assert_close(of_x, torch.ones_like(x), rtol=SPLINE_GRADIENTS_UNDONE, atol=0)
    alone = gradients((y.detach(), *parameters), 1.0, 0.0, True)
    for one, other in zip(undone, alone[1:], strict=True):
        assert one.norm() <= SPLINE_GRADIENTS_UNDONE * other.norm()


@pytest.mark.parametrize("reverse", [False, True])
def test_parameters_of_ten_thousand_have_finite_gradients(backend: str, reverse: bool) -> None:
    x, *parameters = drawn((500,), 1e4, seed=5)
    assert all(torch.isfinite(found).all() for found in gradients((x, *parameters), 1.0, 1.0, reverse))


def test_gradients_beyond_the_lengths_are_zeros() -> None:
    """Whatever stands there: the kernel does not read it."""
    generator = torch.Generator().manual_seed(0)
    h, x = torch.randn(2, 20, 16, generator=generator), torch.randn(2, 20, 1, generator=generator)
    weight, bias = torch.randn(16, 29, generator=generator), torch.randn(29, generator=generator)
    lengths = torch.tensor([20, 7])
    h[1, 7:], x[1, 7:] = float("nan"), float("inf")
    leaves = [tensor.requires_grad_() for tensor in (h, weight, bias, x)]
    with use_backend("triton"):
        out, log_det = spline_coupling(*leaves, lengths=lengths)
    of_h, of_weight, of_bias, of_x = torch.autograd.grad((out + log_det).sum(), leaves)
    assert not of_h[1, 7:].any()
    assert not of_x[1, 7:].any()
    assert torch.isfinite(of_weight).all()
    assert torch.isfinite(of_bias).all()
