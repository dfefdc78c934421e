"""Batches drawn at random, rows of high scores more likely than others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise.options import as_number
from pickwise.strategies.base import Ranking, Strategy, as_option, from_option, ranking_of

if TYPE_CHECKING:
    from pickwise import _native
    from pickwise.arrays import Rows


@dataclass(frozen=True, kw_only=True)
class Sampling(Strategy):
    """What the strategies have in common that draw rows by a score.

    The rows of highest score are often alike. A batch that is drawn at random holds fewer copies [1]_. The draw is one
    without replacement: each row is drawn among those that are left, with probability proportional to its weight. Its
    noise hashes the seed (``random_state``) with each row's id, so that it depends neither on the chunks that a pool
    comes in nor on the number of threads.

    Parameters
    ----------
    score : str or Strategy
        What scores rows: any strategy that ranks them by a score; ``"given"`` for a pool of scores.
    beta : float
        From 1e-30 to 1e30. The higher, the nearer to the k highest; the nearer to 0, the nearer to chance.

    Raises
    ------
    TypeError, ValueError
        For an option that makes no sense.

    References
    ----------
    .. [1] A. Kirsch, S. Farquhar, P. Atighehchian, A. Jesson, F. Branchaud-Charron and Y. Gal. Stochastic batch
       acquisition: a simple baseline for deep active learning. TMLR 2023 (arXiv:2106.12059).
    """

    score: str | Strategy = "entropy"
    beta: float = 1.0

    def __post_init__(self) -> None:
        chosen = from_option(self.score, "score")
        if isinstance(self.score, dict):
            object.__setattr__(self, "score", chosen)
        if not isinstance(chosen, Ranking) or not chosen.needs_matrix or chosen.noise is not None:
            raise ValueError(f"score: expected a strategy that gives rows a score, got {self.score!r}")
        object.__setattr__(self, "beta", as_number(self.beta, "beta"))
        if not 1e-30 <= self.beta <= 1e30:
            raise ValueError(f"beta: expected a number from 1e-30 to 1e30, got {self.beta}")

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as JSON can hold them."""
        return super().options | {"score": as_option(self.score)}

    @property
    def ranking(self) -> Ranking:
        """What scores rows."""
        return ranking_of(self.score)


@dataclass(frozen=True, kw_only=True)
class NoisyScores(Sampling, Ranking):
    """What the strategies have in common that need no more of a row than its own score."""

    @property
    def min_classes(self) -> int:
        """As many as the score needs."""
        return self.ranking.min_classes

    @property
    def is_of_committee(self) -> bool:
        """Whether the score is one of a committee."""
        return self.ranking.is_of_committee

    @property
    def from_logits(self) -> bool:
        """Whether the pool holds logits."""
        return bool(getattr(self.ranking, "from_logits", False))

    @property
    def noise(self) -> tuple[str, float]:
        """Its kind and its beta."""
        return self.name, self.beta

    def read(self, pool: Any, name: str, *, allow_empty: bool = False) -> Rows:
        """Borrow what the score is made of."""
        return self.ranking.read(pool, name, allow_empty=allow_empty)

    def criterion(self, *, binary: bool) -> _native.Score | str:
        """Describe what the noise is added to."""
        return self.ranking.criterion(binary=binary)


@dataclass(frozen=True, kw_only=True)
class PowerSampling(NoisyScores):
    r"""Rows drawn with probability proportional to a power of their score, :math:`s^\beta`.

    The one to begin with: where scores differ in size (entropy, BALD), rows that score ten times less are drawn ten
    times less often, whatever the unit. Rows of score 0 come last, by their ids. The scores of the selection are
    :math:`\ln s + G / \beta`, G standard Gumbel noise.

    Parameters
    ----------
    score : str or Strategy
        As in `Sampling`. Scores that are given must not be negative.
    beta : float
        As in `Sampling`.

    Notes
    -----
    One pass over the pool and memory for O(k) rows; scores are computed in float64 and not screened.

    Examples
    --------
    >>> import pickwise as pw
    >>> pool = [[0.5, 0.5], [0.9, 0.1], [0.99, 0.01]]
    >>> pw.select(pool, 2, pw.PowerSampling(score="margin", beta=2), random_state=1).ids.tolist()
    [0, 1]
    >>> bald = [0.02, 0.3, 0.01, 0.2]  # PowerBALD
    >>> len(pw.select(bald, 2, pw.PowerSampling(score="given"), random_state=1))
    2
    """

    name: ClassVar[str] = "power"


@dataclass(frozen=True, kw_only=True)
class SoftmaxSampling(NoisyScores):
    r"""Rows drawn with probability proportional to :math:`e^{\beta s}`.

    It goes by the differences of scores, so `beta` depends on their unit. The scores of the selection are :math:`s + G
    / \beta`, G standard Gumbel noise.

    Parameters
    ----------
    score, beta
        As in `Sampling`.

    Notes
    -----
    One pass over the pool and memory for O(k) rows; scores are computed in float64 and not screened.

    Examples
    --------
    >>> import pickwise as pw
    >>> pool = [[0.5, 0.5], [0.9, 0.1], [0.99, 0.01]]
    >>> pw.select(pool, 1, pw.SoftmaxSampling(score="margin", beta=100), random_state=1).ids.tolist()
    [0]
    """

    name: ClassVar[str] = "softmax"


@dataclass(frozen=True, kw_only=True)
class SoftRank(Sampling):
    r"""Rows drawn with probability proportional to a power of their rank, :math:`r^{-\beta}`.

    The highest score has rank 1. Only the order of the scores matters, not their size. The scores of the selection are
    :math:`-\ln r + G / \beta`, G standard Gumbel noise.

    Parameters
    ----------
    score, beta
        As in `Sampling`.

    Notes
    -----
    All rows are ranked: one pass over the pool, a sort, and memory for every row (about 50 bytes). So there is no
    reducer for it.

    Examples
    --------
    >>> import pickwise as pw
    >>> pool = [[0.5, 0.5], [0.9, 0.1], [0.99, 0.01]]
    >>> pw.select(pool, 1, pw.SoftRank(score="margin", beta=100), random_state=1).ids.tolist()
    [0]
    """

    name: ClassVar[str] = "softrank"

    @property
    def closest(self) -> PowerSampling:
        """Rows drawn by the score itself."""
        return PowerSampling(score=self.score, beta=self.beta)
