"""Pages of HTML that are whole in one file, to be read anywhere: no script, no network. Needs Jinja2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pickwise.page.svg import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ABSENT = "—"
"""What stands where there is nothing to tell."""


class Tile(NamedTuple):
    """A figure that stands for itself."""

    name: str
    value: str
    note: str


class Chart(NamedTuple):
    """A chart as an element of the page, or why there is none."""

    svg: str | None
    caption: str


class Table(NamedTuple):
    """A table, or why there is none; the columns that are named as numbers are set to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    numbers: frozenset[str] = frozenset()


def render(template: Path, **values: Any) -> str:
    """Fill a template in.

    Parameters
    ----------
    template : Path
        May extend ``page.html.jinja`` and import ``parts.html.jinja``.
    **values
        What it tells.

    Returns
    -------
    str
        The text of the page.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("the report needs Jinja2; install it with pip install 'pickwise[loop]'") from error
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    return environment.get_template(template.name).render(**values)


def pairs(name: str, values: Mapping[str, Any]) -> Table:
    """Return names and values as a table, but hide what a page that is passed on must not tell."""
    rows = [[clean(key, 60), clean(_hidden(key, value), 300)] for key, value in _flat(values)]
    return Table([name, "value"], rows, "" if rows else f"No {name} was recorded.")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _hidden(key: str, value: Any) -> str:
    """Write a setting, without what a report that is passed on must not tell."""
    if _SECRET.search(key) and value:
        return "hidden"
    return _PASSWORD.sub(r"\1***@", str(value))


_SECRET = re.compile(r"password|passwd|token|secret|api_?key", re.IGNORECASE)
_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s/@]+@")
