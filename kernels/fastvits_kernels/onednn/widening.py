"""Half precision on a processor without instructions for it: activations stay in float32 from op to op."""

import torch
from torch import Tensor

from ..dispatch import registry
from .convolution import compute_dtype, unsupported


def widened(x: Tensor) -> Tensor:
    """`x` in the dtype that the CPU computes it in, where every op then runs on oneDNN; `x` itself elsewhere.

    Rounding at the end of each op would cost passes over memory, and digits. The weights may stay in half precision:
    they are converted when they are packed. The references take one dtype for all, so nothing is widened where one may
    run: under another backend, with gradients, and while tracing.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or torch.is_grad_enabled():
        return x
    selection = registry.current_selection()
    if any(selection.for_op(name) not in ("auto", "onednn") for name in registry.ops()) or unsupported(x) is not None:
        return x
    return x.to(compute_dtype(x.dtype))
