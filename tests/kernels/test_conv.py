"""What must hold of the two convolutions, whatever the implementation."""

import pytest
import torch
from torch import Tensor

from fastvits_kernels import BackendError, conv1d, conv_transpose1d, use_backend
from fastvits_kernels.ops.conv import ACTIVATIONS, apply_activation, conv1d_reference
from tests.support.tolerances import ACTIVATION_FLOAT32, LINEAR_IDENTITY_FLOAT64

BACKENDS = ("eager", "triton")


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_upsampling_is_the_convolution_of_the_stretched_sequence() -> None:
    """Zeros put between the steps, then an ordinary convolution with the taps reversed: the definition."""
    stride, padding, taps = 4, 2, 8
    x, weight = normal(2, 9, 6, dtype=torch.float64), normal(taps, 6, 5, dtype=torch.float64, seed=1)
    stretched = torch.zeros(2, 9 * stride, 6, dtype=torch.float64)
    stretched[:, ::stride] = x
    # Output u takes step t at tap j = u + padding - t * stride, the reversed tap K - 1 - j.
    expected = conv1d(stretched, weight.flip(0), pad_left=taps - 1 - padding)
    actual = conv_transpose1d(x, weight, stride=stride, padding=padding)
    torch.testing.assert_close(actual, expected, rtol=LINEAR_IDENTITY_FLOAT64, atol=LINEAR_IDENTITY_FLOAT64)


def test_upsampling_is_the_adjoint_of_the_strided_convolution() -> None:
    """<upsample(x), y> == <x, downsample(y)>, downsampling by torch's convolution with the same weight and stride."""
    stride, padding = 3, 1
    x, weight = normal(1, 7, 4, dtype=torch.float64), normal(5, 4, 6, dtype=torch.float64, seed=1)
    up = conv_transpose1d(x, weight, stride=stride, padding=padding)
    y = normal(*up.shape, dtype=torch.float64, seed=2)
    down = torch.nn.functional.conv1d(y.transpose(1, 2), weight.permute(1, 2, 0), stride=stride, padding=padding)
    torch.testing.assert_close((up * y).sum(), (x * down.transpose(1, 2)).sum(), rtol=LINEAR_IDENTITY_FLOAT64, atol=0)


def test_an_impulse_shows_every_tap_at_its_place() -> None:
    """`out[t]` takes `x[t - pad_left + j * dilation]` by `weight[j]`, in both implementations exactly."""
    x = torch.zeros(1, 20, 16)
    x[0, 10, 3] = 1.0
    weight = normal(4, 16, 16)
    for backend in BACKENDS:
        with use_backend(backend):
            out = conv1d(x, weight, dilation=2, pad_left=4)
        expected = torch.zeros(1, 20, 16)
        for tap in range(4):
            expected[0, 10 + 4 - 2 * tap] = weight[tap, 3]
        assert torch.equal(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [(16, 16), (3, 16), (16, 1)], ids=["matrix", "few-inputs", "one-output"])
