"""What strategies have in common that choose rows together, not each by itself."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from pickwise import _native
from pickwise.arrays import BLOCK_BYTES, Rows, as_points, as_rows, stacked
from pickwise.ids import Excluded, as_ids
from pickwise.options import one_of
from pickwise.points import Points, as_labelled
from pickwise.scores import invalid_rows, native_score, score_dtype
from pickwise.strategies.base import Ranking, Strategy, as_option, from_option, ranking_of
from pickwise.strategies.stochastic import PowerSampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch

Needs: TypeAlias = Literal["embeddings", "scores", "predictions", "targets"]

METRICS = ("euclidean", "sqeuclidean", "cosine")


@dataclass(frozen=True, kw_only=True, repr=False)
class Joint(Strategy):
    """What the strategies have in common that choose rows together, by their embeddings.

    Attributes
    ----------
    needs : {"embeddings", "scores", "predictions", "targets"}
        What the pool of `select` is: embeddings; or probabilities with embeddings beside them, of which a score is
        enough, or which are needed as they are; or predicted targets with embeddings beside them.

    Parameters
    ----------
    metric : {"euclidean", "sqeuclidean", "cosine"}
        How far two rows are from each other. Cosine is 1 - cos.
    """

    needs: ClassVar[Needs] = "embeddings"
    metric: str = "euclidean"

    def __post_init__(self) -> None:
        one_of(self.metric, "metric", METRICS)

    def __repr__(self) -> str:
        given = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        )
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def closest(self) -> Strategy:
        """K-center, which goes by distance too."""
        return from_option({"strategy": "k_center", "metric": self.metric})

    @property
    def measure(self) -> str:
        """The metric by which every row needs to have a distance."""
        return self.metric

    @property
    def second(self) -> Joint:
        """What chooses, after a first pass by a score."""
        return self

    def knowing(self, labelled: int) -> Joint:  # noqa: ARG002
        """Return what it is where so many rows are labelled."""
        return self

    def let_through(self, k: int) -> int | None:  # noqa: ARG002
        """Tell how many rows a first pass lets through where `k` are wanted; None where there is none."""
        return None

    def weighed(
        self,
        scores: NDArray[np.float64],
        draws: NDArray[np.float64],  # noqa: ARG002
        *,
        is_all: bool,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """Tell how much each row counts that the first pass has let through.

        Parameters
        ----------
        scores : ndarray of shape (rows,)
        draws : ndarray of shape (rows,)
            What they were ranked by: the scores, with noise where they were drawn.
        is_all : bool
            Whether no row was left out.
        """
        return scores

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:
        """Choose among points that are already checked; the functions and `pickwise.select` end here."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, repr=False)
