"""The two configurations that everything is measured at, and utterances of a given length for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parametrize

from fastvits import VitsConfig, VitsModel

STANDARD: dict[str, Any] = {}
"""VITS as published, 16 kHz: residual blocks of the first type, 256 samples a frame."""

BUNDLED: dict[str, Any] = {
    "vocab_size": 256,
    "pad_token_id": 0,
    "upsample_initial_channel": 256,
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "resblock_type": 2,
    "resblock_kernel_sizes": [3, 5, 7],
    "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
    "sampling_rate": 22050,
}
"""The bundled English voice (Piper en_US-joe-medium), 22.05 kHz: residual blocks of the second type, 256 samples a
frame.
"""

CONFIGURATIONS = {"standard": STANDARD, "bundled": BUNDLED}

TOKENS_A_SECOND = 29
"""Some 14 letters a second, with a blank before, between and behind them."""


@dataclass(frozen=True)
class Utterance:
    """The sizes of one call of a model."""

    tokens: int
    frames: int
    batch: int
    masked: bool
    """Whether there is an attention mask."""
    ragged: bool
    """Whether the items last differently long."""


def meta_model(settings: dict[str, Any], dtype: torch.dtype = torch.float32) -> VitsModel:
    """A model without memory, in eval mode, with the weight of every convolution folded.

    Ops see the same weights as of a model with its norms. Without memory nothing can be kept between calls, and folding
    them again would take longer than all else that a plan does.
    """
    with torch.device("meta"):
        model = VitsModel(VitsConfig(**settings), inference_only=True).eval().to(dtype)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
            module.weight.requires_grad_(False)
    return model


def utterances(settings: dict[str, Any], seconds: Iterable[int], batches: Iterable[int]) -> list[Utterance]:
    """Calls that last about `seconds`, at each size of batch, with an attention mask and without.

    Triton compiles anew for a stride that 16 divides, and some strides are lengths: even seconds have odd lengths, odd
    seconds such that 16 divides. A single text is never ragged.
    """
    config = VitsConfig(**settings)
    found = []
    for second in seconds:
        frames = round(second * config.sampling_rate / torch.tensor(config.upsample_rates).prod().item())
        tokens = TOKENS_A_SECOND * second + 1
        if second % 2:
            frames, tokens = -(-frames // 16) * 16, -(-tokens // 16) * 16
        else:
            frames, tokens = frames | 1, tokens | 1
        for batch in batches:
            found.append(Utterance(tokens, frames, batch, masked=True, ragged=batch > 1))
            found.append(Utterance(tokens, frames, batch, masked=False, ragged=False))
    return found
