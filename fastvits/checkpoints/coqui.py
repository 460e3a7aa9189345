"""Coqui's VITS: `model_file.pth` or `best_model.pth` beside a config.json, and files of speakers or d-vectors.

It is the original's network in other names, but for

- the plain duration predictor, whose layer norms have an epsilon of 1e-4 where the text encoder's have 1e-5: the
  convolutions before them are scaled by sqrt(0.1), which comes to the same;
- duration predictors that may do without the speaker: their conditioning becomes zero;
- d-vectors, which stand in a file of their own: they become the table of speakers;
- the blank between symbols, which is the last id.

Source: coqui-tts 0.28 (TTS/tts/models/vits.py, configs/vits_config.py, utils/text/characters.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import pickles
from .coqui_text import vocabulary_and_tokenizer
from .discriminator import discriminator_state
from .folder import ConvertedVoice, read_object, reading
from .foreign import refuse_foreign_parts
from .shapes import Shapes, agree, lists_of_sizes, sizes, training_fields
from .speakers import fold_single_speaker
from .state import model_state

_MODULES = {
    "text_encoder": "enc_p",
    "posterior_encoder": "enc_q",
    "waveform_decoder": "dec",
    "duration_predictor": "dp",
    "flow": "flow",
    "emb_g": "emb_g",
}
_AFFINE = {"translation": "m", "log_scale": "logs"}

# config.json's defaults, which it may leave out.
_ARGUMENTS: dict[str, Any] = {
    "upsample_rates_decoder": [8, 8, 2, 2],
    "resblock_dilation_sizes_decoder": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "inference_noise_scale": 0.667,
    "inference_noise_scale_dp": 1.0,
    "length_scale": 1.0,
}
_AGREED = {
    "num_chars": "vocab_size",
    "out_channels": "spectrogram_bins",
    "hidden_channels": "hidden_size",
    "hidden_channels_ffn_text_encoder": "ffn_dim",
    "num_heads_text_encoder": "num_attention_heads",
    "num_layers_text_encoder": "num_hidden_layers",
    "kernel_size_text_encoder": "ffn_kernel_size",
    "kernel_size_flow": "wavenet_kernel_size",
    "kernel_size_posterior_encoder": "wavenet_kernel_size",
    "num_layers_flow": "prior_encoder_num_wavenet_layers",
    "num_layers_posterior_encoder": "posterior_encoder_num_wavenet_layers",
    "upsample_initial_channel_decoder": "upsample_initial_channel",
    "upsample_kernel_sizes_decoder": "upsample_kernel_sizes",
    "resblock_kernel_sizes_decoder": "resblock_kernel_sizes",
}


def read(checkpoint: Path, config_path: Path | None = None, *, with_discriminator: bool = False) -> ConvertedVoice:
    """Reads a checkpoint that Coqui's trainer wrote.

    Args:
        checkpoint: the `.pth` file, or the folder that holds it.
        config_path: its configuration; None means config.json beside it.
        with_discriminator: also read the discriminators, which the same file holds.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: the checkpoint is truncated or corrupt.
        ValueError: it is no VITS, or has something that the model cannot express; the message says what.
    """
    path = checkpoint_file(checkpoint) if checkpoint.is_dir() else checkpoint
    beside = path.with_name("config.json") if config_path is None else config_path
    said = read_object(beside, "the configuration of a Coqui checkpoint, which lies beside it")
    table = pickles.tensors(pickles.load(path).get("model"), path, "table 'model' of weights")
    refuse_foreign_parts(table, path)
    arguments = {**_ARGUMENTS, **_arguments(said, beside)}
    parameters: dict[str, Tensor] = {}
    critics: dict[str, Tensor] = {}
    for name, tensor in table.items():
        if name.startswith("disc."):
            critics[name.replace("disc.nets.", "discriminators.", 1)] = tensor
        else:
            parameters[original_name(name, path)] = tensor
    with reading(path):
        speakers = _add_speakers(parameters, arguments, path, beside)
        if fold_single_speaker(parameters):
            speakers = {}
        _scale_plain_predictor(parameters)
    with reading(beside):
        fields = _fields(parameters, arguments, said, beside)
    with reading(path):
        state = model_state(parameters, fields, whole_name=str(path))
    vocabulary, tokenizer = vocabulary_and_tokenizer(said, fields["vocab_size"], beside)
    if with_discriminator and not critics:
        raise ValueError(f"{path} has no discriminator (disc.nets)")
    config = {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        **fields,
        "sampling_rate": _sampling_rate(said, beside),
        "speaking_rate": 1.0 / _number(arguments, "length_scale", beside, positive=True),
        "noise_scale": _number(arguments, "inference_noise_scale", beside),
        "noise_scale_duration": _number(arguments, "inference_noise_scale_dp", beside),
        "pad_token_id": 0,
        **({"speaker_id_map": speakers} if speakers else {}),
    }
    discriminator = discriminator_state(critics, path) if with_discriminator else None
    return ConvertedVoice("Coqui VITS checkpoint", state, config, vocabulary, tokenizer, discriminator)


def checkpoint_file(folder: Path) -> Path:
    """The checkpoint in a folder: `model_file.pth`, the best one, or else that of the last step.

    Raises:
        FileNotFoundError: there is none.
    """
    for name in ("model_file.pth", "model_file.pth.tar", "best_model.pth"):
        if (folder / name).is_file():
            return folder / name
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := re.fullmatch(r"(?:checkpoint|best_model)_(\d+)\.pth", path.name))
    ]
    if not found:
        raise FileNotFoundError(f"{folder} has no checkpoint model_file.pth, best_model.pth or checkpoint_<step>.pth")
    return max(found)[1]


def original_name(name: str, path: Path) -> str:
    """The original VITS's name of one of Coqui's parameters.

    Raises:
        ValueError: it belongs to a module that VITS does not have.
    """
    module, _, rest = name.partition(".")
    if module not in _MODULES:
        raise ValueError(f"{path} has a part {module!r} that a plain VITS does not have")
    if module == "waveform_decoder":
        rest = re.sub(r"^cond_layer\b", "cond", rest)
    flow = re.fullmatch(r"((?:post_)?flows)\.(\d+)\.(.*)", rest)
    if flow is not None:
        flows, number, rest = flow[1], int(flow[2]), flow[3]
        if module == "flow":
            number *= 2
        elif number:
            number = 2 * number - 1
        else:
            rest = _AFFINE.get(rest, rest)
        rest = f"{flows}.{number}.{rest}"
    return f"{_MODULES[module]}.{rest}"


def _arguments(said: Mapping[str, Any], where: Path) -> Mapping[str, Any]:
    """The section model_args, which old files have at the top."""
    if said.get("model", "vits") != "vits":
        raise ValueError(f"{where} is of the model {said['model']!r}; only Coqui's 'vits' can be converted")
    arguments = said.get("model_args")
    if not isinstance(arguments, dict):
        raise ValueError(f"{where} has no section 'model_args', as Coqui's configuration of a VITS has")
    for key, unusual in (
        ("use_language_embedding", "an embedding of languages"),
        ("encoder_sample_rate", "an encoder of another sampling rate than the decoder's"),
    ):
        if arguments.get(key):
            raise ValueError(f"{where} sets {key}: {unusual} has no place in the model")
    for key in ("dilation_rate_flow", "dilation_rate_posterior_encoder"):
        if arguments.get(key, 1) != 1:
            raise ValueError(f"{where} sets {key} to {arguments[key]}; expected 1")
    return arguments


def _fields(
    parameters: Mapping[str, Tensor], arguments: Mapping[str, Any], said: Mapping[str, Any], where: Path
) -> dict[str, Any]:
    fields = training_fields(
        Shapes(parameters),
        upsample_rates=sizes(arguments, "upsample_rates_decoder", str(where)),
        resblock_dilation_sizes=lists_of_sizes(arguments, "resblock_dilation_sizes_decoder", str(where)),
    )
    agree(arguments, fields, {key: field for key, field in _AGREED.items() if field in fields}, str(where))
    hop = math.prod(fields["upsample_rates"])
    audio = said.get("audio")
    if isinstance(audio, dict) and audio.get("hop_length", hop) != hop:
        raise ValueError(f"{where} says hop_length {audio['hop_length']}, its upsampling rates make {hop}")
    return fields


def _sampling_rate(said: Mapping[str, Any], where: Path) -> int:
    audio = said.get("audio")
    rate = audio.get("sample_rate") if isinstance(audio, dict) else None
    if type(rate) is not int or rate <= 0:
        raise ValueError(f"{where} must give audio.sample_rate as a positive whole number, got {rate!r}")
    return rate


def _number(arguments: Mapping[str, Any], key: str, where: Path, *, positive: bool = False) -> float:
    value = arguments[key]
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if not fits or (positive and value == 0):
        bound = "above 0" if positive else "of at least 0"
        raise ValueError(f"{where} must give {key} as a number {bound}, got {value!r}")
    return float(value)


def _scale_plain_predictor(parameters: dict[str, Tensor]) -> None:
    """Gives the plain duration predictor's layer norms the epsilon 1e-5 in effect, and weights without further axes.

    `(s x - mean) / sqrt(s^2 var + 1e-5)` is `(x - mean) / sqrt(var + 1e-4)` for `s^2 = 0.1`, and a ReLU hands a
    positive factor on.
    """
    for name in ("dp.conv_1.weight", "dp.conv_1.bias", "dp.conv_2.weight", "dp.conv_2.bias"):
        if name in parameters:
            tensor = parameters[name]
            parameters[name] = (tensor.double() * math.sqrt(0.1)).to(tensor.dtype)
    for name in ("dp.norm_1.gamma", "dp.norm_1.beta", "dp.norm_2.gamma", "dp.norm_2.beta"):
        if name in parameters:
            parameters[name] = parameters[name].reshape(-1)


def _add_speakers(
    parameters: dict[str, Tensor], arguments: Mapping[str, Any], path: Path, where: Path
) -> dict[str, int]:
    """The names of the speakers, by id; adds a table of d-vectors and a conditioning that has no effect."""
    if arguments.get("use_d_vector_file"):
        vectors = _d_vectors(arguments, where)
        table = torch.stack([torch.tensor(vector, dtype=torch.float64) for vector in vectors.values()])
        table = torch.nn.functional.normalize(table).float()
        parameters["emb_g.weight"] = table
        names = {name: index for index, name in enumerate(vectors)}
    else:
        names = _names(arguments, where)
    speaker = parameters.get("emb_g.weight")
    if speaker is None:
        return {}
    if "dp.cond.weight" not in parameters:
        hidden = Shapes(parameters).of("enc_p.emb.weight", 2)[1]
        parameters["dp.cond.weight"] = speaker.new_zeros(hidden, speaker.shape[1], 1)
        parameters["dp.cond.bias"] = speaker.new_zeros(hidden)
    if names and sorted(names.values()) != list(range(speaker.shape[0])):
        raise ValueError(f"{path} has {speaker.shape[0]} speakers, the file of their names {len(names)}")
    return names


def _beside(named: Any, where: Path) -> Path | None:
    """The file that a configuration names: by its path, which is the trainer's, or of this name beside it."""
    if not isinstance(named, str) or not named:
        return None
    for path in (where.with_name(Path(named.replace("\\", "/")).name), Path(named)):
        if path.is_file():
            return path
    return None


