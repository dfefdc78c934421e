"""What a strategy is: a frozen dataclass that says how rows are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise.arrays import as_rows

if TYPE_CHECKING:
    from pickwise import _native
    from pickwise.arrays import Rows


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How rows are chosen. Its fields are its options, so that it prints, compares, hashes and pickles.

    Attributes
    ----------
    name : str
        What it is called in `select` and in the registry.
    """

    name: ClassVar[str]

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as JSON can hold them."""
        return dict(vars(self))

    @property
    def closest(self) -> Strategy:
        """The closest strategy that streams: this one, or what `pickwise.reducer` can make instead."""
        return self

    @property
    def streams(self) -> bool:
        """Whether `pickwise.reducer` makes one for it, so that rows may come piece by piece."""
        return self.closest is self


def as_option(strategy: str | Strategy) -> str | dict[str, Any]:
    """Write a strategy that is an option of another as JSON can hold it: a name, or the arguments of `resolve`."""
    return strategy if isinstance(strategy, str) else {"strategy": strategy.name, **strategy.options}


def from_option(option: Any, name: str = "strategy") -> Strategy:
    """Make the strategy that is an option of another: of a name, a strategy, or what `as_option` wrote."""
    from pickwise.strategies import resolve

    try:
        return resolve(**option) if isinstance(option, dict) else resolve(option)
    except (TypeError, ValueError) as error:
        text = str(error)
        if not text.startswith("strategy: "):
            raise
        raise type(error)(f"{name}: {text.removeprefix('strategy: ')}") from None


@dataclass(frozen=True, kw_only=True)
class Ranking(Strategy):
    """A strategy that gives each row a score, whatever the other rows are, and chooses the highest."""

    @property
    def needs_matrix(self) -> bool:
        """Whether the numbers in the pool matter; if not, the number of rows is enough."""
        return True

    @property
    def min_classes(self) -> int:
        """The fewest columns that a pool needs."""
        return 2

    @property
    def is_of_committee(self) -> bool:
        """Whether a pool has several predictions for each row."""
        return False

    @property
    def noise(self) -> tuple[str, float] | None:
        """The noise on the scores, by its kind and its beta; `random_state` is its seed."""
        return None

    def criterion(self, *, binary: bool) -> _native.Score | str:
        """Describe to the native part what rows are ranked by, `binary` for 1-D *P(y=1)*: a score, or its own words."""
        raise NotImplementedError

    def read(self, pool: Any, name: str, *, allow_empty: bool = False) -> Rows:
        """Borrow an array for the native part to rank: the pool itself, or scores that are made of it."""
        return as_rows(pool, name, min_classes=self.min_classes, allow_empty=allow_empty)


def ranking_of(option: str | Strategy) -> Ranking:
    """Make the ranking that is an option of another strategy, which has checked it."""
    ranking = from_option(option)
    assert isinstance(ranking, Ranking)  # noqa: S101
    return ranking
