"""The discriminators of a checkpoint of training: one of scales, five of periods, under the original's names.

They are `discriminators.0` (scales) and `discriminators.1` to `.5` (periods 2, 3, 5, 7, 11), each with `convs.N` and
`conv_post`; weight norm is written in the newer spelling. The shapes are hard-coded in every program that trains VITS.

Source: https://github.com/jaywalnut310/vits (models.py, MultiPeriodDiscriminator).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from ..weights.files import Table
from .state import fit, stored

PERIODS = (2, 3, 5, 7, 11)

# Output channels, input channels of a group, kernel size of each convolution.
_SCALE = [(16, 1, 15), (64, 4, 41), (256, 4, 41), (1024, 4, 41), (1024, 4, 41), (1024, 1024, 5)]
_SCALE_POST = (1, 1024, 3)
_PERIOD = [(32, 1, 5), (128, 32, 5), (512, 128, 5), (1024, 512, 5), (1024, 1024, 5)]
_PERIOD_POST = (1, 1024, 3)


def _weights() -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name of every convolution and the shape of its weight."""
    for number in range(1 + len(PERIODS)):
        layers, post = (_SCALE, _SCALE_POST) if number == 0 else (_PERIOD, _PERIOD_POST)
        flat: tuple[int, ...] = () if number == 0 else (1,)
        for index, shape in enumerate(layers):
            yield f"discriminators.{number}.convs.{index}", shape + flat
        yield f"discriminators.{number}.conv_post", post + flat


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a file of discriminators holds."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module, weight in _weights():
        shapes[f"{module}.bias"] = weight[:1]
        shapes[f"{module}.parametrizations.weight.original0"] = weight[:1] + (1,) * (len(weight) - 1)
        shapes[f"{module}.parametrizations.weight.original1"] = weight
    return shapes


def discriminator_state(parameters: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """The tensors of a file of discriminators.

    Args:
        parameters: by the original's names, `discriminators.0.convs.0.weight_g` or any other spelling of weight norm.
        source: what messages call the checkpoint.

    Raises:
        ValueError: tensors are missing, have another shape, or there is one too many.
    """
    if any(name.endswith((".weight_orig", ".weight_u")) for name in parameters):
        raise ValueError(f"the discriminator in {source} has spectral norm; only weight norm is supported")
    table: Table = {name: stored(tensor) for name, tensor in parameters.items()}
    return fit(table, expected_shapes(), whole_name=f"the discriminator in {source}")
