"""A voice as a file that another program speaks with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..configuration import VitsConfig
from ..models.vits import VitsModel
from ..storage import replacing, write_json, write_text
from ..text.tokenization import VitsTokenizer
from ..voices.folders import voice_folder
from .builder import WEIGHT_TYPES
from .description import piper_settings, sherpa_metadata, sherpa_tokens
from .network import characters_contract, network, piper_contract
from .weights import exported_weights

if TYPE_CHECKING:
    import onnx

FORMATS = ("piper", "sherpa")


def export_voice(
    voice: str | os.PathLike[str] | VitsModel,
    path: str | os.PathLike[str],
    *,
    format: str = "piper",
    weights: str = "float32",
    durations: bool = False,
    tokenizer: VitsTokenizer | None = None,
) -> list[Path]:
    """Writes a voice as an ONNX graph and what another program needs beside it.

    The graph is built from the weights, node by node, and holds what speaking needs: float32, opset 15, any batch and
    length. With noise scales of 0 it says what the model says; its noise is drawn by the program that runs it. In a
    batch the shorter items hear their padding, as with every graph of these formats: speak one text at a time.

    Args:
        voice: a folder, a Piper voice's .onnx file, the name of a voice at hand or the id of a model on the hub; or a
            model.
        path: the file to write, `.onnx`. Beside it goes, for Piper, `<path>.json`, and for sherpa-onnx `tokens.txt`.
        format: "piper" (piper-tts, Home Assistant, anything that reads Piper voices) or "sherpa" (sherpa-onnx).
        weights: how the weights of the flow and the decoder are stored: "float32"; "float16", half as large, cast when
            the graph is loaded; "int8", a quarter, with a scale for each channel. What lengths depend on stays float32.
        durations: also put out the frames of each token, as a second output of the graph.
        tokenizer: with a model, the tokenizer that belongs to it.

    Returns:
        the files that were written.

    Raises:
        ValueError: an unknown format or type of weights, or a voice that the format cannot express.
        TypeError: a model without a tokenizer.
        OSError: the voice cannot be read, or the files cannot be written.
        ImportError: the package `onnx` is missing.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("exporting a voice needs the package `onnx`: install `fastvits[voice]`") from error
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if weights not in WEIGHT_TYPES:
        raise ValueError(f"weights must be one of {', '.join(WEIGHT_TYPES)}, got {weights!r}")
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"the file must be called .onnx, got {path.name!r}")
    if isinstance(voice, VitsModel):
        if tokenizer is None:
            raise TypeError("a model is exported together with its tokenizer: give tokenizer=")
        model = voice
    else:
        source = os.fspath(voice_folder(voice))
        model = VitsModel.from_pretrained(source, dtype="float32")
        tokenizer = tokenizer or VitsTokenizer.from_pretrained(source)
    _check(model.config)
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = _graph(model, tokenizer, format, weights, durations)
    with replacing(path) as temporary:
        onnx.save(graph, os.fspath(temporary))
    if format == "piper":
        beside = path.with_name(path.name + ".json")
        settings = piper_settings(model.config, tokenizer, model.config.vocab_size)
        write_json(beside, settings, ensure_ascii=False, sort_keys=False)
    else:
        beside = path.with_name("tokens.txt")
        write_text(beside, sherpa_tokens(tokenizer))
    return [path, beside]


def _graph(model: VitsModel, tokenizer: VitsTokenizer, format: str, stored_as: str, durations: bool) -> onnx.ModelProto:
    """The graph, by the contract of the format and of the voice's kind of text."""
    if tokenizer.lexicon is not None:
        raise ValueError(
            "a voice that looks words up cannot be exported: no program that speaks the format looks them up"
        )
    sherpa, piper_text = format == "sherpa", tokenizer.frontend == "piper"
    if sherpa and tokenizer.phonemize and not piper_text:
        raise ValueError(
            "sherpa-onnx makes Piper's phonemes only, not those that this voice reads: export it as 'piper'"
        )
    if sherpa and (tokenizer.phonemizer is not None or tokenizer.spellings):
        raise ValueError(
            "sherpa-onnx has no way to the phonemes of this voice, or to several ids of one: export it as 'piper'"
        )
    metadata = sherpa_metadata(model.config, tokenizer) if sherpa else {"sample_rate": str(model.config.sampling_rate)}
    return network(
        exported_weights(model),
        model.config,
        contract=characters_contract if sherpa and not piper_text else piper_contract,
        stored_as=stored_as,
        output="y" if sherpa and not piper_text else "output",
        durations=durations,
        metadata=metadata,
    )


def _check(config: VitsConfig) -> None:
    """Refuses what neither format can express."""
    if config.hidden_act != "relu":
        raise ValueError(f"a voice with hidden_act {config.hidden_act!r} cannot be exported; only 'relu' can")
    if not config.window_size:
        raise ValueError("a voice without relative positions (window_size) cannot be exported")
    if config.depth_separable_channels != 2 and config.use_stochastic_duration_prediction:
        raise ValueError("a voice with other than 2 depth_separable_channels cannot be exported")
