"""Selections of rows that are chosen together, among all rows of a pool or among those that rank highest."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import as_numpy, as_points, as_rows, is_matrix, row_count
from pickwise.constrained import MORE, Votes
from pickwise.ids import Excluded, Ids, as_ids, joined, named
from pickwise.options import as_seed, one_of
from pickwise.points import Points, as_labelled, without_invalid
from pickwise.pools import is_path_like, open_pool
from pickwise.pools.paths import find_files
from pickwise.ranking import Request, is_matrix_like, left_out, open_source, rank
from pickwise.scores import native_score, score_dtype
from pickwise.strategies import Hybrid, Margin, Random, Spread
from pickwise.strategies.joint import matrix_of_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.arrays import Rows
    from pickwise.limits import Limits, Wishes
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
    targets = predicted = None
    if strategy.needs == "targets":
        _need_embeddings(strategy, beside, "predicted targets")
        targets, ids = _collected(pool, request, flat=True)
        matrix = as_points(beside.embeddings, "embeddings")
        _refuse_other_rows(len(targets), len(matrix))
    elif beside.embeddings is None:
        matrix, ids = _collected(pool, request, flat=strategy.name == "greedy_y")
    else:
        matrix, ids, predicted = _beside(pool, request, beside)
    if request.ids is not None:
        if ids is not None:
            raise ValueError("ids: expected None, because the pool brings its own ids")
        ids = as_ids(request.ids, "ids", len(matrix))
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
    source = open_source(pool, ranking, request)
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
    # Limits may bar any of the best.
    ranked = rank(ranking, source, most if beside.wishes.is_empty else rows, quiet)
    _refuse_other_rows(ranked.rows, rows)
    best = ranked.finish(clip=True)
    if taken is not None and not np.isin(taken, best.indices).all():
        row = taken[~np.isin(taken, best.indices)][0]
        raise ValueError(f"must_include: row {row} is excluded, labelled or invalid, so it cannot be selected")
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
        exclude=_others(rows, best.indices, known, excluded),
        wishes=beside.wishes,
        predicted=None if votes is None else votes.of(rows),
        scores=scores,
        predictions=predictions,
        clip=request.clip,
        metric=then.metric,
    )
    batch = _chosen(then, points, best.indices, most, request)
    place = np.full(rows, -1, np.int64)
    place[best.indices] = np.arange(len(best))
    ids = best.ids[place[batch.indices]]
    return reported(replace(batch, ids=ids, strategy=strategy, skipped=best.skipped + unfit), best.report)


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


def _chosen(then: Joint, points: Points, order: NDArray[np.int64], most: int, request: Request) -> Batch:
    """Choose among so many rows that rank highest, and among more where limits bar too many of these."""
    if points.limits is not None:
        order = _affordable_first(order, points.limits)
    seed = request.random_state
    if isinstance(seed, (np.random.RandomState, np.random.Generator)):
        seed = as_seed(seed)  # once, however often rows are chosen
    while True:
        is_all = most >= len(order)
        part = points if is_all else points.of_the_first(most, order)
        batch = then.choose(part, seed, _of_picks(request.progress))
        if is_all or len(batch) - len(part.taken) >= part.k or _is_spent(points, batch.indices, order[most : 2 * most]):
            return batch
        most *= MORE


def _is_spent(points: Points, picks: NDArray[np.int64], others: NDArray[np.int64]) -> bool:
    """Tell whether so little of a budget is left that few of the rows that rank next can be paid for."""
    limits = points.limits
    if limits is None or limits.costs is None:
        return False
    return replace(limits, taken=picks).left < float(np.median(limits.costs[others]))


def _others(
    rows: int, some: NDArray[np.int64], known: NDArray[np.int64] | None, excluded: NDArray[np.uint8] | None
) -> NDArray[np.bool_]:
    """Mark all rows but some, and but those that are labelled and not excluded as well."""
    out = np.ones(rows, np.bool_)
    out[some] = False
    if known is not None:
        out[known] = False if excluded is None else excluded[known] != 0
    return out


def _affordable_first(order: NDArray[np.int64], limits: Limits) -> NDArray[np.int64]:
    """Leave out rows that are in, and put those that no budget is left for behind the others."""
    if limits.taken is not None:
        order = order[~np.isin(order, limits.taken)]
    if limits.costs is None:
        return order
    return order[np.argsort(limits.costs[order] > limits.left, kind="stable")]


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


def _beside(pool: Any, request: Request, beside: Beside) -> tuple[NDArray[Any], Ids | None, NDArray[np.int64] | None]:
    """Read embeddings that lie beside a pool, of which only the ids matter and, where asked for, the classes."""
    matrix = as_points(beside.embeddings, "embeddings")
    votes = None if beside.wishes.max_per_class is None else Votes(Margin(), pool)
    if votes is None and is_matrix_like(pool, request.probabilities, request.id):
        _refuse_other_rows(row_count(pool, "pool"), len(matrix))
        return matrix, None, None
    source = open_source(pool, Random() if votes is None else Margin(), request.probabilities, request.id)
    rows, ids = 0, []
    with closing((source if votes is None else votes.listening(source)).pieces()) as pieces:
        for piece, own in pieces:
            if not isinstance(piece, int) and request.invalid == "raise":
                _refuse_no_probabilities(piece, rows)
            rows += piece if isinstance(piece, int) else piece.shape[0]
            ids += [] if own is None else [joined([own])]
    _refuse_other_rows(rows, len(matrix))
    return matrix, joined(ids) if ids else None, None if votes is None else votes.of(rows)


def _refuse_no_probabilities(rows: Rows, before: int) -> None:
    score = native_score("margin", binary=rows.binary)
    for block in rows.blocks():
        found = _native.score(block, score, np.empty(len(block), score_dtype(rows.dtype, None)), before, None)
        if found is not None:
            raise ValueError(
                f"pool: row {found.row} holds no probabilities, from which classes are predicted for max_per_class; "
                "pass the classes as groups, with max_per_group"
            )
        before += len(block)


def _refuse_other_rows(pool: int | None, rows: int) -> None:
    if pool is not None and pool != rows:
        raise ValueError(f"embeddings: expected {pool} rows, one for each of the pool, got {rows}")


def _of_picks(progress: Progress) -> CoverProgress:
    """Tell a function of `select` what it expects: the picks made, and the picks wanted."""
    if not callable(progress):
        return progress
    told = progress
    return lambda picks, wanted, _: told(picks, wanted)
