"""What a model prepares before its first call: small calls of every size that is asked for."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import fastvits_kernels as kernels

from ..configuration import VitsConfig
from ..runtime.graphs import GraphCache, GraphLimits
from ..runtime.warmup import WarmupReport, WarmupSizes, warm_up
from .flow import flow_receptive_radius
from .hifigan import decoder_window
from .inputs import text_input
from .request import SpeechRequest
from .stages import TimedText


class Speaking(Protocol):
    """What of a model a warm-up uses."""

    config: VitsConfig
    graph_cache: GraphCache

    @property
    def embed_speaker(self) -> nn.Embedding: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def text_dtype(self) -> torch.dtype: ...
    def entered(self) -> AbstractContextManager[None]: ...
    def graph_limits(self, *arguments: Tensor | None) -> GraphLimits | None: ...
    def request(self, *args: Any, **options: Any) -> SpeechRequest: ...
    def timed_text(self, *args: Any, **options: Any) -> TimedText: ...
    def waveform(self, *args: Any, **options: Any) -> tuple[Tensor, Tensor]: ...
    def stream(self, *args: Any, **options: Any) -> Iterator[Tensor]: ...


def warm(model: Speaking, sizes: WarmupSizes, progress: bool) -> WarmupReport:
    """See `VitsModel.warmup`."""
    with torch.inference_mode(False), torch.no_grad(), model.entered():
        if model.graph_limits() is None:
            sizes = sizes.smallest()
        jobs = (partial(_warm_text, model), partial(_warm_waveform, model), partial(_warm_stream, model))
        return warm_up(sizes, *jobs, model.graph_cache, progress=progress)


def _speakers(model: Speaking, batch: int) -> Tensor | None:
    """Embeddings of any speakers, where there are several."""
    if model.config.num_speakers <= 1:
        return None
    return model.embed_speaker(torch.zeros(batch, dtype=torch.int64, device=model.device))


def _warm_text(model: Speaking, batch: int, tokens: int) -> None:
    """Prepare the first half of a call for texts `[batch, tokens]`."""
    ids = torch.zeros(batch, tokens, dtype=torch.int64, device=model.device)
    # Tokenizers give masks, and alignment with one is another kernel.
    text_input(ids, torch.ones_like(ids), model.config.vocab_size, model.device)
    # A seed, for a warm-up leaves the global generators alone.
    request = model.request(ids, speaker_id=0 if model.config.num_speakers > 1 else None, seed=0)
    model.timed_text(request, _speakers(model, batch), request.generators(), model.graph_limits(), at_once=True)


def _warm_waveform(model: Speaking, batch: int, frames: int) -> None:
    """Prepare the second half of a call for latents `[batch, frames, flow_size]`."""
    lengths = torch.full((batch,), frames, device=model.device)
    noise = torch.zeros(batch, frames, model.config.flow_size, dtype=model.dtype, device=model.device)
    token = torch.zeros(batch, 1, model.config.flow_size, dtype=model.text_dtype, device=model.device)
    latents = kernels.length_regulator(token, token, lengths[:, None], noise, token.new_zeros(batch))
    speaker = _speakers(model, batch)
    speaker = None if speaker is None else speaker.to(model.dtype)
    model.waveform(latents, None, lengths, speaker, model.graph_limits(), at_once=True)


def _warm_stream(model: Speaking, batch: int, chunk_frames: int) -> None:
    """Prepare streams of `batch` items in pieces of `chunk_frames` frames."""
    ids = torch.ones(batch, 2, dtype=torch.int64, device=model.device)
    speaker = 0 if model.config.num_speakers > 1 else None
    rounds, radius = 1, 0
    if model.graph_limits() is not None:
        # Long enough for a piece in the middle, whose window is the largest; twice, for the second time records.
        rounds, radius = 2, flow_receptive_radius(model.config) - decoder_window(model.config, 0, 1)[0]
    frames = min(4 * (chunk_frames + radius), model.config.max_frames)
    durations = torch.full_like(ids, frames // 2)
    for _ in range(rounds):
        for _ in model.stream(ids, speaker_id=speaker, seed=0, durations=durations, chunk_frames=chunk_frames):
            pass
