"""fastvits: VITS text-to-speech for PyTorch.

The public names are those below; everything else may move between versions.
"""

from . import export
from .configuration import VitsConfig
from .corpus.run import synthesize
from .models.pretrained import VitsPreTrainedModel
from .models.seeding import set_seed
from .models.vits import VitsModel, VitsModelOutput
from .planning.explain import BackendError, explain, set_backend, use_backend
from .speech.auto import AutoConfig, AutoModel, AutoModelForTextToWaveform, AutoProcessor, AutoTokenizer
from .speech.pipeline import pipeline
from .speech.speaker import Speaker
from .speech.timestamps import TimeSpan, timestamps
from .strictness import strict
from .text.batch_encoding import BatchEncoding
from .text.tokenization import VitsTokenizer

__version__ = "0.1.0"

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForTextToWaveform",
    "AutoProcessor",
    "AutoTokenizer",
    "BackendError",
    "BatchEncoding",
    "Speaker",
    "TimeSpan",
    "VitsConfig",
    "VitsModel",
    "VitsModelOutput",
    "VitsPreTrainedModel",
    "VitsTokenizer",
    "__version__",
    "explain",
    "export",
    "pipeline",
    "set_backend",
    "set_seed",
    "strict",
    "synthesize",
    "timestamps",
    "use_backend",
]
