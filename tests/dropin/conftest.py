"""The checkpoints that snippets load."""

from pathlib import Path

import pytest

from tests.dropin.runner import Checkpoints
from tests.support.models import SMALL, published_model
from tests.support.tokenizers import tokenizer_pair


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders as transformers writes them: of a model of one speaker, and of three."""
    root = tmp_path_factory.mktemp("dropin")
    made = []
    for name, more in (("single", {}), ("many", {"num_speakers": 3, "speaker_embedding_size": 8})):
        folder = root / name
        published_model(SMALL | more).save_pretrained(folder)
        vocabulary = root / f"{name}-vocabulary"
        vocabulary.mkdir()
        _, tokenizer = tokenizer_pair(vocabulary, "mms")
        tokenizer.save_pretrained(folder)
        made.append(str(folder))
    return made[0], made[1]


@pytest.fixture
def at(folders: tuple[str, str], tmp_path: Path) -> Checkpoints:
    return Checkpoints(*folders, tmp_path)
