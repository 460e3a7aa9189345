"""Attributes and methods of transformers' `PreTrainedConfig` that mean something for a VITS."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from .fields import Integer
from .words import ATTENTIONS

_Self = TypeVar("_Self", bound="PublishedAttributes")


class PublishedAttributes:
    """What can be said of a configuration without knowing its parameters; foreign keys lie in `_extra`."""

    sub_configs: ClassVar[Mapping[str, type]] = {}
    """The kinds of configurations inside this one, which transformers' Auto classes look for: none."""

    _extra: dict[str, Any]

    def validate(self) -> None:
        """Check every field and how they fit together."""
        raise NotImplementedError

    @property
    def _attn_implementation(self) -> str | None:
        return self.__dict__.get("_attention")

    @_attn_implementation.setter
    def _attn_implementation(self, value: str | None) -> None:
        if value not in ATTENTIONS:
            raise ValueError(
                f"attn_implementation is {value!r}; attention is always computed exactly, by fastvits' own kernels: "
                "leave it out, or write 'eager' or 'sdpa'"
            )
        self.__dict__["_attention"] = value

    @property
    def num_labels(self) -> int:
        """How many labels ``id2label`` has: a general field of transformers' configurations, of no use to a VITS."""
        labels = self._extra.get("id2label")
        return 2 if labels is None else len(labels)

    @num_labels.setter
    def num_labels(self, value: int) -> None:
        number = Integer(minimum=0)("num_labels", value)
        assert number is not None
        self._extra["id2label"] = {index: f"LABEL_{index}" for index in range(number)}
        self._extra["label2id"] = {f"LABEL_{index}": index for index in range(number)}

    @property
    def use_return_dict(self) -> bool | None:
        """The older name of :attr:`return_dict`."""
        value: bool | None = self.__dict__["return_dict"]
        return value

    def get_text_config(self: _Self, decoder: bool | None = None, encoder: bool | None = None) -> _Self:
        """The configuration itself: a VITS has no other one inside."""
        return self

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Set several attributes, and check the whole behind them; nothing is set where that fails.

        Raises TypeError, ValueError or AttributeError as setting them one by one and :meth:`validate` do.
        """
        changed = copy.deepcopy(self)
        for name, value in config_dict.items():
            setattr(changed, name, value)
        changed.validate()
        self.__dict__.update(changed.__dict__)

    def update_from_string(self, update_str: str) -> None:
        """As :meth:`update`, of a text such as ``"speaking_rate=1.2,use_bias=true"``, for attributes that are there.

        Raises ValueError for a name that is not there or a value that is no such number or truth value.
        """
        values: dict[str, Any] = {}
        for item in update_str.split(","):
            name, equals, text = item.partition("=")
            old = getattr(self, name, None)
            kind = type(old)
            if not equals or kind not in (bool, int, float, str):
                raise ValueError(f"update_str has {item!r}; give name=value of a number, a text or a truth value")
            if kind is bool and text.lower() not in ("true", "1", "y", "yes", "false", "0", "n", "no"):
                raise ValueError(f"{name} must be true or false, got {text!r}")
            values[name] = text.lower() in ("true", "1", "y", "yes") if kind is bool else kind(text)
        self.update(values)
