"""Selections of rows that are chosen together, among all rows of a pool or among those that rank highest."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_numpy, as_points, as_rows, is_matrix, row_count
from pickwise.constrained import Votes
from pickwise.ids import Excluded, Ids, as_ids, joined, named
from pickwise.options import one_of
from pickwise.points import Points, as_labelled, without_invalid
from pickwise.pools import is_path_like, open_pool
from pickwise.pools.paths import find_files
from pickwise.ranking import Request, is_matrix_like, left_out, open_source, rank
from pickwise.strategies import Hybrid, Margin, Random, Spread
from pickwise.strategies.joint import matrix_of_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.limits import Wishes
    from pickwise.progress import CoverProgress, Progress
    from pickwise.result import Batch
    from pickwise.strategies import Joint, Ranking


@dataclass(frozen=True, eq=False)
class Beside:
    """What `select` was given beside a pool, for strategies that choose rows together."""

    embeddings: Any
    labelled: Any
    wishes: Wishes


def spread(strategy: Joint, pool: Any, k: int | None, request: Request, beside: Beside) -> Batch:
    """Select by a strategy that chooses rows together; `pickwise.select` says what the arguments are."""
    one_of(request.invalid, "invalid", ("raise", "skip"))
    prefiltered = isinstance(strategy, Spread) and strategy.prefilter is not None
    if prefiltered or strategy.needs in ("scores", "predictions"):
        return _spread_ranked(strategy, pool, k, request, beside)
    if one_of(request.ties, "ties", ("first", "random")) == "random":
        raise ValueError(f"ties: expected 'first' with {strategy.name} without a prefilter, got 'random'")
    targets = None
    if strategy.needs == "targets":
        _need_embeddings(strategy, beside, "predicted targets")
        targets, ids = _collected(pool, request, flat=True)
        matrix = as_points(beside.embeddings, "embeddings")
        _refuse_other_rows(len(targets), len(matrix))
    elif beside.embeddings is None:
        matrix, ids = _collected(pool, request, flat=strategy.name == "greedy_y")
    else:
        matrix, ids = _beside(pool, request, beside.embeddings)
    if request.ids is not None:
        if ids is not None:
            raise ValueError("ids: expected None, because the pool brings its own ids")
        ids = as_ids(request.ids, "ids", len(matrix))
    predicted = None
    if beside.wishes.max_per_class is not None and beside.embeddings is not None and targets is None:
        predicted = _predicted(pool, request)
    points = Points.read(
        matrix,
        k,
        ids=ids,
        labelled=beside.labelled,
        exclude=left_out(len(matrix), ids, request),
        wishes=beside.wishes,
        predicted=predicted,
        predictions=targets,
        clip=request.clip,
        metric=strategy.metric,
        skip_invalid=request.invalid == "skip",
    )
    return strategy.choose(points, request.random_state, _of_picks(request.progress))


def _spread_ranked(strategy: Joint, pool: Any, k: int | None, request: Request, beside: Beside) -> Batch:
    """Select among the rows that rank highest, or among all, with their scores."""
    _need_embeddings(strategy, beside, "probabilities")
    matrix = as_points(beside.embeddings, "embeddings")
    rows = len(matrix)
    if strategy.needs == "predictions" and not is_matrix_like(pool, request.probabilities, request.id):
        pool, ids = _collected(pool, request)
        if ids is not None and request.ids is not None:
            raise ValueError("ids: expected None, because the pool brings its own ids")
        pool = pool[:, 0] if pool.shape[1] == 1 else pool
        request = replace(request, ids=request.ids if ids is None else named(ids), probabilities=None, id=None)
    ranking: Ranking = strategy.ranking  # type: ignore[attr-defined] # those that need scores have one
    source = open_source(pool, ranking, request.probabilities, request.id)
    _refuse_other_rows(source.rows, rows)
    votes = None if beside.wishes.max_per_class is None else Votes(ranking, pool)
    if votes is not None:
        source = votes.listening(source)
    centers, known = as_labelled(beside.labelled, matrix.shape)
    taken = beside.wishes.taken(rows)
    excluded = None if request.exclude is None else Excluded.read(request.exclude, "exclude", rows).between(0, rows)
    mask = _marked(excluded, rows, known)
    then = strategy.second if isinstance(strategy, Hybrid) else strategy
    mask, unfit = without_invalid(matrix, mask, then.measure) if request.invalid == "skip" else (mask, 0)
    quiet = replace(request, exclude=None if mask is None else mask != 0, clip=True, progress=None)
    most = _most(strategy, rows, k, beside.wishes)
    reducer = rank(ranking, source, most if taken is None else rows, quiet)
    _refuse_other_rows(reducer.rows, rows)
    best = reducer.finish(clip=True)
    out = np.ones(rows, np.uint8)
    if taken is None:
        out[best.indices] = 0
    else:
        missing = taken[~np.isin(taken, best.indices)]
        if len(missing):
            raise ValueError(
                f"must_include: row {missing[0]} is excluded, labelled or invalid, so it cannot be selected"
            )
        out[best.indices[~np.isin(best.indices, taken)][:most]] = 0
        out[taken] = 0
    if known is not None:
        out[known] = 0 if excluded is None else excluded[known]
    scores = np.zeros(rows)
    scores[best.indices] = best.scores
    predictions = None
    if strategy.needs == "predictions":
        from_logits = bool(getattr(strategy, "from_logits", False))
        predictions = matrix_of_predictions(as_rows(pool, "pool"), "pool", from_logits=from_logits)
    points = Points.read(
        matrix,
        k,
        labelled=centers if known is None else known,
        exclude=out != 0,
        wishes=beside.wishes,
        predicted=None if votes is None else votes.of(rows),
        scores=scores,
        predictions=predictions,
        clip=request.clip,
        metric=then.metric,
    )
    batch = then.choose(points, request.random_state, _of_picks(request.progress))
    place = np.full(rows, -1, np.int64)
    place[best.indices] = np.arange(len(best))
    return replace(batch, ids=best.ids[place[batch.indices]], strategy=strategy, skipped=best.skipped + unfit)


def _marked(mask: NDArray[np.uint8] | None, rows: int, others: NDArray[np.int64] | None) -> NDArray[np.uint8] | None:
    """Mark other rows, too."""
    if others is None:
        return mask
    marked = np.zeros(rows, np.uint8) if mask is None else mask.copy()
    marked[others] = 1
    return marked


def _most(strategy: Joint, rows: int, k: int | None, wishes: Wishes) -> int:
    """Tell how many rows are chosen among."""
    if isinstance(strategy, Hybrid):
        factor = strategy.factor
    elif isinstance(strategy, Spread):
        factor = strategy.prefilter or 1
    else:
        return rows
    wanted = rows if k is None else k
    if wishes.costs is not None:
        wanted = min(wanted, wishes.affordable(rows))
    return min(rows, factor * wanted)


def _predicted(pool: Any, request: Request) -> NDArray[np.int64] | None:
    """Find the predicted classes of a pool that embeddings lie beside, if it is one of probabilities."""
    ranking = Margin()
    source = open_source(pool, ranking, request.probabilities, request.id)
    votes = Votes(ranking, pool)
    count = sum(rows if isinstance(rows, int) else rows.shape[0] for rows, _ in votes.listening(source).pieces())
    return votes.of(count)


def _need_embeddings(strategy: Joint, beside: Beside, what: str) -> None:
    if beside.embeddings is None:
        why = "" if strategy.needs in ("scores", "predictions", "targets") else ", as it has a prefilter"
        raise TypeError(f"embeddings: expected a matrix beside the pool of {what} with {strategy!r}{why}, got None")


def _collected(pool: Any, request: Request, *, flat: bool = False) -> tuple[NDArray[Any], Ids | None]:
    """Read a pool as one matrix: where it is, if it is one, else chunk by chunk into one; 1-D if that may be."""
    if is_matrix_like(pool, request.probabilities, request.id):
        if flat and not is_matrix(pool, "pool"):
            pool = as_numpy(pool, "pool")[:, None]
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


def _refuse_other_rows(pool: int | None, rows: int) -> None:
    if pool is not None and pool != rows:
        raise ValueError(f"embeddings: expected {pool} rows, one for each of the pool, got {rows}")


def _of_picks(progress: Progress) -> CoverProgress:
    """Tell a function of `select` what it expects: the picks made, and the picks wanted."""
    if not callable(progress):
        return progress
    told = progress
    return lambda picks, wanted, _: told(picks, wanted)
