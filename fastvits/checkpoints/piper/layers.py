"""Small questions to a Piper voice's graph: what its layers have in common, whether a convolution is as expected."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .graph import Graph, attribute

if TYPE_CHECKING:
    import onnx


def count(names: Iterable[str], pattern: str, what: str) -> int:
    """How many different numbers the group of `pattern` takes among `names`: they must be 0, 1, 2 ..."""
    compiled = re.compile(pattern)
    found = sorted({int(match[1]) for match in map(compiled.match, names) if match})
    if not found or found != list(range(len(found))):
        raise ValueError(f"the voice has {what} numbered {found}; expected 0, 1, 2, ...")
    return len(found)


def one(values: Iterable[Any], what: str) -> Any:
    """The one value that all `values` have."""
    different = list(dict.fromkeys(values))
    if len(different) != 1:
        raise ValueError(f"{what} must be the same everywhere, the voice has {different}")
    return different[0]


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
