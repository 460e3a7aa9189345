"""Many texts into many files: manifests in, an output folder that outlives being killed, and the run between them."""

from ..voices.speakers import speaker_in_range, speaker_number
from .folder import MANIFEST_NAME
from .items import item_seed
from .manifest import MANIFEST_FORMATS, Failure, read_manifest
from .run import BadItem, CorpusReport, synthesize

__all__ = [
    "MANIFEST_FORMATS",
    "MANIFEST_NAME",
    "BadItem",
    "CorpusReport",
    "Failure",
    "item_seed",
    "read_manifest",
    "speaker_in_range",
    "speaker_number",
    "synthesize",
]
