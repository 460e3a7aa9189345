"""Models of transformers that compute with our kernels, and what they were before."""

from typing import Any, TypeVar

from torch import nn
from transformers import monkey_patching
from transformers.models.vits import modeling_vits as published

from .parts import ATTRIBUTE, PARTS, _Part, own_config
from .twin import MisfitError, Twin, made_of

__all__ = ["apply", "undo"]

Model = TypeVar("Model", bound=nn.Module)

_BY_NAME = {f"^{theirs.__name__}$": ours for theirs, ours in PARTS.items()}
"""Patterns of names, for a name alone would also stand for all that contain it."""


def apply(model: Model | None = None, *, batch_true: bool = False) -> Model | None:
    """Have a `transformers.VitsModel` compute with fastvits.

    Args:
        model: a `transformers.VitsModel`, or a module with one inside (peft's, torch's wrappers), which is changed in
            place: its class, parameters, hooks and outputs stay what they are, and so does its audio for a seed, to
            float32's rounding. None: every model that `from_pretrained` or `from_config` makes from now on, by way of
            transformers' own `register_patch_mapping`.
        batch_true: the decoder hears nothing behind an item's end, so that a batch sounds like its items but for the
            random numbers. By default a batch sounds as it does there, where the end of a shorter item hears padding.

    A part with a hook inside, with another layer put in or with weights of a class of its own, in training with
    dropout, under autocast, or compiled runs as transformers wrote it; so do text encoder and duration predictor in
    half precision, whose lengths rounding decides. Applying twice is as good as once; `batch_true` is the last one's.

    Returns `model`. Raises TypeError for anything without such a model inside, ValueError where its layers are not
    those of its configuration.
    """
    if not isinstance(batch_true, bool):
        raise TypeError(f"batch_true must be True or False, got {batch_true!r}")
    if model is None:
        _Part.batch_true = batch_true
        monkey_patching.register_patch_mapping(dict(_BY_NAME), overwrite=True)
        return None
    changes: list[tuple[nn.Module, type[_Part], Twin]] = []
    for voice in _voices(model, "apply"):
        config = own_config(voice.config)
        for name, part in voice.named_modules():
            kind = type(part) if isinstance(part, _Part) else PARTS.get(type(part))
            if kind is None:
                continue
            try:
                made_of(kind.kind, config, part)
            except MisfitError:
                raise ValueError(f"{name} has other layers than model.config says: put them back first") from None
            changes.append((part, kind, Twin(kind.kind, config, batch_true)))
    for part, kind, twin in changes:
        part.__class__ = kind
        part.__dict__[ATTRIBUTE] = twin
    return model


def undo(model: Model | None = None) -> Model | None:
    """Take back what `apply` with the same argument did.

    A model computes as transformers wrote it again. None: models that are made from now on do; those that are there
    stay as they are.

    Returns `model`. Raises TypeError for anything without a `transformers.VitsModel` inside.
    """
    if model is None:
        there = monkey_patching.get_patch_mapping()
        ours = [name for name, part in _BY_NAME.items() if there.get(name) is part]
        if ours:
            monkey_patching.unregister_patch_mapping(ours)
        # Where loading fails, transformers leaves the classes that it put in for the time of loading.
        for theirs in PARTS:
            setattr(published, theirs.__name__, theirs)
        return None
    for voice in _voices(model, "undo"):
        for part in voice.modules():
            if isinstance(part, _Part):
                part.__class__ = type(part).__bases__[1]
                del part.__dict__[ATTRIBUTE]
    return model


def _voices(model: Any, name: str) -> list[published.VitsModel]:
    """The published models in a module: itself, or inside."""
    found = model.modules() if isinstance(model, nn.Module) else ()
    voices = [module for module in found if isinstance(module, published.VitsModel)]
    if not voices:
        raise TypeError(
            f"{name} takes a transformers.VitsModel or a module with one inside, got {type(model).__name__}"
        )
    return voices
