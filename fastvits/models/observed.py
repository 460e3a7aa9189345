"""Whether a module has to be called, or may be replaced by an op that reads its weights.

Ops do in one go what several modules describe: a layer's two convolutions, a whole residual block. That is the same
only where each module is what it was built as and nobody watches it. A hook, a layer put in another's place (LoRA, a
quantiser), pruning, a parametrization or a weight norm put on by hand, a `forward` that was replaced (accelerate's
offloading does so), or weights of a class of their own: then the modules are called one by one, with the published
shapes.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList

Class = TypeVar("Class", bound=type[nn.Module])

_KNOWN: set[type] = {nn.Conv1d, nn.ConvTranspose1d, nn.Linear, nn.LayerNorm, nn.Embedding, nn.Identity, nn.ModuleList}
_WEIGHT_NORM: set[type] = {nn.ModuleDict, ParametrizationList, _WeightNorm}
_ORDINARY: set[type] = {nn.Parameter, Tensor, type(None)}


def known(cls: Class) -> Class:
    """A class decorator: modules of this very class may be replaced by ops, while nobody watches them."""
    _KNOWN.add(cls)
    return cls


def is_weight_normed(conv: nn.Module) -> bool:
    """Whether `conv` is a convolution whose weight is normalised as the published checkpoints have it, and no more."""
    if type(conv).__base__ not in (nn.Conv1d, nn.ConvTranspose1d) or len(conv._modules) != 1:
        return False
    found = conv._modules.get("parametrizations")
    if not isinstance(found, nn.ModuleDict) or list(found._modules) != ["weight"]:
        return False
    parts = found._modules["weight"]
    if not isinstance(parts, ParametrizationList) or len(parts) != 1:
        return False
    norm = parts[0]
    return isinstance(norm, _WeightNorm) and norm.dim == 0


def _globally() -> bool:
    return bool(
        torch_modules._global_forward_hooks
        or torch_modules._global_forward_pre_hooks
        or torch_modules._global_backward_hooks
        or torch_modules._global_backward_pre_hooks
    )


def observed(*modules: nn.Module | None) -> bool:
    """Whether one of these modules, or a module inside, has to be called."""
    if _globally():
        return True
    look_at_weights = not torch.compiler.is_compiling()
    pending = [module for module in modules if module is not None]
    # Some 300 modules in each call: no generators, no calls for most of them.
    while pending:
        module = pending.pop()
        state = module.__dict__
        if (
            state["_forward_hooks"]
            or state["_forward_pre_hooks"]
            or state["_backward_hooks"]
            or state["_backward_pre_hooks"]
            or "forward" in state
            # Parameters live where they were registered: one that became a plain attribute is pruned or replicated.
            or "weight" in state
        ):
            return True
        cls = type(module)
        if cls not in _KNOWN and cls not in _WEIGHT_NORM and not is_weight_normed(module):
            return True
        if look_at_weights:
            for value in state["_parameters"].values():
                if type(value) not in _ORDINARY:
                    return True
        inside = state["_modules"]
        if inside:
            pending.extend(child for child in inside.values() if child is not None)
    return False
