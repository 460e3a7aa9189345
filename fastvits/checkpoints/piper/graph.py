"""The graph of a Piper voice: its parameters under the names of the original VITS, and the nodes that use them.

A Piper voice is a VITS whose training-only parts were cut away when it was exported. Its parameters keep their names in
the graph, with three kinds of exception, all undone here:

- weight norm in the flow was folded, so these weights have a number for a name; their Conv node tells the layer;
- the text embedding of a single-speaker voice is found as the table that the input ids index;
- of the last affine flow of the duration predictor only `exp(-log_scale)` is left.

Casts and identities between nodes, as conversions to half precision leave them, are looked through; weights stored as
whole numbers with their scales (DequantizeLinear) are read as the numbers that they stand for.

Source of the format: https://github.com/OHF-Voice/piper1-gpl (export_onnx.py, vits/models.py).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, np.dtype[np.float32]]

_PARAMETER_NAME = re.compile(r"(enc_p|dp|flow|dec|emb_g)\.")

# What programs put in that compute with whole numbers. Such a graph no longer holds the weights as they were.
_QUANTIZED_OPS = frozenset(
    ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear", "QLinearConv", "QLinearMatMul")
)


class Graph:
    """An ONNX graph that can be asked for its parameters and for the constants around them."""

    def __init__(self, path: Path, ids: str = "input") -> None:
        """Reads `path`, in which the input called `ids` takes the token ids.

        Raises:
            ImportError: the package `onnx` is missing.
            ValueError: it is no ONNX model, or has no such input, or its weights cannot be got back.
        """
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
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.inputs = {value.name for value in model.graph.input}
        self.tensors: dict[str, np.ndarray[Any, Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.inputs -= self.tensors.keys()  # old exporters list initializers among the inputs
        if ids not in self.inputs:
            raise ValueError(
                f"{path} is not a Piper voice: such a graph has the inputs 'input', 'input_lengths' and 'scales', "
                f"this one has {sorted(self.inputs)}"
            )
        self.ids = ids
        self._same: dict[str, str] = {}  # what a cast or an identity makes -> of what
        self.nodes = [node for node in model.graph.node if not self._absorbed(node)]
        for node in self.nodes:
            node.input[:] = [self._same.get(name, name) for name in node.input]
        self.half = any(tensor.dtype == np.float16 for tensor in self.tensors.values())
        self.producer = {output: node for node in self.nodes for output in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def _absorbed(self, node: onnx.NodeProto) -> bool:
        """Whether a node only says again what is known: a constant, a cast, an identity, a stored weight's scale."""
        from onnx import numpy_helper

        if node.domain not in ("", "ai.onnx"):
            raise ValueError(
                f"{self.path} was rewritten by an optimiser (it has the op {node.op_type} of {node.domain}); "
                "convert the file that the optimiser was given"
            )
        if node.op_type in _QUANTIZED_OPS:
            raise ValueError(
                f"{self.path} was quantised (it has the op {node.op_type}), so its weights are not there any more; "
                "convert the file that it was made of"
            )
        inputs = [self._same.get(name, name) for name in node.input]
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    self.tensors[node.output[0]] = numpy_helper.to_array(attribute.t)
                elif attribute.name in ("value_float", "value_int"):
                    value = attribute.f if attribute.name == "value_float" else attribute.i
                    self.tensors[node.output[0]] = np.array(value, np.float32 if attribute.name[-1] == "t" else None)
            return True
        if node.op_type in ("Cast", "Identity"):
            self._same[node.output[0]] = inputs[0]
            return True
        if node.op_type == "DequantizeLinear" and all(name in self.tensors for name in inputs):
            self.tensors[node.output[0]] = _dequantized(node, [self.tensors.pop(name) for name in inputs])
            return True
        return False

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


def _dequantized(node: onnx.NodeProto, inputs: list[np.ndarray[Any, Any]]) -> Array:
    """`(x - zero_point) * scale`, a scale for all or one for each slice along an axis."""
    values, scale, *zero = (tensor.astype(np.float32) for tensor in inputs)
    along = [1] * values.ndim
    if scale.ndim:
        axis = attribute(node, "axis", 1)
        along[axis] = scale.size
        scale, zero = scale.reshape(along), [point.reshape(along) for point in zero]
    result: Array = (values - (zero[0] if zero else np.float32(0))) * scale
    return result


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute of `node` as a Python value: a list of ints, an int, a float or a string."""
    for entry in node.attribute:
        if entry.name == name:
            if entry.ints:
                return list(entry.ints)
            return {1: entry.f, 2: entry.i, 3: entry.s}[entry.type]
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


def _log_scale(graph: Graph, translate: str) -> tuple[str, Array]:
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


def collect(graph: Graph) -> tuple[dict[str, Array], dict[str, onnx.NodeProto]]:
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
            tables = {graph.ids: "enc_p.emb.weight", "sid": "emb_g.weight"}
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

    collected: dict[str, Array] = {}
    for name, stored in parameters.items():
        tensor = graph.tensors[stored]
        if tensor.dtype not in (np.float32, np.float16):
            raise ValueError(f"{name} has the type {tensor.dtype}; only float32 and float16 voices can be converted")
        collected[name] = tensor.astype(np.float32)
    if log_scale is not None:
        collected["dp.flows.0.logs"] = log_scale
    return collected, convolutions
