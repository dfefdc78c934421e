"""What there is to choose from when rows are chosen together: embeddings, and what is known of each row, checked."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import BLOCK_BYTES, as_points, below, is_matrix, mapped
from pickwise.ids import Excluded, Ids, count_ids, named, refuse_repeated, take_ids
from pickwise.limits import as_numbers
from pickwise.options import as_count, as_k, as_seed, too_few
from pickwise.progress import CoverProgress, reporting_cover
from pickwise.result import Batch, Cover, Nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pickwise.limits import Limits, Wishes
    from pickwise.options import RandomState
    from pickwise.strategies import Joint


@dataclass(frozen=True, eq=False)
class Points:
    """The rows of a pool as points, and how many of them are wanted.

    Attributes
    ----------
    embeddings : ndarray of shape (rows, dims)
    k : int
        How many to pick, beside those that are taken.
    ids : Ids or None
    centers : ndarray of shape (labelled, dims) or None
        Labelled rows that are not in the pool.
    labelled : ndarray of int64 or None
        Positions of those that are, ascending.
    start : int or None
        The position of the first pick.
    weights : ndarray of float64 of shape (rows,) or None
    exclude : ndarray of uint8 of shape (rows,) or None
        Nonzero where a row is neither picked nor covered.
    limits : Limits or None
        What picks have to keep to beside. Rows that are taken already are among those labelled.
    scores : ndarray of float64 of shape (rows,) or None
        How much each row is worth by itself, for strategies that ask for it.
    predictions : ndarray of shape (rows, classes) or None
        The probabilities of the rows, or predicted targets, for strategies that ask for them.
    center_targets : ndarray of shape (labelled, targets) or None
        The targets of the centres.
    skipped : int
        Invalid rows among those excluded.
    may_be_few : bool
        Whether fewer picks than `k` are nothing to warn of.
    """

    embeddings: NDArray[Any]
    k: int
    ids: Ids | None = None
    centers: NDArray[Any] | None = None
    labelled: NDArray[np.int64] | None = None
    start: int | None = None
    weights: NDArray[np.float64] | None = None
    exclude: NDArray[np.uint8] | None = None
    limits: Limits | None = None
    scores: NDArray[np.float64] | None = None
    predictions: NDArray[Any] | None = None
    center_targets: NDArray[Any] | None = None
    skipped: int = 0
    may_be_few: bool = False

    @classmethod
    def read(
        cls,
        embeddings: Any,
        k: Any,
        *,
        ids: Ids | None = None,
        labelled: Any = None,
        start: Any = None,
        weights: Any = None,
        exclude: Any = None,
        wishes: Wishes | None = None,
        predicted: NDArray[np.int64] | None = None,
        scores: NDArray[np.float64] | None = None,
        predictions: NDArray[Any] | None = None,
        center_targets: NDArray[Any] | None = None,
        clip: bool = False,
        metric: str = "euclidean",
        skip_invalid: bool = False,
    ) -> Points:
        """Check everything that can be checked without a look at every number.

        Parameters
        ----------
        predicted : ndarray of int64 of shape (rows,), optional
            The most probable class of each row.
        metric : str
            What distances are by.
        skip_invalid : bool
            Whether rows that have no distance are excluded and counted.
        """
        matrix = as_points(embeddings, "embeddings")
        rows = len(matrix)
        if ids is not None:
            if count_ids(ids) != rows:
                raise ValueError(f"ids: expected {rows}, one for each row of embeddings, got {count_ids(ids)}")
            refuse_repeated(ids, "ids")
        centers, positions = as_labelled(labelled, matrix.shape)
        mask = None if exclude is None else Excluded.read(exclude, "exclude", rows).between(0, rows)
        skipped = 0
        if skip_invalid:
            bad = invalid(matrix, metric)
            skipped = int((bad if mask is None else bad > mask).sum())
            if wishes is not None:
                _refuse_invalid(wishes.taken(rows), bad)
            mask = bad if mask is None else mask | bad
            positions = None if positions is None else positions[bad[positions] == 0]
            positions = positions if positions is not None and len(positions) else None
            mask = mask if mask.any() else None
        limits = None
        if wishes is not None and not wishes.is_empty:
            limits = wishes.over(
                rows, predicted=predicted, embeddings=matrix, metric=metric, centers=centers, labelled=positions
            )
        if center_targets is not None and len(center_targets) != (0 if centers is None else len(centers)):
            raise ValueError(
                f"targets: expected one for each labelled row that is not in the pool, "
                f"{0 if centers is None else len(centers)}, got {len(center_targets)}"
            )
        taken = None if limits is None else limits.taken
        if taken is not None:
            refuse_barred(taken, positions, mask)
            positions = taken if positions is None else np.union1d(positions, taken)
        wanted, clip = (rows, True) if k is None else (as_k(k), clip)
        count = 0 if taken is None else len(taken)
        room = _room(wanted, rows, mask, positions, taken=count, skipped=skipped, clip=clip)
        points = cls(
            matrix,
            room,
            ids,
            centers,
            positions,
            None if start is None else _position(start, "start", rows),
            None if weights is None else as_numbers(weights, "weights", rows),
            mask,
            limits,
            scores,
            predictions,
            center_targets,
            skipped,
        )
        if limits is None or limits.costs is None:
            return points
        # What a budget cannot pay for is not wanted: strategies share out the pool among the picks there will be.
        return replace(points, k=min(room, limits.at_most(points.candidates())))

    @property
    def is_fresh(self) -> bool:
        """Whether nothing is labelled and no first pick is given."""
        return self.centers is None and self.labelled is None and self.start is None

    def starting_at_random(self, random_state: RandomState) -> Points:
        """Draw the first pick, where nothing else says what it is."""
        if not self.is_fresh:
            return self
        rng = np.random.default_rng(as_seed(random_state))
        some = self.first_rows()
        if some is None:
            return replace(self, start=int(rng.integers(len(self.embeddings))))
        return replace(self, start=int(rng.choice(some))) if len(some) else self

    @contextmanager
    def watched(self, progress: CoverProgress) -> Iterator[Callable[[int, float], object] | None]:
        """Yield what is to be told of picks, and say of errors what the caller's arguments are called."""
        with reporting_cover(progress, self.k) as report:
            try:
                yield report
            except ValueError as error:
                text = str(error)
                if not text.startswith("centers: "):
                    raise
                raise ValueError(f"labelled: {text.removeprefix('centers: ')}") from None

    @property
    def taken(self) -> NDArray[np.int64]:
        """Rows that are in already."""
        taken = None if self.limits is None else self.limits.taken
        return np.empty(0, np.int64) if taken is None else taken

    @property
    def expected(self) -> int:
        """How many picks there will be: as many as are wanted, or as a budget will pay for."""
        if self.limits is None or self.limits.costs is None:
            return self.k
        return max(1, min(self.k, self.limits.affordable()))

    @property
    def weights_per_cost(self) -> NDArray[np.float64] | None:
        """The weights, for each unit of cost."""
        if self.limits is None or self.limits.costs is None:
            return self.weights
        return (1.0 if self.weights is None else self.weights) / self.limits.costs

    def candidates(self) -> NDArray[np.int64]:
        """List the rows that may be picked."""
        barred = self.barred()
        return np.arange(len(self.embeddings)) if barred is None else np.flatnonzero(barred == 0)

    def of_the_first(self, count: int, order: NDArray[np.int64]) -> Points:
        """Leave out all but what is labelled, and the first rows of an order of all that may be picked."""
        out = np.ones(len(self.embeddings), np.uint8)
        out[order[:count]] = 0
        if self.labelled is not None:
            out[self.labelled] = 0 if self.exclude is None else self.exclude[self.labelled]
        return replace(self, exclude=out, may_be_few=True)

    def first_rows(self) -> NDArray[np.int64] | None:
        """List the rows that may be the first pick; None if it is all."""
        limits = self.limits
        if limits is None or limits.costs is None or (limits.costs <= limits.left).all():
            return None if self.exclude is None else self.candidates()
        free = self.candidates()
        return free[limits.costs[free] <= limits.left]

    def compact(self, metric: str) -> tuple[Points, NDArray[np.int64] | None]:
        """Leave out what is excluded: the pool without it, and the positions of its rows here, None if it is all.

        Rows that are labelled as well are still labelled, as rows that are not in the pool.

        Parameters
        ----------
        metric : str
            What distances are by. Rows that have none are refused by what they are called here.
        """
        if self.centers is not None:
            refuse_invalid(self.centers, "labelled", metric)
        if self.exclude is None or not self.exclude.any():
            return self, None
        rows = np.flatnonzero(self.exclude == 0)
        centers, targets, labelled = self.centers, self.center_targets, None
        if self.labelled is not None:
            outside = self.exclude[self.labelled] != 0
            labelled = np.searchsorted(rows, self.labelled[~outside]) if not outside.all() else None
            others = self.labelled[outside]
            if len(others):
                centers = below(centers, refuse_invalid(self.embeddings[others], "embeddings", metric, others))
                targets = None if self.predictions is None else below(targets, self.predictions[others])
        part = replace(
            self,
            embeddings=refuse_invalid(self.embeddings[rows], "embeddings", metric, rows),
            ids=None,
            centers=centers,
            labelled=labelled,
            center_targets=targets,
            exclude=None,
            limits=None if self.limits is None else self.limits.among(rows),
            scores=None if self.scores is None else self.scores[rows],
            predictions=None if self.predictions is None else self.predictions[rows],
        )
        return part, rows

    def barred(self) -> NDArray[np.uint8] | None:
        """Mark what is excluded or labelled."""
        if self.labelled is None:
            return self.exclude
        mask = np.zeros(len(self.embeddings), np.uint8) if self.exclude is None else self.exclude.copy()
        mask[self.labelled] = 1
        return mask

    def admit(self, order: NDArray[np.int64], k: int, picks: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the first `k` rows of an order that keep to the limits, some rows having been picked."""
        if self.limits is None:
            return order[:k]
        limits = self.limits if picks is None else self.limits.having(picks)
        return order[limits.admit(order, len(self.embeddings), k)]

    def batch(
        self,
        strategy: Joint,
        picks: NDArray[np.int64],
        scores: NDArray[np.float64],
    ) -> Batch:
        """Make the result of picks, and of what they were picked by, and warn of fewer than were asked for."""
        self._warn_of_few(strategy, len(picks))
        order = np.concatenate([self.taken, picks])
        before = None if self.labelled is None else np.setdiff1d(self.labelled, self.taken)
        distances = _native.distances_before(
            self.embeddings, strategy.metric, order, labelled=before, centers=self.centers
        )
        scores = np.concatenate([np.full(len(self.taken), np.inf), scores])
        return Batch(self._named(order), order, scores, strategy, self.skipped, distances=distances)

    def cover(self, strategy: Joint, picks: NDArray[np.int64], distances: NDArray[np.float64], radius: float) -> Cover:
        """Make the result of picks that are far apart, and warn of what is not as it was asked for."""
        copies = int((distances == 0).sum())
        self._warn_of_few(strategy, len(picks))
        if copies and len(picks) == self.k:
            warn(
                f"{copies} of the {len(picks)} picks are copies of other picks or of labelled rows (at distance 0): "
                "there were no other rows left; ask for fewer, or drop the picks whose distance is 0"
            )
        factors = self.weights
        with np.errstate(invalid="ignore"):  # 0 times the infinity of the first pick
            scores = np.nan_to_num(distances * (1 if factors is None else factors[picks]), nan=0.0, posinf=np.inf)
        if len(self.taken):
            before = np.setdiff1d(self.labelled, self.taken) if self.labelled is not None else None
            own = _native.distances_before(
                self.embeddings, strategy.metric, self.taken, labelled=before, centers=self.centers
            )
            picks, distances = np.concatenate([self.taken, picks]), np.concatenate([own, distances])
            scores = np.concatenate([np.full(len(own), np.inf), scores])
        return Cover(self._named(picks), picks, scores, strategy, self.skipped, distances=distances, radius=radius)

    def _named(self, picks: NDArray[np.int64]) -> NDArray[Any]:
        return picks if self.ids is None else named(take_ids(self.ids, picks))

    def _warn_of_few(self, strategy: Joint, picked: int) -> None:
        limits = self.limits
        if self.may_be_few or picked >= self.k or (limits is not None and limits.budget is not None):
            return
        reasons = [] if limits is None else limits.reasons()
        if strategy.options.get("min_distance") is not None and (limits is None or limits.apart is None):
            reasons.insert(0, "every other row is nearer than min_distance to a pick or a labelled row")
        why = " or ".join(reasons) or "no others may be picked"
        warn_of_few(len(self.taken) + picked, len(self.taken) + self.k, why)

    def nearest(self, strategy: Joint, picks: NDArray[np.int64]) -> Nearest:
        """Find the nearest pick or labelled row of every row."""
        matrix = self.embeddings
        parts = [matrix[picks]]
        if self.labelled is not None:
            parts.append(matrix[self.labelled])
        if self.centers is not None:
            parts.append(self.centers)
        one_type = len({part.dtype for part in parts}) == 1
        centers = np.concatenate(parts if one_type else [part.astype(np.float64) for part in parts])
        if self.exclude is None:
            index, distance = _native.nearest(matrix, centers, strategy.metric)
        else:
            index, distance = np.zeros(len(matrix), np.int64), np.full(len(matrix), np.nan)
            used = np.flatnonzero(self.exclude == 0)
            step = max(1, 4 * BLOCK_BYTES // max(1, matrix.shape[1] * matrix.dtype.itemsize))
            for begin in range(0, len(used), step):
                some = used[begin : begin + step]
                index[some], distance[some] = _native.nearest(matrix[some], centers, strategy.metric)
        # Labelled rows are told from picks by their sign: -1 is the first of them.
        index = np.where(index < len(picks), index, len(picks) - 1 - index)
        return Nearest(index, distance)


def as_labelled(x: Any, shape: tuple[int, ...]) -> tuple[NDArray[Any] | None, NDArray[np.int64] | None]:
    """Read labelled rows: a matrix of their embeddings, or a mask of the pool or positions in it; none are None."""
    if x is None:
        return None, None
    if hasattr(x, "__fspath__") or isinstance(x, str):
        x = mapped(x, "labelled")
    rows, dims = shape
    if is_matrix(x, "labelled"):
        centers = as_points(x, "labelled", allow_empty=True)
        if centers.shape[1] != dims:
            raise ValueError(
                f"labelled: expected {dims} dimensions (columns) as the embeddings have, got {centers.shape[1]}"
            )
        return (centers if len(centers) else None), None
    if getattr(getattr(x, "dtype", None), "kind", "i") == "f" and len(x):
        raise TypeError(
            f"labelled: expected a matrix (rows, dims), a boolean mask or integer positions, got 1-D {x.dtype}"
        )
    given = Excluded.read(x, "labelled", rows)
    mask = given.between(0, rows)
    return None, (np.flatnonzero(mask).astype(np.int64) if mask is not None and mask.any() else None)


def refuse_barred(
    taken: NDArray[np.int64], labelled: NDArray[np.int64] | None, exclude: NDArray[np.uint8] | None
) -> None:
    """Refuse rows that must be in and must not."""
    if labelled is not None and np.isin(taken, labelled).any():
        row = taken[np.isin(taken, labelled)][0]
        raise ValueError(f"must_include: row {row} is labelled already; leave it out of one of the two")
    if exclude is not None and exclude[taken].any():
        row = taken[exclude[taken] != 0][0]
        raise ValueError(f"must_include: row {row} is excluded as well; leave it out of one of the two")


def _refuse_invalid(taken: NDArray[np.int64] | None, bad: NDArray[np.uint8]) -> None:
    if taken is not None and bad[taken].any():
        raise ValueError(f"must_include: row {taken[bad[taken] != 0][0]} is invalid, so it cannot be selected")


def _room(
    k: int,
    rows: int,
    exclude: NDArray[np.uint8] | None,
    labelled: NDArray[np.int64] | None,
    *,
    taken: int,
    skipped: int,
    clip: bool,
) -> int:
    """Count the rows to pick beside those that are taken, and refuse to pick more than there are."""
    if taken > k:
        raise ValueError(f"must_include: expected at most k = {k} rows, got {taken}")
    barred = np.zeros(rows, bool) if exclude is None else exclude != 0
    excluded = int(barred.sum())
    if labelled is not None:
        barred = barred.copy()
        barred[labelled] = True
    available = rows - int(barred.sum())
    if available + taken == 0:
        raise none_left(rows)
    if k > available + taken and not clip:
        raise too_few(k, available + taken, rows=rows, skipped=skipped, labelled=rows - excluded - available - taken)
    return min(k - taken, available)


def none_left(rows: int) -> ValueError:
    """Word that no row may be picked."""
    return ValueError(
        f"exclude: every one of the {rows} rows is excluded, labelled or invalid, so none is left to pick; "
        "leave at least one out"
    )


def without_invalid(
    matrix: NDArray[Any], exclude: NDArray[np.uint8] | None, metric: str
) -> tuple[NDArray[np.uint8] | None, int]:
    """Exclude the rows that have no distance by a metric as well, and count them."""
    bad = invalid(matrix, metric)
    if exclude is not None:
        bad &= exclude == 0
    count = int(bad.sum())
    if count == 0:
        return exclude, 0
    return (bad if exclude is None else bad | exclude), count


def invalid(matrix: NDArray[Any], metric: str) -> NDArray[np.uint8]:
    """Mark the rows that have no distance by a metric."""
    bad = np.zeros(len(matrix), bool)
    step = max(1, BLOCK_BYTES // (matrix.shape[1] * matrix.dtype.itemsize))
    for begin in range(0, len(matrix), step):
        block = matrix[begin : begin + step]
        bad[begin : begin + step] = ~np.isfinite(block).all(1)
        if metric == "cosine":
            bad[begin : begin + step] |= ~(block != 0).any(1)
    return bad.view(np.uint8)


def refuse_invalid(
    matrix: NDArray[Any],
    name: str,
    metric: str,
    names: NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Return rows that have distances by a metric; refuse others by what they are called, as the native part does."""
    bad = invalid(matrix, metric)
    if not bad.any():
        return matrix
    at = int(np.argmax(bad))
    row = at if names is None else names[at]
    odd = np.flatnonzero(~np.isfinite(matrix[at]))
    if not len(odd):
        raise ValueError(f"{name}: row {row} is zero, so it has no direction; exclude such rows")
    raise ValueError(
        f"{name}: row {row} has {matrix[at, odd[0]]} in column {odd[0]}; "
        "expected finite numbers: impute or exclude such rows"
    )


def _position(x: Any, name: str, rows: int) -> int:
    position = as_count(x, name, least=0)
    if position >= rows:
        raise ValueError(f"{name}: expected a position below {rows}, the rows of the pool, got {position}")
    return position


def warn(text: str) -> None:
    """Warn where the caller called."""
    level, frame = 1, sys._getframe()  # noqa: SLF001 - as `warnings` itself does
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "pickwise":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


def warn_of_few(picked: int, wanted: int, why: str) -> None:
    """Warn that fewer rows were picked than were wanted."""
    warn(f"{picked} {'row was' if picked == 1 else 'rows were'} picked of the {wanted} wanted: {why}")
