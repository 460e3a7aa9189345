"""A small model of transformers, its state and a folder of it for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import transformers
from torch import Tensor

from tests.weights.folders import published_model


@pytest.fixture(scope="session")
def published() -> transformers.VitsModel:
    return published_model()


@pytest.fixture(scope="session")
def state(published: transformers.VitsModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in published.state_dict().items()}


@pytest.fixture(scope="session")
def saved(published: transformers.VitsModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    published.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A fresh copy of what transformers saved."""
    return shutil.copytree(saved, tmp_path / "model")
