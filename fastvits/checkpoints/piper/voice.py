"""A Piper voice as a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..folder import ConvertedVoice, in_one_sentence, read_object, reading
from ..speakers import fold_single_speaker
from ..state import model_state
from . import settings as said
from .architecture import architecture
from .graph import Graph, collect

CONVERTER_VERSION = 2
"""Raised whenever the same voice would be converted into other files: it is part of the key of the cache."""


def read(onnx_path: str | os.PathLike[str], config_path: str | os.PathLike[str] | None = None) -> ConvertedVoice:
    """Reads a Piper voice; see `convert`, which writes what this returns."""
    path = Path(onnx_path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no voice {path}")
    beside = path.with_name(path.name + ".json") if config_path is None else Path(config_path)
    settings = read_object(beside, "the JSON file of a Piper voice, which lies beside its graph unless it is named")
    with reading(path):
        graph = Graph(path)
        if "scales" not in graph.inputs:
            raise ValueError(
                f"{path} is not a Piper voice: such a graph has the input 'scales', this one has {sorted(graph.inputs)}"
            )
        fields, state = read_graph(graph)
    with reading(beside):
        vocabulary = said.vocabulary(settings, fields["vocab_size"])
        config = said.configuration(settings, fields, vocabulary["_"])
        tokenizer = said.tokenizer(settings, fields["vocab_size"])
    card = path.with_name("MODEL_CARD")  # it carries the licence of the voice
    copied = {card.name: card} if card.is_file() else {}
    return ConvertedVoice("Piper voice", state, config, vocabulary, tokenizer, copied=copied)


def read_graph(graph: Graph) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The fields of config.json that a graph tells, and the model's parameters; a speaker who is alone is folded in."""
    parameters, convolutions = collect(graph)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in parameters.items()}
    fold_single_speaker(tensors)
    fields = architecture(graph, {name: tensor.numpy() for name, tensor in tensors.items()}, convolutions)
    return fields, model_state(tensors, fields)


@in_one_sentence()
def convert(
    onnx_path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    config_path: str | os.PathLike[str] | None = None,
) -> Path:
    """Converts a Piper voice into a folder for `VitsModel.from_pretrained` and `VitsTokenizer.from_pretrained`.

    The voice is `onnx_path` and its JSON file. Single- and multi-speaker voices of every quality from x_low to high are
    read, in float32 or float16, or with weights stored as whole numbers beside their scales; the folder is written in
    float32. It holds config.json, model.safetensors, vocab.json and tokenizer_config.json, and the voice's MODEL_CARD
    if there is one. Training-only parts are missing, as they are from the graph.

    Args:
        onnx_path: the graph of the voice.
        folder: where to write; made if missing. Files of these names are replaced.
        config_path: the JSON file; None means the one beside the graph, `<name>.onnx.json`.

    Returns:
        `folder` as a path.

    Raises:
        FileNotFoundError: the graph or its JSON file does not exist.
        ValueError: the graph is no Piper voice, or has something the model cannot express; the message says what.
        ImportError: the package `onnx` is missing.
    """
    return read(onnx_path, config_path).save(folder)
