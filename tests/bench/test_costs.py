"""The operations and bytes that ops are said to cost."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.ops.costs import cost_of
from fastvits_kernels.dispatch import registry
from tests.support.op_cases import CASES, MODEL_CASES, Case

WITHOUT_LENGTHS = ("gated_activation", "left_align", "rational_quadratic_spline")


COUNTED = [case for case in CASES if "ragged" in case.name or case.op in WITHOUT_LENGTHS]


@pytest.mark.parametrize("case", COUNTED, ids=lambda case: case.id)
def test_declared_operations_are_those_that_torch_counts(case: Case) -> None:
    op = registry.ops()[case.op]
    arguments = case.arguments(torch.float32, "cpu")
    with FlopCounterMode(display=False) as counter:
        op.reference(*arguments)
    assert cost_of(op, *arguments).flops == counter.get_total_flops()


def test_every_op_is_counted_and_timed() -> None:
    assert {case.op for case in MODEL_CASES} == {case.op for case in COUNTED} == set(registry.ops())
    for case in MODEL_CASES:
        if "-32x" not in case.name:
            assert cost_of(registry.ops()[case.op], *case.arguments(torch.float32, "meta")).bytes > 0


DECLARED_BYTES: dict[str, tuple[tuple[Any, ...], int]] = {
    # By op: shapes and settings of small inputs, and the elements of the inputs and (behind them) of the outputs, where
    # they are no whole numbers.
    # x [2, 5, 3], weight [3, 3, 4], bias [4] -> [2, 5, 4]
    "conv1d": (((2, 5, 3), (3, 3, 4), (4,), None, None, None, 1, 1, 1.0, "none", 1.0), 30 + 36 + 4 + 40),
    # x [2, 5, 3], weight [3, 3, 4], bias [4], residual [2, 5, 4], norm [4] twice -> [2, 5, 4]
    "conv1d_layer_norm": (
        ((2, 5, 3), (3, 3, 4), (4,), (2, 5, 4), (4,), (4,), None, 1, 1e-5), 30 + 36 + 4 + 40 + 8 + 40
    ),
    # the same with a projection [4, 6] and its bias [6] -> [2, 5, 4] and [2, 5, 6]
    "conv1d_layer_norm_projection": (
        ((2, 5, 3), (3, 3, 4), (4,), (2, 5, 4), (4,), (4,), (4, 6), (6,), None, 1, 1e-5),
        30 + 36 + 4 + 40 + 8 + 24 + 6 + 40 + 60,
    ),
    # x [1, 5, 3], weight [4, 3, 2], bias [2] -> [1, 10, 2]
    "conv_transpose1d": (((1, 5, 3), (4, 3, 2), (2,), None, 2, 1, 0.1), 15 + 24 + 2 + 20),
    # x [1, 5, 4], depthwise [3, 4], pointwise [4, 4], two biases and two norms [4] -> [1, 5, 4]
    "depth_separable_layer": (
        ((1, 5, 4), (3, 4), (4,), (4,), (4,), (4, 4), (4,), (4,), (4,), None, 1, 1e-5), 20 + 12 + 16 + 6 * 4 + 20
    ),
    # log durations [2, 5] and rates [2]
    "durations": (((2, 5), (2,), None), 10 + 2),
    # x [2, 7, 8] and the gate's half of it
    "gated_activation": (((2, 7, 8), None), 112 + 56),
    # x and residual [1, 4, 6], weight and bias [6] -> [1, 4, 6]
    "layer_norm": (((1, 4, 6), (1, 4, 6), (6,), (6,), None, 1e-5), 24 + 24 + 6 + 6 + 24),
    # nothing but whole numbers
    "left_align": ((torch.zeros(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long), 9), 0),
    # means and scales [1, 3, 4], durations [1, 3] of eight bytes, noise [1, 9, 4], a scale [1] -> [1, 9, 4]
    "length_regulator": (
        ((1, 3, 4), (1, 3, 4), torch.zeros(1, 3, dtype=torch.long), (1, 9, 4), (1,)), 24 + 36 + 1 + 36
    ),
    # scores [2, 3, 5], lengths of eight bytes
    "monotonic_alignment": (
        ((2, 3, 5), torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long)), 30
    ),
    # x [1, 3, 4], weight [4, 4, 2], bias [2], three steps of two blocks [3, 2, 2] and [2], twice -> [1, 6, 2]
    "mrf_stage": (
        ((1, 3, 4), (4, 4, 2), (2,), *([(3, 2, 2)] * 3, [(2,)] * 3) * 2, None, 2, 1, [1, 2], [1, 1, 3], 0.1, 1.0, 0.1),
        12 + 32 + 2 + 2 * 3 * (12 + 2) + 12,
    ),
    # x [2, 3], widths and heights [2, 3, 4], derivatives [2, 3, 3] -> [2, 3] twice
    "rational_quadratic_spline": (((2, 3), (2, 3, 4), (2, 3, 4), (2, 3, 3), 5.0, True), 6 + 24 + 24 + 18 + 12),
    # q, k and v [1, 3, 2, 4], tables [3, 4] -> [1, 3, 2, 4] and, of the second op, weights [1, 2, 3, 3]
    "relative_attention": (((1, 3, 2, 4),) * 3 + ((3, 4),) * 2 + (None,), 72 + 24 + 24),
    "relative_attention_weights": (((1, 3, 2, 4),) * 3 + ((3, 4),) * 2 + (None,), 72 + 24 + 24 + 18),
    # x [1, 1, 5, 2] for both branches, weights [3, 2, 2] and [5, 2, 2], biases [2] -> [2, 1, 5, 2]
    "resblock_step": (
        ((1, 1, 5, 2), None, [(3, 2, 2), (5, 2, 2)], [(2,), (2,)], None, [1, 1], 0.1, False), 10 + 12 + 20 + 4 + 20
    ),
    # the same twice, the mean of the branches [1, 5, 2] coming out; what lies in between is not counted
    "resblock_pair": (
        ((1, 1, 5, 2), *([(3, 2, 2), (5, 2, 2)], [(2,), (2,)]) * 2, None, [1, 1], 0.1, True), 10 + 2 * 36 + 10
    ),
    # h [1, 3, 2], weight [2, 11] for four bins of one channel, bias [11], x [1, 3, 1] -> [1, 3, 1] and log determinants
    "spline_coupling": (((1, 3, 2), (2, 11), (11,), (1, 3, 1), None, 4, 5.0, True), 6 + 22 + 11 + 3 + 3 + 3),
    # x and skip [1, 5, 2], in [3, 2, 4], bias [4], cond [1, 4], out [2, 4], bias [4] -> [1, 5, 4]
    "wavenet_layer": (
        ((1, 5, 2), (1, 5, 2), (3, 2, 4), (4,), (1, 4), (2, 4), (4,), None, 1), 20 + 24 + 4 + 4 + 8 + 4 + 20
    ),
}  # fmt: skip


WHOLE_NUMBERS = {
    # Outputs of eight bytes: durations [2, 5] and frames [2]; ids [2, 5], lengths [2], places [2, 2, 5] and faults [2];
    # durations [2, 3].
    "durations": 10 + 2,
    "left_align": 10 + 2 + 20 + 2,
    "monotonic_alignment": 6,
}


def drawn(argument: Any, dtype: torch.dtype) -> Any:
    """Zeros for a shape, for each of a list of shapes, and anything else as it is."""
    if isinstance(argument, list) and isinstance(argument[0], tuple):
        return [torch.zeros(shape, dtype=dtype) for shape in argument]
    return torch.zeros(argument, dtype=dtype) if isinstance(argument, tuple) else argument


@pytest.mark.parametrize("op", registry.ops())
def test_declared_bytes(op: str) -> None:
    arguments, elements = DECLARED_BYTES[op]
    whole_numbers = 8 * (sum(a.numel() for a in arguments if isinstance(a, torch.Tensor)) + WHOLE_NUMBERS.get(op, 0))
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        cost = cost_of(registry.ops()[op], *(drawn(a, dtype) for a in arguments))
        assert cost.bytes == size * elements + whole_numbers


def test_a_tensor_passed_twice_is_read_once() -> None:
    x, parameter = torch.zeros(1, 4, 6), torch.zeros(6)
    assert cost_of(registry.ops()["layer_norm"], x, x, parameter, parameter, None, 1e-5).bytes == 4 * (24 + 6 + 24)
