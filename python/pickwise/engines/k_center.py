"""Exact greedy k-center over shards that stay where they are: the picks of `pickwise.k_center` over all rows.

The distance of a row to its nearest centre only falls as centres are added, so a stale one is an upper bound. In each
round a shard is told the picks of the round before, brings its rows with the highest bounds up to date, and offers the
best of them, with a bound on all its other rows. Of all that is offered rows are picked one after the other, for as
long as the best of them beats every bound.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pickwise import _native
from pickwise.arrays import as_points
from pickwise.ids import Excluded, Ids, as_ids, in_order, joined, refuse_repeated, take_ids
from pickwise.options import Invalid, as_k, one_of, too_few
from pickwise.points import Points, invalid, refuse_invalid
from pickwise.state import id_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pickwise.result import Cover
    from pickwise.strategies import KCenter

# Rows that a shard offers in a round: at least, at first, and at most. It is twice as many after a round in which more
# than a quarter of those of all shards were picked, and half as many after one of fewer than a sixteenth. More than the
# most save few rounds, and cost distances that turn out not to matter.
_LEAST, _AT_FIRST, _MOST = 16, 64, 256

Ask: TypeAlias = "Callable[..., list[Any]]"
"""Calls a method, by its name and with arguments, of every shard: their answers, in the order of the shards."""

Sums: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], int, float]
"""Sums of rows without loss, and the largest magnitude of a number in them, as `_native.sum_of_rows` finds them."""


class Extent(NamedTuple):
    """What a shard has.

    Attributes
    ----------
    rows : int
        All of them.
    available : int
        Those that are to be covered or picked.
    skipped : int
        Those that are invalid.
    dims : int
    dtype : str
    kind : {"position", "integer", "string"}
        What its rows are known by.
    metric : str
    """

    rows: int
    available: int
    skipped: int
    dims: int
    dtype: str
    kind: str
    metric: str


class Offer(NamedTuple):
    """Rows of a shard that may be picked, in the order of their ids, and behind them the first of its other rows.

    Attributes
    ----------
    embeddings : ndarray of shape (count, dims)
        Of the rows that may be picked.
    positions : ndarray of int64 of shape (count + 1,) or (count,)
        The last is that of the first of the other rows, if there are any.
    ids : Ids
        As many; the positions where there are no ids.
    squared : ndarray of float64
        As many: the squared distances to the centres, and an upper bound for the other rows.
    """

    embeddings: NDArray[Any]
    positions: NDArray[np.int64]
    ids: Ids
    squared: NDArray[np.float64]


class Found(NamedTuple):
    """What `pick_exactly` found, and in how many rounds."""

    cover: Cover
    rounds: int


class Shard:
    """Some rows of a pool, and how far they are from the centres.

    Parameters
    ----------
    matrix : array_like of shape (rows, dims)
        No rows are fine. It is borrowed and never written to.
    positions : array_like of int of shape (rows,)
        Where the rows are in the pool. No two shards have one in common.
    ids : array_like of int or str, optional
        One for each row. Without them a row is known by its position.
    metric : {"euclidean", "sqeuclidean", "cosine"}
    exclude : array_like of bool or int, optional
        Rows that are neither picked nor covered: a mask or places in the matrix.
    invalid : {"raise", "skip"}
        Whether rows that have no distance are refused, or left out and counted.

    Raises
    ------
    TypeError, ValueError
        For rows that are invalid, and for ids and positions that are repeated or not as many.

    Examples
    --------
    >>> import pickwise as pw
    >>> from pickwise.engines.k_center import Shard, asking, pick_exactly
    >>> shards = [Shard([[0.0], [1.0]], [0, 1]), Shard([[8.0], [9.0]], [2, 3])]
    >>> pick_exactly(asking(shards), 3, pw.KCenter()).cover.ids
    array([0, 3, 1])
    """

    def __init__(
        self,
        matrix: Any,
        positions: Any,
        ids: Any = None,
        *,
        metric: str = "euclidean",
        exclude: Any = None,
        invalid: Invalid = "raise",
    ) -> None:
        self._matrix = as_points(matrix, "matrix", allow_empty=True)
        count = len(self._matrix)
        where = as_ids(positions, "positions", count)
        if not isinstance(where, np.ndarray):
            raise TypeError("positions: expected integers, got strings")
        refuse_repeated(where, "positions")
        self._positions = where
        self._ids = None if ids is None else as_ids(ids, "ids", count)
        if self._ids is not None:
            refuse_repeated(self._ids, "ids")
        self._metric = metric
        self._exclude, self._skipped = self._left_out(exclude, invalid)
        # All that follows is in the order of ids, which ties are broken by.
        rows = in_order(where if self._ids is None else self._ids)
        self._rows = rows[self._exclude[rows] == 0]
        self._sums = _native.sum_of_rows(self._matrix, metric, self._exclude)
        self.begin(None)

    def extent(self) -> Extent:
        """Tell what there is."""
        rows, dims = self._matrix.shape
        dtype, kind = self._matrix.dtype.name, id_kind(self._ids)
        return Extent(rows, len(self._rows), self._skipped, dims, dtype, kind, self._metric)

    def begin(self, labelled: NDArray[Any] | None) -> Offer:
        """Forget all centres but labelled rows, and offer nothing yet."""
        count = len(self._rows)
        self._squared, self._seen = np.full(count, np.inf), np.zeros(count, np.int64)
        self._centers, self._count = np.empty((0, self._matrix.shape[1]), self._matrix.dtype), 0
        self._is_bounded = labelled is not None
        if labelled is not None:
            self._squared = self._shown(np.arange(count), labelled, self._seen)
        none = np.empty(0, np.int64)
        return self._offer(none, none, self._squared)

    def sums(self) -> Sums:
        """Add the rows, for `_native.mean_of_sums`."""
        return self._sums

    def farthest(self, mean: NDArray[np.float64]) -> Offer:
        """Offer the row that is farthest from the mean of all shards."""
        squared = _native.squared_to_point(self._matrix, self._metric, mean)[self._rows]
        slots = np.array([np.argmax(squared)] if len(squared) else [], np.int64)
        return self._offer(slots, slots, squared)

    def offer(self, picks: NDArray[Any], positions: NDArray[np.int64], count: int) -> Offer:
        """Take the picks of the last round, of this shard or others, for centres, and offer the best rows there are."""
        self._take(picks)
        mine = [self._offered[at] for at in positions.tolist() if at in self._offered]
        self._squared[mine] = -1.0
        if not self._is_bounded and len(picks):
            self._bring_up_to_date(np.arange(len(self._rows)))
            self._is_bounded = True
        tries = count + 1
        while True:
            first = self._first(tries)
            behind = first[self._seen[first] < self._count]
            if not (self._seen[first[:count]] < self._count).any():
                return self._offer(np.sort(first[:count]), first[: count + 1], self._squared)
            self._bring_up_to_date(behind)
            tries *= 2

    def _left_out(self, exclude: Any, how: str) -> tuple[NDArray[np.uint8], int]:
        """Mark rows that are excluded or invalid, and count the latter; refuse them unless asked."""
        count = len(self._matrix)
        mask = None if exclude is None else Excluded.read(exclude, "exclude", count).between(0, count)
        out = np.zeros(count, np.uint8) if mask is None else (mask != 0).astype(np.uint8)
        bad = np.flatnonzero((invalid(self._matrix, self._metric) != 0) & (out == 0))
        if one_of(how, "invalid", ("raise", "skip")) == "raise" and len(bad):
            refuse_invalid(self._matrix[bad], "matrix", self._metric, self._positions[bad])
        out[bad] = 1
        return out, len(bad)

    def _take(self, picks: NDArray[Any]) -> None:
        """Add centres, in an array that doubles."""
        count = self._count + len(picks)
        if count > len(self._centers):
            room = np.empty((max(count, 2 * len(self._centers)), picks.shape[1]), self._matrix.dtype)
            room[: self._count] = self._centers[: self._count]
            self._centers = room
        self._centers[self._count : count] = picks
        self._count = count

    def _first(self, count: int) -> NDArray[np.int64]:
        """Find the rows with the highest bounds, those first, and of equals those with the lowest ids."""
        bounds = self._squared
        if count < len(bounds):
            bar = np.partition(bounds, len(bounds) - count)[len(bounds) - count]
            above, level = np.flatnonzero(bounds > bar), np.flatnonzero(bounds == bar)
            slots = np.concatenate([above, level[: count - len(above)]])
        else:
            slots = np.arange(len(bounds))
        slots = slots[bounds[slots] >= 0]
        first: NDArray[np.int64] = slots[np.lexsort((slots, -bounds[slots]))]
        return first

    def _bring_up_to_date(self, slots: NDArray[np.int64]) -> None:
        """Measure rows against the centres that they have not seen."""
        slots = slots[np.argsort(self._seen[slots], kind="stable")]
        self._squared[slots] = self._shown(slots, self._centers[: self._count], self._seen[slots])
        self._seen[slots] = self._count

    def _shown(self, slots: NDArray[np.int64], centers: NDArray[Any], seen: NDArray[np.int64]) -> NDArray[np.float64]:
        return _native.show_centers(
            self._matrix, self._metric, self._rows[slots], centers, seen, self._squared[slots], self._sums
        )

    def _offer(self, slots: NDArray[np.int64], first: NDArray[np.int64], squared: NDArray[np.float64]) -> Offer:
        """Offer some rows, and tell of the last of the first if it is not among them."""
        rows = self._rows[slots]
        positions = self._positions[rows]
        self._offered = dict(zip(positions.tolist(), slots.tolist(), strict=True))
        embeddings = np.ascontiguousarray(self._matrix[rows])
        if len(first) > len(slots):
            slots = np.append(slots, first[-1])
            rows = self._rows[slots]
            positions = self._positions[rows]
        ids = positions if self._ids is None else take_ids(self._ids, rows)
        return Offer(embeddings, positions, ids, squared[slots])


def asking(shards: Sequence[Shard]) -> Ask:
    """Return what calls the methods of shards in this process, one after the other."""

    def ask(method: str, *args: Any) -> list[Any]:
        return [getattr(shard, method)(*args) for shard in shards]

    return ask


def pick_exactly(ask: Ask, k: int, strategy: KCenter, *, labelled: Any = None, clip: bool = False) -> Found:
    """Pick the rows of all shards that `pickwise.k_center` would pick of one matrix, in the order of their ids.

    Parameters
    ----------
    ask : callable
        ``ask(method, *args)`` calls that method of every `Shard` and returns the answers in the order of the shards.
    k : int
        How many rows to pick.
    strategy : KCenter
        The metric is that of the shards. Outliers, a least distance and a prefilter are refused.
    labelled : array_like of shape (rows, dims), optional
        Embeddings of labelled rows, which are not in the shards.
    clip : bool
        Whether fewer than `k` rows will do where there are no more.

    Returns
    -------
    Found
        The cover, bit for bit that of `pickwise.k_center`, and the number of rounds.

    Raises
    ------
    TypeError, ValueError
        For options that are refused, shards that do not belong together, ids that occur in two shards and are picked,
        and fewer than `k` rows.

    Notes
    -----
    A round moves the embeddings of its picks to all shards and those of some hundreds of rows from each.
    """
    _refuse(strategy)
    whole = _whole(ask("extent"), strategy.metric)
    wanted = as_k(k)
    if whole.available < wanted and not clip:
        raise too_few(wanted, whole.available, rows=whole.rows, skipped=whole.skipped)
    wanted = min(wanted, whole.available)
    metric, count, rounds = strategy.metric, _AT_FIRST, 0
    centers = _labelled(labelled, whole.dims, metric)
    batches = [_pick_among(ask("begin", centers), 0, metric)]
    if centers is None:
        mean = _native.mean_of_sums(ask("sums"))
        first = _pick_among(ask("farthest", mean), 1, metric)
        batches = [first._replace(squared=np.array([np.inf]))]
    left = wanted - len(batches[0].squared)
    while True:
        last = batches[-1]
        offers = ask("offer", last.embeddings, last.positions, count if left else 1)
        rounds += 1
        if not left:
            break
        batches.append(_pick_among(offers, left, metric))
        picked, offered = len(batches[-1].squared), sum(len(offer.embeddings) for offer in offers)
        if not picked:
            raise ValueError("shards: expected ids that occur once in all, but one occurs in two shards")
        left -= picked
        if 4 * picked > offered:
            count = min(2 * count, _MOST)
        elif 16 * picked < offered:
            count = max(_LEAST, count // 2)
    return Found(_cover(strategy, batches, offers, whole), rounds)


def _pick_among(offers: list[Offer], limit: int, metric: str) -> Offer:
    """Pick rows for as long as the best of those that are offered is before all others."""
    ids, positions = joined([offer.ids for offer in offers]), np.concatenate([offer.positions for offer in offers])
    order = in_order(ids)
    squared = np.concatenate([offer.squared for offer in offers])[order]
    # Of the first of the rows that are not offered there is no embedding.
    is_offered = np.concatenate([np.arange(len(offer.squared)) < len(offer.embeddings) for offer in offers])
    row = np.cumsum(is_offered) - 1
    is_offered = is_offered[order]
    matrix = np.concatenate([offer.embeddings for offer in offers])[row[order[is_offered]]]
    others = np.flatnonzero(~is_offered)
    bar = None
    if len(others):
        first = others[np.argmax(squared[others])]
        bar = float(squared[first]), int(is_offered[:first].sum())
    picks, distances = _native.pick_among(matrix, limit, metric, squared[is_offered], bar)
    places = order[is_offered][picks]
    return Offer(matrix[picks], positions[places], take_ids(ids, places), distances)


# Of squared distances, which square roots would make ties of, the unit of the metric.
_FINISH: dict[str, Callable[[Any], Any]] = {
    "euclidean": np.sqrt,
    "sqeuclidean": np.positive,
    "cosine": lambda squared: 0.5 * squared,
}


def _refuse(strategy: KCenter) -> None:
    """Refuse options that shards cannot keep to."""
    for option, none in (("outliers", 0), ("min_distance", None), ("prefilter", None)):
        value = getattr(strategy, option)
        if value != none:
            raise ValueError(f"strategy: expected no {option} over shards, got {value!r}; use k_center on one matrix")


def _whole(extents: list[Extent], metric: str) -> Extent:
    """Add up what all shards have, and refuse shards that do not belong together."""
    if not extents:
        raise ValueError("shards: expected at least one, got none")
    for name, what in (
        ("dims", "number of dimensions (columns)"),
        ("dtype", "type of embeddings"),
        ("kind", "kind of ids"),
        ("metric", "metric"),
    ):
        some = sorted({getattr(extent, name) for extent in extents})
        if len(some) > 1:
            raise ValueError(f"shards: expected the same {what} in all, got {' and '.join(map(str, some))}")
    if extents[0].metric != metric:
        raise ValueError(f"strategy: expected the metric of the shards, {extents[0].metric!r}, got {metric!r}")
    rows, available, skipped = (sum(counts) for counts in zip(*(extent[:3] for extent in extents), strict=True))
    if not available:
        raise ValueError(f"shards: expected a row to pick, got {rows} of which all are excluded or invalid")
    return extents[0]._replace(rows=rows, available=available, skipped=skipped)


def _labelled(labelled: Any, dims: int, metric: str) -> NDArray[Any] | None:
    if labelled is None:
        return None
    centers = as_points(labelled, "labelled", allow_empty=True)
    if centers.shape[1] != dims:
        raise ValueError(f"labelled: expected {dims} dimensions (columns) as the shards have, got {centers.shape[1]}")
    return refuse_invalid(centers, "labelled", metric) if len(centers) else None


def _cover(strategy: KCenter, batches: list[Offer], left: list[Offer], whole: Extent) -> Cover:
    """Make the result of all picks and of the best rows that are left."""
    squared = np.concatenate([batch.squared for batch in batches])
    farthest = np.concatenate([offer.squared[: len(offer.embeddings)] for offer in left]).max(initial=0.0)
    finish = _FINISH[strategy.metric]
    ids = joined([batch.ids for batch in batches])
    refuse_repeated(ids, "ids of the picks")
    count = len(squared)
    # What is made of points asks for no embeddings.
    points = Points(np.empty((count, 0)), count, ids, skipped=whole.skipped)
    cover = points.cover(strategy, np.arange(count), finish(squared), float(finish(farthest)))
    return replace(cover, indices=np.concatenate([batch.positions for batch in batches]))
