"""The strategy to begin with: by what there is of a pool, margins alone or herding among rows drawn by them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pickwise.strategies.base import Ranking, Strategy, ranking_of
from pickwise.strategies.herding import UncertaintyHerding
from pickwise.strategies.joint import Joint, Scored
from pickwise.strategies.stochastic import PowerSampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch

FEWEST_LABELS = 16
"""With fewer labelled rows scores are sharpened as with so many."""

DRAWN, DRAWN_FOR_EACH = 2000, 5
"""Rows that are drawn, and more for each that is wanted."""

FARTHEST = 300.0
"""How far the logarithm of a weight may be from 0 before scores are told in another unit."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Auto(Scored):
    r"""The strategy to begin with: margin, and with embeddings rows that stand for all those of which it is high.

    With embeddings each pick adds the most to :math:`\sum_n s_n^\beta \max_{p \in P} e^{-(d(n, p) / r)^2}`, s being the
    score, P the picks and labelled rows, and r the median distance between labelled rows and their nearest: uncertainty
    herding [1]_ of a score that is sharpened as labels grow, :math:`\beta = \log_2` of the labelled rows, 4 at least.
    Of a large pool the sum is estimated from 2000 + 5k rows, drawn with probabilities that go by :math:`s^\beta`, each
    weighted by what it stands for [2]_. Only these are compared with each other, so a pool of a million rows takes
    little more than a pass by the score, and may lie in files.

    Parameters
    ----------
    score : str or Strategy
        How unsure the model is of a row: any strategy that gives rows a score of 0 or more. Without embeddings its
        highest are chosen.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        How far two rows are from each other.

    Notes
    -----
    The draw is always the same, unless a `random_state` is given.

    References
    ----------
    .. [1] W. Bae, G. L. Oliveira and D. J. Sutherland. Uncertainty herding: one active learning method for all label
       budgets. ICLR 2025.
    .. [2] E. Cohen and H. Kaplan. Summarizing data using bottom-k sketches. PODC 2007.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.5, 0.49, 0.6, 0.99], [[0.0], [0.1], [0.2], [9.0], [20.0]]
    >>> pw.select(p, 2, "auto").ids
    array([0, 1])
    >>> pw.select(p, 2, "auto", embeddings=x, labelled=[[20.0], [24.0]]).ids
    array([1, 3])
    """

    name: ClassVar[str] = "auto"

    @property
    def sharpness(self) -> float:
        """The power of the score by which rows count, before it is known how many are labelled."""
        return math.log2(FEWEST_LABELS)

    def knowing(self, labelled: int) -> Joint:
        """Sharpen the score by the number of labelled rows."""
        return _Sharpened(score=self.score, metric=self.metric, sharpness=math.log2(max(labelled, FEWEST_LABELS)))

    @property
    def without_embeddings(self) -> Ranking:
        """What it is where there are none."""
        return ranking_of(self.score)

    @property
    def closest(self) -> Ranking:
        """The same: what comes piece by piece has no embeddings beside it."""
        return self.without_embeddings

    @property
    def ranking(self) -> Ranking:
        """What draws rows."""
        return PowerSampling(score=self.score, beta=self.sharpness)

    @property
    def second(self) -> UncertaintyHerding:
        """What chooses among them."""
        return UncertaintyHerding(score=self.score, metric=self.metric)

    def let_through(self, k: int) -> int:
        """Tell how many rows are drawn."""
        return DRAWN + DRAWN_FOR_EACH * k

    def weighed(self, scores: NDArray[np.float64], draws: NDArray[np.float64], *, is_all: bool) -> NDArray[np.float64]:
        """Tell how much of the pool each row stands for: its own weight over the chance that it was drawn."""
        top = float(scores.max(initial=0.0))
        # Only how scores compare matters, so they are told in units of the highest where powers would not be numbers.
        is_far = 0 < top < math.inf and abs(self.sharpness * math.log(top)) > FARTHEST
        weights = np.asarray((scores / top if is_far else scores) ** self.sharpness)
        last = -np.inf if is_all else draws.min()
        if last == -np.inf:  # every row that counts is there
            return weights
        with np.errstate(divide="ignore", invalid="ignore"):
            chances = -np.expm1(-np.exp(np.minimum(self.sharpness * (np.log(scores) - last), 700.0)))
            # All others were drawn for being before the last, which so stands for no row.
            return np.where(draws > last, weights / chances, 0.0)

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked, and are those drawn."""
        return self.second.choose(points, random_state, progress)


@dataclass(frozen=True, kw_only=True, repr=False)
class _Sharpened(Auto):
    """The same, once it is known how many rows are labelled."""

    sharpness: float = 0.0


def settled(strategy: Strategy, *, has_embeddings: bool) -> Strategy:
    """Return the strategy, or what it is where there are no embeddings."""
    return strategy.without_embeddings if isinstance(strategy, Auto) and not has_embeddings else strategy
