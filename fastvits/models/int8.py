"""A model whose flow and decoder multiply numbers of 8 bits, on a CPU that has instructions for it.

Weights stay what they are, in bfloat16 where the processor has that and else in float32, and are rounded to 8 bits when
they are packed. Activations are rounded between bounds that were seen ahead, the configuration's `int8_ranges`. The
text encoder and the duration predictor are not touched, so that lengths are those of float32.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import nn

from fastvits_kernels.onednn import int8
from fastvits_kernels.onednn.convolution import native_dtypes
from fastvits_kernels.ops.mrf_stage import tensors_read

from ..configuration import VitsConfig
from .flow import VitsResidualCouplingLayer
from .hifigan import VitsHifiGan
from .wavenet import VitsWaveNet

Model = TypeVar("Model", bound=nn.Module)
Parts: TypeAlias = Mapping[str, Sequence[Sequence[float] | None]]
"""As `VitsConfig.int8_ranges`."""


def means_int8(dtype: Any) -> bool:
    """Whether a dtype, as a caller may give it, is that of 8 bits."""
    return dtype in (torch.int8, "int8", "torch.int8")


def surrounding_dtype() -> torch.dtype:
    """What everything else of such a model is computed in."""
    return torch.bfloat16 if torch.bfloat16 in native_dtypes() else torch.float32


def check_int8(config: VitsConfig, device: torch.device) -> None:
    """Raise ValueError where a model of `config` cannot multiply numbers of 8 bits on `device`."""
    instead = "choose float32, bfloat16 or float16"
    if device.type != "cpu":
        raise ValueError(f"dtype='int8' is for CPUs, not {device.type}: {instead}")
    reason = int8.unsupported()
    if reason is not None:
        raise ValueError(f"dtype='int8' cannot be had here: {reason}; {instead}")
    if config.int8_ranges is None:
        raise ValueError(
            "dtype='int8' needs to know between which bounds the voice's activations lie, and its configuration has no "
            "int8_ranges: find them out with `fastvits calibrate VOICE`"
        )
    _check_ranges(config, config.int8_ranges)


def _check_ranges(config: VitsConfig, ranges: Parts) -> None:
    steps = [len(dilations) for dilations in config.resblock_dilation_sizes]
    wanted = {
        "flow": (config.prior_encoder_num_flows, config.prior_encoder_num_wavenet_layers),
        "decoder": (len(config.upsample_rates), tensors_read(steps, pairs=config.resblock_type == 1)),
    }
    for part, (count, tensors) in wanted.items():
        given = ranges[part]
        if len(given) != count or any(one is not None and len(one) != 2 * tensors for one in given):
            raise ValueError(
                f"int8_ranges[{part!r}] must be {count} lists of {2 * tensors} bounds, or None: "
                "find them out again with `fastvits calibrate VOICE`"
            )


def use_int8(model: Model, ranges: Parts) -> Model:
    """Let `model` multiply numbers of 8 bits where `ranges` have bounds, and have its parameters learn no more."""
    set_ranges(model, ranges)
    return model.requires_grad_(False)


def set_ranges(model: nn.Module, ranges: Parts) -> None:
    """Set the bounds of each part of `model`; None for one that multiplies numbers as they are."""
    for wavenet, bounds in zip(_wavenets(model), ranges["flow"], strict=True):
        wavenet.int8_ranges = None if bounds is None else list(bounds)
    _decoder(model).int8_ranges = [None if bounds is None else list(bounds) for bounds in ranges["decoder"]]


def modules_read(model: nn.Module) -> dict[str, list[list[nn.Module]]]:
    """The convolutions whose inputs the bounds of each part are of, in their order."""
    decoder = _decoder(model)
    stages = []
    for stage, upsample in enumerate(decoder.upsampler):
        blocks = decoder.blocks(stage)
        pairs = decoder.resblock_type == 1
        found: list[nn.Module] = [upsample]
        for number, block in enumerate(blocks):
            for step, conv in enumerate(block.convs1 if pairs else block.convs):
                # All blocks begin with the same input.
                if step > 0 or number == 0:
                    found.append(conv)
                if pairs:
                    found.append(block.convs2[step])
        stages.append(found)
    return {"flow": [list(wavenet.in_layers) for wavenet in _wavenets(model)], "decoder": stages}


def _decoder(model: nn.Module) -> VitsHifiGan:
    return cast(VitsHifiGan, model.decoder)


def _wavenets(model: nn.Module) -> list[VitsWaveNet]:
    flows = cast(nn.ModuleList, cast(nn.Module, model.flow).flows)
    return [cast(VitsResidualCouplingLayer, flow).wavenet for flow in flows]
