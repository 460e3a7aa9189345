"""The names by which programs that were written for transformers ask for a model, a tokenizer or a configuration."""

from typing import Any, NoReturn

from ..configuration import VitsConfig
from ..models.vits import VitsModel
from ..text.tokenization import VitsTokenizer

__all__ = ["AutoConfig", "AutoModel", "AutoModelForTextToWaveform", "AutoProcessor", "AutoTokenizer"]


class _Auto:
    """The common part of the classes below, of which nobody makes an object."""

    def __init__(self) -> NoReturn:
        raise OSError(f"{type(self).__name__} is not made: call {type(self).__name__}.from_pretrained(...)")


class AutoConfig(_Auto):
    """`AutoConfig.from_pretrained(...)` is `VitsConfig.from_pretrained(...)`: there is one kind of model."""

    @staticmethod
    def from_pretrained(pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """See `VitsConfig.from_pretrained`."""
        kwargs.pop("code_revision", None)
        return VitsConfig.from_pretrained(pretrained_model_name_or_path, **kwargs)

    @staticmethod
    def for_model(model_type: str, **kwargs: Any) -> VitsConfig:
        """`VitsConfig(**kwargs)`. Raises ValueError for another `model_type` than "vits"."""
        if model_type != VitsConfig.model_type:
            raise ValueError(f"model_type must be {VitsConfig.model_type!r}, got {model_type!r}")
        return VitsConfig(**kwargs)


class AutoModel(_Auto):
    """`AutoModel.from_pretrained(...)` is `VitsModel.from_pretrained(...)`: there is one kind of model."""

    @staticmethod
    def from_pretrained(pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """See `VitsModel.from_pretrained`."""
        kwargs.pop("code_revision", None)
        return VitsModel.from_pretrained(pretrained_model_name_or_path, **kwargs)

    @staticmethod
    def from_config(config: VitsConfig, **kwargs: Any) -> VitsModel:
        """A new model with random weights, in training mode."""
        return VitsModel._from_config(config, **kwargs)


class AutoModelForTextToWaveform(AutoModel):
    """The same as `AutoModel`."""


class AutoTokenizer(_Auto):
    """`AutoTokenizer.from_pretrained(...)` is `VitsTokenizer.from_pretrained(...)`: there is one kind of tokenizer."""

    @staticmethod
    def from_pretrained(pretrained_model_name_or_path: Any, **kwargs: Any) -> VitsTokenizer:
        """See `VitsTokenizer.from_pretrained`; a model's `config` is taken and not looked at."""
        for name in ("code_revision", "config", "tokenizer_type"):
            kwargs.pop(name, None)
        return VitsTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)


class AutoProcessor(AutoTokenizer):
    """The tokenizer: what a text goes through before a VITS."""
