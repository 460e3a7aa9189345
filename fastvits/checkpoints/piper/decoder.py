"""The architecture of a Piper voice's decoder, read from its graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..shapes import count, one
from .graph import Array, Graph, attribute
from .layers import check_same_padding, slope

if TYPE_CHECKING:
    import onnx


def decoder_fields(
    graph: Graph, tensors: Mapping[str, Array], convolutions: Mapping[str, onnx.NodeProto]
) -> dict[str, Any]:
    """The fields of config.json about the HiFi-GAN decoder."""
    names = list(tensors)
    slopes: list[float] = []
    rates: list[int] = []
    kernel_sizes: list[int] = []
    stages = count(names, r"dec\.ups\.(\d+)\.", "upsampling stages")
    for stage in range(stages):
        module = f"dec.ups.{stage}"
        node = convolutions[module]
        (kernel_size,), (rate,) = attribute(node, "kernel_shape"), attribute(node, "strides", [1])
        pads, extra = attribute(node, "pads", [0, 0]), attribute(node, "output_padding", [0])
        padding = (kernel_size - rate) // 2
        if (
            node.op_type != "ConvTranspose"
            or pads != [padding, padding]
            or extra != [0]
            or attribute(node, "dilations", [1]) != [1]
            or attribute(node, "group", 1) != 1
        ):
            raise ValueError(f"{module} is padded by {pads} and {extra}; expected {[padding, padding]} and [0]")
        rates.append(rate)
        kernel_sizes.append(kernel_size)
        slopes.append(slope(graph, node, module))
    for module in ("dec.conv_pre", "dec.conv_post"):
        if module not in convolutions:
            raise ValueError(f"the graph has no convolution {module}")
        check_same_padding(module, convolutions[module])
        if tensors[f"{module}.weight"].shape[2] != 7:
            raise ValueError(f"{module} has the kernel size {tensors[f'{module}.weight'].shape[2]}; expected 7")
    if "dec.conv_post.bias" in tensors:
        raise ValueError("dec.conv_post has a bias; expected none")
    if slope(graph, convolutions["dec.conv_post"], "dec.conv_post") != 0.01:
        raise ValueError("the leaky ReLU before dec.conv_post does not have the slope 0.01")

    blocks = count(names, r"dec\.resblocks\.(\d+)\.", "residual blocks")
    if blocks % stages:
        raise ValueError(f"{blocks} residual blocks cannot be shared evenly among {stages} upsampling stages")
    kinds = {match[1] for match in (re.match(r"dec\.resblocks\.\d+\.(convs[12]?)\.", name) for name in names) if match}
    if kinds not in ({"convs"}, {"convs1", "convs2"}):
        raise ValueError(f"residual blocks have the lists {sorted(kinds)}; expected convs, or convs1 and convs2")
    first = "convs" if kinds == {"convs"} else "convs1"
    shapes: list[tuple[int, list[int]]] = []
    for block in range(blocks):
        steps = count(names, rf"dec\.resblocks\.{block}\.{first}\.(\d+)\.", "steps of a residual block")
        dilations = []
        for step in range(steps):
            module = f"dec.resblocks.{block}.{first}.{step}"
            check_same_padding(module, convolutions[module])
            dilations.append(int(attribute(convolutions[module], "dilations", [1])[0]))
            slopes.append(slope(graph, convolutions[module], module))
            if first == "convs1":
                second = f"dec.resblocks.{block}.convs2.{step}"
                if second not in convolutions or attribute(convolutions[second], "dilations", [1]) != [1]:
                    raise ValueError(f"{second} is missing or dilated; expected the dilation 1")
                check_same_padding(second, convolutions[second])
                slopes.append(slope(graph, convolutions[second], second))
        kernel_size = one(
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
        "leaky_relu_slope": one(slopes, "the slope of the leaky ReLU"),
    }
    if first == "convs":
        fields["resblock_type"] = 2
    return fields
