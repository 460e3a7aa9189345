"""What `pipeline` may be asked, argument by argument: honoured, or accepted where it holds anyway, or refused."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, SupportsIndex

import torch

from ..configuration import VitsConfig
from ..voices.folders import voice_folder
from ..weights.loading import resolve_device as resolve_device_map
from .loading import DeviceLike

__all__ = [
    "LOCATION",
    "check_batch_size",
    "check_no_other_parts",
    "check_num_workers",
    "configuration_of",
    "one_device",
    "one_dtype",
]

LOCATION = ("revision", "subfolder", "cache_dir", "local_files_only", "token")
"""Where files are; of a pipeline's arguments and its `model_kwargs` alike."""


def check_batch_size(batch_size: SupportsIndex) -> int:
    """A number of texts from 1 on; TypeError or ValueError for anything else."""
    return _whole("batch_size", batch_size, 1)


def check_num_workers(num_workers: SupportsIndex | None) -> int | None:
    """A number of processes from 0 on, or None. It changes nothing: texts are tokenized where the model is."""
    return None if num_workers is None else _whole("num_workers", num_workers, 0)


def _whole(name: str, value: SupportsIndex, minimum: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number


def one_dtype(
    dtype: str | torch.dtype | None, torch_dtype: str | torch.dtype | None, model_kwargs: dict[str, Any]
) -> str | torch.dtype | None:
    """The dtype that is asked for under any of its names; taken out of `model_kwargs`.

    Raises ValueError where two of them differ.
    """
    given = [one for one in (dtype, torch_dtype) if one not in (None, "auto")]
    given += [model_kwargs.pop(name) for name in ("dtype", "torch_dtype") if name in model_kwargs]
    names = {str(one).removeprefix("torch.") for one in given if one not in (None, "auto")}
    if len(names) > 1:
        raise ValueError(f"dtype is given twice, as {' and as '.join(sorted(names))}: leave one of them out")
    return given[0] if given else dtype


def one_device(device: DeviceLike | None, device_map: Any, model_kwargs: dict[str, Any]) -> DeviceLike | None:
    """The device that `device` or `device_map` asks for; a map is taken out of `model_kwargs`.

    Raises ValueError where both are given, or for a map of more than one device.
    """
    if "device_map" in model_kwargs:
        if device_map is not None:
            raise ValueError("device_map is given twice, as an argument and in model_kwargs")
        device_map = model_kwargs.pop("device_map")
    if device_map is None:
        return device
    if device is not None:
        raise ValueError(f"give device or device_map, not both: device={device!r} and device_map={device_map!r}")
    return resolve_device_map(device_map)


def configuration_of(config: Any, location: Mapping[str, Any]) -> VitsConfig | None:
    """The configuration that a model is built by instead of its own: a `VitsConfig`, or where one is."""
    if config is None or isinstance(config, VitsConfig):
        return config
    if isinstance(config, str) or hasattr(config, "__fspath__"):
        return VitsConfig.from_pretrained(voice_folder(config), **location)
    if hasattr(config, "to_dict"):  # transformers' own
        return VitsConfig.from_dict(config.to_dict())
    raise TypeError(f"config must be a folder, a hub id or a VitsConfig, got {type(config).__name__}")


def check_no_other_parts(parts: Mapping[str, Any]) -> None:
    """Refuse parts that other models have: an image processor, a vocoder, another framework.

    Raises ValueError naming the first that is given, TypeError for a name that no pipeline has.
    """
    reasons = {
        "image_processor": "a text is no image",
        "video_processor": "a text is no video",
        "vocoder": "VITS makes the waveform itself",
        "noise_scheduler": "VITS draws its noise once",
        "assistant_model": "VITS generates no tokens",
        "assistant_tokenizer": "VITS generates no tokens",
    }
    for name, value in parts.items():
        if name in reasons:
            if value is not None:
                raise ValueError(f"{name} has no place in this pipeline: {reasons[name]}; leave it out")
        elif name == "framework":
            if value not in (None, "pt"):
                raise ValueError(f"framework must be 'pt' or None, got {value!r}: there is PyTorch alone")
        elif name == "binary_output":
            if value:
                raise ValueError("binary_output would pickle the audio: write it with fastvits.audio.files.write_wav")
        elif name not in ("code_revision", "args_parser"):  # of remote code, none of which is ever run
            raise TypeError(f"pipeline() got an unexpected keyword argument {name!r}")
