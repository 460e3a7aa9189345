"""Piper voices: an ONNX graph and a JSON file become a folder that `VitsModel.from_pretrained` reads.

A Piper voice is a VITS whose training-only parts were cut away when it was exported. Its parameters keep their names in
the graph, with three kinds of exception, all undone here:

- weight norm in the flow was folded, so these weights have a number for a name; their Conv node tells the layer;
- the text embedding of a single-speaker voice is found as the table that the input ids index;
- of the last affine flow of the duration predictor only `exp(-log_scale)` is left.

The architecture is read from shapes, from attributes of the nodes (strides, dilations, slopes) and from constants (the
spline's tail bound, the epsilon of the layer norms). Whatever the model cannot express is refused with a ValueError
that says what it is; so is every tensor that has no place.

Source of the format: https://github.com/OHF-Voice/piper1-gpl (export_onnx.py, vits/models.py).
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..storage import read_json, replacing, write_json

if TYPE_CHECKING:
    import onnx

__all__ = ["convert"]

# Raised whenever the same voice would be converted into other files: it is part of the key of the cache.
CONVERTER_VERSION = 1

_Array = np.ndarray[Any, np.dtype[np.float32]]

_PARAMETER_NAME = re.compile(r"(enc_p|dp|flow|dec|emb_g)\.")


# ---------------------------------------------------------------------------------------------------------------------
# The graph
# ---------------------------------------------------------------------------------------------------------------------


class _Graph:
    """An ONNX graph that can be asked for its parameters and for the constants around them."""

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            from onnx import numpy_helper
        except ImportError as error:
            raise ImportError("reading a Piper voice needs the package `onnx`: install `fastvits[voice]`") from error
        try:
            model = onnx.load(os.fspath(path))
        except OSError:
            raise
        except Exception as error:  # protobuf raises exceptions of its own
            raise ValueError(f"{path} is not an ONNX model: {error}") from error
        self.path = path
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.inputs = {value.name for value in model.graph.input}
        self.tensors: dict[str, np.ndarray[Any, Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.inputs -= self.tensors.keys()  # old exporters list initializers among the inputs
        for node in self.nodes:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.tensors[node.output[0]] = numpy_helper.to_array(attribute.t)
        self.producer = {output: node for node in self.nodes for output in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        if "input" not in self.inputs or "scales" not in self.inputs:
            raise ValueError(
                f"{path} is not a Piper voice: such a graph has the inputs 'input', 'input_lengths' and 'scales', "
                f"this one has {sorted(self.inputs)}"
            )

    def consumer(self, name: str, *op_types: str) -> onnx.NodeProto | None:
        """The first node of one of `op_types` that reads `name`."""
        return next((node for node in self.consumers.get(name, []) if node.op_type in op_types), None)

    def number(self, name: str) -> float | None:
        """A constant of one element as a float, or None."""
        tensor = self.tensors.get(name)
        return float(tensor.item()) if tensor is not None and tensor.size == 1 else None

    def constant_operand(self, node: onnx.NodeProto) -> float | None:
        """The operand of `node` that is a constant of one element."""
        numbers = [number for number in map(self.number, node.input) if number is not None]
        return numbers[0] if len(numbers) == 1 else None


def _attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute of `node` as a Python value: a list of ints, an int, a float or a string."""
    for attribute in node.attribute:
        if attribute.name == name:
            if attribute.ints:
                return list(attribute.ints)
            return {1: attribute.f, 2: attribute.i, 3: attribute.s}[attribute.type]
    return default


def _module_of(node: onnx.NodeProto) -> str:
    """The dotted path of the module that a Conv came from, `/dec/ups.0/ConvTranspose` -> `dec.ups.0`.

    Older exporters number the nodes: there the names of bias and weight tell.
    """
    if node.name.startswith("/"):
        return ".".join(node.name.strip("/").split("/")[:-1])
    for name, ending in ((node.input[2] if len(node.input) > 2 else "", ".bias"), (node.input[1], ".weight")):
        if _PARAMETER_NAME.match(name) and name.endswith(ending):
            return name.removesuffix(ending)
    raise ValueError(f"cannot tell which layer the node {node.name!r} with the weight {node.input[1]!r} belongs to")


def _log_scale(graph: _Graph, translate: str) -> tuple[str, _Array]:
    """The log scale of the duration predictor's affine flow, and the tensor of the graph that it is derived from.

    The graph computes `(x - translate) * exp(-log_scale)`. Some exporters fold the factor, some only its exponent.
    """
    difference = graph.consumer(translate, "Sub")
    product = graph.consumer(difference.output[0], "Mul") if difference is not None else None
    for name in product.input if product is not None else ():
        exponential = graph.producer.get(name)
        exponent = exponential is not None and exponential.op_type == "Exp" and name not in graph.tensors
        stored = exponential.input[0] if exponential is not None and exponent else name
        if stored not in graph.tensors or graph.tensors[stored].shape != graph.tensors[translate].shape:
            continue
        value = graph.tensors[stored].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_scale = -value if exponent else -np.log(value)
        if not np.isfinite(log_scale).all():
            raise ValueError("the scale of the affine flow dp.flows.0 is not a positive number")
        return stored, log_scale.astype(np.float32)
    raise ValueError("cannot find the scale of the affine flow dp.flows.0 in the graph")


