"""Our classes among transformers' Auto classes."""

import transformers

from ...configuration import VitsConfig
from ...configuration.marking import MARKED_TYPE
from ...models.vits import VitsModel
from ...text.tokenization import VitsTokenizer

__all__ = ["register"]


def register() -> None:
    """Have transformers' `AutoConfig`, `AutoModel`, `AutoModelForTextToWaveform` and `AutoTokenizer`, and with them its
    `pipeline` of a folder's name, load every VITS voice as ours; folders that transformers refuses (converted Piper
    voices) too.

    Models that are loaded already, and classes that are asked for by their own name (`transformers.VitsModel`), stay
    what they are. Registering twice is as good as once.
    """
    for model_type in (VitsConfig.model_type, MARKED_TYPE):
        transformers.AutoConfig.register(model_type, VitsConfig, exist_ok=True)
    for config in (VitsConfig, transformers.VitsConfig):
        transformers.AutoModel.register(config, VitsModel, exist_ok=True)
        transformers.AutoModelForTextToWaveform.register(config, VitsModel, exist_ok=True)
        transformers.AutoTokenizer.register(config, VitsTokenizer, exist_ok=True)
