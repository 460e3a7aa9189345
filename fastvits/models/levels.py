"""The levels between the prior's latents and the waveform, of each of which a part can be computed alone."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from torch import Tensor

from ..configuration import VitsConfig
from .flow import VitsResidualCouplingBlock, coupling_radius, flow_receptive_radius
from .hifigan import VitsHifiGan, decoder_window, stages_window
from .observed import observed

Layer: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""`[B, T, C]`, lengths `[B]`, speakers `[B, C]` -> `[B, n T, ...]`."""


class Level(NamedTuple):
    """A part of the way from the prior's latents to the waveform."""

    name: str
    compute: Layer
    rate: int
    """Steps that it reads for each frame."""
    hears: Callable[[int, int], tuple[int, int]]
    """The steps `[begin, end)` that it hears for what it makes of the steps `[start, stop)`, perhaps beyond both
    ends."""
    ends_flow: bool = False
    """Whether it makes what the decoder hears."""


def levels(
    config: VitsConfig, flow: VitsResidualCouplingBlock, decoder: VitsHifiGan, *, many: bool
) -> tuple[Level, ...]:
    """The levels of a model: two, the flow and the decoder, or `many`, where nobody watches what these are made of.

    What two pieces both hear of a level is computed twice: up to ten frames on either side where the level is one
    coupling, or one part of the decoder, and 32 for the published flow as a whole.
    """
    return (*_of_flow(config, flow, many), *_of_decoder(config, decoder, many))


def _of_flow(config: VitsConfig, flow: VitsResidualCouplingBlock, many: bool) -> list[Level]:
    if not many or observed(flow):
        compute = partial(VitsResidualCouplingBlock.transform, flow, reverse=True)
        return [Level("flow", compute, 1, partial(_widened, flow_receptive_radius(config)), True)]
    number, hears = len(flow.flows), partial(_widened, coupling_radius(config))
    return [
        Level(f"coupling {done}", partial(flow.back_through, done), 1, hears, done == number - 1)
        for done in range(number)
    ]


def _of_decoder(config: VitsConfig, decoder: VitsHifiGan, many: bool) -> list[Level]:
    number = len(config.upsample_rates)
    if not many or number == 1 or observed(decoder):
        return [Level("decoder", partial(VitsHifiGan.decode, decoder), 1, partial(decoder_window, config))]

    hears_rest = partial(stages_window, config, first=1, last=number)
    return [
        Level("first stage", decoder.first_stage, 1, partial(decoder_window, config, last=1)),
        Level("later stages", decoder.later_stages, config.upsample_rates[0], hears_rest),
    ]


def _widened(radius: int, start: int, stop: int) -> tuple[int, int]:
    return start - radius, stop + radius