def test_what_lies_beyond_the_length_is_never_seen(backend: str, channels: tuple[int, int]) -> None:
    """NaN in the padding of input and residual leaves no trace, and an item is the same alone and in a batch."""
    inputs, outputs = channels
    lengths = torch.tensor([40, 17, 0])
    x, residual = normal(3, 40, inputs), normal(3, 40, outputs, seed=2)
    x[1, 17:], x[2], residual[1, 17:], residual[2] = (float("nan"),) * 4
    scale = (5 * inputs) ** -0.5
    weight, bias = normal(5, inputs, outputs, seed=3) * scale, normal(outputs, seed=4)
    taps = normal(8, inputs, 16, seed=5) * scale
    with use_backend(backend):
        out = conv1d(x, weight, bias, residual=residual, lengths=lengths, slope=0.1, activation="tanh")
        alone = conv1d(x[1:2, :17], weight, bias, residual=residual[1:2, :17], slope=0.1, activation="tanh")
        up = conv_transpose1d(x, taps, lengths=lengths, stride=4, padding=2, slope=0.1)
        up_alone = conv_transpose1d(x[1:2, :17], taps, stride=4, padding=2, slope=0.1)
    assert not out[1, 17:].any()
    assert not out[2].any()
    assert not up[1, 17 * 4 :].any()
    assert not up[2].any()
    torch.testing.assert_close(out[1:2, :17], alone, rtol=ACTIVATION_FLOAT32, atol=ACTIVATION_FLOAT32)
    torch.testing.assert_close(up[1:2, : 17 * 4], up_alone, rtol=ACTIVATION_FLOAT32, atol=ACTIVATION_FLOAT32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what overflows in a branch that is not taken
def test_activations_keep_their_relative_accuracy(activation: str) -> None:
    """From 1e-30 to saturation, against torch in float64, with one channel in and out."""
    magnitudes = torch.logspace(-30, 2, 257, dtype=torch.float64).float()
    extremes = torch.tensor([0.0, 0.6, 0.5999999, 1e4])
    x = torch.cat([magnitudes, -magnitudes, extremes]).reshape(1, -1, 1)
    with use_backend("triton"):
        out = conv1d(x, torch.ones(1, 1, 1), activation=activation).double()
    expected = apply_activation(x.double(), activation)
    # A GELU's negative tail is a difference of nearly equal numbers in float32, for torch too: absolute there.
    tail = ACTIVATION_FLOAT32 if activation.startswith("gelu") else 0.0
    torch.testing.assert_close(out, expected, rtol=ACTIVATION_FLOAT32, atol=tail)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_activations_of_what_is_not_finite(activation: str) -> None:
    """The limits, and NaN for NaN. (Where torch itself gives NaN for an infinite argument, any answer will do.)"""
    x = torch.tensor([float("inf"), float("-inf"), float("nan")]).reshape(1, -1, 1)
    with use_backend("triton"):
        out = conv1d(x, torch.ones(1, 1, 1), activation=activation)
    eager = apply_activation(x, activation)
    known = ~eager.isnan()
    assert torch.equal(out[known], eager[known])
    assert out[0, 2].isnan()


def test_arguments_that_mean_nothing_are_refused() -> None:
    x, weight = normal(1, 9, 16), normal(4, 16, 16)
    with pytest.raises(ValueError, match="give pad_left"):
        conv1d(x, weight)
    with pytest.raises(ValueError, match=r"\[0, 3\], got 4"):
        conv1d(x, weight, pad_left=4)
    with pytest.raises(ValueError, match="activation must be one of"):
        conv1d(x, weight, pad_left=1, activation="swish")
    with pytest.raises(ValueError, match="must be"):
        conv1d(x, normal(4, 15, 16), pad_left=1)
    with pytest.raises(ValueError, match="K must be stride"):
        conv_transpose1d(x, weight, stride=3, padding=1)


def test_triton_says_why_it_refuses() -> None:
    with use_backend("triton"):
        with pytest.raises(BackendError, match="float64"):
            conv1d(normal(1, 9, 16, dtype=torch.float64), normal(3, 16, 16, dtype=torch.float64))
        with pytest.raises(BackendError, match="differ in dtype"):
            conv_transpose1d(normal(1, 9, 16), normal(8, 16, 16).half(), stride=4, padding=2)


def test_gradients_come_from_the_reference() -> None:
    """The kernel's forward with the reference's backward: the gradients are those of eager."""
    x, weight = normal(1, 12, 16).requires_grad_(), normal(3, 16, 16, seed=1).requires_grad_()
    grads = []
    for backend in BACKENDS:
        with use_backend(backend):
            out = conv1d(x, weight, activation="gelu", slope=0.1)
            grads.append(torch.autograd.grad(out.square().sum(), (x, weight)))
    expected = conv1d_reference(x, weight, None, None, None, None, 1, 1, 0.1, "gelu", 1.0).square().sum()
    wanted = torch.autograd.grad(expected, (x, weight))
    for pair in grads:
        for actual, one in zip(pair, wanted, strict=True):
            torch.testing.assert_close(actual, one, rtol=1e2 * ACTIVATION_FLOAT32, atol=1e2 * ACTIVATION_FLOAT32)


def test_a_weight_that_changes_is_seen() -> None:
    """Kernels keep a contiguous copy of a published weight `[C_out, C_in, K]`; writing to the weight must renew it."""
    x, published = normal(1, 12, 16), normal(16, 16, 3, seed=1)
    weight = published.permute(2, 1, 0)
    with use_backend("triton"):
        before = conv1d(x, weight)
        with torch.no_grad():
            published.mul_(2.0)
        after = conv1d(x, weight)
    assert torch.equal(after, 2.0 * before)
