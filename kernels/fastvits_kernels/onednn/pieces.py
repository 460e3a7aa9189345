"""How much of a long sequence a CPU should work on at a time."""

import torch
from torch import Tensor

from .. import registry

_ELEMENTS = 1 << 20
"""4 MB of float32 a tensor. CPU time of the standard decoder for 250 frames, on one thread of a busy machine with
1.25 MB of L2, least of three: 1.36 s; a quarter as much 1.68 s, twice as much 1.49 s, whole sequences 1.44 s. Some 5 %
are within that machine's noise: the gain that is certain is bounded memory."""


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
