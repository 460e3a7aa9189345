"""transformers' own tests for VITS pass with our classes, where a checkout of transformers is at hand."""

import os
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from tests.dropin.transformers_tests import EXCEPTIONS, compare

CHECKOUT = os.environ.get("TRANSFORMERS_CHECKOUT", "")


@pytest.mark.skipif(not CHECKOUT, reason="TRANSFORMERS_CHECKOUT names no checkout of transformers")
def test_what_passes_there_passes_here() -> None:
    different, needless, same = compare(Path(CHECKOUT).resolve())
    assert different <= EXCEPTIONS.keys()
    assert not needless
    assert same > 80
