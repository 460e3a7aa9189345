"""fastvits inside transformers: models of that library that compute with our kernels, and its Auto classes that load
ours.

    from fastvits.integrations.transformers import apply

    model = apply(transformers.VitsModel.from_pretrained("facebook/mms-tts-eng"))

Needs transformers, which nothing else here does.
"""

try:
    import transformers as _transformers  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ModuleNotFoundError(
        "fastvits.integrations.transformers needs transformers: pip install 'fastvits[transformers]'", name=error.name
    ) from error

from .patching import apply, undo
from .registration import register

__all__ = ["apply", "register", "undo"]
