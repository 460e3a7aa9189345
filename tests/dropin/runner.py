"""Runs a snippet of somebody's program twice, with transformers and with fastvits, and compares what comes of it.

A snippet is a small function of `m`, the module that a program imports, and `at`, where checkpoints lie:

    @snippet
    def loads_with_a_rate(m: Any, at: Checkpoints) -> Any:
        return m.VitsModel.from_pretrained(at.single, speaking_rate=1.2)(at.ids).waveform

What it returns (tensors, numbers, texts, containers of them, model outputs, arrays) is the same with both.
`@snippet(raises=True)` says that both raise; `@snippet(refused="…")` that fastvits refuses what transformers does in
silence, with a message that matches; `@snippet(strict=False)` runs under `fastvits.strict(False)`;
`@snippet(needs="datasets")` is skipped where that library is not installed.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fastvits
from tests.support.models import relative_rms
from tests.support.tolerances import MODEL_FLOAT32

transformers = pytest.importorskip("transformers")


@dataclass(frozen=True)
class Checkpoints:
    """What a snippet is given."""

    single: str
    """A folder with a model of one speaker and a tokenizer, as transformers' `save_pretrained` writes them."""
    many: str
    """One of a model of three speakers."""
    scratch: Path
    """An empty folder to write to."""

    @property
    def ids(self) -> Tensor:
        """Ids `[1, 12]` for either model."""
        return torch.arange(1, 13).remainder(29).unsqueeze(0)

    def speak(self, model: Any, **inputs: Any) -> Tensor:
        """The waveform of `ids`, its random numbers begun anew: loading draws some with one of the libraries."""
        torch.manual_seed(555)
        with torch.no_grad():
            waveform: Tensor = model(self.ids, **inputs).waveform
        return waveform


Function = Callable[[Any, Checkpoints], Any]


@dataclass(frozen=True)
class Snippet:
    """A snippet and what is expected of it."""

    function: Function
    refused: str | None = None
    strict: bool = True
    raises: bool = False
    needs: str | None = None

    @property
    def name(self) -> str:
        return self.function.__name__


class Snippets(list[Snippet]):
    """The snippets of a file, collected by decorating them."""

    def __call__(self, function: Function | None = None, **expected: Any) -> Any:
        def collected(function: Function) -> Function:
            self.append(Snippet(function, **expected))
            return function

        return collected if function is None else collected(function)

    def parametrized(self) -> Any:
        """For a test with an argument `case`."""
        return pytest.mark.parametrize("case", self, ids=lambda case: case.name)


def check(case: Snippet, at: Checkpoints) -> None:
    """Run a snippet with both libraries and compare; raises AssertionError where they differ."""
    if case.needs is not None:
        pytest.importorskip(case.needs)
    expected = _outcome(case, transformers, dataclasses.replace(at, scratch=_emptied(at.scratch / "theirs")))
    if isinstance(expected, Exception) and not case.raises:
        raise AssertionError("the snippet does not work with transformers") from expected
    if case.refused is not None:
        with pytest.raises((TypeError, ValueError), match=case.refused):
            case.function(fastvits, dataclasses.replace(at, scratch=_emptied(at.scratch / "ours")))
        return
    found = _outcome(case, fastvits, dataclasses.replace(at, scratch=_emptied(at.scratch / "ours")))
    if case.raises:
        for name, outcome in (("transformers", expected), ("fastvits", found)):
            assert isinstance(outcome, Exception), f"{name} does not raise"
        return
    if isinstance(found, Exception):
        raise AssertionError(f"transformers gives {type(expected).__name__}") from found
    assert_same(found, expected)


def _emptied(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=False)
    return folder


def _outcome(case: Snippet, module: Any, at: Checkpoints) -> Any:
    torch.manual_seed(0)
    try:
        if module is fastvits:
            fastvits.strict(case.strict)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return case.function(module, at)
    except Exception as error:
        return error
    finally:
        fastvits.strict(True)


def assert_same(found: Any, expected: Any, where: str = "the result") -> None:
    """Compare two results; floating-point tensors as the models of both libraries are compared elsewhere."""
    if isinstance(expected, (Tensor, np.ndarray)):
        assert type(found) is type(expected), f"{where}: {type(found).__name__}, not {type(expected).__name__}"
        ours, theirs = torch.as_tensor(found), torch.as_tensor(expected)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), where
        if theirs.is_floating_point():
            assert relative_rms(ours.detach(), theirs.detach()) <= MODEL_FLOAT32, where
        else:
            assert torch.equal(ours, theirs), where
    elif isinstance(expected, Mapping) or hasattr(expected, "to_tuple"):
        names = list(expected.keys())
        assert [name for name in found.keys() if name in names] == names, where  # noqa: SIM118 - an output is no mapping
        for name in names:
            assert_same(found[name], expected[name], f"{where}[{name!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, (str, int, float, bool, bytes, set, type(None), torch.dtype, torch.device)):
        assert found == expected, f"{where}: {found!r}, not {expected!r}"
    else:
        raise TypeError(f"{where} is a {type(expected).__name__}: let the snippet return what can be compared")