def _names(arguments: Mapping[str, Any], where: Path) -> dict[str, int]:
    """Names of speakers: the file that the configuration names, or speakers.json or .pth beside it."""
    candidates = [_beside(name, where) for name in (arguments.get("speakers_file"), "speakers.json", "speakers.pth")]
    path = next((candidate for candidate in candidates if candidate is not None), None)
    if path is None:
        return {}
    table: Mapping[Any, Any] = pickles.load(path) if path.suffix == ".pth" else read_object(path, "names of speakers")
    return {str(name): number for name, number in table.items() if type(number) is int}


def _d_vectors(arguments: Mapping[str, Any], where: Path) -> dict[str, list[float]]:
    """The mean d-vector of each speaker, in the order of their names."""
    files = arguments.get("d_vector_file")
    clips: dict[str, list[list[float]]] = {}
    for named in [files] if isinstance(files, str) else files or []:
        path = _beside(named, where)
        if path is None:
            raise FileNotFoundError(f"there is no {named}, the file of d-vectors that {where} names")
        table: Mapping[Any, Any] = pickles.load(path) if path.suffix == ".pth" else read_object(path, "d-vectors")
        for clip in table.values():
            vector, size = clip["embedding"], arguments.get("d_vector_dim")
            if len(vector) != size or not all(isinstance(x, (int, float)) for x in vector):
                raise ValueError(f"{path} holds d-vectors of {len(vector)} numbers; expected {size}")
            clips.setdefault(str(clip["name"]), []).append([float(x) for x in vector])
    if not clips:
        raise ValueError(f"{where} uses d-vectors and names no file of them")
    return {
        name: [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]
        for name, vectors in sorted(clips.items())
    }
