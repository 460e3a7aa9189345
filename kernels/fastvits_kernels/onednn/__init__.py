"""The CPU's implementations, backend `onednn`: convolutions of oneDNN, reached through torch, and lean elementwise work
around them.

A channels-last sequence `[B, T, C]` is a channels-last image of height 1, which oneDNN takes without a copy. Importing
a module of this package registers its implementations.
"""

from . import (
    attention,
    conv,
    conv_norm,
    conv_norm_projection,
    conv_transpose,
    convolution,
    depth_separable,
    elementwise,
    monotonic_alignment,
    resblock,
    wavenet,
)

from . import mrf_stage  # isort: skip - of convolutions above
from . import gradients  # isort: skip - of the implementations above
from .widening import widened

__all__ = [
    "attention",
    "conv",
    "conv_norm",
    "conv_norm_projection",
    "conv_transpose",
    "convolution",
    "depth_separable",
    "elementwise",
    "gradients",
    "monotonic_alignment",
    "mrf_stage",
    "resblock",
    "wavenet",
    "widened",
]