def _collect(graph: _Graph) -> tuple[dict[str, _Array], dict[str, onnx.NodeProto]]:
    """All parameters by their name in Piper's model, and the nodes of all convolutions by the path of their module."""
    parameters: dict[str, str] = {name: name for name in graph.tensors if _PARAMETER_NAME.match(name)}
    convolutions: dict[str, onnx.NodeProto] = {}
    for node in graph.nodes:
        if node.op_type in ("Conv", "ConvTranspose"):
            module = _module_of(node)
            if module in convolutions:
                raise ValueError(f"the layer {module} is computed twice in the graph")
            convolutions[module] = node
            # The node knows better than the tensor's name: exporters fold weight norm and share equal tensors.
            for part, name in zip(("weight", "bias"), node.input[1:], strict=False):
                if name not in graph.tensors:
                    raise ValueError(f"the {part} of {module} is computed in the graph; expected a stored tensor")
                parameters[f"{module}.{part}"] = name
        elif node.op_type == "Gather" and node.input[1] in graph.inputs and node.input[0] in graph.tensors:
            tables = {"input": "enc_p.emb.weight", "sid": "emb_g.weight"}
            if node.input[1] in tables:
                parameters[tables[node.input[1]]] = node.input[0]
    if "enc_p.emb.weight" not in parameters:
        raise ValueError("the graph has no table that the input ids index: no text embedding")

    used = set(parameters.values())
    log_scale = None
    if "dp.flows.0.m" in parameters and "dp.flows.0.logs" not in parameters:
        stored, log_scale = _log_scale(graph, parameters["dp.flows.0.m"])
        used.add(stored)

    strays = {
        f"{name} {list(tensor.shape)}"
        for name, tensor in graph.tensors.items()
        if name not in used and tensor.size > 1 and tensor.dtype.kind not in "iub"
    }
    if strays:
        raise ValueError(f"tensors of the graph have no known place in the model: {', '.join(sorted(strays))}")

    collected: dict[str, _Array] = {}
    for name, stored in parameters.items():
        tensor = graph.tensors[stored]
        if tensor.dtype not in (np.float32, np.float16):
            raise ValueError(f"{name} has the type {tensor.dtype}; only float32 and float16 voices can be converted")
        collected[name] = tensor.astype(np.float32)
    if log_scale is not None:
        collected["dp.flows.0.logs"] = log_scale
    return collected, convolutions


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


def _half(index: str) -> int:
    return int(index) // 2


_DEPTH_SEPARABLE = {"convs_sep": "convs_dilated", "convs_1x1": "convs_pointwise"}
_NORM = {"gamma": "weight", "beta": "bias"}
_PREFIX_OF_FLOW = {"pre": "conv_pre", "proj": "conv_proj", "post": "conv_post"}

