"""How much of a long sequence a CPU should work on at a time."""

import torch
from torch import Tensor

from .. import registry

_BYTES = 4 << 20
"""A tensor of a piece. Two threads with 2 MB of L2 each, the decoder of 10 s, standard configuration: 1.39 s in float32
and 0.40 s in bfloat16; in pieces a quarter as large 1.57 s and 0.49 s, twice as large 1.41 s and 0.40 s. Larger ones
gain nothing then, and take more memory."""


def piece_length(x: Tensor, op: str) -> int | None:
    """Steps of `x` `[B, T, C]` to work on at a time, or None: the whole, for it is short, or `op` does not run on
    oneDNN.

    Whole too with gradients, where nothing is freed early, and while tracing, where a length must not be looked at.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or torch.is_grad_enabled():
        return None
    if registry.current_selection().for_op(op) not in ("auto", "onednn"):
        return None
    steps = _BYTES // (x.shape[2] * x.element_size())
    return steps if x.shape[1] > steps + steps // 4 else None
