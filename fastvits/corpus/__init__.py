"""Many texts into many files: manifests in, an output folder that outlives being killed, and the run between them."""

from ..voices.speakers import speaker_in_range, speaker_number
from .folder import MANIFEST_NAME
from .items import item_seed
from .manifest import MANIFEST_FORMATS, Failure, read_manifest
from .merging import IncompleteCorpus, MergeReport, merge
from .report import BadItem, CorpusReport
from .run import synthesize
from .shards import Shard

__all__ = [
    "MANIFEST_FORMATS",
    "MANIFEST_NAME",
    "BadItem",
    "CorpusReport",
    "Failure",
    "IncompleteCorpus",
    "MergeReport",
    "Shard",
    "item_seed",
    "merge",
    "read_manifest",
    "speaker_in_range",
    "speaker_number",
    "synthesize",
]
