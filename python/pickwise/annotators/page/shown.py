"""How a task is shown: as texts with marks, images, sounds and tables, all of them data and never markup."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pickwise.annotators.files import plain
from pickwise.annotators.page.media import kind_of

if TYPE_CHECKING:
    import re

    from pickwise.annotators.base import Task
    from pickwise.annotators.page.media import Media

# Texts in a table that are longer than this are shown by themselves.
_LONG = 120
_MOST_MARKS = 1000


class Shown:
    """Turns tasks into what the page gets.

    Parameters
    ----------
    media : Media, optional
        Without it, names of files are texts.
    highlight : pattern, optional
        What is marked in texts.
    """

    def __init__(self, media: Media | None = None, highlight: re.Pattern[str] | None = None) -> None:
        self._media = media
        self._highlight = highlight

    def __call__(self, task: Task) -> dict[str, Any]:
        """Return a task as JSON can hold it."""
        return {
            "key": task.key,
            "id": str(task.id),
            "round": task.round,
            "rank": task.rank,
            "score": plain(task.score),
            "why": task.why,
            "overlap": task.overlap,
            "parts": self._parts(plain(task.data)),
            "suggestions": [[name, share] for name, share in task.suggestions.items() if math.isfinite(share)],
        }

    def _parts(self, data: Any) -> list[dict[str, Any]]:
        if data is None or (isinstance(data, (str, dict, list)) and not data):
            return [{"type": "missing", "text": "There is nothing to show of this row but its id."}]
        if isinstance(data, Mapping):
            return self._columns(data)
        if isinstance(data, list):
            return [_table([(str(place), _text(value)) for place, value in enumerate(data)])]
        return [self._one(None, data)]

    def _columns(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Show long texts and media by themselves, and all other columns as a table."""
        large, small = [], []
        for name, value in data.items():
            part = self._one(name, value)
            if part["type"] != "text" or (isinstance(value, str) and (len(value) > _LONG or len(data) == 1)):
                large.append(part)
            else:
                small.append((name, _text(value)))
        return large + ([_table(small)] if small else [])

    def _one(self, name: str | None, value: Any) -> dict[str, Any]:
        kind = kind_of(value) if self._media is not None and isinstance(value, str) else None
        if kind is None or self._media is None:
            return {"type": "text", "name": name, "pieces": self._pieces(_text(value))}
        try:
            return {"type": kind, "name": name, "path": self._media.address(value), "called": value}
        except OSError as error:
            return {"type": "missing", "name": name, "text": str(error)}

    def _pieces(self, text: str) -> list[list[Any]]:
        """Cut a text into pieces, each with whether it is marked."""
        if self._highlight is None:
            return [[text, False]]
        pieces: list[list[Any]] = []
        end = 0
        for _, found in zip(range(_MOST_MARKS), self._highlight.finditer(text), strict=False):
            if found.end() > found.start():
                pieces += [[text[end : found.start()], False], [found[0], True]]
                end = found.end()
        return [piece for piece in [*pieces, [text[end:], False]] if piece[0]]


def _table(rows: list[tuple[str, str]]) -> dict[str, Any]:
    return {"type": "table", "rows": [list(row) for row in rows]}


def _text(value: Any) -> str:
    if value is None:
        return "—"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
