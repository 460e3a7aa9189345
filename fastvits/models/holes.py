"""Texts with masked tokens in between, as transformers speaks them: across the holes, which take no time.

Ops know items by their lengths, so that such a text goes layer by layer. It is an error unless `fastvits.strict(False)`
says otherwise.
"""

from typing import Any

import torch
from torch import Tensor

import fastvits_kernels as kernels

from ..strictness import is_strict, tolerated
from .layers import conditioning_of
from .noise import duration_noise
from .request import SpeechRequest
from .stages import TimedText
from .text_encoder import TextEncoding


def holes_of(attention_mask: Tensor | None, input_ids: Tensor | None) -> Tensor | None:
    """A mask `[B, T_text]` of 0 and 1 with more than one run of 1 in some item, where that is tolerated; None for all
    others, which are checked elsewhere."""
    if is_strict() or torch.compiler.is_compiling():
        return None  # no look at the mask, for which a GPU would have to be waited for
    if not isinstance(attention_mask, Tensor) or not isinstance(input_ids, Tensor):
        return None
    if attention_mask.dim() != 2 or attention_mask.shape != input_ids.shape or attention_mask.dtype.is_complex:
        return None
    valid = attention_mask == 1
    runs = (valid[:, 1:] & ~valid[:, :-1]).sum(1) + valid[:, 0]
    if not bool((runs > 1).any() & (runs > 0).all() & (valid | (attention_mask == 0)).all()):
        return None
    return attention_mask if tolerated("an attention_mask with holes is spoken across them") else None


def text_with_holes(
    model: Any, request: SpeechRequest, speaker: Tensor | None, generators: list[torch.Generator] | None, mask: Tensor
) -> TimedText:
    """What `VitsModel.timed_text` gives, for a mask of `holes_of`; `request` has none."""
    ids, dtype = request.text.ids, model.text_dtype
    padding = mask.to(dtype)
    made = model.text_encoder(
        ids, padding.unsqueeze(2), mask, output_attentions=request.output_attentions, output_hidden_states=True
    )
    condition = conditioning_of(None if speaker is None else speaker.to(dtype))
    inputs = made.last_hidden_state.transpose(1, 2), padding.unsqueeze(1), condition
    if model.config.use_stochastic_duration_prediction:
        noise = duration_noise(request.text, request.scales[1], generators, dtype)
        log_duration = model.duration_predictor(*inputs, reverse=True, noise=noise.transpose(1, 2))
    else:
        log_duration = model.duration_predictor(*inputs)
    durations = request.durations
    if durations is None:
        durations = kernels.durations(log_duration.squeeze(1), request.scales[0])[0] * (mask == 1)
    attentions = list(made.attentions or [])
    encoding = TextEncoding(
        made.last_hidden_state, made.prior_means, made.prior_log_variances, list(made.hidden_states), attentions
    )
    return TimedText(encoding, durations, durations.sum(1))
