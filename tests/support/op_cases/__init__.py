"""The shapes that ops are checked and timed at: hand-picked cases, shared by `tests/test_ops.py` and the benchmarks.

`CASES` are small and odd, to check ops at. `MODEL_CASES`, whose names begin with `model-`, are calls that the published
and the bundled configuration make, to time ops at: too large for Triton's interpreter.

A case makes an op's arguments from a `Draw`, which knows the dtype, the device and the random generator. The arguments
are in the order of the op's schema (its reference's parameters).
"""

import inspect
from typing import Any

import torch

from fastvits_kernels.dispatch import registry

from . import convolutions, decoder, models, text
from .draw import CASES, MODEL_CASES, Case, Draw

__all__ = [
    "CASES",
    "MODEL_CASES",
    "Case",
    "Draw",
    "convolutions",
    "decoder",
    "full_arguments",
    "models",
    "text",
]

_FULL_CASES = {
    "conv1d": "everything",
    "conv1d_layer_norm": "192-ragged",
    "conv1d_layer_norm_projection": "two-outputs-sliced",
    "conv_transpose1d": "k16-s8-ragged",
    "depth_separable_layer": "192-ragged",
    "durations": "ragged",
    "gated_activation": "saturated-transposed-192",
    "layer_norm": "ragged-192",
    "left_align": "both-sides",
    "length_regulator": "ragged-192",
    "monotonic_alignment": "ragged",
    "mrf_stage": "ragged",
    "rational_quadratic_spline": "ten-bins",
    "relative_attention": "two-tiles-ragged",
    "relative_attention_weights": "two-tiles-ragged",
    "resblock_pair": "ragged-mean-sliced",
    "resblock_step": "ragged-mean-sliced",
    "spline_coupling": "forward-96-two-channels",
    "wavenet_layer": "middle-condition-96-sliced",
}


def full_arguments(op: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The arguments by name, in float32, of the op's case with several items and every tensor that it can take."""
    (case,) = [case for case in CASES if (case.op, case.name) == (op, _FULL_CASES[op])]
    names = inspect.signature(registry.ops()[op].reference).parameters
    return dict(zip(names, case.arguments(torch.float32, device), strict=False))
