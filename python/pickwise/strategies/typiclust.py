"""TypiClust: the most typical row of each cluster that has no label yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import _native
from pickwise.clustering import as_directions, clusters_of
from pickwise.options import as_count, as_seed
from pickwise.strategies.joint import Joint, choose_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch

# Clusters of fewer rows are come to last, as in the authors' own code.
_SMALL = 5


@dataclass(frozen=True, kw_only=True, repr=False)
class TypiClust(Joint):
    """The most typical rows of the largest clusters without labels; see `pickwise.typiclust`.

    Parameters
    ----------
    neighbours : int
        How many neighbours tell how typical a row is.
    max_clusters : int
        The most clusters.
    metric : str
        As in `Joint`.

    Examples
    --------
    >>> import pickwise as pw
    >>> x = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.3], [5.2]]
    >>> sorted(pw.select(x, 2, "typiclust", random_state=0).ids.tolist())
    [0, 4]
    """

    name: ClassVar[str] = "typiclust"
    neighbours: int = 20
    max_clusters: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("neighbours", "max_clusters"):
            object.__setattr__(self, option, as_count(getattr(self, option), option, least=1))

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked."""
        seed = as_seed(random_state)
        pool, back = points.compact(self.metric)
        known = 0 if pool.labelled is None else len(pool.labelled)
        known += 0 if pool.centers is None else len(pool.centers)
        count = max(1, min(known + pool.expected, self.max_clusters))
        labels, centres = clusters_of(pool.embeddings, count, self.metric, seed, user=self.name)
        covered = np.zeros(len(centres), np.int64)
        if pool.labelled is not None:
            covered += np.bincount(labels[pool.labelled], minlength=len(centres))
        if pool.centers is not None:
            others = as_directions(pool.centers) if self.metric == "cosine" else pool.centers
            nearest = _native.nearest(others, centres.astype(np.float64), "euclidean")[0]
            covered += np.bincount(nearest, minlength=len(centres))
        with points.watched(progress) as report:
            picks, scores = self._visit(pool, labels, covered, report)
        return points.batch(self, picks if back is None else back[picks], scores)

    def _visit(
        self, pool: Points, labels: NDArray[np.int64], covered: NDArray[np.int64], report: Any
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Go round the clusters, those with the fewest labels first, the largest of them first."""
        sizes = np.bincount(labels, minlength=len(covered))
        order = np.lexsort((-sizes, covered, sizes <= _SMALL)).tolist()
        free = pool.candidates()
        members = np.split(free[np.argsort(labels[free], kind="stable")], np.cumsum(np.bincount(labels[free]))[:-1])
        queues: dict[int, _Queue] = {}
        picks: list[int] = []
        scores: list[float] = []
        while order and len(picks) < pool.k:
            for cluster in list(order):
                if len(picks) == pool.k:
                    break
                if cluster not in queues:
                    own = members[cluster] if cluster < len(members) else free[:0]
                    queues[cluster] = self._typical(pool, own)
                pick = queues[cluster].next(pool, picks)
                if pick is None:
                    order.remove(cluster)
                    continue
                picks.append(pick[0])
                scores.append(pick[1])
                if report is not None:
                    report(len(picks), pick[1])
        return np.array(picks, np.int64), np.array(scores)

    def _typical(self, pool: Points, members: NDArray[np.int64]) -> _Queue:
        """Rank the rows of a cluster, the most typical first."""
        if len(members) < 2:
            return _Queue(members, np.zeros(len(members)))  # nothing tells how typical it is
        nearest = max(1, min(self.neighbours, len(members) // 2))
        _, _, distances = _native.neighbours(pool.embeddings[members], self.metric, nearest=nearest)
        with np.errstate(divide="ignore"):
            typicality = 1 / distances.reshape(-1, nearest).mean(1)
        worth = typicality if pool.limits is None else pool.limits.worth(typicality, members)
        order = np.lexsort((members, -worth))
        return _Queue(members[order], typicality[order])


@dataclass(eq=False)
class _Queue:
    """The rows of a cluster that were not looked at yet, the most typical first."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    at: int = 0

    def next(self, pool: Points, picks: list[int]) -> tuple[int, float] | None:
        """Take the first that keeps to the limits; those before it are refused for good."""
        found = np.arange(self.at, len(self.rows))[:1]
        if pool.limits is not None:
            limits = pool.limits.having(np.array(picks, np.int64))
            found = self.at + limits.admit(self.rows[self.at :], len(pool.embeddings), 1)
        self.at = int(found[0]) + 1 if len(found) else len(self.rows)
        return (int(self.rows[found[0]]), float(self.scores[found[0]])) if len(found) else None


def typiclust(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    neighbours: int = 20,
    max_clusters: int = 500,
    metric: str = "euclidean",
    random_state: RandomState = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    """Pick typical rows: of each cluster without a label, the largest first, the row in its densest place.

    For a cold start: with few labels, what is typical teaches more than what is uncertain. The pool is put into as many
    clusters as there will be labels.

    Parameters
    ----------
    embeddings, k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`.
    neighbours : int
        How typical a row is: one over its mean distance to so many neighbours in its cluster, half of the cluster where
        it has fewer.
    max_clusters : int
        The most clusters; beyond, clusters are visited again, those with the fewest labels first.
    random_state : int, RandomState, Generator or None
        Where the seeds of the clusters are drawn from.

    Returns
    -------
    Batch
        Its scores say how typical the rows are; 0 for a row that is alone in its cluster.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        As `k_center` does.

    See Also
    --------
    prob_cover, max_herding : For a cold start, too.

    Notes
    -----
    After [1]_. k-means (scikit-learn's, in batches for large pools), then in each cluster that is visited the distances
    between all of its rows. Clusters of up to 5 rows come last. Where clusters run out of rows the others go on, so no
    row is picked twice.

    References
    ----------
    .. [1] G. Hacohen, A. Dekel and D. Weinshall. Active learning on a budget: opposite strategies suit high and low
       budgets. ICML 2022.

    Examples
    --------
    >>> import pickwise as pw
    >>> x = [[0.0], [0.1], [0.2], [5.0], [5.1], [5.3], [5.2]]
    >>> pw.typiclust(x, 1, labelled=[0], random_state=0).ids
    array([4])
    """
    return choose_rows(
        TypiClust(neighbours=neighbours, max_clusters=max_clusters, metric=metric),
        embeddings,
        k,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        random_state=random_state,
        clip=clip,
        progress=progress,
    )