class Scored(Joint):
    """What those have in common that go by a score of each row as well.

    Parameters
    ----------
    score : str or Strategy
        What scores rows: any strategy that ranks them.
    metric : str
        As in `Joint`.
    """

    needs: ClassVar[Needs] = "scores"
    score: str | Strategy = "margin"

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = from_option(self.score, "score")
        if isinstance(self.score, dict):
            object.__setattr__(self, "score", chosen)
        if not isinstance(chosen, Ranking) or not chosen.needs_matrix or chosen.noise is not None:
            raise ValueError(f"score: expected a strategy that gives rows a score, got {self.score!r}")

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as JSON can hold them."""
        return super().options | {"score": as_option(self.score)}

    @property
    def ranking(self) -> Ranking:
        """What scores rows."""
        return ranking_of(self.score)

    @property
    def closest(self) -> Strategy:
        """Rows drawn by the score, which are less alike than the highest."""
        return PowerSampling(score=self.score)


def scores_of(points: Points, strategy: Strategy) -> NDArray[np.float64]:
    """Return the scores that came with points; they are there for strategies that ask for them."""
    if points.scores is None:
        raise TypeError(f"scores: expected one a row with {strategy.name}, got none")
    return points.scores


def choose_rows(
    strategy: Joint,
    embeddings: Any,
    k: Any,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    random_state: RandomState = None,
    clip: bool = False,
    progress: CoverProgress = None,
    pool: Any = None,
    targets: NDArray[Any] | None = None,
) -> Batch:
    """Choose from arrays; the functions of the strategies end here.

    Parameters
    ----------
    pool : array_like, optional
        What the strategy needs beside embeddings: what its score is made of, probabilities, or predicted targets.
    targets : ndarray of shape (labelled, targets), optional
        What is known of labelled rows that are not in the pool.
    """
    scores = predictions = None
    matrix = as_points(embeddings, "embeddings")
    if strategy.needs == "scores":
        assert isinstance(strategy, Scored)  # noqa: S101 - that is what they are
        rows = strategy.ranking.read(pool, "probabilities")
        _refuse_other_rows(rows.shape[0], len(matrix))
        scores = _scores(strategy.ranking, rows, _barred(matrix, labelled, exclude))
    elif strategy.needs == "predictions":
        rows = as_rows(pool, "probabilities")
        _refuse_other_rows(rows.shape[0], len(matrix))
        from_logits = bool(getattr(strategy, "from_logits", False))
        barred = _barred(matrix, labelled, exclude)
        predictions = matrix_of_predictions(rows, "probabilities", from_logits=from_logits, barred=barred)
    elif strategy.needs == "targets":
        predictions = pool
        _refuse_other_rows(len(pool), len(matrix))
    points = Points.read(
        matrix,
        k,
        ids=None if ids is None else as_ids(ids, "ids"),
        labelled=labelled,
        exclude=exclude,
        clip=clip,
        metric=strategy.metric,
        scores=scores,
        predictions=predictions,
        center_targets=targets,
    )
    return strategy.choose(points, random_state, progress)


def _refuse_other_rows(count: int, rows: int) -> None:
    if rows != count:
        raise ValueError(f"embeddings: expected {count} rows, one for each of the probabilities, got {rows}")


def _barred(matrix: NDArray[Any], labelled: Any, exclude: Any) -> NDArray[np.uint8]:
    """Mark the rows that are excluded or labelled: whatever else there is of them may be invalid."""
    rows = len(matrix)
    mask = None if exclude is None else Excluded.read(exclude, "exclude", rows).between(0, rows)
    barred = np.zeros(rows, np.uint8) if mask is None else mask.copy()
    positions = as_labelled(labelled, matrix.shape)[1]
    if positions is not None:
        barred[positions] = 1
    return barred


def _scores(ranking: Ranking, rows: Rows, barred: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Score all rows, in double precision; 0 for those barred that are invalid."""
    criterion = ranking.criterion(binary=rows.binary)
    out = np.empty(rows.shape[0])
    done = 0
    for block in rows.blocks():
        end = done + len(block)
        if isinstance(criterion, str):
            out[done:end] = block[:, 0]
        else:
            from_logits = bool(getattr(ranking, "from_logits", False))
            _score_valid(block, criterion, out[done:end], barred[done:end], done, from_logits=from_logits)
        done = end
    odd = np.isnan(out) & (barred == 0)
    if odd.any():
        raise ValueError(f"probabilities: row {int(np.argmax(odd))} has no score; drop or mend such rows first")
    return np.nan_to_num(out, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _score_valid(
    block: NDArray[Any],
    score: _native.Score,
    out: NDArray[Any],
    barred: NDArray[np.uint8],
    first: int = 0,
    *,
    name: str = "probabilities",
    from_logits: bool,
) -> None:
    """Score rows, of which those barred may be invalid."""
    if _native.score(block, score, out) is None:
        return
    others = np.flatnonzero(barred == 0)
    some = np.empty(len(others), out.dtype)
    found = _native.score(block[others], score, some) if len(others) else None
    if found is not None:
        of, where = f"{first + len(block)} rows", lambda row: f"row {first + others[row]}"
        raise invalid_rows(name, found, of=of, dtype=block.dtype, from_logits=from_logits, locate=where)
    out[:] = 0
    out[others] = some


def as_predictions(x: Any, name: str, *, from_logits: bool) -> NDArray[Any]:
    """Read probabilities as a matrix of two columns or more; invalid ones are refused."""
    rows = as_rows(x, name)
    return matrix_of_predictions(rows, name, from_logits=from_logits, barred=np.zeros(rows.shape[0], np.uint8))


def matrix_of_predictions(
    rows: Rows, name: str, *, from_logits: bool, barred: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Put rows of probabilities into one matrix, without a copy where they lie in one; logits through a softmax.

    Rows that are not `barred` are refused if they are invalid; none if that is None.
    """
    matrix = stacked(rows.blocks(), (rows.shape[0], 1) if rows.binary else rows.shape, rows.dtype)
    if barred is not None:
        score = native_score("margin", binary=rows.binary, from_logits=from_logits)
        out = np.empty(len(matrix), score_dtype(rows.dtype, None))
        _score_valid(matrix, score, out, barred, name=name, from_logits=from_logits)
    if not rows.binary and not from_logits:
        return matrix
    out = np.empty((len(matrix), 2 if rows.binary else matrix.shape[1]), np.float64)
    step = max(1, BLOCK_BYTES // (8 * out.shape[1]))
    for begin in range(0, len(out), step):
        block = matrix[begin : begin + step].astype(np.float64)
        if rows.binary:
            second = 1 / (1 + np.exp(-np.clip(block[:, 0], -700, 700))) if from_logits else block[:, 0]
            out[begin : begin + step] = np.stack([1 - second, second], 1)
        else:
            with np.errstate(invalid="ignore"):  # of rows that do not count
                block = np.exp(block - block.max(1, keepdims=True))
                out[begin : begin + step] = block / block.sum(1, keepdims=True)
    return out
