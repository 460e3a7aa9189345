"""Weights in: from a folder or the hub into a model.

Reading builds the model on the meta device, so that no weight is initialised, and then assigns tensors that are views
of the memory-mapped file, so that no weight is copied unless its dtype or device has to change. The mapping is private:
writing into a parameter never reaches the file. As with every mapped file, whoever overwrites it in place pulls the rug
from under the model; `fastvits.weights.saving` replaces files by renaming, so that saving a model into the very folder
that it came from is safe.

Names and shapes are those of the published checkpoints; `fastvits.weights.files` has the spellings that are understood.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..configuration import CONFIG_NAME, VitsConfig
from ..hub import snapshot
from ..strictness import tolerated
from .files import (
    BIN_FILE,
    DTYPES,
    SAFETENSORS_FILE,
    SAFETENSORS_INDEX,
    Table,
    listing,
    open_weights,
    patterns,
    respell,
    table_of,
    with_variant,
)
from .parts import DISCRIMINATOR, TRAINING_ONLY, Model, absent_parts, on_meta_device, parts_of
from .placement import FLOAT32_MODULES, common_dtype, resolve_device, resolve_dtype, target_dtype, usable_device

__all__ = [
    "DTYPES",
    "FLOAT32_MODULES",
    "TRAINING_ONLY",
    "LoadingInfo",
    "WeightsDoNotFit",
    "absent_parts",
    "load_pretrained",
    "on_meta_device",
    "resolve_device",
    "resolve_dtype",
    "target_dtype",
    "usable_device",
]

logger = logging.getLogger("fastvits")


class WeightsDoNotFit(ValueError, RuntimeError):
    """Tensors that are missing, unexpected or of another shape: a ValueError, and a RuntimeError as torch and
    transformers raise."""


@dataclass
class LoadingInfo:
    """What of a model's parameters was not in the files, and the other way round."""

    missing_keys: set[str] = field(default_factory=set)
    unexpected_keys: set[str] = field(default_factory=set)
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=set)
    """Names, each with the shape in the file and the model's."""
    error_msgs: list[str] = field(default_factory=list)

    @property
    def fresh(self) -> list[str]:
        """The parameters that start at random."""
        return sorted(self.missing_keys | {name for name, _, _ in self.mismatched_keys})


@dataclass(frozen=True)
class Source:
    """Where weights lie: the arguments of `fastvits.hub.snapshot`, and which of several files."""

    name: str | os.PathLike[str]
    where: Mapping[str, Any]
    variant: str | None = None
    use_safetensors: bool | None = None

    def folder(self, safetensors: bool) -> Path:
        """The folder with the configuration and the weights of one kind."""
        return snapshot(self.name, allow_patterns=[CONFIG_NAME, *patterns(self.variant, safetensors)], **self.where)

    def table(self, wanted: Callable[[str], bool]) -> tuple[Path, Table]:
        """The folder and its tensors. On the hub, a .bin file is worth a download only without safetensors."""
        kinds = (True, False) if self.use_safetensors is None else (self.use_safetensors,)
        for safetensors in kinds:
            folder = self.folder(safetensors)
            stored = open_weights(folder, wanted, variant=self.variant, use_safetensors=safetensors)
            if stored is not None:
                return folder, stored
        names = ([SAFETENSORS_FILE, SAFETENSORS_INDEX] if kinds[0] else []) + ([] if kinds[-1] else [BIN_FILE])
        raise OSError(
            f"{folder} has no weights: it needs {' or '.join(with_variant(name, self.variant) for name in names)}"
        )


