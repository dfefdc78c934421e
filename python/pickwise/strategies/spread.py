"""Rows that are far from each other and from what is labelled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import _native
from pickwise.clustering import as_directions
from pickwise.limits import as_distance
from pickwise.options import as_count, as_seed
from pickwise.strategies.base import Ranking, Strategy, as_option, from_option, ranking_of
from pickwise.strategies.joint import Joint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Cover


@dataclass(frozen=True, kw_only=True, repr=False)
class Spread(Joint):
    """What the strategies have in common that choose rows by how far apart their embeddings are.

    Attributes
    ----------
    draws : bool
        Whether rows are drawn even where no seed is given.

    Parameters
    ----------
    metric : {"euclidean", "sqeuclidean", "cosine"}
        How far two rows are from each other. Cosine is 1 - cos.
    prefilter : int, optional
        In `pickwise.select`: choose among so many times `k` rows, those that rank highest by `prefilter_by`. The pool
        are then probabilities, and the embeddings are given beside them. The same as `Hybrid`.
    prefilter_by : str or Strategy
        What ranks rows for the prefilter.
    mu : int
        In `pickwise.reducer`: each shard is represented by `mu` times as many rows as are wanted. More make the
        selection better and cost memory.
    shard_bytes : int
        In `pickwise.reducer`: bytes of embeddings that make a shard. A stream that is smaller is kept whole, and its
        selection is exact.

    Raises
    ------
    TypeError, ValueError
        For an option that makes no sense.
    """

    draws: ClassVar[bool] = False
    prefilter: int | None = None
    prefilter_by: str | Strategy = "margin"
    mu: int = 2
    shard_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("mu", "shard_bytes"):
            object.__setattr__(self, option, as_count(getattr(self, option), option, least=1))
        if self.prefilter is not None:
            object.__setattr__(self, "prefilter", as_count(self.prefilter, "prefilter", least=1))
        by = from_option(self.prefilter_by, "prefilter_by")
        if isinstance(self.prefilter_by, dict):
            object.__setattr__(self, "prefilter_by", by)
        if not isinstance(by, Ranking):
            raise ValueError(f"prefilter_by: expected one that ranks rows, got {self.prefilter_by!r}")  # noqa: TRY004

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as JSON can hold them."""
        return super().options | {"prefilter_by": as_option(self.prefilter_by)}

    @property
    def ranking(self) -> Ranking:
        """What ranks rows for the prefilter."""
        return ranking_of(self.prefilter_by)

    @property
    def closest(self) -> Strategy:
        """Itself; with a prefilter, what ranks rows for that."""
        return self if self.prefilter is None else self.ranking

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Cover:
        """Choose among points that are already checked."""
        raise NotImplementedError

    def let_through(self, k: int) -> int | None:
        """Tell how many rows the prefilter leaves over."""
        return None if self.prefilter is None else self.prefilter * k

    def standing_for(self, k: int) -> int:
        """Tell how many rows stand for a shard, of which `k` are wanted."""
        return self.mu * k

    def represent(
        self, points: Points, random_state: RandomState
    ) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, float]:
        """Pick rows that stand for all of some points.

        Returns
        -------
        picks : ndarray of int64
        weights : ndarray of float64 or None
            How many rows each stands for, where that matters. Rows that are nearer to a labelled one are not counted.
        radius : float
            The largest distance of a row to its nearest pick or labelled row.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, repr=False)
class KCenter(Spread):
    """Each row is the farthest from all before it and from all labelled rows; see `pickwise.k_center`.

    Parameters
    ----------
    outliers : int
        So many of the farthest rows are left uncovered.
    min_distance : float, optional
        Rows nearer than this to a pick or a labelled row are not picked.
    metric, prefilter, prefilter_by, mu, shard_bytes
        As in `Spread`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.KCenter(metric="cosine", prefilter=10)
    KCenter(metric='cosine', prefilter=10)
    >>> pw.select([[0.0], [4.0], [5.0], [9.0]], 3, pw.KCenter()).scores
    array([inf,  9.,  4.])
    """

    name: ClassVar[str] = "k_center"
    outliers: int = 0
    min_distance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "outliers", as_count(self.outliers, "outliers", least=0))
        if self.min_distance is not None:
            object.__setattr__(self, "min_distance", as_distance(self.min_distance))

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Cover:
        """Choose among points that are already checked."""
        if self.outliers >= len(points.embeddings):
            raise ValueError(f"outliers: expected fewer than the {len(points.embeddings)} rows, got {self.outliers}")
        points = _affording(points, self.metric) if random_state is None else points.starting_at_random(random_state)
        picks, distances, radius = farthest_first(
            points, self.metric, progress, least=self.min_distance, outliers=self.outliers
        )
        return points.cover(self, picks, distances, radius)

    def standing_for(self, k: int) -> int:
        """Tell how many rows stand for a shard: each outlier may be one of them."""
        return super().standing_for(k + self.outliers)

    def represent(self, points: Points, random_state: RandomState) -> tuple[NDArray[np.int64], None, float]:  # noqa: ARG002
        """Pick the farthest row each time; how many rows it stands for does not matter."""
        picks, _, radius = farthest_first(points, self.metric, None)
        return picks, None, radius


def farthest_first(
    points: Points, metric: str, progress: CoverProgress, *, least: float | None = None, outliers: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Pick rows by greedy k-center: positions, distances, and the radius."""
    limits = points.limits
    if limits is not None and limits.apart is not None:
        # Distances are what it goes by anyway.
        least = max(limits.apart[2], least or 0.0)
        limits = replace(limits, apart=None)
    with points.watched(progress) as report:
        picks, distances, radius, _ = _native.k_center(
            points.embeddings,
            points.k,
            metric=metric,
            centers=points.centers,
            labelled=points.labelled,
            start=points.start,
            weights=points.weights_per_cost,
            exclude=points.exclude,
            limits=limits,
            min_distance=least,
            outliers=outliers,
            progress=report,
        )
        if report is not None:
            report(len(picks), radius)
    return picks, distances, radius


