"""The WaveNet layer and its gate as mathematics: the gate's range, the state's two halves, padding.

What every op is checked for stands in test_ops.py.
"""

import pytest
import torch
from torch import Tensor

from fastvits_kernels import depth_separable_layer, gated_activation, use_backend, wavenet_layer
from tests.support.tolerances import GATE_ELEMENTWISE, OP_ERROR_CEILING


@pytest.fixture(params=["eager", "triton"])
def backend(request: pytest.FixtureRequest) -> object:
    with use_backend(request.param):
        yield request.param


def test_the_gate_is_exact_to_a_few_units_at_every_size(backend: str) -> None:
    size = torch.cat([torch.logspace(-30, 1.9, 400), torch.linspace(0.55, 0.65, 50)])
    filtered = torch.cat([size, -size])
    gate = torch.linspace(-80, 80, len(filtered)).roll(37)
    a = torch.stack([filtered, gate], dim=-1).reshape(1, -1, 2)
    out = gated_activation(a)[0, :, 0].double()
    expected = filtered.double().tanh() * gate.double().sigmoid()
    # exp(-v) in float32 carries v times the rounding of its argument.
    allowed = GATE_ELEMENTWISE * (1 + gate.double().abs())
    normal = expected.abs() > torch.finfo(torch.float32).tiny
    assert (((out - expected) / expected).abs() <= allowed)[normal].all()
    assert (out[~normal].abs() <= torch.finfo(torch.float32).tiny).all()


def test_the_gate_saturates_without_nan(backend: str) -> None:
    infinity = float("inf")
    filtered = torch.tensor([infinity, -infinity, 1e30, -1e30, 0.0])
    gates = torch.tensor([infinity, 1e30, infinity, 1e30, -infinity])
    out = gated_activation(torch.stack([filtered, gates], dim=-1).view(1, 5, 2)).flatten()
    assert out.tolist() == [1.0, -1.0, 1.0, -1.0, 0.0]


def layer_arguments(channels: int = 16, steps: int = 24) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    return {
        "x": normal(2, steps, channels),
        "skip": normal(2, steps, channels),
        "in_weight": normal(3, channels, 2 * channels, scale=0.2),
        "in_bias": normal(2 * channels),
        "out_weight": normal(channels, 2 * channels, scale=0.2),
        "out_bias": normal(2 * channels),
    }


def test_a_last_layer_is_the_skip_half_of_a_middle_one(backend: str) -> None:
    arguments = layer_arguments()
    whole = wavenet_layer(**arguments)
    arguments["out_weight"], arguments["out_bias"] = arguments["out_weight"][:, 16:], arguments["out_bias"][16:]
    last = wavenet_layer(**arguments)
    torch.testing.assert_close(last, whole[..., 16:], rtol=0, atol=OP_ERROR_CEILING[torch.float32])


def test_what_is_beyond_the_lengths_reaches_nothing(backend: str) -> None:
    arguments = layer_arguments()
    arguments["x"][1, 7:], arguments["skip"][1, 7:] = float("nan"), float("inf")
    out = wavenet_layer(**arguments, lengths=torch.tensor([24, 7]), dilation=2)
    alone = wavenet_layer(**{**arguments, "x": arguments["x"][1:, :7], "skip": arguments["skip"][1:, :7]}, dilation=2)
    assert not out[1, 7:].any()
    torch.testing.assert_close(out[1:, :7], alone, rtol=0, atol=OP_ERROR_CEILING[torch.float32])


def test_a_depth_separable_layer_keeps_padding_out_too(backend: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 24, 16, generator=generator)
    vectors = torch.randn(6, 16, generator=generator)
    depthwise, pointwise = torch.randn(3, 16, generator=generator), torch.randn(16, 16, generator=generator)
    parameters = depthwise, *vectors[:3], pointwise, *vectors[3:]
    x[1, 7:] = float("nan")
    out = depth_separable_layer(x, *parameters, lengths=torch.tensor([24, 7]), dilation=3)
    alone = depth_separable_layer(x[1:, :7], *parameters, dilation=3)
    assert not out[1, 7:].any()
    torch.testing.assert_close(out[1:, :7], alone, rtol=0, atol=OP_ERROR_CEILING[torch.float32])
