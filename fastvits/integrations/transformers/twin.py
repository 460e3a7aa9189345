"""One of our modules on the layers of one of transformers'.

Both libraries build a part of a VITS from torch's own layers, with the same names; what lies between layers differs. A
twin is our part whose layers are the other one's, the very objects: there is one set of parameters, and whatever
happens to a layer happens to both.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.models.vits import modeling_vits as published

from fastvits_kernels.dispatch import packing

from ...configuration import VitsConfig
from ...configuration.fields import ACTIVATIONS
from ...models.observed import is_weight_normed, known, observed
from ...weights.parts import on_meta_device

_LAYERS = (nn.Conv1d, nn.ConvTranspose1d, nn.Linear, nn.LayerNorm, nn.Embedding)

_COMPARED = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "output_padding",
    "dilation",
    "groups",
    "padding_mode",
    "in_features",
    "out_features",
    "normalized_shape",
    "eps",
    "embedding_dim",
    "max_norm",
)
"""What layers do with their parameters. Not how many words an embedding has: a vocabulary grows."""

for _name in (
    "HifiGanResidualBlock",
    "VitsAttention",
    "VitsConvFlow",
    "VitsDilatedDepthSeparableConv",
    "VitsDurationPredictor",
    "VitsElementwiseAffine",
    "VitsEncoder",
    "VitsEncoderLayer",
    "VitsFeedForward",
    "VitsHifiGan",
    "VitsPosteriorEncoder",
    "VitsResidualCouplingBlock",
    "VitsResidualCouplingLayer",
    "VitsStochasticDurationPredictor",
    "VitsTextEncoder",
    "VitsWaveNet",
):
    known(getattr(published, _name))
for _name in set(ACTIVATIONS) & set(ACT2FN):
    known(type(ACT2FN[_name]))
known(nn.Dropout)


class MisfitError(Exception):
    """A part of a model is not built as its configuration says."""


class Twin:
    """Our module for a part of transformers' model, made when it is asked for and made anew when the part's layers are
    others. It belongs to the part's state in no way: copies and pickles of the part have their own."""

    def __init__(self, kind: type[nn.Module], config: VitsConfig, batch_true: bool = False) -> None:
        self.kind = kind
        self.config = config
        self.batch_true = batch_true
        self.watch = packing.Watch()
        self._module: nn.Module | None = None
        self._layers: list[nn.Module] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "config": self.config, "batch_true": self.batch_true}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Twin":
        return Twin(self.kind, copy.deepcopy(self.config, memo), self.batch_true)

    def of(self, part: nn.Module) -> nn.Module | None:
        """Our module on the part's layers as they are now; None where they are not those of the configuration."""
        layers = _inside(part)
        if layers != self._layers:
            try:
                self._module = made_of(self.kind, self.config, part)
            except MisfitError:
                self._module = None
            self._layers = layers
        return self._module

    def usable(self, part: nn.Module, *tensors: Tensor | None, any_precision: bool) -> "Call | None":
        """Our module where it gives what the part itself would give for these tensors, else None.

        Not where somebody listens to a layer or has changed it, where dropout draws random numbers or activations are
        computed anew, under autocast, and where something traces, compiles or transforms. In half precision only with
        `any_precision`: durations are to be those of transformers, which rounding decides.
        """
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return None
        given = [tensor for tensor in tensors if tensor is not None]
        device = given[0].device
        if torch.is_autocast_enabled(device.type) or not all(map(_is_plain, given)):
            return None
        weights = list(part.parameters())
        dtype = weights[0].dtype
        if not (any_precision or dtype in (torch.float32, torch.float64)):
            return None
        if any(one.dtype != dtype or one.device != device for one in weights):
            return None
        if any(one.dtype != dtype for one in given if one.is_floating_point()):
            return None
        module = self.of(part)
        if module is None or observed(*part.children()) or any(map(_is_random, self._layers)):
            return None
        return Call(self.watch, part, module)


class Call:
    """A call of a twin, during which no weight is looked at twice."""

    def __init__(self, watch: packing.Watch, part: nn.Module, module: nn.Module) -> None:
        self._watch, self._part, self._module = watch, part, module

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.run(self._module, *arguments, **options)

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`function(*arguments)`, as a part of this call."""
        with self._watch.part(self._watch.begin(), self._part.parameters):
            return function(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def made_of(kind: type[nn.Module], config: VitsConfig, part: nn.Module) -> nn.Module:
    """Our module of this kind on the layers of `part`; raises MisfitError where they are others than ours."""
    module = on_meta_device(kind, config, []).eval()
    _share(module, part, config)
    return module


def _share(ours: nn.Module, theirs: nn.Module, config: VitsConfig) -> None:
    if set(ours._parameters) != set(theirs._parameters):
        # Without relative positions ours has the names, and nothing there.
        if any(ours._parameters.get(name) is not None for name in ours._parameters.keys() ^ theirs._parameters.keys()):
            raise MisfitError
    else:
        ours._parameters = theirs._parameters  # the same dictionary: what is put there later is seen
    activation = theirs._modules.get("act_fn")
    if activation is not None and (
        not isinstance(config.hidden_act, str) or type(activation) is not type(ACT2FN[config.hidden_act])
    ):
        raise MisfitError
    if isinstance(ours, nn.ModuleList) and len(ours) != len(theirs._modules):
        raise MisfitError
    for name, own in list(ours._modules.items()):
        other = theirs._modules.get(name)
        if own is None or other is None:
            raise MisfitError
        if isinstance(own, _LAYERS):
            if not _are_alike(own, other):
                raise MisfitError
            ours._modules[name] = other
        else:
            _share(own, other, config)


def _are_alike(own: nn.Module, other: nn.Module) -> bool:
    normed = is_weight_normed(own)
    if normed != is_weight_normed(other):
        return False
    if (type(own).__base__ if normed else type(own)) is not (type(other).__base__ if normed else type(other)):
        return False
    if any(getattr(own, name, None) != getattr(other, name, None) for name in _COMPARED):
        return False
    return set(own._parameters) == set(other._parameters) and all(
        (one is None) == (other._parameters[name] is None) for name, one in own._parameters.items()
    )


def _inside(part: nn.Module) -> list[nn.Module]:
    """Every module of a part, in an order that is always the same."""
    found: list[nn.Module] = list(_children(part))
    for module in found:
        if module._modules:
            found.extend(_children(module))
    return found


def _children(module: nn.Module) -> Iterable[nn.Module]:
    return [child for child in module._modules.values() if child is not None]


def _is_random(module: nn.Module) -> bool:
    """Whether a module draws random numbers in training, or computes its activations twice."""
    if not module.training:
        return False
    if isinstance(module, nn.Dropout):
        return module.p > 0
    return bool(
        (isinstance(module, published.VitsAttention) and module.dropout)
        or (isinstance(module, published.VitsEncoder) and module.layerdrop)
        or getattr(module, "gradient_checkpointing", False)
    )


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and not tensor.is_meta
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and not torch._C._len_torch_dispatch_stack()
    )
