"""ClusterMargin: unsure rows from many clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise.clustering import clusters_of
from pickwise.options import as_count, as_seed
from pickwise.points import refuse_invalid
from pickwise.strategies.joint import Scored, choose_rows, scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch
    from pickwise.strategies.base import Strategy


@dataclass(frozen=True, kw_only=True, repr=False)
class ClusterMargin(Scored):
    """Unsure rows from as many clusters as can be; see `pickwise.cluster_margin`.

    Parameters
    ----------
    factor : int
        The clusters are those of so many times `k` rows, of the highest score.
    clusters : int, optional
        The most clusters; by default as many as rows are wanted.
    score : str or Strategy
        What scores rows.
    metric : str
        As in `Joint`.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.49, 0.45, 0.1], [[0.0], [0.1], [7.0], [9.0]]
    >>> pw.select(p, 2, pw.ClusterMargin(factor=2), embeddings=x, random_state=0).ids.tolist()
    [2, 0]
    """

    name: ClassVar[str] = "cluster_margin"
    factor: int = 10
    clusters: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", as_count(self.factor, "factor", least=1))
        if self.clusters is not None:
            object.__setattr__(self, "clusters", as_count(self.clusters, "clusters", least=1))

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked."""
        seed = as_seed(random_state)
        scores = scores_of(points, self)
        worth = scores if points.limits is None else points.limits.worth(scores)
        free = points.candidates()
        best = free[np.lexsort((free, -worth[free]))]
        # Those that are not clustered come last, where limits bar the others.
        head, rest = np.split(best, [self.factor * max(1, points.expected)])
        most = self.clusters or max(1, points.expected)
        labels = np.empty(0, np.int64)
        if len(head):
            near = refuse_invalid(points.embeddings[head], "embeddings", self.metric, head)
            labels, _ = clusters_of(near, most, self.metric, seed, user=self.name)
        picks = points.admit(np.concatenate([_by_turns(head, labels), rest]), points.k)
        with points.watched(progress) as report:
            if report is not None:
                report(len(picks), np.nan)
        return points.batch(self, picks, scores[picks])


def _by_turns(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order rows of clusters: the first of each cluster, the smallest cluster first, then the second of each."""
    sizes = np.bincount(labels)
    order = np.argsort(labels, kind="stable")
    turn = np.empty(len(rows), np.int64)
    turn[order] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows[np.lexsort((labels, sizes[labels], turn))]


def cluster_margin(
    probabilities: Any,
    embeddings: Any,
    k: int,
    *,
    clusters: int | None = None,
    factor: int = 10,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    score: str | Strategy = "margin",
    metric: str = "euclidean",
    random_state: RandomState = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    """Pick unsure rows from as many clusters as can be: for large batches.

    The rows of the highest score, `factor` times as many as are wanted, are put into clusters, and the clusters take
    turns, from the smallest up, each giving its row of the highest score.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        What `score` is made of; 1-D is *P(y=1)* of two classes.
    embeddings : array_like of shape (rows, dims), or path
        As in `k_center`.
    k : int
        How many rows to pick.
    clusters : int, optional
        The most clusters; by default k.
    factor : int
        How many times `k` rows are put into clusters.
    labelled, exclude, ids, metric, clip, progress
        As in `k_center`.
    score : str or Strategy
        What scores rows: any strategy that ranks them.
    random_state : int, RandomState, Generator or None
        Where the seeds of the clusters are drawn from.

    Returns
    -------
    Batch
        Its scores are those of the rows.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        As `k_center` does, and for rows that are no probabilities.

    See Also
    --------
    badge : The same aim, by draws.

    Notes
    -----
    After [1]_, with k-means (scikit-learn's) of the unsure rows in place of hierarchical clusters of the whole pool.
    One pass over the probabilities, and k-means of factor * k rows.

    References
    ----------
    .. [1] G. Citovsky, G. DeSalvo, C. Gentile, L. Karydas, A. Rajagopalan, A. Rostamizadeh and S. Kumar. Batch active
       learning at scale. NeurIPS 2021.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.49, 0.45, 0.1], [[0.0], [0.1], [7.0], [9.0]]
    >>> pw.cluster_margin(p, x, 2, factor=2, random_state=0).ids.tolist()
    [2, 0]
    """
    return choose_rows(
        ClusterMargin(score=score, factor=factor, clusters=clusters, metric=metric),
        embeddings,
        k,
        pool=probabilities,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        random_state=random_state,
        clip=clip,
        progress=progress,
    )
