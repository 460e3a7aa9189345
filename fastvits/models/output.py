"""What a call of the model, and its first half, return."""

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, overload

from torch import Tensor

from ..runtime.graphs import GraphLimits
from .inputs import TextInput
from .text_encoder import TextEncoding


class Prior(NamedTuple):
    """The first half of a call: what the flow and the decoder turn into a waveform."""

    latents: Tensor  # [B, T_frames, flow_size] in the model's dtype, zero beyond an item's frames
    lengths: Tensor | None  # [B] frames of each item; None where all are T_frames
    frames: Tensor  # [B] the same, always there
    durations: Tensor  # [B, T_text] frames of each token, in the positions of `text`
    speaker: Tensor | None  # [B, speaker_embedding_size] in the model's dtype
    encoding: TextEncoding
    text: TextInput
    limits: GraphLimits | None  # under which graphs may do what follows at once; None: it runs without


@dataclass
class VitsModelOutput:
    """The result of `VitsModel.__call__`; fields that were not asked for are None.

    Reads by attribute, by name (`output["waveform"]`) and by position (`output[0]`, `output[:2]`) among the fields
    that are not None, as transformers' output does; iterating gives the names.
    """

    waveform: Tensor | None = None
    """`[B, T_samples]` in [-1, 1]; 0 beyond an item's length."""
    sequence_lengths: Tensor | None = None
    """`[B]` int64, samples of each item."""
    spectrogram: Tensor | None = None
    """`[B, flow_size, T_frames]`: the latents that the decoder hears; 0 beyond an item's length."""
    hidden_states: tuple[Tensor, ...] | None = None
    """`num_hidden_layers + 1` of `[B, T_text, hidden_size]`: the embeddings and each layer's output."""
    attentions: tuple[Tensor, ...] | None = None
    """`num_hidden_layers` of `[B, H, T_text, T_text]`."""
    durations: Tensor | None = None
    """`[B, T_text]` int64, frames of each token; 0 under the attention mask."""

    def __post_init__(self) -> None:
        # Samples a second, which `fastvits.timestamps` asks for; not a field, so that all views stay as published.
        self.sampling_rate: int | None = None

    def _present(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @overload
    def __getitem__(self, key: int | str) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, str):
            return self._present()[key]
        return self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in {field.name for field in fields(self)}:
            raise KeyError(key)
        setattr(self, key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def __contains__(self, key: object) -> bool:
        return key in self._present()

    def get(self, key: str, default: Any = None) -> Any:
        """The field of that name, or `default` if it is None or unknown."""
        return self._present().get(key, default)

    def keys(self) -> KeysView[str]:
        """The names of the fields that are not None."""
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        """The fields that are not None."""
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        """Names and values of the fields that are not None."""
        return self._present().items()

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in order."""
        return tuple(self._present().values())
