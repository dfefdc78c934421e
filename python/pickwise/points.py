"""What there is to choose from when rows are chosen together: embeddings, and what is known of each row, checked."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import BLOCK_BYTES, as_numpy, as_points, is_matrix, mapped
from pickwise.ids import Excluded, Ids, count_ids, named, refuse_repeated, take_ids
from pickwise.options import as_count, as_k, as_seed, too_few
from pickwise.progress import CoverProgress, reporting_cover
from pickwise.result import Cover, Nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pickwise.options import RandomState
    from pickwise.strategies import Spread


@dataclass(frozen=True, eq=False)
class Points:
    """The rows of a pool as points, and how many of them are wanted.

    Attributes
    ----------
    embeddings : ndarray of shape (rows, dims)
    k : int
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
    groups : ndarray of int64 of shape (rows,) or None
        Codes from 0.
    max_per_group : int or None
    skipped : int
        Invalid rows among those excluded.
    """

    embeddings: NDArray[Any]
    k: int
    ids: Ids | None = None
    centers: NDArray[Any] | None = None
    labelled: NDArray[np.int64] | None = None
    start: int | None = None
    weights: NDArray[np.float64] | None = None
    exclude: NDArray[np.uint8] | None = None
    groups: NDArray[np.int64] | None = None
    max_per_group: int | None = None
    skipped: int = 0

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
        groups: Any = None,
        max_per_group: Any = None,
        clip: bool = False,
        skip_invalid_by: str | None = None,
    ) -> Points:
        """Check everything that can be checked without a look at every number.

        Parameters
        ----------
        skip_invalid_by : str, optional
            A metric: rows that have no distance by it are excluded and counted.
        """
        wanted = as_k(k)
        matrix = as_points(embeddings, "embeddings")
        rows = len(matrix)
        if ids is not None:
            if count_ids(ids) != rows:
                raise ValueError(f"ids: expected {rows}, one for each row of embeddings, got {count_ids(ids)}")
            refuse_repeated(ids, "ids")
        centers, positions = as_labelled(labelled, matrix.shape)
        mask = None if exclude is None else Excluded.read(exclude, "exclude", rows).between(0, rows)
        mask, skipped = (mask, 0) if skip_invalid_by is None else _without_invalid(matrix, mask, skip_invalid_by)
        room = _room(wanted, rows, mask, positions, skipped, clip=clip)
        quota = None if max_per_group is None else as_count(max_per_group, "max_per_group", least=1)
        if (groups is None) != (quota is None):
            given, other = ("groups", "max_per_group") if quota is None else ("max_per_group", "groups")
            raise ValueError(f"{given}: expected {other} with it, got none; pass both or neither")
        return cls(
            matrix,
            min(wanted, room),
            ids,
            centers,
            positions,
            None if start is None else _position(start, "start", rows),
            None if weights is None else _weights(weights, rows),
            mask,
            None if groups is None else _codes(groups, rows),
            quota,
            skipped,
        )

    @property
    def is_fresh(self) -> bool:
        """Whether nothing is labelled and no first pick is given."""
        return self.centers is None and self.labelled is None and self.start is None

    def starting_at_random(self, random_state: RandomState) -> Points:
        """Draw the first pick, where nothing else says what it is."""
        if not self.is_fresh:
            return self
        rng = np.random.default_rng(as_seed(random_state))
        if self.exclude is None:
            return replace(self, start=int(rng.integers(len(self.embeddings))))
        return replace(self, start=int(rng.choice(np.flatnonzero(self.exclude == 0))))

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

    def cover(self, strategy: Spread, picks: NDArray[np.int64], distances: NDArray[np.float64], radius: float) -> Cover:
        """Make the result, and warn of what is not as it was asked for."""
        copies = int((distances == 0).sum())
        if len(picks) < self.k:
            reasons = {
                "every other row is nearer than min_distance to a pick or a labelled row": "min_distance",
                "every other row is of a group that has max_per_group": "max_per_group",
            }
            asked = {"min_distance": strategy.options.get("min_distance"), "max_per_group": self.max_per_group}
            why = " or ".join(why for why, option in reasons.items() if asked[option])
            _warn(f"{len(picks)} rows were picked of the {self.k} wanted: {why or 'no others may be picked'}")
        elif copies:
            _warn(
                f"{copies} of the {len(picks)} picks are copies of other picks or of labelled rows (at distance 0): "
                "there were no other rows left; ask for fewer, or drop the picks whose distance is 0"
            )
        factors = 1 if self.weights is None else self.weights[picks]
        ids = picks if self.ids is None else named(take_ids(self.ids, picks))
        with np.errstate(invalid="ignore"):  # 0 times the infinity of the first pick
            scores = np.nan_to_num(distances * factors, nan=0.0, posinf=np.inf)
        return Cover(ids, picks, scores, strategy, self.skipped, distances=distances, radius=radius)

    def nearest(self, strategy: Spread, picks: NDArray[np.int64]) -> Nearest:
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


def _room(
    k: int,
    rows: int,
    exclude: NDArray[np.uint8] | None,
    labelled: NDArray[np.int64] | None,
    skipped: int,
    *,
    clip: bool,
) -> int:
    """Count the rows that may be picked, and refuse to pick more."""
    barred = np.zeros(rows, bool) if exclude is None else exclude != 0
    excluded = int(barred.sum())
    if labelled is not None:
        barred = barred.copy()
        barred[labelled] = True
    available = rows - int(barred.sum())
    if available == 0:
        raise ValueError(
            f"exclude: every one of the {rows} rows is excluded, labelled or invalid, so none is left to pick; "
            "leave at least one out"
        )
    if k > available and not clip:
        raise too_few(k, available, rows=rows, skipped=skipped, labelled=rows - excluded - available)
    return available


def _without_invalid(
    matrix: NDArray[Any], exclude: NDArray[np.uint8] | None, metric: str
) -> tuple[NDArray[np.uint8] | None, int]:
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


def _position(x: Any, name: str, rows: int) -> int:
    position = as_count(x, name, least=0)
    if position >= rows:
        raise ValueError(f"{name}: expected a position below {rows}, the rows of the pool, got {position}")
    return position


def _weights(x: Any, rows: int) -> NDArray[np.float64]:
    array = as_numpy(x, "weights")
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"weights: expected numbers, got {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"weights: expected the shape ({rows},), one for each row, got {array.shape}")
    return np.ascontiguousarray(array, np.float64)


def _codes(x: Any, rows: int) -> NDArray[np.int64]:
    """Turn groups, anything that can be hashed, into numbers from 0."""
    array = x if isinstance(x, (list, tuple)) else as_numpy(x, "groups")
    if isinstance(array, np.ndarray) and array.ndim != 1:
        raise ValueError(f"groups: expected the shape ({rows},), one for each row, got {array.shape}")
    if len(array) != rows:
        raise ValueError(f"groups: expected {rows}, one for each row, got {len(array)}")
    if isinstance(array, np.ndarray) and array.dtype.kind in "biuUS":
        return np.unique(array, return_inverse=True)[1].astype(np.int64, copy=False)
    codes: dict[Any, int] = {}
    items = array.tolist() if isinstance(array, np.ndarray) else array
    try:
        return np.fromiter((codes.setdefault(item, len(codes)) for item in items), np.int64, rows)
    except TypeError as error:
        raise TypeError(f"groups: expected integers, strings or other values that can be hashed: {error}") from None


def _warn(text: str) -> None:
    """Warn where the caller called."""
    level, frame = 1, sys._getframe()  # noqa: SLF001 - as `warnings` itself does
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "pickwise":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)
