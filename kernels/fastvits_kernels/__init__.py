"""Functions of tensors that make up VITS: each with an eager reference and faster implementations chosen at run time.

Every activation is a channels-last sequence `[B, T, C]`; an op takes `lengths` (`[B]`, the valid steps of each item, or
None for all), sees nothing beyond them and writes exact zeros there (`gated_activation` and `rational_quadratic_spline`
take each element by itself, and no lengths; `monotonic_alignment` takes those of texts and those of frames). Shapes
that do not fit raise ValueError, whatever the implementation.
Importing this package imports no triton and needs no GPU.
"""

from .dispatch.registry import BACKENDS, BackendError, set_backend, use_backend
from .ops.attention import relative_attention, relative_attention_weights
from .ops.conv import conv1d
from .ops.conv_norm import conv1d_layer_norm
from .ops.conv_norm_projection import conv1d_layer_norm_projection
from .ops.conv_transpose import conv_transpose1d
from .ops.depth_separable import depth_separable_layer
from .ops.durations import durations
from .ops.layer_norm import layer_norm
from .ops.left_align import left_align
from .ops.length_regulator import length_regulator
from .ops.monotonic_alignment import alignment_scores, monotonic_alignment
from .ops.mrf_stage import mrf_stage
from .ops.resblock import resblock_pair, resblock_step
from .ops.spline import rational_quadratic_spline
from .ops.spline_coupling import spline_coupling
from .ops.wavenet import gated_activation, wavenet_layer

from . import channels_last, onednn  # isort: skip - register implementations of the ops above
from .ops import conv_backward  # isort: skip - and gradients

__all__ = [
    "BACKENDS",
    "BackendError",
    "alignment_scores",
    "channels_last",
    "conv1d",
    "conv1d_layer_norm",
    "conv1d_layer_norm_projection",
    "conv_backward",
    "conv_transpose1d",
    "depth_separable_layer",
    "durations",
    "gated_activation",
    "layer_norm",
    "left_align",
    "length_regulator",
    "monotonic_alignment",
    "mrf_stage",
    "onednn",
    "rational_quadratic_spline",
    "relative_attention",
    "relative_attention_weights",
    "resblock_pair",
    "resblock_step",
    "set_backend",
    "spline_coupling",
    "use_backend",
    "wavenet_layer",
]
