"""Backend `channels_last`: the references, with each convolution of a sequence run as that of an image of height 1 with
the channels last, the layout in which cuDNN and oneDNN are fastest.

No kernel of ours: it is what plain torch can do, and what a table of tiles may find to be faster than Triton for a
shape. Only ops whose references hold convolutions have it. Any dtype and device; differentiable.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .dispatch.packing import packed
from .dispatch.registry import Implementation, ops

CONVOLUTIONAL = (
    "conv1d",
    "conv1d_layer_norm",
    "conv1d_layer_norm_projection",
    "conv_transpose1d",
    "depth_separable_layer",
    "mrf_stage",
    "resblock_pair",
    "resblock_step",
    "wavenet_layer",
)


class ChannelsLast(TorchFunctionMode):
    """Turns convolutions of sequences, inside the block, into convolutions of channels-last images of height 1."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv1d:
            return self._conv1d(*args, **kwargs)
        if func is torch.conv_transpose1d:
            return self._conv_transpose1d(*args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def _image(x: Tensor) -> Tensor:
        return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)

    def _packed(self, weight: Tensor) -> Tensor:
        """The image of a weight, made once; with gradients each time, for they flow through it."""
        if weight.requires_grad and torch.is_grad_enabled():
            return self._image(weight)
        return packed(weight, "channels-last image", lambda: self._image(weight.detach()))

    def _conv1d(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        across = ((1, _along(stride)), (0, _along(padding)), (1, _along(dilation)))
        return torch.conv2d(self._image(x), self._packed(weight), bias, *across, groups).squeeze(2)

    def _conv_transpose1d(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Tensor:
        across = ((1, _along(stride)), (0, _along(padding)), (0, _along(output_padding)))
        return torch.conv_transpose2d(
            self._image(x), self._packed(weight), bias, *across, groups, (1, _along(dilation))
        ).squeeze(2)


def _along(value: Any) -> int:
    """A setting of a one-dimensional convolution, which may be given as a sequence."""
    return value if isinstance(value, int) else value[0]


def _in_channels_last(reference: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(reference)
    def run(*args: Any) -> Any:
        with ChannelsLast():
            return reference(*args)

    return run


for _name in CONVOLUTIONAL:
    ops()[_name].register("channels_last", Implementation(_in_channels_last(ops()[_name].reference)))
