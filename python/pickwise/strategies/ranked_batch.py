"""Ranked batches: unsure rows that are unlike what is labelled or picked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise import _native
from pickwise.options import as_number
from pickwise.strategies.joint import Scored, choose_rows, scores_of

if TYPE_CHECKING:
    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch
    from pickwise.strategies.base import Strategy


@dataclass(frozen=True, kw_only=True, repr=False)
class RankedBatch(Scored):
    """Unsure rows that are unlike what is labelled or picked; see `pickwise.ranked_batch`.

    Parameters
    ----------
    score : str or Strategy
        How unsure the model is of a row, from 0 to 1.
    alpha : float, optional
        How much being unlike weighs, from 0 to 1; by default the unlabelled part of all rows.
    metric : str
        As in `Joint`.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.55, 0.9], [[0.0], [0.1], [5.0]]
    >>> pw.select(p, 2, "ranked_batch", embeddings=x).ids
    array([0, 2])
    """

    name: ClassVar[str] = "ranked_batch"
    score: str | Strategy = "least_confidence"
    alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None:
            object.__setattr__(self, "alpha", as_number(self.alpha, "alpha"))
            if not 0 <= self.alpha <= 1:
                raise ValueError(f"alpha: expected a number from 0 to 1, got {self.alpha}")

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        scores = scores_of(points, self)
        own = scores[points.candidates()]
        if len(own) and not (own.min() >= 0 and own.max() <= 1):
            raise ValueError(
                f"score: expected scores from 0 to 1 from {self.score!r}, got {own.min():.6g} to {own.max():.6g}; "
                "Entropy(normalize=True) is within"
            )
        with points.watched(progress) as report:
            picks, _, worth = _native.ranked_batch(
                points.embeddings,
                points.k,
                metric=self.metric,
                uncertainty=scores,
                alpha=self.alpha,
                centers=points.centers,
                labelled=points.labelled,
                exclude=points.exclude,
                limits=points.limits,
                progress=None if report is None else lambda done: report(done, float("nan")),
            )
        return points.batch(self, picks, worth)


def ranked_batch(
    probabilities: Any,
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    score: str | Strategy = "least_confidence",
    alpha: float | None = None,
    metric: str = "euclidean",
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Pick rows that the model is unsure of and that are unlike all that is labelled or picked.

    Each pick has the highest :math:`\alpha (1 - 1 / (1 + d)) + (1 - \alpha) u`: d its distance to the nearest labelled
    row or earlier pick, u its score, and :math:`\alpha` the unlabelled part of all rows.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes) or (rows,)
        What `score` is made of; 1-D is *P(y=1)* of two classes.
    embeddings, k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`.
    score : str or Strategy
        How unsure the model is of a row: any strategy whose scores are from 0 to 1.
    alpha : float, optional
        A fixed :math:`\alpha`, from 0 (the score alone) to 1 (the distance alone).

    Returns
    -------
    Batch
        Its scores are the numbers that rows were picked by. With nothing labelled the first pick is by the score alone.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does, and for rows that are no probabilities.

    See Also
    --------
    k_center : With the scores as `weights`: their product in place of the sum.

    Notes
    -----
    After [1]_. The picks are those of the naive algorithm, which measures all rows against every pick. Here only rows
    whose bounds are the highest are measured; distances are float64, and memory is O(rows + k * dims).

    References
    ----------
    .. [1] T. N. C. Cardoso, R. M. Silva, S. Canuto, M. M. Moro and M. A. Gonçalves. Ranked batch-mode active learning.
       Information Sciences 379, 2017.

    Examples
    --------
    >>> import pickwise as pw
    >>> p, x = [0.5, 0.55, 0.9], [[0.0], [0.1], [5.0]]
    >>> pw.ranked_batch(p, x, 2).ids, pw.ranked_batch(p, x, 2, alpha=0).ids
    (array([0, 2]), array([0, 1]))
    """
    return choose_rows(
        RankedBatch(score=score, alpha=alpha, metric=metric),
        embeddings,
        k,
        pool=probabilities,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )
