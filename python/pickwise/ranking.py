"""Selections by a score: every row by itself, in one pass, whatever the pool is."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import Rows, as_scores, is_array_like, row_count
from pickwise.ids import (
    Excluded,
    Ids,
    among,
    as_excluded_ids,
    as_ids,
    count_ids,
    refuse_other_kind,
    refuse_repeated,
    slice_ids,
)
from pickwise.options import Invalid, RandomState, Ties, as_seed, too_few
from pickwise.pools import is_path_like, open_pool
from pickwise.pools.table import is_table
from pickwise.progress import Progress, reporting, shifted
from pickwise.reducer import Reducer
from pickwise.strategies import PowerSampling

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from pickwise.result import Selection
    from pickwise.strategies import Ranking, SoftRank


@dataclass(frozen=True, eq=False)
class Request:
    """What `select` was asked for beside a pool, a strategy and `k`; it documents these."""

    ids: Any
    exclude: Any
    exclude_ids: Any
    ties: Ties
    random_state: RandomState
    invalid: Invalid
    clip: bool
    progress: Progress
    probabilities: str | Sequence[str] | None
    id: str | None


def rank(strategy: Ranking, source: Source, k: int, request: Request) -> Reducer:
    """Read a pool from its start to its end, and return the reducer that has taken it."""
    if source.rows == 0:
        raise ValueError(f"{source.name}: expected at least one row, got none")
    if source.rows is not None and k > source.rows:
        if not request.clip:
            raise too_few(k, source.rows, rows=source.rows)
        k = source.rows
    given = None if request.ids is None else as_ids(request.ids, "ids", source.rows)
    if given is not None:
        refuse_repeated(given, "ids")
    excluded = None if request.exclude is None else Excluded.read(request.exclude, "exclude", source.rows)
    reducer = Reducer(
        strategy,
        k,
        exclude_ids=request.exclude_ids,
        ties=request.ties,
        random_state=request.random_state,
        invalid=request.invalid,
    )
    start = 0
    with reporting(request.progress, source.rows) as report, closing(source.pieces()) as pieces:
        for rows, own_ids in pieces:
            end = start + (rows if isinstance(rows, int) else rows.shape[0])
            reducer.take(
                rows,
                _ids_between(given, own_ids, start, end),
                None if excluded is None else excluded.between(start, end),
                name=source.name,
                report=shifted(report, start),
                locate=source.locate,
            )
            start = end
            if report is not None:
                report(start)
    if given is not None and count_ids(given) != start:
        raise ValueError(f"ids: expected {start}, one for each row, got {count_ids(given)}")
    if excluded is not None:
        excluded.check(start)
    return reducer


def draw_by_rank(strategy: SoftRank, source: Source, k: int, request: Request) -> tuple[Selection, int]:
    """Draw rows by their ranks among all rows of a pool; and tell how many rows it has."""
    seed = as_seed(request.random_state)
    # With the same seed, how random ties are broken would not be independent of the noise.
    everything = replace(request, random_state=seed ^ 1, clip=True)
    reducer = rank(strategy.ranking, source, sys.maxsize, everything)
    best = reducer.finish(clip=True)
    if len(best) < k and not request.clip:
        raise too_few(k, len(best), rows=reducer.rows, skipped=reducer.skipped)
    if len(best) == 0:
        return replace(best, strategy=strategy), reducer.rows
    draw = Reducer(PowerSampling(score="given", beta=strategy.beta), k, random_state=seed)
    weights = 1 / np.arange(1, len(best) + 1)
    draw.take(as_scores(weights, "ranks"), as_ids(best.ids, "ids"), None, name="ranks")
    drawn = draw.finish(clip=True)
    drawn = replace(drawn, indices=best.indices[drawn.indices], strategy=strategy, skipped=best.skipped)
    return drawn, reducer.rows


def is_matrix_like(pool: Any, probabilities: str | Sequence[str] | None, id: str | None) -> bool:  # noqa: A002
    """Tell a matrix in memory from a pool with columns to choose, or one that is read chunk by chunk."""
    if is_table(pool):
        # A frame whose columns are all of one type has nothing to choose from, and may lie in memory as a matrix.
        return probabilities is None and id is None and len(set(getattr(pool, "dtypes", ()))) == 1
    if not is_array_like(pool) or is_path_like(pool):
        return False
    for name, value in (("probabilities", probabilities), ("id", id)):
        if value is not None:
            raise TypeError(f"{name}={value!r} names columns, but a {type(pool).__name__} has none")
    return True


@dataclass(frozen=True)
class Source:
    """A pool as it is read.

    Attributes
    ----------
    rows : int or None
        None where it is only known after reading.
    pieces : callable
        Yields rows, or only their number where the strategy needs no more, and the ids that the pool has for them.
    locate : callable or None
        Says where a row is.
    name : str
        What the caller's argument is called, for messages.
    """

    rows: int | None
    pieces: Callable[[], Generator[tuple[Rows | int, Ids | None], None, None]]
    locate: Callable[[int], str] | None = None
    name: str = "pool"

    @classmethod
    def of(cls, rows: Rows | int, name: str = "pool") -> Source:
        """Read rows that are there already, or only count them."""

        def pieces() -> Generator[tuple[Rows | int, Ids | None], None, None]:
            yield rows, None

        return cls(rows if isinstance(rows, int) else rows.shape[0], pieces, name=name)


def open_source(
    pool: Any,
    strategy: Ranking,
    probabilities: str | Sequence[str] | None,
    id: str | None,  # noqa: A002
) -> Source:
    """Open whatever a pool is."""
    if strategy.is_of_committee:
        for name, value in (("probabilities", probabilities), ("id", id)):
            if value is not None:
                raise TypeError(f"{name}: expected None with a committee, which has no columns to choose")
        if is_path_like(pool):
            raise TypeError(
                "pool: expected a committee, an array of shape (members, rows, classes) or members one by one, "
                f"got the path {str(pool)!r}; a .npy file is one by numpy.load(path, mmap_mode='r')"
            )
        return Source.of(strategy.read(pool, "pool"))
    if is_matrix_like(pool, probabilities, id):
        if strategy.needs_matrix:
            return Source.of(strategy.read(pool, "pool"))
        return Source.of(row_count(pool, "pool"))
    opened = open_pool(pool, probabilities=probabilities, id=id)

    def pieces() -> Generator[tuple[Rows | int, Ids | None], None, None]:
        with closing(opened.chunks()) as chunks:
            for matrix, ids in chunks:
                if not strategy.needs_matrix:
                    yield len(matrix), ids
                    continue
                binary = matrix.shape[1] < strategy.min_classes
                values = matrix[:, 0] if binary else matrix
                yield strategy.read(values, "pool", allow_empty=True), ids

    return Source(opened.rows, pieces, opened.locate)


def left_out(rows: int, ids: Ids | None, request: Request) -> NDArray[np.bool_] | None:
    """Mark the rows that must not be selected, by position or by id."""
    mask = None if request.exclude is None else Excluded.read(request.exclude, "exclude", rows).between(0, rows)
    some = as_excluded_ids(request.exclude_ids, "exclude_ids")
    if some is not None:
        refuse_other_kind(some, strings=isinstance(ids, tuple))
        found = among(np.arange(rows) if ids is None else ids, some)
        mask = found if mask is None else mask | found
    return None if mask is None else mask != 0


def _ids_between(given: Ids | None, own: Ids | None, start: int, stop: int) -> Ids | None:
    if given is None:
        return own
    if own is not None:
        raise ValueError("ids: expected None, because the pool brings its own ids")
    if count_ids(given) < stop:
        raise ValueError(f"ids: expected one for each row, at least {stop}, got {count_ids(given)}")
    return slice_ids(given, start, stop)
