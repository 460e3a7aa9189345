"""Every public name of transformers' classes is here, or docs/coming-from-transformers.md says why not."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import fastvits
from fastvits.models.loader_arguments import REFUSED, TAKEN
from fastvits.text.tokenizer_arguments import LOADER_WORDS

PAGE = (Path(__file__).parents[2] / "docs/coming-from-transformers.md").read_text(encoding="utf-8")
NAME = re.compile(r"`(\w+)`")


def section(title: str) -> str:
    """The text below a heading of the page."""
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def first_column(title: str) -> set[str]:
    """The names in the first column of a section's table."""
    rows = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("| `")]
    return {name for row in rows for name in NAME.findall(row)}


@pytest.fixture(scope="module")
def tokenizers(folders: tuple[str, str]) -> tuple[Any, Any]:
    return tuple(library.VitsTokenizer.from_pretrained(folders[0]) for library in (transformers, fastvits))


@pytest.mark.parametrize(
    ("theirs", "ours", "below", "title"),
    [
        (transformers.VitsModel, fastvits.VitsModel, torch.nn.Module, "Names of `PreTrainedModel` that are not here"),
        (transformers.VitsConfig(), fastvits.VitsConfig(), object, "Names of `PreTrainedConfig` that are not here"),
    ],
)
def test_a_public_name_is_here_or_the_page_says_why_not(theirs: Any, ours: Any, below: type, title: str) -> None:
    published = {name for name in dir(theirs) if not name.startswith("_")} - set(dir(below))
    excused = first_column(title)
    assert {name for name in published if not hasattr(ours, name)} <= excused
    assert not {name for name in excused if hasattr(ours, name)}


def test_a_name_of_a_tokenizer_is_here_or_the_page_says_why_not(tokenizers: tuple[Any, Any]) -> None:
    theirs, ours = tokenizers
    test_a_public_name_is_here_or_the_page_says_why_not(
        theirs, ours, object, "Names of `PreTrainedTokenizer` that are not here"
    )
    listed = set(NAME.findall(section("Names of `PreTrainedTokenizer` that are not here")))
    assert {name for name in LOADER_WORDS if not name.startswith("_")} <= listed


@pytest.mark.parametrize("name", ["gguf_file", "proxies"])
def test_what_a_tokenizer_cannot_honour_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be honoured: "):
        fastvits.VitsTokenizer.from_pretrained("nowhere", **{name: {"a": 1}})
    with pytest.raises(OSError, match="nowhere"):
        fastvits.VitsTokenizer.from_pretrained("nowhere", local_files_only=True, **{name: None})


def test_arguments_of_loading_are_on_the_page() -> None:
    listed = set(NAME.findall(section("Arguments of `from_pretrained`")))
    private = {name for name in TAKEN | REFUSED.keys() if name.startswith(("_", "load_in_"))}
    assert TAKEN | REFUSED.keys() <= listed | private


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_honoured_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be honoured: "):
        fastvits.VitsModel.from_pretrained("nowhere", **{name: {"a": 1}})
    with pytest.raises(OSError, match="nowhere"):
        fastvits.VitsModel.from_pretrained("nowhere", local_files_only=True, **{name: None})