# Piper's name -> ours. Piper counts the flips between flows as flows: the affine flow of the duration predictor is 0,
# its convolution flows are 1, 3, 5 ..., and the coupling layers of the prior are 0, 2, 4 ...
_RULES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"enc_p\.emb\.weight", lambda m: "text_encoder.embed_tokens.weight"),
    (r"emb_g\.weight", lambda m: "embed_speaker.weight"),
    (r"enc_p\.proj\.(weight|bias)", lambda m: f"text_encoder.project.{m[1]}"),
    (
        r"enc_p\.encoder\.attn_layers\.(\d+)\.(emb_rel_[kv])",
        lambda m: f"text_encoder.encoder.layers.{m[1]}.attention.{m[2]}",
    ),
    (
        r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_([qkvo])\.(weight|bias)",
        lambda m: f"text_encoder.encoder.layers.{m[1]}.attention.{'out' if m[2] == 'o' else m[2]}_proj.{m[3]}",
    ),
    (
        r"enc_p\.encoder\.ffn_layers\.(\d+)\.(conv_[12])\.(weight|bias)",
        lambda m: f"text_encoder.encoder.layers.{m[1]}.feed_forward.{m[2]}.{m[3]}",
    ),
    (
        r"enc_p\.encoder\.norm_layers_([12])\.(\d+)\.(gamma|beta)",
        lambda m: f"text_encoder.encoder.layers.{m[2]}.{'final_' if m[1] == '2' else ''}layer_norm.{_NORM[m[3]]}",
    ),
    (r"dp\.(pre|proj)\.(weight|bias)", lambda m: f"duration_predictor.{_PREFIX_OF_FLOW[m[1]]}.{m[2]}"),
    (r"plain dp\.proj\.(weight|bias)", lambda m: f"duration_predictor.proj.{m[1]}"),
    (r"dp\.cond\.(weight|bias)", lambda m: f"duration_predictor.cond.{m[1]}"),
    (r"dp\.conv_([12])\.(weight|bias)", lambda m: f"duration_predictor.conv_{m[1]}.{m[2]}"),
    (r"dp\.norm_([12])\.(gamma|beta)", lambda m: f"duration_predictor.norm_{m[1]}.{_NORM[m[2]]}"),
    (r"dp\.flows\.0\.m", lambda m: "duration_predictor.flows.0.translate"),
    (r"dp\.flows\.0\.logs", lambda m: "duration_predictor.flows.0.log_scale"),
    (
        r"dp\.flows\.(\d*[13579])\.(pre|proj)\.(weight|bias)",
        lambda m: f"duration_predictor.flows.{_half(m[1]) + 1}.{_PREFIX_OF_FLOW[m[2]]}.{m[3]}",
    ),
    (
        r"dp\.(flows\.(\d*[13579])\.)?convs\.(convs_sep|convs_1x1)\.(\d+)\.(weight|bias)",
        lambda m: f"{_depth_separable_stack(m[2])}.{_DEPTH_SEPARABLE[m[3]]}.{m[4]}.{m[5]}",
    ),
    (
        r"dp\.(flows\.(\d*[13579])\.)?convs\.(norms_[12])\.(\d+)\.(gamma|beta)",
        lambda m: f"{_depth_separable_stack(m[2])}.{m[3]}.{m[4]}.{_NORM[m[5]]}",
    ),
    (
        r"flow\.flows\.(\d*[02468])\.(pre|post)\.(weight|bias)",
        lambda m: f"flow.flows.{_half(m[1])}.{_PREFIX_OF_FLOW[m[2]]}.{m[3]}",
    ),
    (
        r"flow\.flows\.(\d*[02468])\.enc\.((?:in_layers|res_skip_layers)\.\d+|cond_layer)\.(weight|bias)",
        lambda m: f"flow.flows.{_half(m[1])}.wavenet.{m[2]}.{m[3]}",
    ),
    (r"dec\.(conv_pre|conv_post|cond)\.(weight|bias)", lambda m: f"decoder.{m[1]}.{m[2]}"),
    (r"dec\.ups\.(\d+)\.(weight|bias)", lambda m: f"decoder.upsampler.{m[1]}.{m[2]}"),
    (
        r"dec\.resblocks\.(\d+)\.(convs[12]?)\.(\d+)\.(weight|bias)",
        lambda m: f"decoder.resblocks.{m[1]}.{m[2]}.{m[3]}.{m[4]}",
    ),
]
_COMPILED_RULES = [(re.compile(pattern), rename) for pattern, rename in _RULES]


def _depth_separable_stack(flow: str | None) -> str:
    return "duration_predictor." + ("" if flow is None else f"flows.{_half(flow) + 1}.") + "conv_dds"


def _rename(name: str) -> str:
    """Our name of Piper's parameter `name`."""
    for pattern, rename in _COMPILED_RULES:
        match = pattern.fullmatch(name)
        if match is not None:
            return rename(match)
    raise ValueError(f"the graph has a parameter {name} that has no place in the model")


def _weight_norm(name: str) -> bool:
    """Whether the model keeps the weight `name` as a direction and a gain."""
    return ".wavenet." in name and name.endswith(".weight")


def _state_dict(parameters: Mapping[str, _Array]) -> dict[str, _Array]:
    """The tensors of model.safetensors."""
    state: dict[str, _Array] = {}
    plain = "dp.conv_1.weight" in parameters  # this predictor's last layer has another name than the stochastic one's
    for piper_name, tensor in parameters.items():
        name = _rename(f"plain {piper_name}" if plain and piper_name.startswith("dp.proj.") else piper_name)
        if name.endswith("_proj.weight") and ".attention." in name:
            if tensor.ndim != 3 or tensor.shape[2] != 1:
                raise ValueError(f"{piper_name} has the shape {list(tensor.shape)}; expected a kernel of one step")
            tensor = tensor[:, :, 0]  # a convolution of kernel size 1 is a linear layer
        if _weight_norm(name):
            # weight = gain * direction / |direction|: with the norm of each output channel for a gain it is itself.
            stem = name.removesuffix("weight") + "parametrizations.weight."
            norm = np.sqrt(np.square(tensor.astype(np.float64)).sum(axis=(1, 2), keepdims=True))
            state[stem + "original0"] = norm.astype(np.float32)
            state[stem + "original1"] = tensor
        else:
            state[name] = tensor
    return {name: np.ascontiguousarray(state[name]) for name in sorted(state)}


# ---------------------------------------------------------------------------------------------------------------------
# Architecture
# ---------------------------------------------------------------------------------------------------------------------


