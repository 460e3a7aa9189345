"""What `lengths` means to every op: item `b` of a batch holds `lengths[b]` valid steps, and zeros stand beyond them."""

import torch
from torch import Tensor


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """The boolean mask `[B, T]` of valid steps: `t < lengths[b]`, for `T = steps`."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)


def zero_beyond(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`x` `[B, T, ...]` with exact zeros beyond each item's length; `x` itself where `lengths` is None.

    Filled, not multiplied: a NaN or an infinity in the padding must not survive as NaN.
    """
    if lengths is None:
        return x
    invalid = ~valid_steps(lengths, x.shape[1])
    return x.masked_fill(invalid.reshape(invalid.shape + (1,) * (x.dim() - 2)), 0)


def one_each(lengths: Tensor | None, batch: int) -> Tensor | None:
    """`lengths` `[B]` or `[1]`, one for all items, as kernels read them: `[B]` and contiguous."""
    return None if lengths is None else lengths.expand(batch).contiguous()
