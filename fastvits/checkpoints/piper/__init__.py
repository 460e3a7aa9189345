"""Piper voices: an ONNX graph and a JSON file become a folder that `VitsModel.from_pretrained` reads."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .voice import CONVERTER_VERSION, convert, read

__all__ = ["CONVERTER_VERSION", "convert", "read"]


def __getattr__(name: str) -> Any:
    # As in the package above: not before they are asked for.
    if name in __all__:
        from . import voice

        return getattr(voice, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
