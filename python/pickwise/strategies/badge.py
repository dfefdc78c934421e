"""BADGE: gradients that are long and far apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise import _native
from pickwise.arrays import as_points
from pickwise.options import as_flag, as_seed
from pickwise.strategies.joint import Joint, Needs, as_predictions, choose_rows
from pickwise.strategies.stochastic import PowerSampling
from pickwise.strategies.uncertainty import Margin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch


@dataclass(frozen=True, kw_only=True, repr=False)
class Badge(Joint):
    """Rows whose gradients are long and far apart; see `pickwise.badge`.

    Parameters
    ----------
    from_logits : bool
        Whether the pool holds logits.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        What `Batch.distances` are measured by; the picks are the same.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> p, h = np.array([[0.5, 0.5], [0.6, 0.4], [0.5, 0.5]]), np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.1]])
    >>> pw.select(p, 2, "badge", embeddings=h, random_state=0).ids
    array([2, 1])
    """

    name: ClassVar[str] = "badge"
    needs: ClassVar[Needs] = "predictions"
    from_logits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "from_logits", as_flag(self.from_logits, "from_logits"))

    @property
    def ranking(self) -> Margin:
        """What tells which rows are probabilities."""
        return Margin(from_logits=self.from_logits)

    @property
    def closest(self) -> PowerSampling:
        """Rows drawn by their margin, which are less alike than the highest."""
        return PowerSampling(score=self.ranking)

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked."""
        seed = as_seed(random_state)
        # What is labelled plays no part: its gradients are those of another model.
        barred = points.barred()
        if barred is not None and len(points.taken):
            barred = barred.copy()
            barred[points.taken] = 0
        with points.watched(progress) as report:
            picks, lengths, _, _ = _native.kmeans_plusplus(
                points.embeddings,
                points.k,
                metric="euclidean",
                seed=seed,
                labelled=points.taken,
                weights=points.weights_per_cost,
                exclude=barred,
                limits=points.limits,
                predictions=points.predictions,
                progress=report,
            )
        return points.batch(self, picks, lengths)


def badge(
    probabilities: Any,
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    from_logits: bool = False,
    random_state: RandomState = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Draw rows whose gradients at the last layer are long, as the model is unsure, and far from each other.

    The gradient that a row would give, were its predicted class the true one, is the outer product :math:`a \otimes x`
    of :math:`a = p - e_{\hat y}` and its embedding x. Rows are drawn as the seeds of k-means++ are: the longest
    gradient first, then each with a probability proportional to its squared distance to the nearest of those before it.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        float16, bfloat16, float32 or float64; 1-D is *P(y=1)* of two classes.
    embeddings : array_like of shape (rows, dims), or path
        What the last layer of the model sees, as `k_center` takes them.
    k : int
        How many rows to draw.
    labelled : array_like, optional
        Positions or a mask of labelled rows of the pool, which are never drawn. They play no other part.
    exclude, ids, clip
        As in `k_center`.
    from_logits : bool
        Whether `probabilities` are logits.
    random_state : int, RandomState, Generator or None
        Where the draws come from. The same integer gives the same picks on every machine.
    progress : bool or callable, optional
        As in `k_center`.

    Returns
    -------
    Batch
        Its scores are the distances of gradients at each pick; that of the first is infinity.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, and for rows that are no probabilities.

    See Also
    --------
    gradient_norm : The lengths alone, a score for each row.
    kmeans_plusplus : The same without a model.

    Notes
    -----
    After [1]_. :math:`\langle a \otimes x, b \otimes y \rangle = \langle a, b \rangle \langle x, y \rangle`, so a
    distance costs classes + dims steps and nothing of size classes times dims exists; where the difference cancels it
    is summed from differences. All in float64. The draw is lazy, as that of `kmeans_plusplus`: part of rows * k
    distances, and memory for O(rows + k * (classes + dims)) numbers beside the input. Logits and *P(y=1)* are
    copied once.

    References
    ----------
    .. [1] J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal. Deep batch active learning by diverse,
       uncertain gradient lower bounds. ICLR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> p = np.array([[0.5, 0.5], [0.6, 0.4], [0.5, 0.5]])
    >>> h = np.array([[3.0, 0.0], [0.0, 3.0], [3.0, 0.1]])  # rows 0 and 2 are nearly copies
    >>> pw.badge(p, h, 2, random_state=0).ids
    array([2, 1])
    """
    return choose_rows(
        Badge(from_logits=from_logits),
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


def gradient_norm(probabilities: Any, embeddings: Any, *, from_logits: bool = False) -> NDArray[np.float64]:
    r"""Length of the gradient that each row would give at the last layer, :math:`\|p - e_{\hat y}\| \, \|x\|`.

    A score: high where the model is unsure and the embedding is long. It is what BADGE starts from [1]_.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        As in `badge`.
    embeddings : array_like of shape (rows, dims), or path
        As in `badge`.
    from_logits : bool
        Whether `probabilities` are logits.

    Returns
    -------
    ndarray of float64 of shape (rows,)
        0 or more; 0 for one-hot rows.

    Raises
    ------
    TypeError, ValueError
        As `badge` does.

    See Also
    --------
    badge

    Notes
    -----
    One pass over both, in float64.

    References
    ----------
    .. [1] J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal. Deep batch active learning by diverse,
       uncertain gradient lower bounds. ICLR 2020.

    Examples
    --------
    >>> import pickwise as pw
    >>> p = [[1, 0, 0], [0.98, 0.01, 0.01], [0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3]]
    >>> pw.gradient_norm(p, [[1.0, 1.0]] * 4).round(3)
    array([0.   , 0.035, 0.872, 1.155])
    """
    predictions = as_predictions(probabilities, "probabilities", from_logits=from_logits)
    matrix = as_points(embeddings, "embeddings")
    if len(matrix) != len(predictions):
        raise ValueError(
            f"embeddings: expected {len(predictions)} rows, one for each of the probabilities, got {len(matrix)}"
        )
    return _native.gradient_lengths(matrix, predictions)
