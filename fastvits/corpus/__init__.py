"""Many texts into many files: manifests in, an output folder that outlives being killed, and the run between them."""

from .run import (
    MANIFEST_FORMATS,
    MANIFEST_NAME,
    BadItem,
    CorpusReport,
    Failure,
    item_seed,
    read_manifest,
    speaker_in_range,
    speaker_number,
    synthesize,
)

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
