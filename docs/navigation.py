"""A hook of mkdocs: a page of this folder that nobody put into the navigation stands at the end of the guide."""

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def named(entries: Any) -> set[str]:
    """The pages that a navigation names, at any depth."""
    if isinstance(entries, str):
        return {entries}
    values = entries.values() if isinstance(entries, dict) else entries
    return {page for value in values for page in named(value)}


def completed(navigation: list[Any]) -> list[Any]:
    """The navigation with the pages that it leaves out, by their own headings."""
    missing = sorted({page.name for page in HERE.glob("*.md")} - named(navigation))
    guide = next(entry for entry in navigation if isinstance(entry, dict) and "Guide" in entry)
    for page in missing:
        heading = re.search(r"^# (.+)$", (HERE / page).read_text(encoding="utf-8"), re.MULTILINE)
        guide["Guide"].append({heading[1] if heading else page.removesuffix(".md"): page})
    return navigation


def on_config(config: Any) -> Any:
    """What mkdocs calls with its settings."""
    config["nav"] = completed(config["nav"])
    return config
