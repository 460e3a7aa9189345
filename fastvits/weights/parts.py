"""A model without memory, whole or without the parts that only training needs."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..configuration import VitsConfig

Model = TypeVar("Model", bound=nn.Module)

DISCRIMINATOR = "discriminator."
"""What the names of discriminators' parameters begin with where a program that fine-tunes keeps both in one file."""

TRAINING_ONLY: Mapping[str, str] = {
    "posterior_encoder": "posterior_encoder.",
    "duration_predictor.post_*": "duration_predictor.post_",
    "duration_predictor.flows.1": "duration_predictor.flows.1.",
}
"""Parts that synthesis never runs, each with the prefix of its parameters' names. The last is the flow that the reverse
pass of the stochastic duration predictor leaves out."""


def parts_of(config: VitsConfig) -> list[str]:
    """The training-only parts that a model of this configuration has: the plain duration predictor has no flows."""
    stochastic = config.use_stochastic_duration_prediction
    return [part for part in TRAINING_ONLY if stochastic or not part.startswith("duration_predictor")]


def absent_parts(config: VitsConfig, names: Iterable[str]) -> list[str]:
    """The training-only parts of which not one tensor is there."""
    names = list(names)
    return [part for part in parts_of(config) if not any(name.startswith(TRAINING_ONLY[part]) for name in names)]


def on_meta_device(
    cls: type[Model], config: VitsConfig, left_out: list[str], arguments: Mapping[str, Any] | None = None
) -> Model:
    """A model on the meta device, without the training-only parts that are left out; `arguments` are further ones of
    its constructor."""
    everything = left_out == parts_of(config)
    # A subclass's constructor may know the configuration alone.
    known = inspect.signature(cls.__init__).parameters
    knows = "inference_only" in known or any(one.kind is one.VAR_KEYWORD for one in known.values())
    options = {**(arguments or {}), **({"inference_only": everything} if knows else {})}
    with torch.device("meta"), _NoInitialisation():
        model = cast(Callable[..., Model], cls)(config, **options)
    if everything and knows:
        return model
    for prefix in (TRAINING_ONLY[part] for part in left_out):
        for name in [name for name, _ in model.named_modules() if f"{name}.".startswith(prefix)]:
            owner, _, leaf = name.rpartition(".")
            if f"{owner}.".startswith(prefix):
                continue  # gone with its owner
            parent = model.get_submodule(owner)
            if isinstance(parent, nn.ModuleList):
                parent[int(leaf)] = nn.Identity()  # the others keep their numbers
            else:
                delattr(parent, leaf)
    model.__dict__["inference_only"] = everything
    return model


class _NoInitialisation(TorchFunctionMode):
    """Leaves out the random initialisation in the constructors of torch's own modules.

    On the meta device it would change nothing, but the first `normal_` there imports all of torch's compiler: 1.7 s. So
    does the first norm, which a weight norm begins with: its shape is all that counts. And the first `empty_like` there
    imports sympy.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        if getattr(func, "__name__", "") == "empty_like":
            (like,) = args
            options = {"dtype": like.dtype, "device": like.device, **kwargs}
            return torch.empty_strided(like.shape, like.stride(), **options)
        if getattr(func, "__name__", "") == "norm_except_dim":
            weight, _, dim = args
            return weight.new_empty([size if axis == dim else 1 for axis, size in enumerate(weight.shape)])
        return func(*args, **kwargs)
