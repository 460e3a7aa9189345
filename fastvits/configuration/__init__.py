"""What a model is made of and how it speaks by default: every parameter of the published `config.json`, checked."""

from .fields import ACTIVATIONS
from .files import CONFIG_NAME
from .marking import MARKED_TYPE, with_mark
from .vits import VitsConfig
from .words import OTHER_WORDS

__all__ = ["ACTIVATIONS", "CONFIG_NAME", "MARKED_TYPE", "OTHER_WORDS", "VitsConfig", "with_mark"]
