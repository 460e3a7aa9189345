"""Questions to a Piper voice's graph: whether a convolution is as expected, and the slope before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .graph import Graph, attribute

if TYPE_CHECKING:
    import onnx


def check_same_padding(module: str, node: onnx.NodeProto, *, explicit: bool = False) -> None:
    """A convolution must keep the length: stride 1 and as much padding as its kernel reaches, shared evenly.

    With `explicit` a Pad node before it pads, `(k - 1) // 2` on the left and `k // 2` on the right.
    """
    (kernel,) = attribute(node, "kernel_shape")
    (dilation,) = attribute(node, "dilations", [1])
    reach = (kernel - 1) * dilation
    pads = attribute(node, "pads", [0, 0])
    expected = [0, 0] if explicit else [reach // 2, reach // 2]
    if (not explicit and reach % 2) or pads != expected or attribute(node, "strides", [1]) != [1]:
        raise ValueError(
            f"{module} has kernel size {kernel}, dilation {dilation}, padding {pads} and stride "
            f"{attribute(node, 'strides', [1])}; expected the padding {expected} and stride 1"
        )


def slope(graph: Graph, node: onnx.NodeProto, module: str) -> float:
    """The slope of the leaky ReLU in front of a convolution."""
    before = graph.producer.get(node.input[0])
    if before is None or before.op_type != "LeakyRelu":
        raise ValueError(f"{module} is not preceded by a leaky ReLU")
    return round(float(attribute(before, "alpha", 0.01)), 6)
