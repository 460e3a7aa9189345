"""Piper's checkpoints of training: a `.ckpt` of Lightning, and the JSON file that training writes beside it.

The weights have all that training needs, and the discriminators. The hyperparameters say the architecture; the symbols
stand only in the JSON file. Old ones hold paths among their hyperparameters, which are not unpickled.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import pickles
from ..discriminator import discriminator_state
from ..folder import ConvertedVoice, read_object, reading
from ..foreign import refuse_foreign_parts
from ..shapes import Shapes, agree, lists_of_sizes, sizes, training_fields
from ..speakers import fold_single_speaker
from ..state import model_state
from . import settings as said

_AGREED = {
    "num_symbols": "vocab_size",
    "num_speakers": "num_speakers",
    "inter_channels": "flow_size",
    "hidden_channels": "hidden_size",
    "filter_channels": "ffn_dim",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "kernel_size": "ffn_kernel_size",
    "upsample_initial_channel": "upsample_initial_channel",
}


def read(checkpoint: Path, config_path: Path | None = None, *, with_discriminator: bool = False) -> ConvertedVoice:
    """Reads a checkpoint of Piper's trainer.

    Args:
        checkpoint: the `.ckpt` file.
        config_path: the voice's JSON file; None means `<checkpoint>.json`, config.json or the one `*.onnx.json` beside.
        with_discriminator: also read the discriminators, which the same file holds.

    Raises:
        FileNotFoundError: a file is missing.
        OSError: the checkpoint is truncated or corrupt.
        ValueError: it is no VITS, or its JSON file says something else than its tensors.
    """
    content = pickles.load(checkpoint)
    table = pickles.tensors(content.get("state_dict"), checkpoint, "table 'state_dict' of weights")
    parameters = _of_module(table, "model_g.")
    if not parameters:
        raise ValueError(f"{checkpoint} holds no model_g, the generator of Piper's training")
    refuse_foreign_parts(parameters, checkpoint)
    beside = _settings_file(checkpoint) if config_path is None else config_path
    settings = read_object(beside, "the JSON file of a Piper voice, without which the symbols are not known")
    with reading(checkpoint):
        fold_single_speaker(parameters)
        fields = _fields(parameters, _hyperparameters(content), checkpoint)
        state = model_state(parameters, fields, whole_name=str(checkpoint))
    with reading(beside):
        vocabulary = said.vocabulary(settings, fields["vocab_size"])
        config = said.configuration(settings, fields, vocabulary["_"])
        tokenizer = said.tokenizer(settings, fields["vocab_size"])
    discriminator = None
    if with_discriminator:
        critics = _of_module(table, "model_d.")
        if not critics:
            raise ValueError(f"{checkpoint} holds no model_d, the discriminators of Piper's training")
        discriminator = discriminator_state(critics, checkpoint)
    return ConvertedVoice("Piper checkpoint of training", state, config, vocabulary, tokenizer, discriminator)


def _of_module(table: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    # torch.compile writes its wrapper into the names.
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in table.items()}
    return {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)}


def _settings_file(checkpoint: Path) -> Path:
    """The JSON file of the voice, where it lies beside its checkpoint."""
    for name in (checkpoint.name + ".json", checkpoint.stem + ".json", "config.json"):
        if checkpoint.with_name(name).is_file():
            return checkpoint.with_name(name)
    voices = sorted(checkpoint.parent.glob("*.onnx.json"))
    if len(voices) == 1:
        return voices[0]
    raise FileNotFoundError(f"there is no JSON file of a Piper voice beside {checkpoint}: name it by --config")


def _hyperparameters(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The hyperparameters, lists written as text read as lists."""
    found = content.get("hyper_parameters")
    if not isinstance(found, Mapping):
        raise ValueError("the checkpoint has no hyper_parameters, which say what no shape of a tensor shows")
    parameters = {str(key): value for key, value in found.items()}
    for key in ("upsample_rates", "resblock_dilation_sizes"):
        if isinstance(parameters.get(key), str):
            try:
                parameters[key] = ast.literal_eval(parameters[key])
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                raise ValueError(f"the hyperparameter {key} is no list: {parameters[key]!r}") from None
    return parameters


def _fields(parameters: Mapping[str, Tensor], hyper: Mapping[str, Any], where: Path) -> dict[str, Any]:
    fields = training_fields(
        Shapes(parameters),
        upsample_rates=sizes(hyper, "upsample_rates", str(where)),
        resblock_dilation_sizes=lists_of_sizes(hyper, "resblock_dilation_sizes", str(where)),
    )
    agree(hyper, fields, _AGREED, str(where))
    return fields
