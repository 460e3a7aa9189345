"""`pipeline`: a voice in one call, with the arguments of `transformers.pipeline`."""

import os
from collections.abc import Mapping
from typing import Any, SupportsIndex

import torch

from ..models.vits import VitsModel
from ..voices.folders import DEFAULT_VOICE
from .loading import DeviceLike, load_model_and_tokenizer, resolve_device
from .pipeline_arguments import (
    check_batch_size,
    check_no_other_parts,
    check_num_workers,
    configuration_of,
    one_device,
    one_dtype,
)
from .text_to_audio import TASKS, AudioOutput, TextToAudioPipeline, check_generates_nothing

__all__ = ["AudioOutput", "TextToAudioPipeline", "pipeline", "resolve_device"]


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | VitsModel | None = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    video_processor: Any = None,
    processor: Any = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: DeviceLike | None = None,
    device_map: Any = None,
    dtype: str | torch.dtype | None = "auto",
    trust_remote_code: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pipeline_class: type[TextToAudioPipeline] | None = None,
    *,
    torch_dtype: str | torch.dtype | None = None,
    batch_size: SupportsIndex = 1,
    num_workers: SupportsIndex | None = None,
    sampling_rate: int | None = None,
    forward_params: Mapping[str, Any] | None = None,
    preprocess_params: Mapping[str, Any] | None = None,
    generate_kwargs: Mapping[str, Any] | None = None,
    subfolder: str = "",
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    **others: Any,
) -> TextToAudioPipeline:
    """Make a `TextToAudioPipeline`: `pipeline("text-to-speech", model="facebook/mms-tts-eng")("Hello")["audio"]`.

    `pipeline()` alone speaks with the bundled English voice. The arguments are those of `transformers.pipeline`.

    Args:
        task: "text-to-speech" or "text-to-audio", which mean the same, as None does. A program that names its task
            names its model too.
        model: a folder, a hub id, a Piper voice's `.onnx` file, the name of a voice at hand such as
            "en_US-joe-medium", or a `VitsModel`. One that is loaded here is loaded for inference: without the modules
            that only training uses. A model that is given is moved as `device` and `dtype` say.
        config: a `VitsConfig`, a folder or a hub id, instead of the model's own.
        tokenizer: a folder, a hub id, a `VitsTokenizer` or transformers' own; where None, the one beside the model.
        feature_extractor: kept, and saved with the rest; VITS has none.
        processor: a tokenizer, for that is what a processor of VITS is.
        revision, subfolder, cache_dir, local_files_only, token: where the files are, as in `VitsModel.from_pretrained`.
        device: the index of a CUDA device, -1 for the CPU, a name, a `torch.device`, or None for the first CUDA device
            where there is one, else the CPU.
        device_map: a device in the same way, "auto", or `{"": device}`; instead of `device`.
        dtype, torch_dtype: a torch dtype, its name, or "auto" or None for the checkpoint's.
        use_fast, trust_remote_code: accepted: there is one tokenizer, and no remote code is ever run.
        model_kwargs: further arguments of `VitsModel.from_pretrained`.
        pipeline_class: a subclass of `TextToAudioPipeline` to make instead.
        batch_size, num_workers, sampling_rate, forward_params, preprocess_params: see `TextToAudioPipeline`.
        image_processor, video_processor, generate_kwargs, others: parts of other models are refused, unless None.

    Raises:
        TypeError: an argument of the wrong type, or an unknown one.
        ValueError: an unknown task, dtype or device, or no telling which model or tokenizer is meant.
        OSError: files that are missing or cannot be read.
    """
    check_no_other_parts({"image_processor": image_processor, "video_processor": video_processor, **others})
    check_generates_nothing(generate_kwargs)
    if task is not None and task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use 'text-to-speech' or 'text-to-audio'")
    if model is None and task is not None:
        raise ValueError(
            "model is missing: name a folder, a hub id or a .onnx file, or give a VitsModel "
            "(`pipeline()` alone speaks with the bundled voice)"
        )
    made = TextToAudioPipeline if pipeline_class is None else pipeline_class
    if not (isinstance(made, type) and issubclass(made, TextToAudioPipeline)):
        raise TypeError(f"pipeline_class must be a subclass of TextToAudioPipeline, got {made!r}")
    options: dict[str, Any] = dict(model_kwargs or {})
    batch_size = check_batch_size(batch_size)
    num_workers = check_num_workers(num_workers)
    wanted_dtype = one_dtype(dtype, torch_dtype, options)
    wanted_device = one_device(device, device_map, options)
    location: dict[str, Any] = {
        "revision": revision,
        "subfolder": subfolder,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
        "token": token,
    }
    location.update({name: options.pop(name) for name in tuple(location) if name in options})
    configuration = configuration_of(config, location)
    if configuration is not None:
        options["config"] = configuration
    if isinstance(model, VitsModel) and options:
        raise ValueError(f"{', '.join(options)} would change how a model is loaded, and this one is there already")
    loaded, loaded_tokenizer = load_model_and_tokenizer(
        DEFAULT_VOICE if model is None else model,
        processor if tokenizer is None else tokenizer,
        dtype=wanted_dtype,
        device=wanted_device,
        model_options=options,
        **location,
    )
    return made(
        loaded,
        loaded_tokenizer,
        task=TASKS[0] if task is None else task,
        batch_size=batch_size,
        num_workers=num_workers,
        feature_extractor=None if isinstance(feature_extractor, str) else feature_extractor,
        sampling_rate=sampling_rate,
        forward_params=forward_params,
        preprocess_params=preprocess_params,
    )
