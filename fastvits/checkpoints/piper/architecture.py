"""The architecture of a Piper voice, read from its graph: text encoder, speakers, durations and coupling layers.

It is read from shapes, from attributes of the nodes (strides, dilations, slopes) and from constants (the spline's tail
bound, the epsilon of the layer norms). Whatever the model cannot express is refused with a ValueError that says what
it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..shapes import count, one
from .decoder import decoder_fields
from .graph import Array, Graph, attribute
from .layers import check_same_padding

if TYPE_CHECKING:
    import onnx


def _layer_norm_epsilon(graph: Graph, gamma: str) -> float:
    """The epsilon of the layer norm that is scaled by the tensor `gamma`."""
    fused = graph.consumer(gamma, "LayerNormalization")
    if fused is not None:
        return float(attribute(fused, "epsilon", 1e-5))
    node: onnx.NodeProto | None = graph.consumer(gamma, "Mul")
    for op_type in ("Div", "Sqrt", "Add"):
        producers = [graph.producer[name] for name in node.input if name in graph.producer] if node else []
        node = next((producer for producer in producers if producer.op_type == op_type), None)
    epsilon = graph.constant_operand(node) if node is not None else None
    if epsilon is None:
        raise ValueError(f"cannot read the epsilon of the layer norm {gamma}")
    return epsilon


def _tail_bound(graph: Graph) -> float:
    """The bound of the spline, from the comparisons that tell which values lie inside it."""
    bounds = set()
    for node in graph.nodes:
        if node.op_type in ("GreaterOrEqual", "LessOrEqual"):
            bound = graph.constant_operand(node)
            if bound is not None and node.input[0] not in graph.tensors:
                bounds.add(-bound if node.op_type == "GreaterOrEqual" else bound)
    return float(one(sorted(bounds), "the tail bound of the splines"))


def architecture(
    graph: Graph, tensors: Mapping[str, Array], convolutions: Mapping[str, onnx.NodeProto]
) -> dict[str, Any]:
    """The fields of config.json that the graph tells. `tensors` and `convolutions` go by Piper's names."""
    names = list(tensors)

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors:
            raise ValueError(f"the graph has no tensor {name}")
        return tensors[name].shape

    def dilation(module: str) -> int:
        if module not in convolutions:
            raise ValueError(f"the graph has no convolution {module}")
        return int(attribute(convolutions[module], "dilations", [1])[0])

    vocab_size, hidden_size = shape("enc_p.emb.weight")
    fields: dict[str, Any] = {"vocab_size": vocab_size, "hidden_size": hidden_size}

    # text encoder
    layers = count(names, r"enc_p\.encoder\.attn_layers\.(\d+)\.", "encoder layers")
    (_, offsets, head_size) = one(
        (shape(f"enc_p.encoder.attn_layers.{layer}.emb_rel_k") for layer in range(layers)),
        "the shape of the relative embeddings",
    )
    if hidden_size % head_size or offsets % 2 == 0:
        raise ValueError(f"relative embeddings of shape {[1, offsets, head_size]} do not fit {hidden_size} channels")
    ffn_dim, _, ffn_kernel_size = one(
        (shape(f"enc_p.encoder.ffn_layers.{layer}.conv_1.weight") for layer in range(layers)),
        "the shape of the feed-forward layers",
    )
    for layer in range(layers):
        module = f"enc_p.encoder.ffn_layers.{layer}.conv_1"
        node = convolutions[module]
        if graph.consumer(node.output[0], "Relu") is None:
            raise ValueError(f"{module} is not followed by a ReLU")
        for conv in ("conv_1", "conv_2"):
            module = f"enc_p.encoder.ffn_layers.{layer}.{conv}"
            check_same_padding(module, convolutions[module], explicit=True)
            if dilation(module) != 1:
                raise ValueError(f"{module} has the dilation {dilation(module)}; expected 1")
            pad = graph.producer.get(convolutions[module].input[0])
            amounts = graph.tensors.get(pad.input[1]) if pad is not None and pad.op_type == "Pad" else None
            expected = [0, 0, (ffn_kernel_size - 1) // 2, 0, 0, ffn_kernel_size // 2]
            if ffn_kernel_size > 1 and (amounts is not None and amounts.tolist() != expected):
                raise ValueError(f"{module} is padded by {amounts.tolist()}; expected {expected}")
    embedded = next((n.output[0] for n in graph.nodes if n.op_type == "Gather" and n.input[1] == graph.ids), None)
    if embedded is None:
        raise ValueError(f"the graph looks its input {graph.ids!r} up in no table of symbols")
    scale_node = graph.consumer(embedded, "Mul")
    scale = graph.constant_operand(scale_node) if scale_node is not None else None
    if scale is None or not math.isclose(scale, math.sqrt(hidden_size), rel_tol=1e-3 if graph.half else 1e-5):
        raise ValueError(f"the text embedding is scaled by {scale}; expected sqrt({hidden_size})")
    flow_channels = shape("enc_p.proj.weight")[0]
    gamma = "enc_p.encoder.norm_layers_1.0.gamma"
    shape(gamma)
    fields |= {
        "num_hidden_layers": layers,
        "num_attention_heads": hidden_size // head_size,
        "window_size": offsets // 2,
        "use_bias": "enc_p.encoder.attn_layers.0.conv_q.bias" in tensors,
        "ffn_dim": ffn_dim,
        "ffn_kernel_size": ffn_kernel_size,
        "flow_size": flow_channels // 2,
        "hidden_act": "relu",
        # 1e-05 is 1.0014e-05 in half precision, where it is below the smallest number of full length.
        "layer_norm_eps": float(f"{_layer_norm_epsilon(graph, gamma):.{2 if graph.half else 6}g}"),
    }

    # speakers
    if "emb_g.weight" in tensors:
        fields["num_speakers"], fields["speaker_embedding_size"] = shape("emb_g.weight")
    else:
        fields |= {"num_speakers": 1, "speaker_embedding_size": 0}

    fields |= _duration_architecture(graph, tensors, convolutions)
    fields |= _prior_flow_architecture(tensors, convolutions)
    fields |= decoder_fields(graph, tensors, convolutions)
    return fields


def _duration_architecture(
    graph: Graph, tensors: Mapping[str, Array], convolutions: Mapping[str, onnx.NodeProto]
) -> dict[str, Any]:
    """The fields of config.json about the duration predictor."""
    if "dp.conv_1.weight" in tensors:
        filter_channels, _, kernel_size = tensors["dp.conv_1.weight"].shape
        for module in ("dp.conv_1", "dp.conv_2"):
            check_same_padding(module, convolutions[module])
        return {
            "use_stochastic_duration_prediction": False,
            "duration_predictor_filter_channels": filter_channels,
            "duration_predictor_kernel_size": kernel_size,
        }
    if "dp.flows.0.m" not in tensors:
        raise ValueError("the graph has neither a plain (dp.conv_1) nor a stochastic duration predictor (dp.flows.0)")
    hidden_size = tensors["enc_p.emb.weight"].shape[1]
    filter_channels = tensors["dp.pre.weight"].shape[0]
    if filter_channels != hidden_size:
        raise ValueError(f"the duration predictor has {filter_channels} channels; expected the encoder's {hidden_size}")
    stacks: dict[str, list[tuple[int, str]]] = {}
    for name in tensors:
        match = re.fullmatch(r"(dp\.(?:flows\.\d+\.)?convs)\.convs_sep\.(\d+)\.weight", name)
        if match:
            stacks.setdefault(match[1], []).append((int(match[2]), name.removesuffix(".weight")))
    kernel_size = one(
        (tensors[f"{module}.weight"].shape[2] for stack in stacks.values() for _, module in stack),
        "the kernel size of the depth-separable convolutions",
    )
    layers = one((len(stack) for stack in stacks.values()), "the number of depth-separable layers")
    for stack in stacks.values():
        for layer, module in stack:
            check_same_padding(module, convolutions[module])
            (dilation,) = attribute(convolutions[module], "dilations", [1])
            groups = attribute(convolutions[module], "group", 1)
            if dilation != kernel_size**layer or groups != filter_channels:
                raise ValueError(
                    f"{module} has dilation {dilation} and {groups} groups; "
                    f"expected {kernel_size**layer} and {filter_channels}"
                )
    # Of n convolution flows, with the odd numbers up to 2n - 1, number 1 is not computed and so not in the graph.
    matches = [re.match(r"dp\.flows\.(\d+)\.proj\.", name) for name in tensors]
    flows = sorted({int(match[1]) for match in matches if match})
    if not flows or flows != list(range(3, 2 * len(flows) + 2, 2)):
        raise ValueError(f"the duration predictor has the convolution flows {flows}; expected 3, 5, 7, ...")
    outputs = one((tensors[f"dp.flows.{flow}.proj.weight"].shape[0] for flow in flows), "the number of spline bins")
    channels = tensors["dp.flows.0.m"].shape[0]
    half = one((tensors[f"dp.flows.{flow}.pre.weight"].shape[1] for flow in flows), "the half of the flow's channels")
    if channels != 2 * half or (outputs // half + 1) % 3 or outputs % half:
        raise ValueError(f"flows of {channels} channels, {half} of them conditioned on, cannot have {outputs} outputs")
    return {
        "use_stochastic_duration_prediction": True,
        "depth_separable_channels": channels,
        "depth_separable_num_layers": layers,
        "duration_predictor_kernel_size": kernel_size,
        "duration_predictor_num_flows": len(flows) + 1,
        "duration_predictor_flow_bins": (outputs // half + 1) // 3,
        "duration_predictor_tail_bound": _tail_bound(graph),
    }


def _prior_flow_architecture(
    tensors: Mapping[str, Array], convolutions: Mapping[str, onnx.NodeProto]
) -> dict[str, Any]:
    """The fields of config.json about the coupling layers between prior and decoder."""
    matches = [re.fullmatch(r"flow\.flows\.(\d+)\.enc\.in_layers\.(\d+)\.weight", name) for name in tensors]
    indices = sorted((int(match[1]), int(match[2])) for match in matches if match)
    flows = sorted({flow for flow, _ in indices})
    if not flows or flows != list(range(0, 2 * len(flows), 2)):
        raise ValueError(f"the voice has the coupling layers {flows}; expected 0, 2, 4, ...")
    layers = len(indices) // len(flows)
    if indices != [(flow, layer) for flow in flows for layer in range(layers)]:
        raise ValueError("the coupling layers differ in the number of their WaveNet layers")
    half, flow_size = tensors["flow.flows.0.post.weight"].shape[0], tensors["enc_p.proj.weight"].shape[0] // 2
    if 2 * half != flow_size:
        raise ValueError(f"a coupling layer puts out {half} channels; expected the mean alone, {flow_size // 2}")
    modules = {(flow, layer): f"flow.flows.{flow}.enc.in_layers.{layer}" for flow, layer in indices}
    kernel_size = one((tensors[f"{module}.weight"].shape[2] for module in modules.values()), "the WaveNet kernel size")
    rate = 1
    for (_, layer), module in modules.items():
        check_same_padding(module, convolutions[module])
        (dilation,) = attribute(convolutions[module], "dilations", [1])
        if layer == 1:
            rate = dilation
        if dilation != rate**layer:
            raise ValueError(f"{module} has the dilation {dilation}; expected {rate**layer}")
    return {
        "prior_encoder_num_flows": len(flows),
        "prior_encoder_num_wavenet_layers": layers,
        "wavenet_kernel_size": kernel_size,
        "wavenet_dilation_rate": rate,
    }
