"""The levels between latents and waveform: in turn they do the whole, and each hears what it says."""

import pytest
import torch
from torch import Tensor, nn

from fastvits import VitsModel
from fastvits.models.levels import Level, levels
from fastvits.models.streaming import Latents, PieceSizes, PieceStream, decoded, next_pieces, next_windows
from tests.support.models import CONFIGURATIONS, SMALL, own_model, random_ids, relative_rms
from tests.support.tolerances import MODEL_FLOAT64

NAMES = ["small", "multi-speaker", "upsampling-5-3-2", "uneven-resblocks", "one-resblock", "second-type", "one-stage"]
OTHERS = {
    "second-type": SMALL | {"resblock_type": 2},
    "one-stage": SMALL | {"upsample_rates": [4], "upsample_kernel_sizes": [8]},
}


def model_of(name: str) -> VitsModel:
    return own_model(CONFIGURATIONS[name] if name in CONFIGURATIONS else OTHERS[name]).double()


def speaker_of(model: VitsModel) -> Tensor | None:
    size = model.config.speaker_embedding_size
    return torch.randn(1, size, dtype=torch.float64) if size else None


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_levels_in_turn_are_the_whole(name: str) -> None:
    model = model_of(name)
    speaker, lengths = speaker_of(model), torch.tensor([37])
    prior = torch.randn(1, 40, model.config.flow_size, dtype=torch.float64)
    whole = model.decoder.decode(model.flow.transform(prior, lengths, speaker, reverse=True), lengths, speaker)
    several = levels(model.config, model.flow, model.decoder, many=True)
    assert len(several) == len(model.flow.flows) + (1 if name == "one-stage" else 2)
    for each in (several, levels(model.config, model.flow, model.decoder, many=False)):
        x = prior
        for level in each:
            assert x.shape[1] == 40 * level.rate
            x = level.compute(x, lengths * level.rate, speaker)
        assert relative_rms(x, whole) <= MODEL_FLOAT64


@pytest.mark.parametrize("name", NAMES)
def test_each_level_hears_what_it_says(name: str) -> None:
    """Gradients show it: nothing outside of that, and something at both ends."""
    model, frames, start, stop = model_of(name), 60, 29, 31
    speaker = speaker_of(model)
    x = torch.randn(1, frames, model.config.flow_size, dtype=torch.float64)
    for level in levels(model.config, model.flow, model.decoder, many=True):
        x = x.detach().requires_grad_()
        made = level.compute(x, None, speaker)
        hop = made.shape[1] // frames
        (gradient,) = torch.autograd.grad(made[:, start * hop : stop * hop].sum(), x)
        heard = gradient[0].abs().sum(1).nonzero().flatten()
        said = level.hears(start * level.rate, stop * level.rate)
        if level.ends_flow and len(model.flow.flows) % 2:
            made = made.flip(-1)
        assert (int(heard[0]), int(heard[-1]) + 1) == said, level.name
        x = made


@torch.no_grad()
def test_a_piece_computes_a_few_frames_twice() -> None:
    """As many of each level as its own halo, not that of all levels together."""
    model = model_of("small")
    prior = model.prior(model.request(random_ids(1, 12), seed=1, durations=torch.full((1, 12), 12)))
    stages = model.pieces(prior, 30, 30).stages
    read: dict[str, list[int]] = {level.name: [] for level in stages.levels}

    def noted(level: Level) -> Level:
        def compute(x: Tensor, lengths: Tensor | None, speaker: Tensor | None) -> Tensor:
            read[level.name].append(x.shape[1])
            return level.compute(x, lengths, speaker)

        return level._replace(compute=compute)

    watched = stages._replace(levels=[noted(level) for level in stages.levels])
    latents = Latents(prior.latents, prior.counts, prior.speaker)
    pieces, frames = list(PieceStream(latents, watched, PieceSizes(30, 30))), prior.latents.shape[1]
    assert len(pieces) > 4
    for level in stages.levels:
        begin, end = level.hears(0, level.rate)
        halo, cuts = end - begin - level.rate, len(read[level.name]) - 1
        assert cuts > 0
        assert sum(read[level.name]) <= frames * level.rate + cuts * (halo + 2 * level.rate), level.name


@torch.no_grad()
def test_streams_of_a_model_that_is_watched_in_between_share_calls_with_earlier_ones() -> None:
    model = model_of("small")
    ids, durations = random_ids(1, 8), torch.full((1, 8), 9)
    request = model.request(ids, seed=2, durations=durations)
    whole = model(ids, seed=2, durations=durations).waveform
    calls: list[nn.Module] = []

    def begun() -> PieceStream:
        (stream,) = model.pieces_of_each(model.prior(request), PieceSizes(20, 6))
        return stream

    streams = [begun()]
    heard: list[list[Tensor]] = [[], []]
    hook = model.decoder.register_forward_hook(lambda module, *_: calls.append(module))
    streams.append(begun())
    for item, piece in enumerate(decoded(next_windows(streams))):
        heard[item].append(piece)
    assert calls == [model.decoder]
    while streams[0].frames:
        for item, piece in enumerate(next_pieces(streams)):
            heard[item].append(piece)
    assert len(calls) == len(heard[0]) > 2
    hook.remove()
    for pieces in heard:
        assert relative_rms(torch.cat(pieces, 1), whole) <= MODEL_FLOAT64
