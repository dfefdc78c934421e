"""Selections by a score that keep to limits: the best rows that fit, one after the other."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import Rows, as_rows, is_array_like
from pickwise.gathering import as_matrix
from pickwise.limits import predicted_classes
from pickwise.options import as_seed, too_few
from pickwise.points import as_labelled, invalid, refuse_barred, warn_of_few
from pickwise.ranking import Source, draw_by_rank, rank
from pickwise.result import reported
from pickwise.strategies import Random, SoftRank
from pickwise.strategies.stochastic import Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.limits import Limits, Wishes
    from pickwise.ranking import Request
    from pickwise.result import Selection
    from pickwise.strategies import Ranking

# How many rows are ranked first, of a pool that can be read again: enough where limits bar some.
_FIRST, _SPARE, MORE = 4, 1000, 8


def rank_within(
    strategy: Ranking | SoftRank,
    source: Source,
    k: int | None,
    request: Request,
    wishes: Wishes,
    *,
    pool: Any,
    embeddings: Any,
    labelled: Any,
) -> Selection:
    """Select the best rows that keep to limits; `pickwise.select` says what the arguments are."""
    ranking = strategy.ranking if isinstance(strategy, SoftRank) else strategy
    votes = None if wishes.max_per_class is None else Votes(ranking, pool)
    if votes is not None:
        source = votes.listening(source)
    if request.ties == "random" or isinstance(strategy, SoftRank) or ranking.noise or not ranking.needs_matrix:
        # Drawn once, however often the pool is read.
        request = replace(request, random_state=as_seed(request.random_state))
    # Of rows that filters leave out as well: a row is known by its position.
    matrix = None if embeddings is None else as_matrix(embeddings, pool, replace(request, filters=None))
    needs_all = k is None or wishes.costs is not None or wishes.must_include is not None
    if needs_all or source.rows is None or isinstance(strategy, SoftRank):
        wanted = sys.maxsize
    else:
        assert k is not None  # noqa: S101 - for the type checker
        wanted = _FIRST * k + _SPARE
    while True:
        best, rows = _best(strategy, source, wanted, request)
        centers, known = (None, None) if matrix is None else as_labelled(labelled, matrix.shape)
        if matrix is not None and len(matrix) != rows:
            raise ValueError(f"embeddings: expected {rows} rows, one for each of the pool, got {len(matrix)}")
        predicted = None if votes is None else votes.of(rows)
        limits = wishes.over(rows, predicted=predicted, embeddings=matrix, centers=centers, labelled=known)
        selection = _within(best, limits, rows, k, known, skip_invalid=request.invalid == "skip")
        if k is None or len(selection) == k or len(best) < wanted:
            break
        wanted *= MORE
    if k is not None and len(selection) < k:
        labelled_too = 0 if known is None else int(np.isin(best.indices, known).sum())
        available = len(best) - labelled_too
        if available < k and not request.clip:
            raise too_few(k, available, rows=rows, skipped=best.skipped, labelled=labelled_too)
        if len(selection) < available and wishes.budget is None:
            warn_of_few(len(selection), k, " or ".join(limits.reasons()) or "no others may be picked")
    return selection


def _best(strategy: Ranking | SoftRank, source: Source, wanted: int, request: Request) -> tuple[Selection, int]:
    request = replace(request, clip=True)
    if isinstance(strategy, SoftRank):
        return draw_by_rank(strategy, source, wanted, request)
    ranked = rank(strategy, source, wanted, request)
    return ranked.finish(clip=True), ranked.rows


def _within(
    best: Selection,
    limits: Limits,
    rows: int,
    k: int | None,
    labelled: NDArray[np.int64] | None,
    *,
    skip_invalid: bool,
) -> Selection:
    taken = np.empty(0, np.int64) if limits.taken is None else limits.taken
    refuse_barred(taken, labelled, None)
    if k is not None and len(taken) > k:
        raise ValueError(f"must_include: expected at most k = {k} rows, got {len(taken)}")
    place = np.full(rows, -1, np.int64)
    place[best.indices] = np.arange(len(best))
    if (place[taken] < 0).any():
        row = taken[place[taken] < 0][0]
        raise ValueError(f"must_include: row {row} is excluded or invalid, so it cannot be selected")
    barred = np.zeros(rows, bool)
    barred[taken] = True
    if labelled is not None:
        barred[labelled] = True
    free = np.flatnonzero(~barred[best.indices])
    free = free[np.lexsort((free, -_worth(best, limits)[free]))]
    room = rows if k is None else k - len(taken)
    skipped = best.skipped
    while True:
        admitted = free[limits.admit(best.indices[free], rows, room)]
        order = np.concatenate([place[taken], admitted])
        # Of the embeddings only those of picks were looked at, and only these have to be any.
        bad = without_distance(limits, best.indices[order])
        if not bad.any():
            break
        if bad[: len(taken)].any() or not skip_invalid:
            refuse_without_distance(limits, best.indices[order])
        free = free[~np.isin(free, order[bad])]
        skipped += int(bad.sum())
    chosen = {"ids": best.ids[order], "indices": best.indices[order], "scores": best.scores[order]}
    return reported(replace(best, **chosen, skipped=skipped), best.report)


def refuse_without_distance(limits: Limits, rows: NDArray[np.int64]) -> None:
    """Raise a `ValueError` if a row that was picked is not far from others, but from where none is."""
    bad = without_distance(limits, rows)
    if bad.any():
        raise ValueError(
            f"embeddings: row {rows[bad][0]} holds numbers that are not finite, so it has no distance; "
            "drop or mend such rows, or exclude them"
        )


def without_distance(limits: Limits, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the rows that have no distance, where one is asked for."""
    if limits.apart is None or not len(rows):
        return np.zeros(len(rows), np.bool_)
    return invalid(limits.apart[0][rows], limits.apart[1]).view(np.bool_)


def _worth(best: Selection, limits: Limits) -> NDArray[np.float64]:
    """Tell what rows are worth: their scores for each unit of cost; of a draw, their chance for each."""
    if limits.costs is None:
        return best.scores
    if isinstance(best.strategy, Random):
        # The hash as Gumbel noise: rows are drawn by one over their cost.
        noise = -np.log(-np.log(np.clip(best.scores, 1e-300, 1 - 1e-16)))
        return np.asarray(noise - np.log(limits.costs[best.indices]))
    beta = getattr(best.strategy, "beta", None)
    if beta is not None:
        return np.asarray(best.scores - np.log(limits.costs[best.indices]) / beta)
    return limits.worth(best.scores, best.indices)


class Votes:
    """The class that each row of a pool is most probably of, found while the pool is read."""

    def __init__(self, ranking: Ranking, pool: Any) -> None:
        while isinstance(ranking, Sampling):
            ranking = ranking.ranking  # a draw by a score
        self._ranking = ranking
        self._pool = pool
        self._classes = np.empty(0, np.int64)
        asks_for_rows = not isinstance(ranking.criterion(binary=False), str)
        if getattr(ranking, "task", "multiclass") != "multiclass" or not (asks_for_rows or ranking.is_of_committee):
            raise TypeError(
                f"max_per_class: expected a strategy that reads the probabilities of classes, got {ranking!r}; "
                "pass the classes as groups, with max_per_group"
            )
        if ranking.is_of_committee:
            self._classes = self._of_committee()

    def listening(self, source: Source) -> Source:
        """Return the same source, which is listened to."""
        return source if self._ranking.is_of_committee else replace(source, listener=self.listen)

    def listen(self, rows: Rows, positions: int | NDArray[np.int64]) -> None:
        """Note the classes of some rows."""
        from_logits = bool(getattr(self._ranking, "from_logits", False))
        classes = predicted_classes(rows, from_logits=from_logits)
        last = (
            (positions + len(classes) if isinstance(positions, int) else int(positions[-1]) + 1) if len(classes) else 0
        )
        if last > len(self._classes):
            more = max(last, 2 * len(self._classes)) - len(self._classes)
            self._classes = np.concatenate([self._classes, np.zeros(more, np.int64)])
        self._classes[slice(positions, last) if isinstance(positions, int) else positions] = classes

    def of(self, rows: int) -> NDArray[np.int64]:
        """Return the classes, of a pool of so many rows."""
        # Rows that were left out are of any.
        return np.concatenate([self._classes, np.zeros(max(0, rows - len(self._classes)), np.int64)])[:rows]

    def _of_committee(self) -> NDArray[np.int64]:
        pool = self._pool
        if not is_array_like(pool) or not all(map(is_array_like, pool)):
            raise TypeError(
                "max_per_class: expected a committee in memory, got an iterator or files; pass a list of its members, "
                "or the classes as groups, with max_per_group"
            )
        total: NDArray[np.float64] | None = None
        for member in pool:
            if np.ndim(member) == 1:
                raise TypeError(
                    "max_per_class: expected members that hold probabilities, got votes; "
                    "pass the classes as groups, with max_per_group"
                )
            rows = as_rows(member, "pool")
            p = np.concatenate([block.astype(np.float64) for block in rows.blocks()])
            if getattr(self._ranking, "from_logits", False):
                p /= getattr(self._ranking, "temperature", 1.0)
                p = np.exp(p - p.max(1, keepdims=True))
                p /= p.sum(1, keepdims=True)
            total = p if total is None else total + p
        assert total is not None  # noqa: S101 - an empty committee has been refused
        return np.asarray(total.argmax(1), np.int64)
