"""Voices of other programs in: what their files hold, under the names of ours."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .families import convert, read
    from .folder import DISCRIMINATOR_FILE, ConvertedVoice

__all__ = ["DISCRIMINATOR_FILE", "ConvertedVoice", "convert", "read"]


def __getattr__(name: str) -> Any:
    # Not before they are asked for: who only looks for a voice needs no torch.
    if name in __all__:
        from . import families, folder

        return getattr(families if name in ("convert", "read") else folder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
