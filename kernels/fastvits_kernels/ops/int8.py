"""What 8 bits do to a convolution: activations between two bounds in 256 steps, weights in 255 for each output channel.

    q(x) = clamp(round(x / s + z), 0, 255)          s = (high - low) / 255,   z = round(-low / s)
    q(w) = round(w / s_o)                           s_o = max |w[:, :, o]| / 127

A convolution then sums products of whole numbers exactly and scales the sum by `s * s_o`. A zero is a whole number of
steps away from any activation, so that padding stays exact. `low <= 0 <= high` are one pair for a tensor, known ahead:
its `ranges` are what calibration saw (`fastvits.speech.calibration`). What lies outside is clamped to the bounds.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference".
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def step_and_zero(low: float, high: float) -> tuple[float, int]:
    """The step `s`, and the number `z` that stands for 0."""
    step = (high - low) / 255
    return step, round(-low / step)


def quantized(x: Tensor, low: float, high: float) -> Tensor:
    """`x` rounded to what 8 bits hold between these bounds, in its own dtype."""
    step, zero = step_and_zero(low, high)
    return (x / step + zero).round().clamp(0, 255).sub(zero) * step


def weight_steps(weight: Tensor) -> Tensor:
    """`[K, C_in, C_out]` -> the steps `[C_out]`; 1 for a channel of zeros."""
    steps = weight.abs().amax((0, 1)) / 127
    return torch.where(steps > 0, steps, torch.ones_like(steps))


def quantized_weight(weight: Tensor) -> Tensor:
    """`weight` `[K, C_in, C_out]` rounded to what 8 bits hold, in its own dtype."""
    steps = weight_steps(weight)
    return (weight / steps).round() * steps


def check_ranges(ranges: Sequence[float] | None, tensors: int) -> None:
    """Raise unless there are two bounds around 0 for each of so many tensors; nothing is asked of None."""
    if ranges is None:
        return
    pairs = list(zip(ranges[::2], ranges[1::2], strict=False))
    if len(ranges) != 2 * tensors or not all(low <= 0 < high for low, high in pairs):
        raise ValueError(
            f"ranges must be {tensors} pairs of bounds, low <= 0 < high, one behind the other, got {list(ranges)}"
        )


def refuse_gradients(ranges: Sequence[float] | None, *tensors: Tensor | None) -> None:
    """Raise RuntimeError where gradients through rounded numbers are wanted: there are none."""
    if ranges is not None and torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        raise RuntimeError("int8 has no gradients: load the model with another dtype, such as float32")
