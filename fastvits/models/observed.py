"""Whether a module has to be called, or may be replaced by an op that reads its weights.

Ops do in one go what several modules describe: a layer's two convolutions, a whole residual block. That is the same
only where each module is what it was built as and nobody watches it. A hook, a layer put in another's place (LoRA, a
quantiser), pruning, a parametrization or a weight norm put on by hand, a `forward` that was replaced (accelerate's
offloading does so), or weights of a class of their own: then the modules are called one by one, with the published
shapes.
"""

import weakref
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList

Class = TypeVar("Class", bound=type[nn.Module])

_KNOWN: set[type] = {nn.Conv1d, nn.ConvTranspose1d, nn.Linear, nn.LayerNorm, nn.Embedding, nn.Identity, nn.ModuleList}
_WEIGHT_NORM: set[type] = {nn.ModuleDict, ParametrizationList, _WeightNorm}
_ORDINARY: set[type] = {nn.Parameter, Tensor, type(None)}
_HOOK_NAMES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS = itemgetter(*_HOOK_NAMES)
_UNWANTED = frozenset(("forward", "weight"))
"""What a module's own dictionary has where its `forward` was replaced, or where its weight is no parameter any more but
a plain attribute: pruned, or replicated."""


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
    compiling = torch.compiler.is_compiling()
    for module in modules:
        if module is None:
            continue
        if compiling or not module._modules:
            if _walked(module, look_at_weights=not compiling):
                return True
            continue
        outline = _outlines.get(module)
        if outline is None or not outline.holds():
            if _walked(module, look_at_weights=True):
                return True
            _outlines[module] = _Outline(module)
    return False


def _walked(root: nn.Module, *, look_at_weights: bool) -> bool:
    """The same for one module, by looking into each inside."""
    pending = [root]
    while pending:
        module = pending.pop()
        state = module.__dict__
        if any(state[name] for name in _HOOK_NAMES) or any(name in state for name in _UNWANTED):
            return True
        cls = type(module)
        if cls not in _KNOWN and cls not in _WEIGHT_NORM and not is_weight_normed(module):
            return True
        if look_at_weights and any(type(value) not in _ORDINARY for value in state["_parameters"].values()):
            return True
        pending.extend(child for child in state["_modules"].values() if child is not None)
    return False


def is_training(root: nn.Module) -> bool:
    """Whether a module, or one inside, is in training mode. As `modules()` would tell, in a tenth of its time."""
    pending = [root]
    while pending:
        state = pending.pop().__dict__
        if state["training"]:
            return True
        pending.extend(child for child in state["_modules"].values() if child is not None)
    return False


class _Outline:
    """The modules inside one that was not observed, to find again that it is not: some 300 in each call, as columns,
    which `map` walks in C."""

    def __init__(self, root: nn.Module) -> None:
        # Not the root itself, which must go when its last user lets it go.
        self.inside = [module for module in root.modules() if module is not root]
        self.states = [module.__dict__ for module in (root, *self.inside)]
        self.types = list(map(type, self.inside))
        self.containers: list[Any] = [state["_modules"] for state in self.states]
        self.parameters: list[Any] = [state["_parameters"] for state in self.states]
        self.children = self._children()

    def _children(self) -> list[nn.Module | None]:
        return list(chain.from_iterable(map(dict.values, self.containers)))

    def holds(self) -> bool:
        """Whether nothing inside was replaced, and nobody watches."""
        states = self.states
        return (
            self.children == self._children()
            and self.types == list(map(type, self.inside))
            and not any(chain.from_iterable(map(_HOOKS, states)))
            and all(map(_UNWANTED.isdisjoint, states))
            and _ORDINARY.issuperset(map(type, chain.from_iterable(map(dict.values, self.parameters))))
        )


_outlines: "weakref.WeakKeyDictionary[nn.Module, _Outline]" = weakref.WeakKeyDictionary()