def _count(names: Iterable[str], pattern: str, what: str) -> int:
    """How many different numbers the group of `pattern` takes among `names`: they must be 0, 1, 2 ..."""
    compiled = re.compile(pattern)
    found = sorted({int(match[1]) for match in map(compiled.match, names) if match})
    if not found or found != list(range(len(found))):
        raise ValueError(f"the voice has {what} numbered {found}; expected 0, 1, 2, ...")
    return len(found)


def _one(values: Iterable[Any], what: str) -> Any:
    """The one value that all `values` have."""
    different = list(dict.fromkeys(values))
    if len(different) != 1:
        raise ValueError(f"{what} must be the same everywhere, the voice has {different}")
    return different[0]


def _check_same_padding(module: str, node: onnx.NodeProto, *, explicit: bool = False) -> None:
    """A convolution must keep the length: stride 1 and as much padding as its kernel reaches, shared evenly.

    With `explicit` a Pad node before it pads, `(k - 1) // 2` on the left and `k // 2` on the right.
    """
    (kernel,) = _attribute(node, "kernel_shape")
    (dilation,) = _attribute(node, "dilations", [1])
    reach = (kernel - 1) * dilation
    pads = _attribute(node, "pads", [0, 0])
    expected = [0, 0] if explicit else [reach // 2, reach // 2]
    if (not explicit and reach % 2) or pads != expected or _attribute(node, "strides", [1]) != [1]:
        raise ValueError(
            f"{module} has kernel size {kernel}, dilation {dilation}, padding {pads} and stride "
            f"{_attribute(node, 'strides', [1])}; expected the padding {expected} and stride 1"
        )


def _slope(graph: _Graph, node: onnx.NodeProto, module: str) -> float:
    """The slope of the leaky ReLU in front of a convolution."""
    before = graph.producer.get(node.input[0])
    if before is None or before.op_type != "LeakyRelu":
        raise ValueError(f"{module} is not preceded by a leaky ReLU")
    return round(float(_attribute(before, "alpha", 0.01)), 6)


def _layer_norm_epsilon(graph: _Graph, gamma: str) -> float:
    """The epsilon of the layer norm that is scaled by the tensor `gamma`."""
    fused = graph.consumer(gamma, "LayerNormalization")
    if fused is not None:
        return float(_attribute(fused, "epsilon", 1e-5))
    node: onnx.NodeProto | None = graph.consumer(gamma, "Mul")
    for op_type in ("Div", "Sqrt", "Add"):
        producers = [graph.producer[name] for name in node.input if name in graph.producer] if node else []
        node = next((producer for producer in producers if producer.op_type == op_type), None)
    epsilon = graph.constant_operand(node) if node is not None else None
    if epsilon is None:
        raise ValueError(f"cannot read the epsilon of the layer norm {gamma}")
    return epsilon


def _tail_bound(graph: _Graph) -> float:
    """The bound of the spline, from the comparisons that tell which values lie inside it."""
    bounds = set()
    for node in graph.nodes:
        if node.op_type in ("GreaterOrEqual", "LessOrEqual"):
            bound = graph.constant_operand(node)
            if bound is not None and node.input[0] not in graph.tensors:
                bounds.add(-bound if node.op_type == "GreaterOrEqual" else bound)
    return float(_one(sorted(bounds), "the tail bound of the splines"))


def _architecture(
    graph: _Graph, tensors: Mapping[str, _Array], convolutions: Mapping[str, onnx.NodeProto]
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
        return int(_attribute(convolutions[module], "dilations", [1])[0])

    vocab_size, hidden_size = shape("enc_p.emb.weight")
    fields: dict[str, Any] = {"vocab_size": vocab_size, "hidden_size": hidden_size}

    # text encoder
    layers = _count(names, r"enc_p\.encoder\.attn_layers\.(\d+)\.", "encoder layers")
    (_, offsets, head_size) = _one(
        (shape(f"enc_p.encoder.attn_layers.{layer}.emb_rel_k") for layer in range(layers)),
        "the shape of the relative embeddings",
    )
    if hidden_size % head_size or offsets % 2 == 0:
        raise ValueError(f"relative embeddings of shape {[1, offsets, head_size]} do not fit {hidden_size} channels")
    ffn_dim, _, ffn_kernel_size = _one(
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
            _check_same_padding(module, convolutions[module], explicit=True)
            if dilation(module) != 1:
                raise ValueError(f"{module} has the dilation {dilation(module)}; expected 1")
            pad = graph.producer.get(convolutions[module].input[0])
            amounts = graph.tensors.get(pad.input[1]) if pad is not None and pad.op_type == "Pad" else None
            expected = [0, 0, (ffn_kernel_size - 1) // 2, 0, 0, ffn_kernel_size // 2]
            if ffn_kernel_size > 1 and (amounts is not None and amounts.tolist() != expected):
                raise ValueError(f"{module} is padded by {amounts.tolist()}; expected {expected}")
    scale_node = graph.consumer(
        next(node.output[0] for node in graph.nodes if node.op_type == "Gather" and node.input[1] == "input"), "Mul"
    )
    scale = graph.constant_operand(scale_node) if scale_node is not None else None
    if scale is None or not math.isclose(scale, math.sqrt(hidden_size), rel_tol=1e-5):
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
        "layer_norm_eps": float(f"{_layer_norm_epsilon(graph, gamma):.6g}"),
    }

    # speakers
    if "emb_g.weight" in tensors:
        fields["num_speakers"], fields["speaker_embedding_size"] = shape("emb_g.weight")
        if fields["num_speakers"] < 2:
            raise ValueError("a voice with a speaker embedding of one speaker cannot be expressed")
    else:
        fields |= {"num_speakers": 1, "speaker_embedding_size": 0}

    fields |= _duration_architecture(graph, tensors, convolutions)
    fields |= _prior_flow_architecture(tensors, convolutions)
    fields |= _decoder_architecture(graph, tensors, convolutions)
    return fields


def _duration_architecture(
    graph: _Graph, tensors: Mapping[str, _Array], convolutions: Mapping[str, onnx.NodeProto]
) -> dict[str, Any]:
    """The fields of config.json about the duration predictor."""
    if "dp.conv_1.weight" in tensors:
        filter_channels, _, kernel_size = tensors["dp.conv_1.weight"].shape
        for module in ("dp.conv_1", "dp.conv_2"):
            _check_same_padding(module, convolutions[module])
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
    kernel_size = _one(
        (tensors[f"{module}.weight"].shape[2] for stack in stacks.values() for _, module in stack),
        "the kernel size of the depth-separable convolutions",
    )
    layers = _one((len(stack) for stack in stacks.values()), "the number of depth-separable layers")
    for stack in stacks.values():
        for layer, module in stack:
            _check_same_padding(module, convolutions[module])
            (dilation,) = _attribute(convolutions[module], "dilations", [1])
            groups = _attribute(convolutions[module], "group", 1)
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
    outputs = _one((tensors[f"dp.flows.{flow}.proj.weight"].shape[0] for flow in flows), "the number of spline bins")
    channels = tensors["dp.flows.0.m"].shape[0]
    half = _one((tensors[f"dp.flows.{flow}.pre.weight"].shape[1] for flow in flows), "the half of the flow's channels")
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
    tensors: Mapping[str, _Array], convolutions: Mapping[str, onnx.NodeProto]
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
    kernel_size = _one((tensors[f"{module}.weight"].shape[2] for module in modules.values()), "the WaveNet kernel size")
    rate = 1
    for (_, layer), module in modules.items():
        _check_same_padding(module, convolutions[module])
        (dilation,) = _attribute(convolutions[module], "dilations", [1])
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


def _decoder_architecture(
    graph: _Graph, tensors: Mapping[str, _Array], convolutions: Mapping[str, onnx.NodeProto]
) -> dict[str, Any]:
    """The fields of config.json about the HiFi-GAN decoder."""
    names = list(tensors)
    slopes: list[float] = []
    rates: list[int] = []
    kernel_sizes: list[int] = []
    stages = _count(names, r"dec\.ups\.(\d+)\.", "upsampling stages")
    for stage in range(stages):
        module = f"dec.ups.{stage}"
        node = convolutions[module]
        (kernel_size,), (rate,) = _attribute(node, "kernel_shape"), _attribute(node, "strides", [1])
        pads, extra = _attribute(node, "pads", [0, 0]), _attribute(node, "output_padding", [0])
        padding = (kernel_size - rate) // 2
        if (
            node.op_type != "ConvTranspose"
            or pads != [padding, padding]
            or extra != [0]
            or _attribute(node, "dilations", [1]) != [1]
            or _attribute(node, "group", 1) != 1
        ):
            raise ValueError(f"{module} is padded by {pads} and {extra}; expected {[padding, padding]} and [0]")
        rates.append(rate)
        kernel_sizes.append(kernel_size)
        slopes.append(_slope(graph, node, module))
    for module in ("dec.conv_pre", "dec.conv_post"):
        if module not in convolutions:
            raise ValueError(f"the graph has no convolution {module}")
        _check_same_padding(module, convolutions[module])
        if tensors[f"{module}.weight"].shape[2] != 7:
            raise ValueError(f"{module} has the kernel size {tensors[f'{module}.weight'].shape[2]}; expected 7")
    if "dec.conv_post.bias" in tensors:
        raise ValueError("dec.conv_post has a bias; expected none")
    if _slope(graph, convolutions["dec.conv_post"], "dec.conv_post") != 0.01:
        raise ValueError("the leaky ReLU before dec.conv_post does not have the slope 0.01")

    blocks = _count(names, r"dec\.resblocks\.(\d+)\.", "residual blocks")
    if blocks % stages:
        raise ValueError(f"{blocks} residual blocks cannot be shared evenly among {stages} upsampling stages")
    kinds = {match[1] for match in (re.match(r"dec\.resblocks\.\d+\.(convs[12]?)\.", name) for name in names) if match}
    if kinds not in ({"convs"}, {"convs1", "convs2"}):
        raise ValueError(f"residual blocks have the lists {sorted(kinds)}; expected convs, or convs1 and convs2")
    first = "convs" if kinds == {"convs"} else "convs1"
    shapes: list[tuple[int, list[int]]] = []
    for block in range(blocks):
        steps = _count(names, rf"dec\.resblocks\.{block}\.{first}\.(\d+)\.", "steps of a residual block")
        dilations = []
        for step in range(steps):
            module = f"dec.resblocks.{block}.{first}.{step}"
            _check_same_padding(module, convolutions[module])
            dilations.append(int(_attribute(convolutions[module], "dilations", [1])[0]))
            slopes.append(_slope(graph, convolutions[module], module))
            if first == "convs1":
                second = f"dec.resblocks.{block}.convs2.{step}"
                if second not in convolutions or _attribute(convolutions[second], "dilations", [1]) != [1]:
                    raise ValueError(f"{second} is missing or dilated; expected the dilation 1")
                _check_same_padding(second, convolutions[second])
                slopes.append(_slope(graph, convolutions[second], second))
        kernel_size = _one(
            (tensors[f"dec.resblocks.{block}.{first}.{step}.weight"].shape[2] for step in range(steps)),
            f"the kernel size in dec.resblocks.{block}",
        )
        shapes.append((kernel_size, dilations))
    branches = blocks // stages
    if shapes != shapes[:branches] * stages:
        raise ValueError("the residual blocks differ from one upsampling stage to the next")
    fields = {
        "upsample_initial_channel": tensors["dec.conv_pre.weight"].shape[0],
        "upsample_rates": rates,
        "upsample_kernel_sizes": kernel_sizes,
        "resblock_kernel_sizes": [kernel_size for kernel_size, _ in shapes[:branches]],
        "resblock_dilation_sizes": [dilations for _, dilations in shapes[:branches]],
        "leaky_relu_slope": _one(slopes, "the slope of the leaky ReLU"),
    }
    if first == "convs":
        fields["resblock_type"] = 2
    return fields


def _expected_tensors(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that the model of `config` needs for inference."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(module: str, outputs: int, inputs: int, kernel_size: int, *, bias: bool = True) -> None:
        shapes[f"{module}.weight"] = (outputs, inputs, kernel_size)
        if bias:
            shapes[f"{module}.bias"] = (outputs,)

    def norm(module: str, channels: int) -> None:
        shapes[f"{module}.weight"] = shapes[f"{module}.bias"] = (channels,)

    def weight_normed(module: str, outputs: int, inputs: int, kernel_size: int) -> None:
        shapes[f"{module}.bias"] = (outputs,)
        shapes[f"{module}.parametrizations.weight.original0"] = (outputs, 1, 1)
        shapes[f"{module}.parametrizations.weight.original1"] = (outputs, inputs, kernel_size)

    hidden, flow_size, speaker = config["hidden_size"], config["flow_size"], config["speaker_embedding_size"]
    shapes["text_encoder.embed_tokens.weight"] = (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        stem = f"text_encoder.encoder.layers.{layer}"
        for projection in ("q", "k", "v", "out"):
            shapes[f"{stem}.attention.{projection}_proj.weight"] = (hidden, hidden)
            if config["use_bias"]:
                shapes[f"{stem}.attention.{projection}_proj.bias"] = (hidden,)
        for table in ("emb_rel_k", "emb_rel_v"):
            offsets = 2 * config["window_size"] + 1
            shapes[f"{stem}.attention.{table}"] = (1, offsets, hidden // config["num_attention_heads"])
        convolution(f"{stem}.feed_forward.conv_1", config["ffn_dim"], hidden, config["ffn_kernel_size"])
        convolution(f"{stem}.feed_forward.conv_2", hidden, config["ffn_dim"], config["ffn_kernel_size"])
        norm(f"{stem}.layer_norm", hidden)
        norm(f"{stem}.final_layer_norm", hidden)
    convolution("text_encoder.project", 2 * flow_size, hidden, 1)

    kernel_size = config["duration_predictor_kernel_size"]
    if config["use_stochastic_duration_prediction"]:
        flows = range(2, config["duration_predictor_num_flows"] + 1)  # the first is left out when speaking
        half = config["depth_separable_channels"] // 2
        outputs = half * (3 * config["duration_predictor_flow_bins"] - 1)
        for stem in ("duration_predictor", *(f"duration_predictor.flows.{flow}" for flow in flows)):
            inner = stem == "duration_predictor"
            convolution(f"{stem}.conv_pre", hidden, hidden if inner else half, 1)
            convolution(f"{stem}.conv_proj", hidden if inner else outputs, hidden, 1)
            for layer in range(config["depth_separable_num_layers"]):
                convolution(f"{stem}.conv_dds.convs_dilated.{layer}", hidden, 1, kernel_size)
                convolution(f"{stem}.conv_dds.convs_pointwise.{layer}", hidden, hidden, 1)
                norm(f"{stem}.conv_dds.norms_1.{layer}", hidden)
                norm(f"{stem}.conv_dds.norms_2.{layer}", hidden)
        for part in ("translate", "log_scale"):
            shapes[f"duration_predictor.flows.0.{part}"] = (2 * half, 1)
    else:
        filter_channels = config["duration_predictor_filter_channels"]
        convolution("duration_predictor.conv_1", filter_channels, hidden, kernel_size)
        convolution("duration_predictor.conv_2", filter_channels, filter_channels, kernel_size)
        convolution("duration_predictor.proj", 1, filter_channels, 1)
        norm("duration_predictor.norm_1", filter_channels)
        norm("duration_predictor.norm_2", filter_channels)

    layers = config["prior_encoder_num_wavenet_layers"]
    for flow in range(config["prior_encoder_num_flows"]):
        stem = f"flow.flows.{flow}"
        convolution(f"{stem}.conv_pre", hidden, flow_size // 2, 1)
        convolution(f"{stem}.conv_post", flow_size // 2, hidden, 1)
        for layer in range(layers):
            weight_normed(f"{stem}.wavenet.in_layers.{layer}", 2 * hidden, hidden, config["wavenet_kernel_size"])
            outputs = 2 * hidden if layer < layers - 1 else hidden
            weight_normed(f"{stem}.wavenet.res_skip_layers.{layer}", outputs, hidden, 1)
        if speaker:
            weight_normed(f"{stem}.wavenet.cond_layer", 2 * hidden * layers, speaker, 1)

    channels = config["upsample_initial_channel"]
    convolution("decoder.conv_pre", channels, flow_size, 7)
    block = 0
    for stage, upsample_kernel_size in enumerate(config["upsample_kernel_sizes"]):
        shapes[f"decoder.upsampler.{stage}.weight"] = (channels, channels // 2, upsample_kernel_size)
        channels //= 2
        shapes[f"decoder.upsampler.{stage}.bias"] = (channels,)
        for size, dilations in zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True):
            for step in range(len(dilations)):
                for part in ("convs",) if config.get("resblock_type") == 2 else ("convs1", "convs2"):
                    convolution(f"decoder.resblocks.{block}.{part}.{step}", channels, channels, size)
            block += 1
    convolution("decoder.conv_post", 1, channels, 7, bias=False)
    if speaker:
        shapes["embed_speaker.weight"] = (config["num_speakers"], speaker)
        convolution("decoder.cond", config["upsample_initial_channel"], speaker, 1)
        convolution("duration_predictor.cond", hidden, speaker, 1)
    return shapes


def _check_complete(state: Mapping[str, _Array], config: Mapping[str, Any]) -> None:
    """Raises unless `state` is what the model of `config` needs to speak, no more and no less."""
    expected = _expected_tensors(config)
    for problem, names in (
        ("lacks", sorted(expected.keys() - state.keys())),
        ("has, besides what the model knows,", sorted(state.keys() - expected.keys())),
    ):
        if names:
            raise ValueError(f"the voice {problem} {', '.join(names)}")
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise ValueError(f"{name} has the shape {list(state[name].shape)}; expected {list(shape)}")
        if not np.isfinite(state[name]).all():
            raise ValueError(f"{name} has values that are not finite")


# ---------------------------------------------------------------------------------------------------------------------
# The JSON file, and the folder
# ---------------------------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"a Piper voice has a JSON file beside its graph; there is no {path}")
    return read_json(path)


def _vocabulary(settings: Mapping[str, Any], vocab_size: int) -> dict[str, int]:
    """Phoneme -> id, in the order of the ids."""
    phonemes = settings.get("phoneme_id_map")
    if not isinstance(phonemes, dict) or not phonemes:
        raise ValueError("the JSON of the voice has no phoneme_id_map")
    vocabulary: dict[str, int] = {}
    for phoneme, ids in phonemes.items():
        if not (isinstance(ids, list) and len(ids) == 1 and type(ids[0]) is int and 0 <= ids[0] < vocab_size):
            raise ValueError(f"phoneme_id_map gives {phoneme!r} the ids {ids}; expected one id below {vocab_size}")
        vocabulary[phoneme] = ids[0]
    for special in ("_", "^", "$"):
        if special not in vocabulary:
            raise ValueError(f"phoneme_id_map lacks {special!r}, one of the marks that Piper puts around phonemes")
    return dict(sorted(vocabulary.items(), key=lambda item: item[1]))


def _setting(settings: Mapping[str, Any], section: str, key: str, default: float) -> float:
    """A positive number (a noise scale may be 0) of the JSON file."""
    value = (settings.get(section) or {}).get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{section}.{key} of the voice must be a number that is not negative, got {value!r}")
    return float(value)


def _configuration(settings: Mapping[str, Any], architecture: Mapping[str, Any], pad_token_id: int) -> dict[str, Any]:
    """config.json."""
    sampling_rate = (settings.get("audio") or {}).get("sample_rate")
    if type(sampling_rate) is not int or sampling_rate <= 0:
        raise ValueError(f"audio.sample_rate of the voice must be a positive whole number, got {sampling_rate!r}")
    for field, key in (("num_speakers", "num_speakers"), ("vocab_size", "num_symbols")):
        if key in settings and settings[key] != architecture[field]:
            raise ValueError(f"the JSON of the voice says {key} {settings[key]}, its graph {architecture[field]}")
    length_scale = _setting(settings, "inference", "length_scale", 1.0)
    if length_scale == 0:
        raise ValueError("inference.length_scale of the voice must not be 0")
    config: dict[str, Any] = {
        "architectures": ["VitsModel"],
        "model_type": "vits",
        **architecture,
        "sampling_rate": sampling_rate,
        "speaking_rate": 1.0 / length_scale,
        "noise_scale": _setting(settings, "inference", "noise_scale", 0.667),
        "noise_scale_duration": _setting(settings, "inference", "noise_w", 0.8),
        "pad_token_id": pad_token_id,
        # What the file says of itself, for people and for whoever wants to choose a speaker by name.
        "piper": {
            key: settings[key]
            for key in ("dataset", "language", "piper_version", "speaker_id_map", "default_speaker_id")
            if settings.get(key) not in (None, {}, "")
        },
    }
    quality = (settings.get("audio") or {}).get("quality")
    if quality:
        config["piper"]["quality"] = quality
    return config


def _tokenizer_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json."""
    kind = settings.get("phoneme_type", "espeak")
    if kind not in ("espeak", "text"):
        raise ValueError(f"the voice reads phonemes of the type {kind!r}; only 'espeak' and 'text' are supported")
    clusters = settings.get("vowel_clusters") or None
    if clusters is not None and not all(
        isinstance(cluster, list) and all(isinstance(phoneme, str) for phoneme in cluster) for cluster in clusters
    ):
        raise ValueError(f"vowel_clusters of the voice must be lists of phonemes, got {clusters!r}")
    voice = (settings.get("espeak") or {}).get("voice")
    if kind == "espeak" and not (isinstance(voice, str) and voice):
        raise ValueError("the JSON of the voice does not name its espeak voice")
    return {
        "tokenizer_class": "VitsTokenizer",
        "frontend": "piper",
        "pad_token": "_",
        "bos_token": "^",
        "eos_token": "$",
        "unk_token": "_",
        "add_blank": True,
        "normalize": False,
        "phonemize": kind == "espeak",
        "is_uroman": False,
        "language": (settings.get("language") or {}).get("code"),
        "espeak_voice": voice if kind == "espeak" else None,
        **({} if clusters is None else {"vowel_clusters": clusters}),
    }


def convert(onnx_path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Converts a Piper voice into a folder for `VitsModel.from_pretrained` and `VitsTokenizer.from_pretrained`.

    The voice is `onnx_path` and the JSON file beside it, `<name>.onnx.json`. Single- and multi-speaker voices of every
    quality from x_low to high are read, in float32 or float16; the folder is written in float32. It holds config.json,
    model.safetensors, vocab.json and tokenizer_config.json, and the voice's MODEL_CARD if there is one. Training-only
    parts are missing, as they are from the graph.

    Args:
        onnx_path: the graph of the voice.
        folder: where to write; made if missing. Files of these names are replaced.

    Returns:
        `folder` as a path.

    Raises:
        FileNotFoundError: the graph or its JSON file does not exist.
        ValueError: the graph is no Piper voice, or has something the model cannot express; the message says what.
        ImportError: the package `onnx` is missing.
    """
    path, folder = Path(onnx_path), Path(folder)
    if not path.is_file():
        raise FileNotFoundError(f"there is no voice {path}")
    settings = _read_json(path.with_name(path.name + ".json"))
    graph = _Graph(path)
    parameters, convolutions = _collect(graph)
    architecture = _architecture(graph, parameters, convolutions)
    state = _state_dict(parameters)
    _check_complete(state, architecture)
    vocabulary = _vocabulary(settings, architecture["vocab_size"])
    config = _configuration(settings, architecture, vocabulary["_"])
    tokenizer = _tokenizer_configuration(settings)

    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    for name, content in (
        ("config.json", config),
        ("vocab.json", vocabulary),
        ("tokenizer_config.json", tokenizer),
    ):
        write_json(folder / name, content, ensure_ascii=False, sort_keys=False)
    card = path.with_name("MODEL_CARD")
    if card.is_file():  # it carries the licence of the voice
        shutil.copyfile(card, folder / "MODEL_CARD")
    return folder
