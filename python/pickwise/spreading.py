"""Selections of rows that are far apart, among all rows of a pool or among those that rank highest."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points, row_count
from pickwise.ids import Excluded, Ids, among, as_excluded_ids, as_ids, joined, refuse_other_kind
from pickwise.options import one_of
from pickwise.points import Points, as_labelled
from pickwise.pools import is_path_like, open_pool
from pickwise.pools.paths import find_files
from pickwise.ranking import Request, is_matrix_like, open_source, rank
from pickwise.strategies import Random

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.progress import CoverProgress, Progress
    from pickwise.result import Cover
    from pickwise.strategies import Spread


def spread(strategy: Spread, pool: Any, k: int, request: Request, *, embeddings: Any, labelled: Any) -> Cover:
    """Select by a strategy that chooses rows together; `pickwise.select` says what the arguments are."""
    one_of(request.invalid, "invalid", ("raise", "skip"))
    if strategy.prefilter is not None:
        return _spread_among_best(strategy, pool, k, request, embeddings=embeddings, labelled=labelled)
    if one_of(request.ties, "ties", ("first", "random")) == "random":
        raise ValueError(f"ties: expected 'first' with {strategy.name} without a prefilter, got 'random'")
    matrix, ids = _embedded(pool, request) if embeddings is None else _beside(pool, request, embeddings)
    if request.ids is not None:
        if ids is not None:
            raise ValueError("ids: expected None, because the pool brings its own ids")
        ids = as_ids(request.ids, "ids", len(matrix))
    points = Points.read(
        matrix,
        k,
        ids=ids,
        labelled=labelled,
        exclude=_left_out(len(matrix), ids, request),
        clip=request.clip,
        skip_invalid_by=strategy.metric if request.invalid == "skip" else None,
    )
    return strategy.choose(points, request.random_state, _of_picks(request.progress))


def _spread_among_best(
    strategy: Spread, pool: Any, k: int, request: Request, *, embeddings: Any, labelled: Any
) -> Cover:
    if embeddings is None:
        raise TypeError(
            f"embeddings: expected a matrix beside the pool of probabilities, as {strategy!r} has a prefilter, got None"
        )
    matrix = as_points(embeddings, "embeddings")
    rows = len(matrix)
    source = open_source(pool, strategy.ranking, request.probabilities, request.id)
    _refuse_other_rows(source.rows, rows)
    known = as_labelled(labelled, matrix.shape)[1]
    mask = None if request.exclude is None else Excluded.read(request.exclude, "exclude", rows).between(0, rows)
    if known is not None:
        mask = np.zeros(rows, np.uint8) if mask is None else mask.copy()
        mask[known] = 1
    quiet = replace(request, exclude=None if mask is None else mask != 0, clip=True, progress=None)
    reducer = rank(strategy.ranking, source, min(rows, (strategy.prefilter or 1) * k), quiet)
    _refuse_other_rows(reducer.rows, rows)
    best = reducer.finish(clip=True)
    out = np.ones(rows, np.uint8)
    out[best.indices] = 0
    points = Points.read(matrix, k, labelled=labelled, exclude=out != 0, clip=request.clip)
    cover = strategy.choose(points, request.random_state, _of_picks(request.progress))
    by_position = np.argsort(best.indices)
    places = by_position[np.searchsorted(best.indices, cover.indices, sorter=by_position)]
    return replace(cover, ids=best.ids[places], skipped=best.skipped)


def _embedded(pool: Any, request: Request) -> tuple[NDArray[Any], Ids | None]:
    """Read a pool of embeddings: where it is, if it is one matrix, else chunk by chunk into one."""
    if is_matrix_like(pool, request.probabilities, request.id):
        return as_points(pool, "pool"), None
    opened = open_pool(pool, probabilities=request.probabilities, id=request.id)
    if is_path_like(pool):
        kind, files = find_files(pool)
        if kind == ".npy" and len(files) == 1:
            return as_points(files[0], "pool"), None
    parts, ids = [], []
    with closing(opened.chunks()) as chunks:
        for matrix, own in chunks:
            parts.append(np.array(matrix, order="C"))
            ids += [] if own is None else [joined([own])]
    if not any(map(len, parts)):
        raise ValueError("pool: expected at least one row, got none")
    return as_points(np.concatenate(parts), "pool"), joined(ids) if ids else None


def _beside(pool: Any, request: Request, embeddings: Any) -> tuple[NDArray[Any], Ids | None]:
    """Read embeddings that lie beside a pool, of which only the ids matter."""
    matrix = as_points(embeddings, "embeddings")
    if is_matrix_like(pool, request.probabilities, request.id):
        _refuse_other_rows(row_count(pool, "pool"), len(matrix))
        return matrix, None
    source = open_source(pool, Random(), request.probabilities, request.id)
    rows, ids = 0, []
    with closing(source.pieces()) as pieces:
        for count, own in pieces:
            assert isinstance(count, int)  # noqa: S101 - Random asks for no more
            rows += count
            ids += [] if own is None else [joined([own])]
    _refuse_other_rows(rows, len(matrix))
    return matrix, joined(ids) if ids else None


def _left_out(rows: int, ids: Ids | None, request: Request) -> NDArray[np.bool_] | None:
    mask = None if request.exclude is None else Excluded.read(request.exclude, "exclude", rows).between(0, rows)
    some = as_excluded_ids(request.exclude_ids, "exclude_ids")
    if some is not None:
        refuse_other_kind(some, strings=isinstance(ids, tuple))
        found = among(np.arange(rows) if ids is None else ids, some)
        mask = found if mask is None else mask | found
    return None if mask is None else mask != 0


def _refuse_other_rows(pool: int | None, rows: int) -> None:
    if pool is not None and pool != rows:
        raise ValueError(f"embeddings: expected {pool} rows, one for each of the pool, got {rows}")


def _of_picks(progress: Progress) -> CoverProgress:
    """Tell a function of `select` what it expects: the picks made, and the picks wanted."""
    if not callable(progress):
        return progress
    told = progress
    return lambda picks, wanted, _: told(picks, wanted)
