"""A plugin of pytest: a test file that imports VITS from transformers gets ours. For `transformers_tests.py`."""

import sys
from typing import Any

from transformers.models.vits import configuration_vits, modeling_vits, tokenization_vits  # noqa: F401 - to replace

import fastvits

fastvits.strict(False)  # keywords that mean nothing to a VITS, which those tests give, are kept there
NAMES = ("VitsConfig", "VitsModel", "VitsPreTrainedModel", "VitsTokenizer")
MODULES = (
    "transformers",
    "transformers.models.vits",
    "transformers.models.vits.configuration_vits",
    "transformers.models.vits.modeling_vits",
    "transformers.models.vits.tokenization_vits",
)


def pytest_pycollect_makemodule() -> Any:
    """Before a file is imported, wherever it looks: the helpers beside it import transformers anew."""
    for name in MODULES:
        for attribute in NAMES:
            if name.count(".") < 3 or attribute in vars(sys.modules[name]):
                setattr(sys.modules[name], attribute, getattr(fastvits, attribute))
