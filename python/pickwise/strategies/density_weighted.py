"""Density-weighted scores: unsure rows where the pool is dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import _native
from pickwise.arrays import as_points
from pickwise.options import as_number
from pickwise.strategies.joint import Scored, choose_rows, scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch
    from pickwise.strategies.base import Strategy


@dataclass(frozen=True, kw_only=True, repr=False)
class DensityWeighted(Scored):
    """Unsure rows where the pool is dense; see `pickwise.density_weighted`.

    Parameters
    ----------
    score : str or Strategy
        What scores rows: any strategy that ranks them.
    beta : float
        What power of the density the score is multiplied by.
    metric : str
        What `Batch.distances` are measured by; the density is one of cosines.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.5, 0.5], [[-1.0, 0.1], [1.0, 0.0], [1.0, 0.1]]
    >>> pw.select(p, 2, "density_weighted", embeddings=x).ids
    array([2, 1])
    """

    name: ClassVar[str] = "density_weighted"
    score: str | Strategy = "entropy"
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "beta", as_number(self.beta, "beta"))
        if not 0 <= self.beta <= 1e30:
            raise ValueError(f"beta: expected a number from 0 to 1e30, got {self.beta}")

    @property
    def measure(self) -> str:
        """The metric by which every row needs to have a distance: rows of zeros have no density."""
        return "cosine"

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        pool, back = points.compact(self.measure)
        with points.watched(progress):
            dense = np.maximum(_native.density(pool.embeddings), 0.0)
        scores = scores_of(pool, self) * dense**self.beta
        free = pool.candidates()
        worth = scores if pool.limits is None else pool.limits.worth(scores)
        picks = pool.admit(free[np.lexsort((free, -worth[free]))], pool.k)
        return points.batch(self, picks if back is None else back[picks], scores[picks])


def density(embeddings: Any) -> NDArray[np.float64]:
    """Mean cosine similarity of each row to all rows of a pool, itself included.

    A score: high where the pool is dense, low for outliers.

    Parameters
    ----------
    embeddings : array_like of shape (rows, dims), or path
        As `k_center` takes them. No row may be zero.

    Returns
    -------
    ndarray of float64 of shape (rows,)
        From -1 to 1; computed in float32 for float16, bfloat16 and float32.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, and for rows of zeros.

    See Also
    --------
    density_weighted

    Notes
    -----
    The mean of cosines is the cosine with a mean, so two passes over the embeddings are enough: linear in the rows,
    where the formula of [1]_ reads as if it were their square.

    References
    ----------
    .. [1] B. Settles and M. Craven. An analysis of active learning strategies for sequence labeling tasks. EMNLP 2008.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.density([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).round(4)
    array([0.6667, 0.6667, 0.3333])
    """
    return _native.density(as_points(embeddings, "embeddings"))


def density_weighted(
    probabilities: Any,
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    score: str | Strategy = "entropy",
    beta: float = 1.0,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Pick unsure rows where the pool is dense, so that outliers are passed over.

    By the score times :math:`(\frac{1}{N} \sum_n \cos(x, x_n))^\beta`, the mean cosine similarity to the pool.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        What `score` is made of; 1-D is *P(y=1)* of two classes.
    embeddings : array_like of shape (rows, dims), or path
        As in `k_center`. No row may be zero.
    k, labelled, exclude, ids, clip, progress
        As in `k_center`. Excluded rows are no part of the pool; labelled ones are, but are never picked.
    score : str or Strategy
        What scores rows: any strategy that ranks them.
    beta : float
        The higher, the more the density counts.

    Returns
    -------
    Batch
        Its scores are the products. A row that is on the whole unlike the pool (of a mean below 0) has 0.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, for rows that are no probabilities, and for rows of zeros.

    See Also
    --------
    density : The density alone.

    Notes
    -----
    After [1]_. One pass over the probabilities and two over the embeddings.

    References
    ----------
    .. [1] B. Settles and M. Craven. An analysis of active learning strategies for sequence labeling tasks. EMNLP 2008.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.5, 0.5], [[-1.0, 0.1], [1.0, 0.0], [1.0, 0.1]]
    >>> pw.density_weighted(p, x, 2).ids
    array([2, 1])
    """
    return choose_rows(
        DensityWeighted(score=score, beta=beta),
        embeddings,
        k,
        pool=probabilities,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )
