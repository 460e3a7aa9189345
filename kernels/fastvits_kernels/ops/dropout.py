"""Dropout that a seed decides, element by element: the same in plain torch and within kernels, forward and backward.

    y = x / (1 - rate) where u(seed, item, step, channel) >= rate, else 0

(Srivastava et al. 2014, scaled while training.) `u` is one of `2^24` multiples of `2^-24` in `[0, 1)`, from Philox
4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a generator without a state: its key is the
seed, its counter `(channel // 4, step, item, 0)`, and word `channel % 4` of the four that come out, without its lowest
8 bits, is `u`. So nothing is kept for the backward pass but the seed, and neither tiles nor padding change a mask.

The seed is an int64 tensor `[1]` on the device of what is dropped, for a kernel to load: a number would have to go
through the host, and would be one in a graph that was captured. `draw_seed` takes it from torch's generator.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..launch.jit import kernel

if TYPE_CHECKING:
    import triton.language as tl

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = 0xFFFFFFFF


def draw_seed(device: torch.device) -> Tensor:
    """A seed `[1]` from torch's default generator of `device`, which `torch.manual_seed` sets."""
    return torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device=device)


def check_dropout(seed: Tensor | None, dropout: float) -> None:
    """Raise ValueError for a rate outside `[0, 1]`, or one above 0 without a seed `[1]`; TypeError for another dtype
    than int64."""
    if not 0.0 <= dropout <= 1.0:
        raise ValueError(f"dropout must lie in [0, 1], got {dropout}")
    if seed is None:
        if dropout:
            raise ValueError(f"seed must be a tensor [1] where dropout is not 0, got None and {dropout}")
    elif seed.shape != (1,):
        raise ValueError(f"seed must have the shape [1], got {list(seed.shape)}")
    elif seed.dtype != torch.int64:
        raise TypeError(f"seed must be int64, got {str(seed.dtype).removeprefix('torch.')}")


def dropout_scale(rate: float) -> float:
    """What is kept is multiplied with this: `1 / (1 - rate)`, or 0 where nothing is kept."""
    return 1.0 / (1.0 - rate) if rate < 1.0 else 0.0


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10: four words of 32 bits for a counter of four and a key of two, all in int64 and of any shapes that
    broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # Counters differ along one axis each, so that the first rounds are those of small tensors. A product of 64 bits
        # wraps to a negative number, whose bits are right; words that are only added keep what is above their 32 bits.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = _mixed(product1, c1, k0), _mixed(product0, c3, k1)
        c1, c3 = product1, product0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1 & _LOW, c2, c3 & _LOW


def _mixed(product: Tensor, word: Tensor, key: Tensor) -> Tensor:
    """The upper 32 bits of a product, with the others added without carry."""
    high = product >> 32
    mixed = high.bitwise_xor_(word) if high.shape == word.shape else high ^ word
    return mixed.bitwise_xor_(key).bitwise_and_(_LOW)


_CHUNK = 1 << 14
"""Counters that a CPU computes together: so many that the words stay in a core's cache."""


def keep_mask(seed: Tensor, items: int, steps: int, channels: int, rate: float) -> Tensor:
    """What dropout keeps, boolean `[items, steps, channels]`, of a seed `[1]` and a rate in `[0, 1]`.

    Of `[B, H, T, T]` the items are `B * H`.
    """
    # u >= rate, as whole numbers: both are exact in float32.
    least = math.ceil(np.float32(rate) * 2**24) << 8
    kept = torch.empty(items, steps, channels, dtype=torch.bool, device=seed.device)
    groups = -(-channels // 4)
    together = max(1, _CHUNK // max(1, steps * groups)) if seed.is_cpu else max(1, items)
    group, step = torch.arange(groups, device=seed.device), torch.arange(steps, device=seed.device)[:, None]
    key = seed & _LOW, seed >> 32 & _LOW
    for begin in range(0, items, together):
        item = torch.arange(begin, min(begin + together, items), device=seed.device)[:, None, None]
        for number, word in enumerate(philox((group, step, item, torch.zeros_like(seed)), key)):
            some = kept[begin : begin + together, :, number::4]
            torch.ge(word[..., : some.shape[2]], least, out=some)
    return kept


def dropped(x: Tensor, seed: Tensor | None, rate: float) -> Tensor:
    """`x` `[B, T, C]` with dropout: the reference. `x` itself at a rate of 0, and where no seed is given."""
    if seed is None or not rate:
        return x
    items, steps, channels = x.shape
    return torch.where(keep_mask(seed, items, steps, channels, rate), x * dropout_scale(rate), 0.0)


@kernel
def keeps(seed, item, step, channel, rate):
    """What dropout keeps of the elements at int32 `step` `[., 1]` and `channel` `[1, .]` of an item, as `keep_mask`.

    `seed` is the tensor's element, int64, and `rate` float32.
    """
    # Of the four words of a group of channels each element takes one. An element makes all four, for a tile cannot be
    # taken apart; the first two rounds have but one axis.
    group = channel // 4
    c0, c1, c2, c3 = tl.philox(seed, group, step, item, tl.zeros_like(group))
    even = tl.where(channel % 4 == 0, c0, c2)
    odd = tl.where(channel % 4 == 1, c1, c3)
    word = tl.where(channel % 2 == 0, even, odd)
    return (word >> 8).to(tl.float32) * 5.9604644775390625e-08 >= rate
