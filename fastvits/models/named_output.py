"""Results with names: the base of the model's, and those of the text encoder."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.utils import _pytree as pytree


class Output(OrderedDict[str, Any]):
    """The fields of a dataclass that are not None, as an ordered dictionary, as transformers' outputs are.

    Reads by attribute, by name (`output["waveform"]`) and by position (`output[0]`, `output[:2]`); iterating gives the
    names. Fields are set by attribute or by name; a field set to None is absent. In place of its first field it takes a
    mapping or pairs of names and values, which is how torch's `DataParallel` puts the outputs of several devices
    together.
    """

    names: ClassVar[tuple[str, ...]] = ()
    """The fields in order."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.names = tuple(cls.__annotations__)
        pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output)),
            lambda values, names: cls(dict(zip(names, values, strict=True))),
            serialized_type_name=f"{cls.__module__}.{cls.__name__}",
        )

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in self.names}
        first = given[self.names[0]]
        if isinstance(first, Iterable) and not isinstance(first, (Tensor, tuple)):
            given = dict.fromkeys(self.names) | dict(first)
        for name, value in given.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self.names:
            raise KeyError(name)
        object.__setattr__(self, name, value)
        if value is None:
            self.pop(name, None)
            return
        OrderedDict.__setitem__(self, name, value)
        for later in self.names[self.names.index(name) + 1 :]:
            if later in self:
                self.move_to_end(later)  # keeps the order of the fields

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.names and name in self.__dict__:
            self[name] = value
        else:
            object.__setattr__(self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return OrderedDict.__getitem__(self, key) if isinstance(key, str) else self.to_tuple()[key]

    def __reduce__(self) -> Any:
        extra = {name: value for name, value in self.__dict__.items() if name not in self.names}
        return type(self), (dict(self),), extra

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in order."""
        return tuple(self.values())


@dataclass(repr=False, eq=False)
class VitsEncoderOutput(Output):
    """The result of the text encoder's stack of layers."""

    last_hidden_state: Tensor | None = None
    """`[B, T_text, hidden_size]`."""
    hidden_states: tuple[Tensor, ...] | None = None
    """`num_hidden_layers + 1` of the same shape."""
    attentions: tuple[Tensor | None, ...] | None = None
    """`num_hidden_layers` of `[B, H, T_text, T_text]`."""


@dataclass(repr=False, eq=False)
class VitsTextEncoderOutput(Output):
    """The result of the text encoder."""

    last_hidden_state: Tensor | None = None
    """`[B, T_text, hidden_size]`."""
    prior_means: Tensor | None = None
    """`[B, T_text, flow_size]`."""
    prior_log_variances: Tensor | None = None
    """`[B, T_text, flow_size]`: logarithms of standard deviations, whatever the published name says."""
    hidden_states: tuple[Tensor, ...] | None = None
    """`num_hidden_layers + 1` of `[B, T_text, hidden_size]`."""
    attentions: tuple[Tensor, ...] | None = None
    """`num_hidden_layers` of `[B, H, T_text, T_text]`."""
