"""Hybrid: by one strategy which rows, by another which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise.options import as_count
from pickwise.strategies.base import Ranking, Strategy, as_option, from_option, ranking_of
from pickwise.strategies.joint import Joint, Needs

if TYPE_CHECKING:
    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch


@dataclass(frozen=True, kw_only=True, repr=False)
class Hybrid(Joint):
    """Among the rows that rank highest by one strategy, those that another chooses together.

    For `pickwise.select`, which is given probabilities, and embeddings beside them. The first strategy may look at
    millions of rows in one pass; the second one sees `factor` times as many as are wanted.

    Parameters
    ----------
    by : str or Strategy
        What ranks rows.
    factor : int
        How many times `k` rows are left over.
    then : str or Strategy
        What chooses among them, by their embeddings and, if it wants, their scores by `by`.
    metric : str
        Does not count: that of `then` does.

    Raises
    ------
    TypeError, ValueError
        For an option that makes no sense.

    Notes
    -----
    ``KCenter(prefilter=10)`` is the same as ``Hybrid(by="margin", factor=10, then="k_center")``.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.49, 0.45, 0.1], [[0.0], [0.1], [7.0], [9.0]]
    >>> pw.select(p, 2, pw.Hybrid(by="entropy", factor=1, then="k_center"), embeddings=x).ids.tolist()
    [0, 1]
    >>> pw.select(p, 2, pw.Hybrid(by="entropy", factor=2, then="k_center"), embeddings=x).ids.tolist()
    [3, 0]
    """

    name: ClassVar[str] = "hybrid"
    needs: ClassVar[Needs] = "scores"
    by: str | Strategy = "margin"
    factor: int = 10
    then: str | Strategy = "k_center"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", as_count(self.factor, "factor", least=1))
        by, then = from_option(self.by, "by"), from_option(self.then, "then")
        for name, chosen in (("by", by), ("then", then)):
            if isinstance(getattr(self, name), dict):
                object.__setattr__(self, name, chosen)
        if not isinstance(by, Ranking):
            raise ValueError(f"by: expected one that ranks rows, got {self.by!r}")  # noqa: TRY004
        if not isinstance(then, Joint) or isinstance(then, Hybrid) or then.needs not in ("embeddings", "scores"):
            raise ValueError(
                f"then: expected one that chooses rows together by embeddings or scores, got {self.then!r}"
            )

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as JSON can hold them."""
        return super().options | {"by": as_option(self.by), "then": as_option(self.then)}

    @property
    def ranking(self) -> Ranking:
        """What ranks rows."""
        return ranking_of(self.by)

    @property
    def closest(self) -> Ranking:
        """What ranks rows: its own first pass."""
        return self.ranking

    @property
    def second(self) -> Joint:
        """What chooses among the rows that are left over."""
        then = from_option(self.then)
        assert isinstance(then, Joint)  # noqa: S101 - as was checked
        return then

    def let_through(self, k: int) -> int:
        """Tell how many rows are left over."""
        return self.factor * k

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked, and are those left over."""
        return self.second.choose(points, random_state, progress)
