"""A voice from where it is to what speaks: folder, hub id, `.onnx` file, or the name of a voice that is at hand."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..models import int8
from ..models.vits import VitsModel
from ..text.tokenization import VitsTokenizer
from ..voices.folders import voice_folder
from ..weights.loading import resolve_dtype, usable_device

__all__ = ["DeviceLike", "load_model_and_tokenizer", "resolve_device"]

DeviceLike = int | str | torch.device


def resolve_device(device: DeviceLike | None) -> torch.device:
    """Return the device meant by an index, a name, a `torch.device` or None, and make sure that it is there.

    An index from 0 counts CUDA devices, -1 is the CPU. None is the first CUDA device where there is one, else the CPU.

    Raises:
        TypeError: none of these.
        ValueError: a name of no device, or a device that this machine or this build of torch does not have.
    """
    if device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if isinstance(device, int) and device == -1:
        return torch.device("cpu")
    return usable_device(
        device, "device", "give None, a torch.device, its name, the index of a CUDA device, or -1 for the CPU"
    )


def load_model_and_tokenizer(
    voice: str | os.PathLike[str] | VitsModel,
    tokenizer: Any,
    *,
    dtype: str | torch.dtype | None,
    device: DeviceLike | None,
    model_options: dict[str, Any] | None = None,
    **location: Any,
) -> tuple[VitsModel, Any]:
    """The model and the tokenizer of a voice, on a device and in a dtype.

    Args:
        voice: what `voice_folder` takes, or a `VitsModel`, which is moved as `device` and `dtype` say. One that is
            loaded here is loaded without the modules that only training uses.
        tokenizer: a `VitsTokenizer`, or transformers' own; or where it is; where None, beside the model.
        dtype: a torch dtype, its name, or "auto" or None for the checkpoint's; "int8" as in
            `VitsModel.from_pretrained`.
        device: see `resolve_device`.
        model_options: further arguments of `VitsModel.from_pretrained`.
        location: `revision`, `subfolder`, `cache_dir`, `local_files_only` and `token`, as in
            `VitsModel.from_pretrained`.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an unknown dtype or device, or a model without a tokenizer.
        OSError: files that are missing or cannot be read.
    """
    if not isinstance(voice, str | os.PathLike | VitsModel):
        raise TypeError(f"model must be a folder, a hub id or a VitsModel, got {type(voice).__name__}")
    is_tokenizer = callable(tokenizer) and hasattr(tokenizer, "pad_token_id")
    if tokenizer is not None and not isinstance(tokenizer, str | os.PathLike) and not is_tokenizer:
        raise TypeError(f"tokenizer must be a folder, a hub id or a VitsTokenizer, got {type(tokenizer).__name__}")
    if tokenizer is None and isinstance(voice, VitsModel):
        raise ValueError("tokenizer is missing: a VitsModel does not tell which one it was trained with")
    of_8_bits = int8.means_int8(dtype)
    wanted_dtype, wanted_device = None if of_8_bits else resolve_dtype(dtype), resolve_device(device)
    source = None if isinstance(voice, VitsModel) else voice_folder(voice)
    if not is_tokenizer:
        from_where = source if tokenizer is None else voice_folder(tokenizer)
        assert from_where is not None
        tokenizer = VitsTokenizer.from_pretrained(from_where, **location)
    if isinstance(voice, VitsModel):
        if of_8_bits:
            int8.check_int8(voice.config, wanted_device)
            voice = voice.to(device=wanted_device, dtype=int8.surrounding_dtype())
            assert voice.config.int8_ranges is not None
            return int8.use_int8(voice, voice.config.int8_ranges), tokenizer
        return voice.to(device=wanted_device, dtype=wanted_dtype), tokenizer
    assert source is not None
    options = {"inference_only": True, **(model_options or {})}
    given = "int8" if of_8_bits else wanted_dtype
    model = VitsModel.from_pretrained(source, dtype=given, device_map=wanted_device, **options, **location)
    return model, tokenizer
