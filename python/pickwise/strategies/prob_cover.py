"""ProbCover: balls that cover as many rows as can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import _native
from pickwise.clustering import clusters_of
from pickwise.options import as_count, as_seed
from pickwise.strategies.graph import Graph, distance_to_labelled, stand_for_others
from pickwise.strategies.herding import as_radius
from pickwise.strategies.joint import Joint, choose_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch

# Pairs of neighbours that are kept, of 4 bytes each.
_MOST = 400_000_000
# Rows that an estimate of the radius looks at, and the part of their balls that may hold rows of other clusters.
_SAMPLE, _IMPURE = 2000, 0.05


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbCover(Joint):
    """Rows whose balls cover most of the pool; see `pickwise.prob_cover`.

    Parameters
    ----------
    radius : float, optional
        The radius of the balls; estimated by default.
    clusters : int
        How many classes are expected, for the estimate.
    metric : str
        As in `Joint`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.0], [1.0], [2.0], [9.0], [9.5]], 2, pw.ProbCover(radius=1)).ids
    array([1, 3])
    """

    name: ClassVar[str] = "prob_cover"
    radius: float | None = None
    clusters: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius is not None:
            object.__setattr__(self, "radius", as_radius(self.radius))
        object.__setattr__(self, "clusters", as_count(self.clusters, "clusters", least=2))

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked."""
        pool, back = points.compact(self.metric)
        radius = self.radius or self._estimated(pool.embeddings, as_seed(random_state))
        starts, rows, _ = _native.neighbours(pool.embeddings, self.metric, within=radius, most=_MOST)
        nearest = distance_to_labelled(pool, self.metric)
        picks, gains = stand_for_others(
            pool,
            _with_themselves(starts, rows),
            None,
            self.metric,
            progress,
            covered=None if nearest is None else (nearest <= radius).astype(np.float64),
        )
        return points.batch(self, picks if back is None else back[picks], gains)

    def _estimated(self, matrix: NDArray[Any], seed: int) -> float:
        """Find the largest radius at which 95 % of the balls hold rows of one cluster only."""
        labels, _ = clusters_of(matrix, self.clusters, self.metric, seed, user="prob_cover without a radius")
        some = np.linspace(0, len(matrix) - 1, min(_SAMPLE, len(matrix))).astype(np.int64)
        stranger = np.full(len(some), np.inf)
        for cluster in np.unique(labels):
            others = matrix[labels != cluster]
            mine = labels[some] == cluster
            if len(others) and mine.any():
                stranger[mine] = _native.nearest(matrix[some[mine]], others, self.metric)[1]
        if np.isinf(stranger).all():
            return 1.0  # all rows are alike: whatever its size, a ball holds them all
        # A ball is pure up to the nearest row of another cluster.
        radius = float(np.quantile(stranger, _IMPURE, method="lower"))
        if not 0 < radius < np.inf:
            raise ValueError(
                f"radius: expected a number, as none can be estimated from {self.clusters} clusters of these rows; "
                "pass one"
            )
        return float(np.nextafter(radius, 0))


def _with_themselves(starts: NDArray[np.int64], rows: NDArray[np.uint32]) -> Graph:
    """Let every row be its own neighbour too."""
    count = len(starts) - 1
    own = np.insert(rows, starts[:-1], np.arange(count, dtype=np.uint32))
    return Graph(starts + np.arange(count + 1), own, np.empty(0))


def prob_cover(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    radius: float | None = None,
    clusters: int = 10,
    metric: str = "euclidean",
    random_state: RandomState = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    """Pick rows whose balls cover as many others as can be, for a cold start.

    Each pick is the row with the most rows within `radius` that are not within it of another pick or of a labelled row.

    Parameters
    ----------
    embeddings, k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`.
    radius : float, optional
        The radius of the balls, in the unit of the metric. By default the largest at which 95 % of the balls hold rows
        of one cluster only.
    clusters : int
        How many clusters that estimate takes the pool to have: the number of classes, if you know it.
    random_state : int, RandomState, Generator or None
        Where the seeds of these clusters are drawn from; only for the estimate.

    Returns
    -------
    Batch
        Its scores count the rows that each pick covered. Where all are covered, the farthest rows follow, with score 0.

    Raises
    ------
    ImportError
        If scikit-learn is not installed, and no radius is given.
    TypeError, ValueError
        As `k_center` does, and if the balls hold so many rows that there are over 400 million pairs.

    See Also
    --------
    max_herding : Balls without an edge, which need no estimate.

    Notes
    -----
    After [1]_, greedily and lazily. All rows meet all others once, in single precision; only those that are too near
    the radius to tell are measured exactly. Memory at the peak: a float32 copy of the embeddings, and about 10 bytes
    for each pair within the radius.

    References
    ----------
    .. [1] O. Yehuda, A. Dekel, G. Hacohen and D. Weinshall. Active learning through a covering lens. NeurIPS 2022.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.prob_cover([[0.0], [1.0], [2.0], [9.0], [9.5]], 2, radius=1).ids
    array([1, 3])
    """
    return choose_rows(
        ProbCover(radius=radius, clusters=clusters, metric=metric),
        embeddings,
        k,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        random_state=random_state,
        clip=clip,
        progress=progress,
    )