def load_pretrained(
    cls: type[Model],
    source: Source | None,
    config: VitsConfig,
    *,
    own_names: Callable[[VitsConfig], set[str]],
    initialize: Callable[[Model, nn.Module], None],
    arguments: Mapping[str, Any] | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: str | int | torch.device | Mapping[str, Any] | None = None,
    state_dict: Mapping[str, Tensor] | None = None,
    inference_only: bool = False,
    ignore_mismatched_sizes: bool = False,
    key_mapping: Mapping[str, str] | None = None,
    disable_mmap: bool = False,
) -> tuple[Model, LoadingInfo]:
    """A model with the weights of a folder, of a repository on the hub, or of a state dict, in eval mode.

    A file that has no tensor of a training-only part (`TRAINING_ONLY`) gives a model without that part; a file that has
    some of its tensors but not all is refused. Parameters that the model has only because the caller asked for another
    configuration than the file's, or for a subclass with more layers, start at random, which a warning tells; so does
    what the file has and such a configuration has not.

    Args:
        cls: the model class, built as `cls(config, inference_only=..., **arguments)`.
        source: where the weights lie; None where `state_dict` has them.
        config: the configuration of the model.
        own_names: the names of the parameters that the published model of a configuration has.
        initialize: called with the model and a module whose parameters are to start at random.
        dtype: see `resolve_dtype`. None and "auto" mean the dtype of the stored tensors, whatever config.json says; of
            several, the one that holds them all. In a half-precision model the text encoder, the duration predictor and
            the speaker embeddings are float32 (`target_dtype`), widened where the file has half precision.
        device_map: see `resolve_device`.
        inference_only: leave out all the training-only parts; what the file has of them is not even read.
        ignore_mismatched_sizes: parameters of another shape start at random.
        key_mapping: regular expressions of names in the files, and what to put there.
        disable_mmap: read tensors into memory at once.

    Raises:
        OSError: nothing there, not a model, no weights, or files that are truncated or corrupt.
        WeightsDoNotFit: every missing, unexpected, misshapen or non-floating tensor is named.
        ValueError: a dtype or device that cannot be.
    """
    wanted_dtype = resolve_dtype(dtype)
    device = resolve_device(device_map)

    def wanted(name: str) -> bool:
        if name.startswith(DISCRIMINATOR):
            return False
        return not (inference_only and name.startswith(tuple(TRAINING_ONLY.values())))

    file_config = config
    if source is None:
        place: Path | str = "state_dict"
        stored = {name: entry for name, entry in table_of(state_dict or {}).items() if wanted(name)}
    else:
        place, stored = source.table(wanted)
        if (Path(place) / CONFIG_NAME).is_file():
            file_config = VitsConfig.from_pretrained(Path(place) / CONFIG_NAME)
    if key_mapping:
        stored = {_renamed(name, key_mapping): entry for name, entry in stored.items()}
    left_out = parts_of(config) if inference_only else absent_parts(config, stored)
    model = on_meta_device(cls, config, left_out, arguments)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        stored = respell(stored, expected)
    except ValueError as error:
        raise ValueError(f"the weights in {place} cannot be read. {error}") from None
    info = _compared(expected, stored, place, partial(own_names, file_config), ignore_mismatched_sizes)
    known = {name: entry for name, entry in stored.items() if name in expected and name not in info.fresh}
    if wanted_dtype is None:
        wanted_dtype = common_dtype((name, entry.dtype) for name, entry in known.items() if entry.dtype is not None)
    state = {name: entry.read().to(device, target_dtype(name, wanted_dtype)) for name, entry in known.items()}
    if disable_mmap and source is not None:
        state = {name: tensor.clone() for name, tensor in state.items()}
    model.load_state_dict(state, strict=False, assign=True)
    if info.fresh:
        logger.warning("%s: these parameters start at random, and mean nothing yet:\n%s", place, listing(info.fresh))
        _start_afresh(model, info.fresh, initialize, device, wanted_dtype)
    if info.unexpected_keys:
        names = listing(sorted(info.unexpected_keys))
        logger.warning("%s: left out, for the model has no place for it:\n%s", place, names)
    model.config.dtype = wanted_dtype
    return model.eval(), info


def _renamed(name: str, mapping: Mapping[str, str]) -> str:
    for pattern, replacement in mapping.items():
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return name


def _compared(
    expected: Mapping[str, tuple[int, ...]],
    stored: Table,
    place: Path | str,
    own_names: Callable[[], set[str]],
    ignore_mismatched_sizes: bool,
) -> LoadingInfo:
    """What does not fit, where it is allowed to; else one error that names every tensor."""
    info = LoadingInfo(
        {name for name in expected if name not in stored},
        {name for name in stored if name not in expected},
        {
            (name, stored[name].shape, shape)
            for name, shape in expected.items()
            if name in stored and stored[name].shape != shape
        },
    )
    missing, unexpected = info.missing_keys, info.unexpected_keys
    if missing or unexpected:
        own = own_names()
        missing, unexpected = missing & own, unexpected - own
    if (missing or unexpected) and tolerated(
        "parameters that a file lacks start at random, and what a file has beyond them is left out"
    ):
        missing = unexpected = set()
    troubles = {
        "missing": sorted(missing, key=list(expected).index),
        "unexpected": [name for name in stored if name in unexpected],
        "of another shape": []
        if ignore_mismatched_sizes
        else [
            f"{name} is {list(stored[name].shape)} but should be {list(expected[name])}"
            for name in expected
            if name in {name for name, _, _ in info.mismatched_keys}
        ],
        "of a type that a model cannot have": [
            f"{name} is {entry.dtype_name}" for name, entry in stored.items() if name in expected and not entry.dtype
        ],
    }
    if any(troubles.values()):
        listed = "\n".join(f"{kind} ({len(names)}):\n{listing(names)}" for kind, names in troubles.items() if names)
        hint = "ignore_mismatched_sizes=True" if not (missing or unexpected) else "fastvits.strict(False)"
        hint = f"To start at random what does not fit, and leave out the rest: {hint}."
        raise WeightsDoNotFit(f"the weights in {place} do not fit its {CONFIG_NAME}.\n{listed}\n{hint}")
    return info


def _start_afresh(
    model: Model,
    names: Sequence[str],
    initialize: Callable[[Model, nn.Module], None],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Give the parameters of these names memory and a start; others in the same modules stay as they are."""
    owners: dict[str, None] = {}
    for name in names:
        owner, _, _ = name.partition(".parametrizations.")
        owners[owner if owner != name else name.rpartition(".")[0]] = None
    for owner in owners:
        module = model.get_submodule(owner)
        parametrized = hasattr(module, "parametrizations")
        # `to_empty` gives the parameters that are there other tensors.
        kept = {name: one.data for name, one in module.named_parameters(recurse=parametrized) if not one.is_meta}
        module.to_empty(device=device, recurse=parametrized)
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        initialize(model, module)
        for name, parameter in module.named_parameters(recurse=parametrized):
            full = f"{owner}.{name}" if owner else name
            fresh = parameter.data.to(target_dtype(full, dtype))
            parameter.data = kept.get(name, fresh)
