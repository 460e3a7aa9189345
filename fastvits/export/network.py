"""The whole network as an ONNX graph, by the contract of the program that will run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configuration import VitsConfig
from .audio_graph import decoder, latents, reverse_flow
from .builder import OPSET, GraphBuilder
from .text_graph import log_durations, text_encoder, text_mask

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

IR_VERSION = 8
"""Read by onnxruntime 1.10 and later, so by whatever phones and speakers have."""


def piper_contract(graph: GraphBuilder, config: VitsConfig) -> tuple[list[Any], dict[str, str]]:
    """Piper's inputs, and what the network reads of them: `input` [B, T], `input_lengths` [B], `scales` [3] = noise,
    length, noise of durations, and `sid` [B] where there are several speakers."""
    scales = [graph.op("Gather", "scales", graph.constant(number, np.int64), axis=0) for number in range(3)]
    return _inputs(config, "input", "input_lengths", [("scales", [3])]), dict(
        zip(("ids", "lengths", "noise", "length", "duration_noise"), ("input", "input_lengths", *scales), strict=True)
    )


def characters_contract(graph: GraphBuilder, config: VitsConfig) -> tuple[list[Any], dict[str, str]]:
    """The inputs of sherpa-onnx's voices of characters: `x` [B, T], `x_length` [B], the scales [1] each, and `sid`."""
    names = ("noise_scale", "length_scale", "noise_scale_w")
    return _inputs(config, "x", "x_length", [(name, [1]) for name in names]), dict(
        zip(("ids", "lengths", "noise", "length", "duration_noise"), ("x", "x_length", *names), strict=True)
    )


def _inputs(config: VitsConfig, ids: str, lengths: str, scales: list[tuple[str, list[int]]]) -> list[Any]:
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info(ids, TensorProto.INT64, ["batch_size", "phonemes"]),
        helper.make_tensor_value_info(lengths, TensorProto.INT64, ["batch_size"]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in scales),
    ]
    if config.num_speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, ["batch_size"]))
    return inputs


def network(
    weights: dict[str, Tensor],
    config: VitsConfig,
    *,
    contract: Any,
    stored_as: str,
    output: str,
    durations: bool,
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The model as ONNX.

    Args:
        weights: from `exported_weights`.
        config: the model's.
        contract: `piper_contract` or `characters_contract`.
        stored_as: how the weights of flow and decoder are stored, one of `WEIGHT_TYPES`.
        output: the name of the waveform, `[B, 1, T_samples]`.
        durations: whether the frames of each token are a second output, `[B, 1, T_text]` in float32.
        metadata: what is written into the file for whoever opens it.
    """
    from onnx import TensorProto, checker, helper

    graph = GraphBuilder(weights, stored_as)
    inputs, given = contract(graph, config)
    speaker = None
    if config.num_speakers > 1:
        row = graph.op("Gather", graph.weight("emb_g.weight"), "sid", path="emb_g", axis=0)
        speaker = graph.unsqueezed(row, 2)  # [B, speaker_embedding_size, 1]
    mask = text_mask(graph, given["ids"], given["lengths"])
    hidden, means, log_scales = text_encoder(graph, config, given["ids"], mask)
    logs = log_durations(graph, config, hidden, mask, speaker, given["duration_noise"])
    spoken = graph.op("Mul", graph.op("Mul", graph.op("Exp", logs), mask), given["length"])
    graph.op("Ceil", spoken)
    frames = graph.rename_last("durations")
    x, frame_mask = latents(graph, means, log_scales, frames, given["noise"])
    x = reverse_flow(graph, config, x, frame_mask, speaker)
    decoder(graph, config, graph.op("Mul", x, frame_mask), speaker)
    graph.rename_last(output)
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch_size", 1, "time"])]
    if durations:
        outputs.append(helper.make_tensor_value_info(frames, TensorProto.FLOAT, ["batch_size", 1, "phonemes"]))
    model = helper.make_model(
        helper.make_graph(graph.nodes, "vits", inputs, outputs, graph.initializers),
        producer_name="fastvits",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model)
    return model
