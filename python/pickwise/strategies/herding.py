"""Herding: rows near which all others are, those that the model is unsure of first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import _native
from pickwise.options import as_number
from pickwise.strategies.graph import Graph, Neighbourly, distance_to_labelled, known, labelled_matrix, stand_for_others
from pickwise.strategies.joint import Needs, Scored, choose_rows, scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch
    from pickwise.strategies.base import Strategy


@dataclass(frozen=True, kw_only=True, repr=False)
class MaxHerding(Neighbourly):
    """Rows near which all others are; see `pickwise.max_herding`.

    Parameters
    ----------
    radius : float, optional
        Where the kernel has fallen to 1/e, in the unit of the metric.
    neighbours, approximate, metric
        As in `Neighbourly`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.0], [1.0], [2.0], [9.0], [9.5]], 2, pw.MaxHerding(radius=1.5)).ids
    array([1, 3])
    """

    name: ClassVar[str] = "max_herding"
    radius: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius is not None:
            object.__setattr__(self, "radius", as_radius(self.radius))

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        return self._herd(points, progress, weigh=False)

    def _herd(self, points: Points, progress: CoverProgress, *, weigh: bool) -> Batch:
        pool, back = points.compact(self.metric)
        graph = self.graph(pool)
        radius = self.radius or self._estimated(pool, graph)
        nearest = distance_to_labelled(pool, self.metric)
        picks, gains = stand_for_others(
            pool,
            graph,
            self._kernel(graph.distances, radius),
            self.metric,
            progress,
            covered=None if nearest is None else self._kernel(nearest, radius),
            weights=scores_of(pool, self) if weigh else None,
        )
        return points.batch(self, picks if back is None else back[picks], gains)

    def _kernel(self, distances: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
        if self.metric == "euclidean":
            return np.asarray(np.exp(-np.square(distances / radius)))
        return np.asarray(np.exp(-(distances / radius)))  # which are squares already

    def _estimated(self, pool: Points, graph: Graph) -> float:
        """Choose a radius that shrinks as labels grow."""
        return _share_of_a_pick(pool, graph)


@dataclass(frozen=True, kw_only=True, repr=False)
class UncertaintyHerding(MaxHerding, Scored):
    """Rows near which all others are that the model is unsure of; see `pickwise.uncertainty_herding`.

    Parameters
    ----------
    score : str or Strategy
        How unsure the model is of a row: any strategy that ranks rows by a score of 0 or more.
    radius, neighbours, approximate, metric
        As in `MaxHerding`.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.5, 0.5, 0.99, 0.99], [[0.0], [1.0], [2.0], [9.0], [9.5]]
    >>> pw.select(p, 2, pw.UncertaintyHerding(radius=1.5), embeddings=x).ids
    array([1, 2])
    """

    name: ClassVar[str] = "uncertainty_herding"
    needs: ClassVar[Needs] = "scores"

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        if points.limits is None:
            # Labelled rows are covered already, so that they only cover others: outside the pool they do the same.
            points = replace(points, exclude=points.barred())
        scores = scores_of(points, self)
        used = scores if points.exclude is None else scores[points.exclude == 0]
        odd = used[~((used >= 0) & (used < math.inf))]
        if len(odd):
            raise ValueError(f"score: expected finite scores of 0 or more from {self.score!r}, got {odd.min():.6g}")
        return self._herd(points, progress, weigh=True)

    def _estimated(self, pool: Points, graph: Graph) -> float:
        """Take the median distance between labelled rows and their nearest, once there are two."""
        others = labelled_matrix(pool)
        if others is not None and len(others) >= 2:
            distances = _native.neighbours(others, self.metric, nearest=1)[2]
            radius = float(np.median(distances))
            if radius > 0:
                return radius
        return _share_of_a_pick(pool, graph)


def as_radius(x: Any) -> float:
    """Read a radius."""
    radius = as_number(x, "radius")
    if not 0 < radius < math.inf:
        raise ValueError(f"radius: expected a finite number above 0, got {radius}")
    return radius


def _share_of_a_pick(pool: Points, graph: Graph) -> float:
    """Tell how far a row has to reach that stands for its share of the pool."""
    rows = len(pool.embeddings)
    counts = np.diff(graph.starts)
    share = min(int(counts.min()), max(2, rows // max(1, pool.expected + known(pool))))
    # A sample will do for a median.
    some = np.arange(0, rows, max(1, rows // 4096))
    reach = [np.partition(graph.distances[graph.starts[i] : graph.starts[i + 1]], share - 1)[share - 1] for i in some]
    radius = float(np.median(reach))
    if radius > 0:
        return radius
    positive = graph.distances[graph.distances > 0]
    return float(positive.min()) if len(positive) else 1.0


def max_herding(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    radius: float | None = None,
    neighbours: int | None = None,
    approximate: bool = False,
    metric: str = "euclidean",
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Pick rows near which all others are, for a cold start.

    Each pick adds the most to :math:`\sum_n \max_{s \in S} e^{-(d(n, s) / r)^2}`, S being picks and labelled rows: a
    cover in which near counts more than far, and whose balls have no edge.

    Parameters
    ----------
    embeddings, k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`. With "sqeuclidean" and "cosine" the distance is a square already, and is not squared again.
    radius : float, optional
        r, where the kernel has fallen to 1/e. By default the median distance of a row to the last of those that it has
        to stand for, rows / (k + labelled); so it shrinks as labels grow.
    neighbours : int, optional
        The kernel is cut off behind so many neighbours; see `facility_location`.
    approximate : bool
        Find the neighbours by usearch, as in `facility_location`.

    Returns
    -------
    Batch
        Its scores are what each pick added. Where none adds anything any more, the farthest rows follow, with score 0.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does.

    See Also
    --------
    uncertainty_herding : The same, by how unsure the model is of rows.
    prob_cover : With balls that have an edge.

    Notes
    -----
    After [1]_, greedily and lazily. Cost and memory are those of `facility_location`.

    References
    ----------
    .. [1] W. Bae, J. Noh and D. J. Sutherland. Generalized coverage for more robust low-budget active learning. ECCV
       2024.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.max_herding([[0.0], [1.0], [2.0], [9.0], [9.5]], 2, radius=1.5).ids
    array([1, 3])
    """
    return choose_rows(
        MaxHerding(radius=radius, neighbours=neighbours, approximate=approximate, metric=metric),
        embeddings,
        k,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )


