"""Scores from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pickwise.strategies.base import Ranking


@dataclass(frozen=True, kw_only=True)
class Given(Ranking):
    """Rows with the highest of scores that are there already; see `pickwise.top_k`.

    The pool holds the scores, one a row, and they may be any numbers.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([0.3, -2.0, 7.5], 2, "given").ids
    array([2, 0])
    """

    name: ClassVar[str] = "given"

    @property
    def min_classes(self) -> int:
        """One: the column of scores."""
        return 1

    def criterion(self, *, binary: bool) -> str:  # noqa: ARG002 - the same for all
        """Name the scores that come with the rows."""
        return "given"
