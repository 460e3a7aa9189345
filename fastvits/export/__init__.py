"""Voices out: as files that other programs speak with.

`fastvits.export(...)` is `export_voice(...)`: the room can be called by its name.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .voice import FORMATS, export_voice

__all__ = ["FORMATS", "export_voice"]


class _Callable(ModuleType):
    """This module, which may be called."""

    def __call__(self, *arguments: Any, **keywords: Any) -> list[Path]:
        return export_voice(*arguments, **keywords)


_Callable.__call__.__doc__ = export_voice.__doc__
sys.modules[__name__].__class__ = _Callable
