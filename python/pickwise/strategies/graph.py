"""What the strategies share that pick rows which stand for others, over a graph of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.approximate import approximate_neighbours
from pickwise.arrays import below
from pickwise.options import as_count, as_flag
from pickwise.strategies.joint import Joint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.points import Points
    from pickwise.progress import CoverProgress

_LEAST, _MOST = 32, 256


@dataclass(frozen=True, eq=False)
class Graph:
    """Neighbours of rows, one row after the other; every row is its own neighbour, and being neighbours is mutual.

    Attributes
    ----------
    starts : ndarray of int64 of shape (rows + 1,)
    rows : ndarray of uint32
    distances : ndarray of float64
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.uint32]
    distances: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, repr=False)
class Neighbourly(Joint):
    """What the strategies have in common for which a row stands for its nearest neighbours.

    Parameters
    ----------
    neighbours : int, optional
        How many: more are more exact and cost memory, about 50 bytes each. By default twice the part of the pool that
        each pick and labelled row has to stand for, from 32 to 256. With all other rows the graph is complete.
    approximate : bool
        Find them by usearch: nearly all of them, and not always the same, but of millions of rows. Exactly it
        takes rows² steps.
    metric : str
        As in `Joint`.
    """

    neighbours: int | None = None
    approximate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours is not None:
            object.__setattr__(self, "neighbours", as_count(self.neighbours, "neighbours", least=1))
        object.__setattr__(self, "approximate", as_flag(self.approximate, "approximate"))

    def graph(self, points: Points) -> Graph:
        """Find the neighbours of all rows."""
        rows = len(points.embeddings)
        share = 2 * rows // max(1, points.expected + known(points))
        nearest = min(rows - 1, self.neighbours or min(_MOST, max(_LEAST, share)))
        if nearest == 0:
            return Graph(np.array([0, 1]), np.zeros(1, np.uint32), np.zeros(1))
        if self.approximate:
            found = approximate_neighbours(points.embeddings, self.metric, nearest, user=self.name)
            graph = Graph(*_native.mutual(*found))
        else:
            graph = Graph(*_native.neighbours(points.embeddings, self.metric, nearest=nearest, mutual=True))
        if not np.isfinite(graph.distances).all():
            raise ValueError("embeddings: distances are too large for float64; scale the rows down")
        return graph


def known(points: Points) -> int:
    """Count the labelled rows."""
    inside = 0 if points.labelled is None else len(points.labelled)
    return inside + (0 if points.centers is None else len(points.centers))


def labelled_matrix(points: Points) -> NDArray[Any] | None:
    """Put the embeddings of the labelled rows together."""
    if points.labelled is None:
        return points.centers
    return below(points.centers, points.embeddings[points.labelled])


def distance_to_labelled(points: Points, metric: str) -> NDArray[np.float64] | None:
    """Measure how far each row is from the nearest labelled one; None without any."""
    centers = labelled_matrix(points)
    return None if centers is None else _native.nearest(points.embeddings, centers, metric)[1]


def stand_for_others(
    points: Points,
    graph: Graph,
    values: NDArray[np.float64] | None,
    metric: str,
    progress: CoverProgress,
    *,
    covered: NDArray[np.float64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pick rows that add the most to how well all are stood for; where none adds anything, those farthest from all.

    Parameters
    ----------
    values : ndarray of float64 or None
        How well rows stand for their neighbours; 1 if None.
    covered : ndarray of float64 of shape (rows,), optional
        How well rows are stood for already.
    weights : ndarray of float64 of shape (rows,), optional
        How much it counts.
    """
    told: Callable[[int], object] | None = None
    with points.watched(progress) as report:
        if report is not None:
            watcher = report
            told = lambda picks: watcher(picks, np.nan)  # noqa: E731 - one line that is passed on
        picks, gains = _native.facility_location(
            graph.starts,
            graph.rows,
            values,
            points.k,
            weights=weights,
            covered=covered,
            exclude=points.barred(),
            limits=points.limits,
            progress=told,
        )
        missing = points.k - len(picks)
        if missing:
            more = _farthest(points, picks, missing, metric)
            picks, gains = np.concatenate([picks, more]), np.concatenate([gains, np.zeros(len(more))])
    return picks, gains


def _farthest(points: Points, picks: NDArray[np.int64], count: int, metric: str) -> NDArray[np.int64]:
    """Pick more rows when all are stood for: those that are farthest from what there is."""
    labelled = picks if points.labelled is None else np.union1d(points.labelled, picks)
    if len(labelled) >= len(points.embeddings):
        return np.empty(0, np.int64)
    found = _native.k_center(
        points.embeddings,
        count,
        metric=metric,
        centers=points.centers,
        labelled=labelled if len(labelled) else None,
        weights=points.weights_per_cost,
        exclude=points.exclude,
        limits=None if points.limits is None else points.limits.having(picks),
    )
    return found[0]