def _affording(points: Points, metric: str) -> Points:
    """Begin with the row farthest from the mean that there is a budget for, where not all may be the first."""
    limits = points.limits
    if not points.is_fresh or not points.k or limits is None or limits.costs is None:
        return points
    some, used = points.first_rows(), points.candidates()
    if some is None or len(some) == len(used):
        return points
    rows = points.embeddings[used]
    rows = as_directions(rows) if metric == "cosine" else rows
    middle = rows.mean(0, dtype=np.float64)
    distances = _native.nearest(rows[np.searchsorted(used, some)], middle[None], "sqeuclidean")[1]
    return replace(points, start=int(some[np.argmax(distances)]))


@dataclass(frozen=True, kw_only=True, repr=False)
class KMeansPlusPlus(Spread):
    """Rows drawn with probability proportional to the square of their distance; see `pickwise.kmeans_plusplus`.

    Parameters
    ----------
    metric, prefilter, prefilter_by, mu, shard_bytes
        As in `Spread`.

    Examples
    --------
    >>> import pickwise as pw
    >>> sorted(pw.select([[0.0], [0.0], [5.0], [5.0]], 2, "kmeans++", random_state=0).scores.tolist())
    [5.0, inf]
    """

    name: ClassVar[str] = "kmeans++"
    draws: ClassVar[bool] = True

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Cover:
        """Choose among points that are already checked."""
        return points.cover(self, *self._drawn(points, random_state, progress))

    def represent(
        self, points: Points, random_state: RandomState
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Draw rows, and count the rows that each is the nearest to."""
        picks, _, radius = self._drawn(points, random_state, None)
        nearest = points.nearest(self, picks).pick
        counted = nearest >= 0
        counts = None if points.weights is None else points.weights[counted]
        return picks, np.bincount(nearest[counted], counts, len(picks)).astype(np.float64), radius

    def _drawn(
        self, points: Points, random_state: RandomState, progress: CoverProgress
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        seed = as_seed(random_state)
        with points.watched(progress) as report:
            picks, distances, radius, _ = _native.kmeans_plusplus(
                points.embeddings,
                points.k,
                metric=self.metric,
                seed=seed,
                centers=points.centers,
                labelled=points.labelled,
                start=points.start,
                weights=points.weights_per_cost,
                exclude=points.exclude,
                limits=points.limits,
                progress=report,
            )
            if report is not None:
                report(len(picks), radius)
        return picks, distances, radius
