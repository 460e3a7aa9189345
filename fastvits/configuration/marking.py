"""A mark in the config.json of folders that transformers would load with random weights.

Residual blocks of the second type are beyond transformers: their tensors would count as unexpected, and blocks of the
first type be filled in at random, with a line in a log. A folder with them says so in ways that transformers refuses:
AutoModel by the model type, VitsModel by a field that is no list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARKED_TYPE = "fastvits"
"""The `model_type` of such a folder."""

_MARK = "resblock_type_2"
_DILATIONS = "resblock_dilation_sizes"
_PUBLISHED_DILATIONS = [[1, 3, 5], [1, 3, 5], [1, 3, 5]]


def with_mark(values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a model's config.json: as it is, or marked as one that transformers cannot read."""
    if values.get("resblock_type") != 2:
        return dict(values)
    dilations = {_MARK: values.get(_DILATIONS, _PUBLISHED_DILATIONS)}
    return {**values, "model_type": MARKED_TYPE, _DILATIONS: dilations}


def without_mark(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `with_mark` was given."""
    if values.get("model_type") != MARKED_TYPE:
        return values
    dilations = values.get(_DILATIONS)
    plain = {**values, "model_type": "vits"}
    if isinstance(dilations, Mapping) and set(dilations) == {_MARK}:
        plain[_DILATIONS] = dilations[_MARK]
    return plain
