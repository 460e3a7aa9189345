"""The two halves of a call as stages that graphs may run: from text to durations, and from latents to the waveform."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

import fastvits_kernels as kernels

from ..runtime.padding import MIN_FRAMES, MIN_TOKENS, padded_size
from ..runtime.stages import StageInput, StageRunner
from .inputs import TextInput
from .text_encoder import TextEncoding


class TimedText(NamedTuple):
    """What is computed of a text alone."""

    encoding: TextEncoding
    durations: Tensor  # [B, T_text] int64 frames of each token
    frames: Tensor  # [B] int64 their sums


ComputeText: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None, Tensor, Tensor | None, bool], TimedText]
"""Ids `[B, T_text]`, their lengths `[B]`, speakers `[B, C]`, inverse rates `[B]`, noise `[B, T_text, 2]`, and whether
attention weights are wanted -> `TimedText`."""

ComputeLatents: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None], tuple[Tensor, ...]]
"""Latents `[B, T_frames, C]`, their lengths `[B]`, speakers `[B, C]` -> tensors `[B, n T_frames, ...]`."""


def text_by_graph(
    runner: StageRunner,
    compute: ComputeText,
    text: TextInput,
    speaker: Tensor | None,
    inverse_rates: Tensor,
    noise: Tensor | None,
    *,
    keep_states: bool = False,
    at_once: bool = False,
) -> TimedText | None:
    """`compute` by way of a graph; None where it has to run without. `keep_states` keeps the encoder's hidden states,
    `at_once` records a graph without waiting for a second call."""
    batch, steps = text.ids.shape
    lengths = text.ids.new_full((batch,), steps) if text.lengths is None else text.lengths
    inputs = {
        "ids": StageInput(text.ids),
        "lengths": StageInput(lengths, timed=False, zero=True),
        "rates": StageInput(inverse_rates, timed=False),
    }
    if noise is not None:
        inputs["noise"] = StageInput(noise)
    if speaker is not None:
        inputs["speaker"] = StageInput(speaker, timed=False)

    def stage(given: dict[str, Tensor]) -> TimedText:
        return compute(given["ids"], given["lengths"], given.get("speaker"), given["rates"], given.get("noise"), False)

    def take(outputs: TimedText, own: Callable[[Tensor], Tensor]) -> TimedText:
        encoding = outputs.encoding
        states = [own(state) for state in encoding.hidden_states] if keep_states else []
        hidden = states[-1] if keep_states else encoding.hidden[:0]
        encoding = TextEncoding(hidden, own(encoding.means), own(encoding.log_scales), states, [])
        return TimedText(encoding, own(outputs.durations), own(outputs.frames))

    return runner.by_graph("text", stage, inputs, padded_size(steps, MIN_TOKENS), take, at_once=at_once)


def compile_text_ahead(
    runner: StageRunner,
    compute: ComputeText,
    text: TextInput,
    speaker: Tensor | None,
    inverse_rates: Tensor,
    need_weights: bool,
    noisy: bool,
) -> None:
    """Have the kernels of the first half of a call compiled; with `noisy` durations come from noise."""
    batch, steps = text.ids.shape

    def run() -> None:
        noise = inverse_rates.new_empty(batch, 2, steps).transpose(1, 2) if noisy else None
        encoding, durations, _ = compute(text.ids, text.lengths, speaker, inverse_rates, noise, need_weights)
        drawn = torch.empty(encoding.means.shape, dtype=runner.dtype, device=runner.device)
        kernels.length_regulator(encoding.means, encoding.log_scales, durations, drawn, inverse_rates)

    runner.compile_ahead(f"text {need_weights}", run, text.ids, text.lengths, speaker)


def from_latents(
    runner: StageRunner,
    name: str,
    compute: ComputeLatents,
    latents: Tensor,
    lengths: Tensor | None,
    frames: Tensor,
    speaker: Tensor | None,
    *,
    room: int | None = None,
    at_once: bool = False,
) -> tuple[Tensor, ...]:
    """`compute(latents, lengths, speaker)`, by way of a graph where there is one.

    `name` is that of `compute` among graphs, `frames` `[B]` are the lengths where `lengths` is None, `room` is how many
    frames the graph has place for (None: `T_frames` padded). With `at_once` a graph is recorded without waiting for a
    second call.
    """
    steps = latents.shape[1]
    inputs = {
        "latents": StageInput(latents, zero=True),
        "lengths": StageInput(frames, timed=False, zero=True),
    }
    if speaker is not None:
        inputs["speaker"] = StageInput(speaker, timed=False)

    def stage(given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return compute(given["latents"], given["lengths"], given.get("speaker"))

    def take(outputs: tuple[Tensor, ...], own: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        return tuple(own(out) for out in outputs)

    padded = padded_size(steps, MIN_FRAMES) if room is None or room < steps else room
    made = runner.by_graph(name, stage, inputs, padded, take, at_once=at_once)
    if made is not None:
        return made
    runner.compile_ahead(name, lambda: compute(latents, lengths, speaker), latents, lengths, speaker)
    return compute(latents, lengths, speaker)
