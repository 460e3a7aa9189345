"""Gradients of the convolution with its norm and a projection behind it: those of its parts.

What the norm gives is computed again by the kernel that makes the norm's gradients, for that of the projection. A
result that nothing was made of (its gradient is None) costs nothing.
"""

from typing import Any

from ...dispatch.masking import zero_beyond
from ...dispatch.registry import gradients_of
from ..conv_gradients import convolutions
from ..conv_norm import convolution_gradients
from ..gradients import derivable, sums, wants
from .reference import conv1d_layer_norm_projection_reference


def conv1d_layer_norm_projection_backward(grads: tuple[Any, ...], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients of the op's arguments, None for those that want none."""
    if not derivable(arguments):
        return gradients_of(conv1d_layer_norm_projection_reference, arguments, grads)
    projection, projection_bias, lengths, *_ = arguments[6:]
    of_z, of_y = grads
    with_ = convolutions(ieee=True)
    if of_y is not None:
        of_y = zero_beyond(of_y, lengths)
        through = with_.by_input(of_y, projection.unsqueeze(0), 1, 0)
        of_z = through if of_z is None else of_z + through
    wanted = of_y is not None and wants(projection)
    gradients, z = convolution_gradients(of_z, *arguments[:6], *arguments[8:], with_out=wanted)
    of_projection = None if z is None else with_.by_weight(z, of_y, 1, 1, 0)[0]
    of_bias = sums(of_y) if of_y is not None and wants(projection_bias) else None
    return *gradients, of_projection, of_bias, None, None, None
