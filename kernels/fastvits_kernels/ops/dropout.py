"""Dropout that a seed decides, element by element: the same in plain torch and within kernels, forward and backward.

    y = x / (1 - rate) where u(seed, item, step, channel) >= rate, else 0

(Srivastava et al. 2014, scaled while training.) `u` is one of `2^24` multiples of `2^-24` in `[0, 1)`, from Philox
4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a generator without a state: its key is the
seed, its counter `(channel // 4, step, item, 0)`, and word `channel % 4` of the four that come out, without its lowest
8 bits, is `u`. So nothing is kept for the backward pass but the seed, and neither tiles nor padding change a mask.

The seed is an int64 tensor `[1]` on the device of what is dropped, for a kernel to load: a number would have to go
through the host, and would be one in a graph that was captured. `draw_seed` takes it from torch's generator.
"""

from typing import TYPE_CHECKING

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
        # Counters differ along one axis each, so that the first rounds are those of small tensors.
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def _product(word: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 bits of a product, by halves, for int64 does not hold it."""
    below = (word & 0xFFFF) * multiplier
    above = (word >> 16) * multiplier + (below >> 16)
    return above >> 16, (above & 0xFFFF) << 16 | below & 0xFFFF


def keep_mask(seed: Tensor, items: int, steps: int, channels: int, rate: float) -> Tensor:
    """What dropout keeps, boolean `[items, steps, channels]`, of a seed `[1]` and a rate in `[0, 1]`.

    Of `[B, H, T, T]` the items are `B * H`.
    """
    groups = -(-channels // 4)
    group, step, item = (torch.arange(size, device=seed.device) for size in (groups, steps, items))
    counter = (group, step[:, None], item[:, None, None], torch.zeros_like(seed))
    words = philox(counter, (seed & _LOW, seed >> 32 & _LOW))
    shape = (items, steps, groups)
    uniform = torch.stack([(word >> 8).expand(shape) for word in words], -1).view(items, steps, 4 * groups)
    return uniform[..., :channels].to(torch.float32) * 2.0**-24 >= torch.tensor(rate, device=seed.device)


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
