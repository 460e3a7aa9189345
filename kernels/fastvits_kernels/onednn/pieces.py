"""How much of a long sequence a CPU should work on at a time."""

import torch
from torch import Tensor

from .. import registry

_ELEMENTS = 1 << 20
"""4 MB of float32 a tensor: with the few that a stage of the decoder needs at once, they stay in the cache. Measured on
two cores with 1.25 MB of L2 each: a quarter of it loses 20 % to the cost of calls, twice as much or whole sequences
some 5 %."""


def piece_length(x: Tensor, op: str) -> int | None:
    """Steps of `x` `[B, T, C]` to work on at a time, or None: the whole, for it is short, or `op` does not run on
    oneDNN.

    Whole too with gradients, where nothing is freed early, and while tracing, where a length must not be looked at.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or torch.is_grad_enabled():
        return None
    if registry.current_selection().for_op(op) not in ("auto", "onednn"):
        return None
    steps = _ELEMENTS // x.shape[2]
    return steps if x.shape[1] > steps + steps // 4 else None
