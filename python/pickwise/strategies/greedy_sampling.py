"""Greedy sampling for regression: far in the features, in the targets, or in both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import _native
from pickwise.arrays import as_numpy, as_points
from pickwise.points import refuse_invalid
from pickwise.strategies.joint import Joint, Needs, choose_rows
from pickwise.strategies.spread import farthest_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch


@dataclass(frozen=True, kw_only=True, repr=False)
class GreedySamplingX(Joint):
    """Rows far from all others in the features; see `pickwise.greedy_x`.

    Parameters
    ----------
    metric : str
        As in `Joint`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.0], [4.0], [5.0], [9.0]], 3, "greedy_x").ids
    array([1, 3, 0])
    """

    name: ClassVar[str] = "greedy_x"

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        pool, back = points.compact(self.metric)
        picks, distances, _ = farthest_first(_from_the_middle(pool, self.metric), self.metric, progress)
        return points.batch(self, picks if back is None else back[picks], distances)


@dataclass(frozen=True, kw_only=True, repr=False)
class GreedySamplingY(GreedySamplingX):
    """Rows whose predicted targets are far from all others; see `pickwise.greedy_y`.

    The pool are predicted targets, of shape (rows, targets).

    Parameters
    ----------
    metric : str
        As in `Joint`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.0], [4.0], [5.0], [9.0]], 1, "greedy_y", labelled=[[0.5], [8.0]]).ids
    array([1])
    """

    name: ClassVar[str] = "greedy_y"


@dataclass(frozen=True, kw_only=True, repr=False)
class GreedySamplingXY(Joint):
    """Rows far from all others in the features and in the targets; see `pickwise.greedy_xy`.

    The pool are predicted targets, of shape (rows,) or (rows, targets), and the embeddings are the features. Labelled
    rows are positions, at which the pool holds what is known.

    Parameters
    ----------
    metric : {"euclidean"}
        The one there is.

    Examples
    --------
    >>> import pickwise as pw
    >>> y, x = [[0.0], [0.1], [5.0]], [[0.0], [9.0], [4.0]]
    >>> pw.select(y, 1, "greedy_xy", embeddings=x, labelled=[0]).ids
    array([2])
    """

    name: ClassVar[str] = "greedy_xy"
    needs: ClassVar[Needs] = "targets"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric != "euclidean":
            raise ValueError(f"metric: expected 'euclidean', got {self.metric!r}")

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        if points.centers is not None and points.center_targets is None:
            raise TypeError(
                "labelled: expected positions of rows whose targets are known, got embeddings; "
                "pickwise.greedy_xy takes their targets too"
            )
        pool, back = points.compact(self.metric)
        assert pool.predictions is not None  # noqa: S101 - that is what it needs
        refuse_invalid(pool.predictions, "predicted targets", self.metric, back)
        if pool.center_targets is not None:
            refuse_invalid(pool.center_targets, "targets", self.metric)
        pool = _from_the_middle(pool, self.metric)
        with points.watched(progress) as report:
            picks, _, scores = _native.ranked_batch(
                pool.embeddings,
                pool.k,
                metric=self.metric,
                targets=pool.predictions,
                centers=pool.centers,
                center_targets=pool.center_targets,
                labelled=pool.labelled,
                start=pool.start,
                limits=pool.limits,
                progress=None if report is None else lambda done: report(done, float("nan")),
            )
        return points.batch(self, picks if back is None else back[picks], scores)


def _from_the_middle(pool: Points, metric: str) -> Points:
    """Begin with the row that is nearest to the mean of all, where nothing is labelled."""
    if not pool.is_fresh:
        return pool
    matrix = pool.embeddings
    middle = np.zeros(matrix.shape[1])
    for begin in range(0, len(matrix), 1 << 16):
        middle += matrix[begin : begin + (1 << 16)].sum(0, dtype=np.float64)
    middle /= len(matrix)
    if metric == "cosine" and not middle.any():
        return pool
    distances = _native.nearest(matrix, middle[None], metric)[1]
    free = pool.candidates()
    order = pool.admit(free[np.lexsort((free, distances[free]))], 1)
    return replace(pool, start=int(order[0])) if len(order) else pool


def as_targets(x: Any, name: str) -> NDArray[Any]:
    """Read targets, one or more for each row, as a matrix."""
    array = x if hasattr(x, "__array__") or hasattr(x, "columns") else as_numpy(x, name)
    if np.ndim(array) == 1:
        array = np.asarray(as_numpy(array, name))[:, None]
    return as_points(array, name, allow_empty=True)


def greedy_x(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    metric: str = "euclidean",
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    """Pick rows that are far in the features from all that are labelled or picked: greedy sampling, GSx.

    For regression, before there is a model. It is `k_center` that begins in the middle.

    Parameters
    ----------
    embeddings : array_like of shape (rows, dims), or path
        The features, on scales that can be compared.
    k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`.

    Returns
    -------
    Batch
        Its scores are the distances. With nothing labelled the first pick is the row nearest to the mean.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does.

    See Also
    --------
    greedy_y, greedy_xy : With a model.

    Notes
    -----
    After [1]_, as named in [2]_. The cost is that of `k_center`.

    References
    ----------
    .. [1] H. Yu and S. Kim. Passive sampling for regression. ICDM 2010.
    .. [2] D. Wu, C.-T. Lin and J. Huang. Active learning for regression using greedy sampling. Information Sciences
       474, 2019.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.greedy_x([[0.0], [4.0], [5.0], [9.0]], 3).ids
    array([1, 3, 0])
    """
    return choose_rows(
        GreedySamplingX(metric=metric),
        embeddings,
        k,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )


def greedy_y(
    predictions: Any,
    k: int,
    *,
    targets: Any = None,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    """Pick rows whose predicted targets are far from all that are known or picked: greedy sampling, GSy.

    Parameters
    ----------
    predictions : array_like of shape (rows,) or (rows, targets)
        What the model predicts: float16, bfloat16, float32 or float64.
    k : int
        How many rows to pick.
    targets : array_like of shape (labelled,) or (labelled, targets), optional
        What is known of labelled rows that are not in the pool.
    labelled : array_like, optional
        In its place: positions or a mask of labelled rows of the pool, at which `predictions` hold what is known.
    exclude, ids, clip, progress
        As in `k_center`.

    Returns
    -------
    Batch
        Its scores are the distances. With nothing known the first pick is the row nearest to the mean.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, and if both `targets` and `labelled` are given.

    See Also
    --------
    greedy_x, greedy_xy

    Notes
    -----
    After [1]_. Within a batch the predictions of the picks stand for what will be known of them. The cost is that of
    `k_center`.

    References
    ----------
    .. [1] D. Wu, C.-T. Lin and J. Huang. Active learning for regression using greedy sampling. Information Sciences
       474, 2019.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.greedy_y([0.0, 4.0, 5.0, 9.0], 1, targets=[0.5, 8.0]).ids
    array([1])
    """
    if targets is not None and labelled is not None:
        raise TypeError("targets: expected None with labelled, as the predictions hold what is known then")
    known = labelled if targets is None else as_targets(targets, "targets")
    return choose_rows(
        GreedySamplingY(),
        as_targets(predictions, "predictions"),
        k,
        labelled=known,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )


def greedy_xy(
    predictions: Any,
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    targets: Any = None,
    exclude: Any = None,
    ids: Any = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Pick rows that are far both in the features and in the targets: improved greedy sampling, iGS.

    Each pick is the row of the highest :math:`\min_s \|x - x_s\| \, |y - y_s|` over all that are labelled or picked.

    Parameters
    ----------
    predictions : array_like of shape (rows,) or (rows, targets)
        What the model predicts.
    embeddings : array_like of shape (rows, dims), or path
        The features, on scales that can be compared.
    k : int
        How many rows to pick.
    labelled : array_like, optional
        Features of labelled rows that are not in the pool, with their `targets`; or positions or a mask of labelled
        rows of the pool, at which `predictions` hold what is known.
    targets : array_like of shape (labelled,) or (labelled, targets), optional
        What is known of labelled rows that are not in the pool.
    exclude, ids, clip, progress
        As in `k_center`.

    Returns
    -------
    Batch
        Its scores are the products. With nothing labelled the first pick is the row whose features are nearest to the
        mean.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, and for targets that do not fit.

    See Also
    --------
    greedy_x, greedy_y

    Notes
    -----
    After [1]_. Within a batch the predictions of the picks stand for what will be known of them. The picks are those of
    the naive algorithm with distances in float64; only rows whose bounds are the highest are measured.

    References
    ----------
    .. [1] D. Wu, C.-T. Lin and J. Huang. Active learning for regression using greedy sampling. Information Sciences
       474, 2019.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.greedy_xy([0.0, 0.1, 5.0], [[0.0], [9.0], [4.0]], 1, labelled=[[0.5]], targets=[0.2]).ids
    array([2])
    """
    predicted = as_targets(predictions, "predictions")
    known = None if targets is None else as_targets(targets, "targets")
    if known is not None and known.shape[1] != predicted.shape[1]:
        raise ValueError(
            f"targets: expected {predicted.shape[1]} for each row, as the predictions have, got {known.shape[1]}"
        )
    return choose_rows(
        GreedySamplingXY(),
        embeddings,
        k,
        pool=predicted,
        targets=known,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )
