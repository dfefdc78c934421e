"""Selections of rows that are chosen together, among all rows of a pool or among those that rank highest."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import Rows, as_numpy, as_points, as_rows, below, is_matrix, row_count
from pickwise.constrained import MORE, Votes
from pickwise.engines import Local, as_engine
from pickwise.gathering import as_matrix, collect, gather, open_embeddings
from pickwise.ids import Excluded, Ids, as_ids, joined, named, take_ids
from pickwise.limits import Beside, places
from pickwise.options import as_seed, one_of, too_few
from pickwise.points import Points, as_labelled, invalid, none_left, refuse_invalid, without_invalid
from pickwise.pools import Pool, is_matrix_like, is_path_like
from pickwise.pools.files import side_by_side
from pickwise.pools.npy import NpyPool
from pickwise.ranking import Request, Source, borrowed, left_out, open_source, rank, refuse_files
from pickwise.report import Report
from pickwise.result import reported
from pickwise.scores import native_score, score_dtype
from pickwise.strategies import Auto, Margin, Random, Spread
from pickwise.strategies.joint import matrix_of_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.limits import Limits, Wishes
    from pickwise.progress import CoverProgress, Progress
    from pickwise.result import Batch, Selection
    from pickwise.strategies import Joint, Ranking


def spread(strategy: Joint, pool: Any, k: int | None, request: Request, beside: Beside) -> Batch:
    """Select by a strategy that chooses rows together; `pickwise.select` says what the arguments are."""
    one_of(request.invalid, "invalid", ("raise", "skip"))
    request = _seeded(strategy, request)
    prefiltered = strategy.let_through(1) is not None
    if prefiltered and beside.wishes.is_empty:
        return _spread_best(strategy, pool, k, request, beside)
    if isinstance(strategy, Spread) and strategy.streams and beside.embeddings is None and beside.wishes.is_empty:
        from pickwise.covering import cover

        stream = _as_stream(pool, request, beside)
        if stream is not None:
            assert k is not None  # noqa: S101 - a budget is a wish
            return cover(strategy, stream, k, request, beside.labelled)
    _refuse_elsewhere(strategy, request)
    if request.filters is not None or isinstance(pool, Pool):  # which may have filters of its own
        return _spread_filtered(strategy, pool, k, request, beside)
    if prefiltered or strategy.needs in ("scores", "predictions"):
        return _spread_ranked(strategy, pool, k, request, beside)
    _refuse_random_ties(strategy, request)
    targets = predicted = None
    if strategy.needs == "targets":
        _need_embeddings(strategy, beside, "predicted targets")
        targets, ids, source = _collected(pool, request, flat=True)
        matrix = as_matrix(beside.embeddings, pool, request)
        _refuse_other_rows(len(targets), len(matrix))
    elif beside.embeddings is None:
        matrix, ids, source = _collected(pool, request, flat=strategy.name == "greedy_y")
    else:
        matrix, ids, predicted, source = _beside(pool, request, beside)
    if request.ids is not None:
        if ids is not None and source.is_named:
            raise ValueError("ids: expected None, because the pool brings its own ids")
        ids = as_ids(request.ids, "ids", len(matrix))
    else:
        request = replace(request, exclude_ids=source.numbers(request.exclude_ids))
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
    batch = strategy.choose(points, request.random_state, _of_picks(request.progress))
    return batch if request.ids is not None else source.told(batch, None)


def _seeded(strategy: Joint, request: Request) -> Request:
    """Let a strategy that only draws to be fast make the same draw always."""
    is_fixed = isinstance(strategy, Auto) and request.random_state is None
    return replace(request, random_state=0) if is_fixed else request


def _spread_filtered(strategy: Joint, pool: Any, k: int | None, request: Request, beside: Beside) -> Batch:
    """Select among the rows that pass filters, as if there were no others."""
    if is_matrix_like(pool, request.probabilities, request.id):
        refuse_files(pool, request)
    opened = request.opened(pool)
    source = Source(opened.rows, opened.parts, opened)
    found = collect(opened)
    rows, positions, matrix = source.counted(Report()), found.positions, found.matrix
    embeddings = None
    if beside.embeddings is not None:
        whole = open_embeddings(beside.embeddings, pool, request)
        _refuse_other_rows(rows, (whole.rows or rows) if isinstance(whole, Pool) else len(whole))
        embeddings = _all_of(whole, positions, request)
        matrix = matrix[:, 0] if matrix.shape[1] == 1 else matrix
    centers, known = as_labelled(beside.labelled, (rows, (matrix if embeddings is None else embeddings).shape[1]))
    labelled = centers if known is None else places(known, positions, "labelled")
    given = source.given(request.ids)
    if given is not None and found.ids is not None and source.is_named:
        raise ValueError("ids: expected None, because the pool brings its own ids")
    ids = found.ids if given is None else take_ids(given, positions)
    excluded = None if request.exclude is None else Excluded.read(request.exclude, "exclude", rows)
    mask = None if excluded is None else excluded.at(positions, len(positions))
    within = replace(
        request,
        ids=positions if ids is None else named(ids),
        exclude=None if mask is None else mask != 0,
        exclude_ids=source.numbers(request.exclude_ids) if given is None else request.exclude_ids,
        probabilities=None,
        id=None,
        filters=None,
    )
    batch = spread(strategy, matrix, k, within, Beside(embeddings, labelled, beside.wishes.among(positions, rows)))
    return source.told(replace(batch, indices=positions[batch.indices]), None, numbered=given is None)


def _as_stream(pool: Any, request: Request, beside: Beside) -> Source | None:
    """Open a pool for one pass; None where it is to be read as a whole."""
    # Positions of labelled rows say nothing of their embeddings before the pool has been read.
    if request.ties != "first" or (beside.labelled is not None and not is_matrix(beside.labelled, "labelled")):
        return None
    from pickwise.covering import open_stream

    return open_stream(pool, request)


def _refuse_elsewhere(strategy: Joint, request: Request) -> None:
    """Refuse what is only for strategies that take a pool piece by piece."""
    local = isinstance(as_engine(request.engine), Local)
    hint = f"the closest strategy that does not is {strategy.closest!r}"
    if strategy.streams:
        hint = "it takes piece by piece what lies in files, with neither limits nor labelled positions"
    for name, asked in (("checkpoint", request.checkpoint is not None), ("engine", not local)):
        if asked:
            raise ValueError(
                f"{name}: {strategy.name} compares the rows of a pool with each other, so it needs all of them here; "
                f"{hint}"
            )


def _refuse_random_ties(strategy: Joint, request: Request) -> None:
    if one_of(request.ties, "ties", ("first", "random")) == "random":
        raise ValueError(f"ties: expected 'first' with {strategy.name} without a prefilter, got 'random'")


def _spread_best(strategy: Joint, pool: Any, k: int | None, request: Request, beside: Beside) -> Batch:
    """Select among the rows that rank highest: one pass by score, and one for their embeddings."""
    _need_embeddings(strategy, beside, "probabilities")
    assert k is not None  # noqa: S101 - a budget is a wish
    embeddings = open_embeddings(beside.embeddings, pool, request)
    ranking: Ranking = strategy.ranking  # type: ignore[attr-defined] # it has one
    source = open_source(pool, ranking, request)
    if isinstance(embeddings, Pool) and source.pool is not None:
        embeddings, opened = side_by_side([embeddings, source.pool])
        source = replace(source, rows=opened.rows, parts=opened.parts, pool=opened)
    _refuse_other_rows(source.rows, embeddings.rows if isinstance(embeddings, Pool) else len(embeddings))
    centers, known = _labelled_beside(beside.labelled, embeddings, source.rows)
    excluded = None if request.exclude is None else Excluded.read(request.exclude, "exclude", source.rows)
    barred = excluded
    if known is not None:
        barred = Excluded(None, known, "labelled") if excluded is None else excluded.joined(known)
    informed = strategy.knowing(sum(len(rows) for rows in (centers, known) if rows is not None))
    ranking = informed.ranking  # type: ignore[attr-defined] # it still has one
    then, most = strategy.second, strategy.let_through(k)
    assert most is not None  # noqa: S101 - those come here that have a first pass
    wanted = replace(request, exclude=barred)
    best, worth, matrix, skipped, rows = _best_beside(
        ranking, source, most, wanted, embeddings=embeddings, metric=then.measure
    )
    some, available = np.sort(best.indices), len(best)
    labelled = 0 if known is None else len(known)
    if available == 0:
        raise none_left(rows)
    if available < k and not request.clip:
        raise too_few(k, available, rows=rows, skipped=skipped, labelled=labelled)
    inside = np.empty(0, np.int64) if known is None else known
    out = None if excluded is None else excluded.at(inside, len(inside))
    if out is not None and out.any():
        outside, inside = inside[out != 0], inside[out == 0]
        others = _all_of(embeddings, outside, request)
        centers = below(centers, refuse_invalid(others, "embeddings", then.measure, outside))
    # In the order of positions, by which strategies decide between rows that are alike.
    together = np.union1d(some, inside)
    scores = np.zeros(len(together))
    weights = informed.weighed(worth, best.scores, is_all=available < most or available == rows)
    scores[np.searchsorted(together, best.indices)] = weights
    matrix = _all_of(embeddings, together, request) if len(inside) else matrix
    points = Points.read(
        refuse_invalid(matrix, "embeddings", then.measure, together),
        min(k, available),
        labelled=np.searchsorted(together, inside) if len(inside) else centers,
        scores=scores,
        clip=True,
        metric=then.metric,
    )
    points = replace(points, may_be_few=True, centers=centers)
    batch = then.choose(points, request.random_state, _of_picks(request.progress))
    indices = together[batch.indices]
    ids = best.ids[np.argsort(best.indices)][np.searchsorted(some, indices)]
    return reported(replace(batch, ids=ids, indices=indices, strategy=strategy, skipped=skipped), best.report)


def _best_beside(
    ranking: Ranking, source: Source, k: int, request: Request, *, embeddings: NDArray[Any] | Pool, metric: str
) -> tuple[Selection, NDArray[np.float64], NDArray[Any], int, int]:
    """Find the rows that rank highest and have embeddings, their scores, these, what was skipped, and how many rows.

    Of rows that are drawn the scores are those without the noise.
    """
    barred, unfit, again = request.exclude, 0, Report()
    skips = request.invalid == "skip"
    if skips and not isinstance(embeddings, Pool):
        barred, unfit = _also_invalid(barred, np.arange(len(embeddings)), embeddings, metric)
    while True:
        ranked = rank(ranking, source, k, replace(request, exclude=barred, clip=True))
        _refuse_other_rows(ranked.rows, embeddings.rows if isinstance(embeddings, Pool) else len(embeddings))
        request = replace(request, checkpoint=None)  # it is of the first pass
        best, scores = ranked.finish_with_scores(clip=True)
        some = np.sort(best.indices)
        matrix, lost, seen = gather(embeddings, some, request)
        again.add_pass(seen)
        if len(lost):
            barred = _joined(barred, lost)
            continue
        barred, more = _also_invalid(barred, some, matrix, metric) if skips else (barred, 0)
        if not more:
            break
        # Of embeddings elsewhere only those that are read are known to be none; others take their place.
        unfit += more
    if best.report is not None:
        best.report.add_pass(again)
    return best, scores, matrix, best.skipped + unfit, ranked.rows


def _all_of(embeddings: NDArray[Any] | Pool, rows: NDArray[np.int64], request: Request) -> NDArray[Any]:
    """Read the embeddings of rows of which none may be left out."""
    return gather(embeddings, rows, replace(request, on_file_error="raise"))[0]


def _also_invalid(
    barred: Excluded | None, rows: NDArray[np.int64], matrix: NDArray[Any], metric: str
) -> tuple[Excluded | None, int]:
    """Leave out the rows whose embeddings have no distance as well, and count them."""
    bad = rows[invalid(matrix, metric) != 0] if len(rows) else rows
    known = None if barred is None or not len(bad) else barred.at(bad, len(bad))
    bad = bad if known is None else bad[known == 0]
    if not len(bad):
        return barred, 0
    return _joined(barred, bad), len(bad)


def _joined(barred: Excluded | None, rows: NDArray[np.int64]) -> Excluded:
    return Excluded(None, rows, "embeddings") if barred is None else barred.joined(rows)


def _labelled_beside(
    labelled: Any, embeddings: NDArray[Any] | Pool, rows: int | None
) -> tuple[NDArray[Any] | None, NDArray[np.int64] | None]:
    """Read what is labelled: embeddings of others, or positions in the pool."""
    if labelled is None:
        return None, None
    rows = rows if rows is not None else embeddings.rows if isinstance(embeddings, Pool) else len(embeddings)
    return as_labelled(labelled, (sys.maxsize if rows is None else rows, _dims(embeddings)))


def _dims(embeddings: NDArray[Any] | Pool) -> int:
    if not isinstance(embeddings, Pool):
        return int(embeddings.shape[1])
    with closing(embeddings.chunks()) as chunks:
        return next((chunk.matrix.shape[1] for chunk in chunks), 1)


def _spread_ranked(strategy: Joint, pool: Any, k: int | None, request: Request, beside: Beside) -> Batch:
    """Select among the rows that rank highest, or among all, with their scores."""
    _need_embeddings(strategy, beside, "probabilities")
    matrix = as_matrix(beside.embeddings, pool, request)
    rows = len(matrix)
    if strategy.needs == "predictions" and not is_matrix_like(pool, request.probabilities, request.id):
        pool, ids, told = _collected(pool, request)
        if ids is not None and request.ids is not None and told.is_named:
            raise ValueError("ids: expected None, because the pool brings its own ids")
        pool = pool[:, 0] if pool.shape[1] == 1 else pool
        own = None if ids is None or request.ids is not None else told.named(ids)
        request = replace(request, ids=request.ids if own is None else own, probabilities=None, id=None, filters=None)
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
    informed = strategy.knowing(sum(len(rows) for rows in (centers, known) if rows is not None))
    ranking = informed.ranking  # type: ignore[attr-defined] # it still has one
    then = strategy.second
    mask, unfit = without_invalid(matrix, mask, then.measure) if request.invalid == "skip" else (mask, 0)
    quiet = replace(request, exclude=None if mask is None else mask != 0, clip=True, progress=None)
    most = _most(strategy, rows, k, beside.wishes)
    # Limits may bar any of the best.
    ranked = rank(ranking, source, most if beside.wishes.is_empty else rows, quiet)
    _refuse_other_rows(ranked.rows, rows)
    best, worth = ranked.finish_with_scores(clip=True)
    if taken is not None and not np.isin(taken, best.indices).all():
        row = taken[~np.isin(taken, best.indices)][0]
        raise ValueError(f"must_include: row {row} is excluded, labelled or invalid, so it cannot be selected")
    scores = np.zeros(rows)
    scores[best.indices] = worth
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
    batch = _chosen(informed, points, best, most, request)
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
    wanted = rows if k is None else k
    if wishes.costs is not None:
        wanted = min(wanted, wishes.affordable(rows))
    most = strategy.let_through(wanted)
    return rows if most is None else min(rows, most)


def _chosen(strategy: Joint, points: Points, best: Selection, most: int, request: Request) -> Batch:
    """Choose among so many rows that rank highest, and among more where limits bar too many of these."""
    order, draws = best.indices, np.zeros(len(points.embeddings))
    draws[order] = best.scores
    if points.limits is not None:
        order = _affordable_first(order, points.limits)
    seed = request.random_state
    if isinstance(seed, (np.random.RandomState, np.random.Generator)):
        seed = as_seed(seed)  # once, however often rows are chosen
    while True:
        is_all = most >= len(order)
        part = points if is_all else points.of_the_first(most, order)
        assert points.scores is not None  # noqa: S101 - those come here that go by them
        some, scores = order[:most], points.scores.copy()
        scores[some] = strategy.weighed(points.scores[some], draws[some], is_all=is_all)
        batch = strategy.second.choose(replace(part, scores=scores), seed, _of_picks(request.progress))
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


def _collected(pool: Any, request: Request, *, flat: bool = False) -> tuple[NDArray[Any], Ids | None, Source]:
    """Read a pool as one matrix: where it is, if it is one, else chunk by chunk into one; 1-D if that may be."""
    if is_matrix_like(pool, request.probabilities, request.id):
        if flat and not is_matrix(pool, "pool"):
            pool = as_numpy(pool, "pool")[:, None]
        matrix = as_points(pool, "pool")
        return matrix, None, Source.of(len(matrix))
    opened = request.opened(pool)
    source = Source(opened.rows, opened.parts, opened)
    if is_path_like(pool) and isinstance(opened, NpyPool) and opened.is_one_array:
        return as_points(opened.parts[0].file.path, "pool"), None, source
    found = collect(opened)
    return found.matrix, found.ids, source


def _beside(
    pool: Any, request: Request, beside: Beside
) -> tuple[NDArray[Any], Ids | None, NDArray[np.int64] | None, Source]:
    """Read embeddings that lie beside a pool, of which only the ids matter and, where asked for, the classes."""
    matrix = as_matrix(beside.embeddings, pool, request)
    votes = None if beside.wishes.max_per_class is None else Votes(Margin(), pool)
    if votes is None and is_matrix_like(pool, request.probabilities, request.id):
        _refuse_other_rows(row_count(pool, "pool"), len(matrix))
        return matrix, None, None, Source.of(len(matrix))
    source = open_source(pool, Random() if votes is None else Margin(), request)
    rows, ids = 0, []
    for part, chunk in source.chunks():
        values = borrowed(Random() if votes is None else Margin(), chunk, part, "pool")
        if isinstance(values, Rows):
            if request.invalid == "raise":
                _refuse_no_probabilities(values, rows)
            assert votes is not None  # noqa: S101 - without it they are only counted
            votes.listen(values, rows)
        rows += values if isinstance(values, int) else values.shape[0]
        ids += [] if chunk.ids is None else [joined([chunk.ids])]
    _refuse_other_rows(rows, len(matrix))
    return matrix, joined(ids) if ids else None, None if votes is None else votes.of(rows), source


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


def _refuse_other_rows(pool: int | None, rows: int | None) -> None:
    if None not in (pool, rows) and pool != rows:
        raise ValueError(f"embeddings: expected {pool} rows, one for each of the pool, got {rows}")


def _of_picks(progress: Progress) -> CoverProgress:
    """Tell a function of `select` what it expects: the picks made, and the picks wanted."""
    if not callable(progress):
        return progress
    told = progress
    return lambda picks, wanted, _: told(picks, wanted)
