"""Chance: what every other strategy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pickwise.strategies.base import Ranking


@dataclass(frozen=True, kw_only=True)
class Random(Ranking):
    """Rows drawn evenly at random, without replacement.

    The draw hashes the seed (``random_state``) with each row's id, so that it depends neither on the chunks a pool
    comes in nor on the number of threads. Only the number of rows is looked at, never the numbers in them.

    Examples
    --------
    >>> import pickwise as pw
    >>> len(pw.select([[0.5, 0.5], [0.9, 0.1]], 1, "random", random_state=0))
    1
    """

    name: ClassVar[str] = "random"

    @property
    def needs_matrix(self) -> bool:
        """False: the number of rows is enough."""
        return False

    def criterion(self, *, binary: bool) -> str:  # noqa: ARG002 - the same for all
        """Name the hash that rows are drawn by."""
        return "random"
