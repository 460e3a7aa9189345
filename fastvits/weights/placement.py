"""Where a model's tensors go, and in what dtype."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .files import DTYPES

FLOAT32_MODULES = ("text_encoder.", "duration_predictor.", "embed_speaker.")
"""Prefixes of the parameters that stay float32 in a half-precision model, those of every `Float32Module`: durations are
rounded up after an exponential, so that rounding what they are computed from would change the length of the audio."""


def resolve_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """A model's dtype from what a caller may give: a torch dtype, its name, or None or "auto" for the checkpoint's own.

    Args:
        dtype: `torch.float16`, "float16" or "torch.float16", and likewise bfloat16, float32 and float64; None; "auto".

    Returns:
        The torch dtype, or None for "the checkpoint's".

    Raises:
        ValueError: a dtype that a model cannot have.
        TypeError: neither a dtype nor a string.
    """
    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return None
    if isinstance(dtype, str):
        resolved = DTYPES.get(dtype.removeprefix("torch."))
    elif isinstance(dtype, torch.dtype):
        resolved = dtype if dtype in DTYPES.values() else None
    else:
        raise TypeError(f"dtype must be a torch.dtype, its name, 'auto' or None, got {type(dtype).__name__}")
    if resolved is None:
        raise ValueError(f"dtype={dtype!r} is not one that a model can have: choose {', '.join(DTYPES)} or 'auto'")
    return resolved


def target_dtype(parameter_name: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of one parameter in a model of `dtype`: float32 in the modules that half precision leaves alone."""
    if dtype in (torch.float16, torch.bfloat16) and parameter_name.startswith(FLOAT32_MODULES):
        return torch.float32
    return dtype


def resolve_device(device_map: str | int | torch.device | Mapping[str, Any] | None) -> torch.device:
    """The one device for a model, from what a caller may give.

    Args:
        device_map: None (the CPU), a `torch.device`, its name ("cuda", "cuda:1", "cpu"), the index of a CUDA device,
            "auto" (CUDA where there is a CUDA device, else the CPU), or `{"": device}`.

    Raises:
        ValueError: no such device here, or a map that would split the model.
        TypeError: none of the kinds above.
    """
    allowed = 'give None, "auto", a torch.device, its name, the index of a CUDA device, or {"": device}'
    if device_map is None:
        return torch.device("cpu")
    if isinstance(device_map, Mapping):
        if set(device_map) != {""} or isinstance(device_map[""], Mapping) or device_map[""] is None:
            raise ValueError(f"device_map={device_map!r} would split the model, which lives on one device: {allowed}")
        return resolve_device(device_map[""])
    if isinstance(device_map, str) and device_map == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(device_map, "device_map", allowed)


def usable_device(device: str | int | torch.device, argument: str, allowed: str) -> torch.device:
    """The device with that name or CUDA index, if torch can use it here.

    Args:
        device: a `torch.device`, its name, or the index of a CUDA device.
        argument: what an error calls `device`.
        allowed: what an error says may be given.

    Raises:
        ValueError: no such device here.
        TypeError: none of the kinds above.
    """
    given = f"{argument}={device!r}"
    if isinstance(device, bool) or not isinstance(device, str | int | torch.device):
        raise TypeError(f"{given} names no device: {allowed}")
    if isinstance(device, int):
        if device < 0:
            raise ValueError(f"{given} is no index of a CUDA device: {allowed}")
        resolved = torch.device("cuda", device)
    else:
        try:
            resolved = torch.device(device)
        except RuntimeError:
            raise ValueError(f"{given} names no device: {allowed}") from None
    if resolved.type == "meta":
        raise ValueError(f"{given} has no memory for weights: {allowed}")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"{given} asks for a CUDA device that torch cannot find (it finds {found})")
    if resolved.type not in ("cpu", "cuda"):
        try:
            torch.empty(0, device=resolved)
        except (RuntimeError, AssertionError, NotImplementedError, ImportError):
            raise ValueError(f"{given} names a device that torch cannot use here") from None
    return resolved


def common_dtype(dtypes: Iterable[tuple[str, torch.dtype]]) -> torch.dtype:
    """The dtype of a model with these parameters: the narrowest that holds all but those that are always float32."""
    found = {dtype for name, dtype in dtypes if not name.startswith(FLOAT32_MODULES)}
    common, *others = found or {torch.float32}  # of nothing: what is missing is named elsewhere
    for other in others:
        common = torch.promote_types(common, other)
    return common