def uncertainty_herding(
    probabilities: Any,
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    score: str | Strategy = "margin",
    radius: float | None = None,
    neighbours: int | None = None,
    approximate: bool = False,
    metric: str = "euclidean",
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Pick rows near which all those are that the model is unsure of, from the first label to the last.

    Each pick adds the most to :math:`\sum_n U(n) \max_{s \in S} e^{-(d(n, s) / r)^2}`, U being the score. With few
    labels the radius is large and the score about the same everywhere, and this is `max_herding`; with many the radius
    is small, and it becomes a selection by the score, without copies.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        What `score` is made of; 1-D is *P(y=1)* of two classes.
    embeddings, k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`.
    score : str or Strategy
        How unsure the model is of a row: any strategy that ranks rows by a score of 0 or more. A model that is too sure
        of itself is tempered by ``Margin(from_logits=True, temperature=fit_temperature(...))``.
    radius : float, optional
        r, where the kernel has fallen to 1/e. By default the median distance between labelled rows and their nearest,
        so that it shrinks as labels grow; with fewer than two labelled rows as in `max_herding`.
    neighbours, approximate
        As in `max_herding`.

    Returns
    -------
    Batch
        Its scores are what each pick added. Where none adds anything any more, the farthest rows follow, with score 0.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, and for rows that are no probabilities.

    See Also
    --------
    max_herding : Without a model.
    fit_temperature : How sure a model may be, by labelled rows.

    Notes
    -----
    After [1]_, greedily and lazily. Cost and memory are those of `facility_location`.

    References
    ----------
    .. [1] W. Bae, G. L. Oliveira and D. J. Sutherland. Uncertainty herding: one active learning method for all label
       budgets. ICLR 2025.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.5, 0.5, 0.99, 0.99], [[0.0], [1.0], [2.0], [9.0], [9.5]]
    >>> pw.uncertainty_herding(p, x, 2, radius=1.5).ids
    array([1, 2])
    """
    return choose_rows(
        UncertaintyHerding(score=score, radius=radius, neighbours=neighbours, approximate=approximate, metric=metric),
        embeddings,
        k,
        pool=probabilities,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )
