"""fastvits: VITS text-to-speech for PyTorch.

The public names are those below; everything else may move between versions.
"""

from fastvits.backend import BackendError, explain, set_backend, use_backend
from fastvits.batch_encoding import BatchEncoding
from fastvits.configuration import VitsConfig
from fastvits.corpus import synthesize
from fastvits.model import VitsModel, VitsModelOutput
from fastvits.pipeline import pipeline
from fastvits.seeding import set_seed
from fastvits.timestamps import TimeSpan, timestamps
from fastvits.tokenization import VitsTokenizer

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BatchEncoding",
    "TimeSpan",
    "VitsConfig",
    "VitsModel",
    "VitsModelOutput",
    "VitsTokenizer",
    "__version__",
    "explain",
    "pipeline",
    "set_backend",
    "set_seed",
    "synthesize",
    "timestamps",
    "use_backend",
]
