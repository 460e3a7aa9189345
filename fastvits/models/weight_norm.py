"""Weight normalisation put on a part and taken off again, as programs that train ask for it (Salimans and Kingma 2016,
equation 2)."""

from collections.abc import Iterator
from typing import ClassVar

from torch import nn
from torch.nn.utils import parametrizations, parametrize


class WeightNormalizable(nn.Module):
    """A module whose convolutions can be normalised, those of the parts that `normalizable` names."""

    normalizable: ClassVar[tuple[str, ...]] = ()

    def _convolutions(self) -> Iterator[nn.Module]:
        for name in self.normalizable:
            part = self._modules.get(name)
            if part is not None:
                yield from (one for one in part.modules() if isinstance(one, (nn.Conv1d, nn.ConvTranspose1d)))

    def apply_weight_norm(self) -> None:
        """Have each convolution's weight be `g * v / |v|`, of two parameters; a normalised one stays as it is."""
        for convolution in self._convolutions():
            if not parametrize.is_parametrized(convolution, "weight"):
                parametrizations.weight_norm(convolution)

    def remove_weight_norm(self) -> None:
        """Have each convolution's weight be one parameter again."""
        for convolution in self._convolutions():
            if parametrize.is_parametrized(convolution, "weight"):
                parametrize.remove_parametrizations(convolution, "weight")
