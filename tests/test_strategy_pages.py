"""Every strategy has a page and a picture, and the overview names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pickwise.strategies import REGISTRY

DOCS = Path(__file__).resolve().parent.parent / "docs"
OVERVIEW = (DOCS / "strategies.md").read_text(encoding="utf-8")
LINKS = {
    name: DOCS / link
    for line in OVERVIEW.splitlines()
    if line.startswith("| [`")
    for name, link in re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", line.split(" | ")[0])
}
"""The page of each strategy, by the first column of the table."""


@pytest.mark.parametrize("name", REGISTRY)
def test_page(name: str) -> None:
    assert name in LINKS, f"docs/strategies.md: the table of all strategies has no row that links {name} to its page"
    page = LINKS[name]
    assert page.exists(), f"docs/strategies.md: no such page: {page.relative_to(DOCS)}"
    assert f"`{REGISTRY[name].__name__}`" in OVERVIEW, f"docs/strategies.md: {name} has no object in the table"
    text = page.read_text(encoding="utf-8")
    assert name in text, f"{page.name}: does not name {name}"
    assert ">>> " in text, f"{page.name}: has no example"


@pytest.mark.parametrize("name", REGISTRY)
def test_picture(name: str) -> None:
    picture = DOCS / "images" / "strategies" / f"{name.replace('++', '_plusplus')}.svg"
    assert picture.exists(), f"no {picture.name}: run `python examples/strategy_pictures.py {name}`"
    assert picture.stat().st_size < 60_000
    assert "images/strategies/" in LINKS[name].read_text(encoding="utf-8"), f"{LINKS[name].name} shows no picture"


@pytest.mark.parametrize("page", sorted(DOCS.glob("strategies/*.md")), ids=lambda page: page.name)
def test_shown(page: Path) -> None:
    """Pages show pictures that are there."""
    for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page.name}: no such picture: {link}"
