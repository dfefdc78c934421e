"""Rows spread over streams and shards: a few rows of each shard stand for it, and the picks are among those."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points, is_array_like
from pickwise.coreset.embedded import Embedded
from pickwise.coreset.parts import Part, held, in_order, reading, stacked, written
from pickwise.coreset.radius import Radius
from pickwise.ids import among, refuse_repeated
from pickwise.options import Invalid, RandomState, as_seed, too_few
from pickwise.points import Points
from pickwise.pools import is_path_like
from pickwise.state import digest
from pickwise.strategies import Spread, Strategy, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pickwise.result import Cover


class CoverReducer(Embedded):
    """The state of a streaming selection of rows that are far apart. Made by `reducer`, whose parameters it has.

    Rows are kept until they fill a shard (``shard_bytes`` of the strategy). Then ``mu`` times `k` of them stay as its
    representatives, picked as the strategy picks: by k-center [1]_ [2]_, or by D² sampling, each with the weight of the
    rows that it is nearest to [3]_ [4]_. Their number grows with the shards, and is reduced in the same way when it
    fills a shard itself. `finish` picks among the representatives and the rows of the last shard.

    While everything fits into one shard, also after merging, the selection is that of `k_center` or `kmeans_plusplus`
    over the rows in the order of their ids. Beyond, it depends on which rows met in a shard: not on the chunks that
    they came in, but on the order of rows and of merging. Its radius is then an upper bound, and `cover` tells the true
    one.

    It pickles. One reducer takes one call at a time.

    Attributes
    ----------
    strategy : KCenter or KMeansPlusPlus
    k : int

    References
    ----------
    .. [1] G. Malkomes, M. J. Kusner, W. Chen, K. Q. Weinberger and B. Moseley. Fast distributed k-center clustering
       with outliers on massive data. NeurIPS 2015.
    .. [2] M. Ceccarello, A. Pietracaprina and G. Pucci. Solving k-center clustering (with outliers) in MapReduce and
       streaming, almost as accurately as sequentially. PVLDB 12(7), 2019.
    .. [3] S. Guha, A. Meyerson, N. Mishra, R. Motwani and L. O'Callaghan. Clustering data streams: theory and practice.
       IEEE Transactions on Knowledge and Data Engineering 15(3), 2003.
    .. [4] N. Ailon, R. Jaiswal and C. Monteleoni. Streaming k-means approximation. NeurIPS 2009.

    Examples
    --------
    >>> import pickwise as pw
    >>> left, right = pw.reducer("k_center", k=2), pw.reducer("k_center", k=2)
    >>> left.update([[0.0], [1.0]], ids=[10, 11])
    >>> right.update([[8.0], [9.0]], ids=[12, 13])
    >>> left.merge(right)
    >>> left.finish().ids
    array([10, 13])
    """

    _magic = b"pickwise-coreset-2\n"

    def __init__(
        self,
        strategy: str | Strategy,
        k: int,
        *,
        exclude_ids: Any = None,
        labelled: Any = None,
        random_state: RandomState = None,
        invalid: Invalid = "raise",
    ) -> None:
        chosen = resolve(strategy)
        if not isinstance(chosen, Spread) or not chosen.streams:
            raise ValueError(
                f"strategy: expected k_center or kmeans++ without a prefilter, got {chosen!r}; pickwise.reducer makes "
                "what it needs"
            )
        self._labelled = None if labelled is None else np.array(as_points(labelled, "labelled"), order="C")
        dims = None if self._labelled is None else self._labelled.shape[1]
        super().__init__(chosen, k, exclude_ids=exclude_ids, dims=dims, invalid=invalid)
        self._seed = as_seed(random_state) if chosen.draws or random_state is not None else None
        self._recent: list[Part] = []
        self._representatives: list[Part] = []
        # The most that a row which is gone is away from its representative, as a length.
        self._slack = 0.0

    @property
    def is_exact(self) -> bool:
        """Whether all rows fit into one shard so far, so that the selection is that of all of them."""
        return not self._representatives

    def update(self, chunk: Any, ids: Any = None, exclude: Any = None) -> None:
        """Take some rows.

        Parameters
        ----------
        chunk : array_like of shape (rows, dims), or path
            Anything that `k_center` takes as embeddings; of one type throughout. No rows are fine.
        ids : array_like of int or str, optional
            One for each row. Without them a row is known by its position in the stream, and reducers cannot be merged.
        exclude : array_like of bool or int, optional
            Rows of this chunk that need not be covered: a mask or positions in the chunk.

        Raises
        ------
        TypeError, ValueError
            If the chunk or the ids are refused; nothing of the chunk is taken then.
        """
        self.take(chunk, ids, exclude, name="chunk")

    def take(
        self,
        chunk: Any,
        ids: Any,
        exclude: Any,
        *,
        name: str,
        positions: int | NDArray[np.int64] | None = None,
        locate: Callable[[int], str] | None = None,
    ) -> None:
        """Take rows that are called `name` in messages; `update` and `select` end here.

        Parameters
        ----------
        positions : int or ndarray of int64 of shape (rows,), optional
            That of the first row, if they follow each other, else of each. By default they follow the rows before.
        locate : callable, optional
            Says where the row at a position is.
        """
        read = self._read(chunk, ids, exclude, name=name, positions=positions, locate=locate)
        if read is None:
            return
        part, out = read
        with self._whole_or_not():
            self._take(part, np.flatnonzero(out == 0))
        self._count_in(part, out)

    def about(self) -> dict[str, Any]:
        """Tell what a state must have in common with this one to be gone on with, as JSON can hold it."""
        return super().about() | {"labelled": None if self._labelled is None else digest(self._labelled)}

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo all that follows."""
        rows = self._recent.copy(), self._representatives.copy()
        return rows, self._slack, self._count, self._skipped, self._id_kind, self._columns

    def restore(self, snapshot: Any) -> None:
        """Go back to what was so when the snapshot was taken."""
        rows, self._slack, self._count, self._skipped, self._id_kind, self._columns = snapshot
        self._recent, self._representatives = (pile.copy() for pile in rows)

    def merge(self, other: CoverReducer) -> None:
        """Take all that another reducer has taken; it stays as it is.

        Parameters
        ----------
        other : CoverReducer
            With the same strategy, k, labelled rows and seed, and with ids of the same kind.

        Raises
        ------
        TypeError
            If it is no reducer of this kind.
        ValueError
            If the two do not belong together, or if both know their rows by position only.
        """
        self._refuse_unlike(other, _seed="seeds (give every reducer the same random_state)")
        if not np.array_equal(_or_none(self._labelled), _or_none(other._labelled)):
            raise ValueError("merge: the reducers have different labelled rows; give every reducer the same")
        if other._id_kind is None:
            return
        self._check(other._id_kind, other._columns, "merge")
        if other._id_kind == "position" and self._id_kind is not None:
            raise ValueError("merge: both reducers know their rows by position only; give ids to update")
        with self._whole_or_not():
            self._representatives += other._representatives
            self._slack = max(self._slack, other._slack)
            self._settle()
            for part in other._recent:
                self._take(part, np.arange(len(part.position)))
        self._id_kind, self._columns = other._id_kind, other._columns
        self._count += other._count
        self._skipped += other._skipped

    def condense(self) -> None:
        """Reduce the rows that are still kept to their representatives, so that the state is small to send.

        More rows may follow. Where no more rows are kept than would stand for them, nothing changes. Else the selection
        is no longer exact. So go the two rounds of distributed k-center: each machine condenses what it has taken, and
        the selection is made of the merged states.

        Examples
        --------
        >>> import numpy as np
        >>> import pickwise as pw
        >>> reducer = pw.reducer(pw.KCenter(mu=3), k=2)
        >>> reducer.update(np.arange(1000.0)[:, None])
        >>> reducer.condense()
        >>> reducer.finish().ids, reducer.is_exact, len(reducer.to_bytes()) < 1000
        (array([999,   0]), False, True)
        """
        if held(self._recent) > self._standing:
            with self._whole_or_not():
                self._reduce()

    def finish(self, *, clip: bool = False, locate: Callable[[int], str] | None = None) -> Cover:
        """Return the selection from the rows so far; more may follow.

        Parameters
        ----------
        clip : bool
            Whether fewer than `k` rows will do where there are no more.
        locate : callable, optional
            Says where the row at a position is, for messages.

        Returns
        -------
        Cover
            Its radius is exact if everything fitted into one shard, else an upper bound (but for outliers, as a
            representative that is set aside stands for more rows than itself).

        Raises
        ------
        ValueError
            If there are fewer than `k` rows to select from, or if an id occurs twice among the rows that are kept.
        """
        parts = self._representatives + self._recent
        if not parts:
            if self._count == 0:
                raise ValueError("pool: expected at least one row, got none")
            raise too_few(self.k, 0, rows=self._count, skipped=self._skipped)
        whole = in_order(parts)
        if whole.ids is not None:
            where = int if locate is None else lambda at: locate(int(whole.position[at]))
            refuse_repeated(whole.ids, "ids of the rows", where)
        available = len(whole.position)
        if available < self.k and not clip:
            raise too_few(self.k, available, rows=self._count, skipped=self._skipped)
        points = Points(
            whole.matrix,
            min(self.k, available),
            whole.ids,
            self._labelled,
            weights=whole.weights,
            skipped=self._skipped,
        )
        cover = self.strategy.choose(points, self._seed, None)
        index = whole.position[cover.indices]
        radius = cover.radius
        if not self.is_exact:
            as_length, back = _LENGTH[self.strategy.metric]
            radius = back(as_length(radius) + self._slack)
        ids = index if whole.ids is None else cover.ids
        # Not times the rows that a representative stands for, which say nothing of it as a pick.
        return replace(cover, ids=ids, indices=index, scores=cover.distances, radius=radius)

    def cover(self, chunks: Any, *, clip: bool = False) -> Cover:
        """Return the selection with its true radius, from one more pass over the rows.

        Parameters
        ----------
        chunks : array_like, path, or iterable
            The rows that were taken: one matrix, or an iterable of chunks, each an array or a pair of an array and its
            ids. Rows that were excluded by `exclude` should not be among them.
        clip : bool
            As in `finish`.

        Returns
        -------
        Cover
            As from `finish`, with the distance of the farthest of these rows as radius.

        Notes
        -----
        It takes one distance for each row and each pick or labelled row.
        """
        cover = self.finish(clip=clip)
        radius = self.radius_of(cover)
        for chunk, ids in _pairs(chunks):
            radius.take(chunk, ids, None, name="chunks")
        return replace(cover, radius=radius.finish())

    def radius_of(self, cover: Cover) -> Radius:
        """Return the state of one more pass over the rows, that measures the true radius of a selection.

        Parameters
        ----------
        cover : Cover
            What `finish` has returned of the rows so far.

        Returns
        -------
        Radius
            Send out copies, show each some of the rows, and merge them.

        Raises
        ------
        ValueError
            If rows of the selection are none that this reducer holds.
        """
        chosen = [p.matrix[among(p.known_by, cover.ids.tolist()) != 0] for p in self._representatives + self._recent]
        if sum(map(len, chosen)) != len(cover):
            raise ValueError("cover: expected what finish has returned of the rows so far, got rows that are not held")
        centers = np.concatenate(chosen)
        if self._labelled is not None:
            centers = np.concatenate([centers.astype(np.float64), self._labelled.astype(np.float64)])
        invalid: Invalid = "skip" if self._skip_invalid else "raise"
        return Radius(self.strategy, self.k, centers, exclude_ids=self._exclude_ids, invalid=invalid)

    def to_bytes(self) -> bytes:
        """Return all of the state, options and rows included, for `from_bytes` on any machine."""
        piles = [stacked(pile) if pile else None for pile in (self._representatives, self._recent)]
        arrays = [] if self._labelled is None else [self._labelled]
        for part in piles:
            arrays += [] if part is None else part.arrays()
        header = self._header() | {
            "skip_invalid": self._skip_invalid,
            "seed": self._seed,
            "rows": self._count,
            "skipped": self._skipped,
            "slack": self._slack,
            "labelled": None if self._labelled is None else self._labelled.dtype.name,
            "piles": [part and {"weighted": part.weights is not None} for part in piles],
        }
        return self._pack(header, written(arrays))

    @staticmethod
    def from_bytes(data: bytes) -> CoverReducer:
        """Read back what `to_bytes` wrote.

        Raises
        ------
        ValueError
            If the bytes are damaged or something else.
        """
        header, state = CoverReducer._unpack(data)
        array = reading(state)

        def pile(how: dict[str, bool] | None) -> list[Part]:
            return [] if how is None else [Part.read(array, header["columns"][1], header["id_kind"], **how)]

        try:
            made = CoverReducer(
                resolve(header["strategy"], **header["options"]),
                header["k"],
                exclude_ids=header["exclude_ids"],
                labelled=None if header["labelled"] is None else array(header["labelled"]),
                random_state=header["seed"],
                invalid="skip" if header["skip_invalid"] else "raise",
            )
            made._representatives, made._recent = map(pile, header["piles"])
            made._id_kind = header["id_kind"]
            made._columns = None if header["columns"] is None else tuple(header["columns"])
            made._count, made._skipped, made._slack = header["rows"], header["skipped"], header["slack"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"from_bytes: expected bytes of this version of pickwise: {error}") from error
        return made

    def _described(self, columns: tuple[int, str]) -> str:
        return f"{columns[0]} dimensions of {columns[1]}"

    def _make_of(self, matrix: NDArray[Any]) -> tuple[int, str]:
        return matrix.shape[1], matrix.dtype.name

    @property
    def _standing(self) -> int:
        """How many rows stand for a shard."""
        return self.strategy.standing_for(self.k)

    @contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        """Put the rows back as they were if taking others fails."""
        before = self._recent.copy(), self._representatives.copy(), self._slack
        try:
            yield
        except BaseException:
            self._recent, self._representatives, self._slack = before
            raise

    def _limit(self, matrix: NDArray[Any]) -> int:
        """How many rows make a shard: at least twice as many as stand for it."""
        row_bytes = matrix.shape[1] * matrix.dtype.itemsize
        rows: int = self.strategy.shard_bytes // row_bytes
        return max(rows, 2 * self._standing)

    def _take(self, part: Part, rows: NDArray[np.int64]) -> None:
        """Copy rows into the shard, and reduce it whenever another row finds it full."""
        limit = self._limit(part.matrix)
        while len(rows):
            room = limit - held(self._recent)
            if room <= 0:
                self._reduce()
                continue
            self._recent.append(part.take(rows[:room]))
            rows = rows[room:]

    def _reduce(self) -> None:
        part, distance = self._represented(self._recent)
        self._recent = []
        self._representatives.append(part)
        self._slack = max(self._slack, distance)
        self._settle()

    def _settle(self) -> None:
        """Reduce the representatives in turn, where they fill a shard."""
        if self._representatives and held(self._representatives) > self._limit(self._representatives[0].matrix):
            part, distance = self._represented(self._representatives)
            self._representatives = [part]
            self._slack += distance

    def _represented(self, parts: Sequence[Part]) -> tuple[Part, float]:
        """Pick rows that stand for some, and how far, as a length, a row is from one of them at most."""
        whole = in_order(parts)
        points = Points(whole.matrix, self._standing, centers=self._labelled, weights=whole.weights)
        picks, weights, radius = self.strategy.represent(points, whole.seed(self._seed or 0))
        return whole.take(picks)._replace(weights=weights), _LENGTH[self.strategy.metric][0](radius)


# Lengths obey the triangle inequality: of the metric's unit, and back.
_LENGTH: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "euclidean": (float, float),
    "sqeuclidean": (math.sqrt, lambda length: length * length),
    "cosine": (lambda distance: math.sqrt(2 * distance), lambda length: min(2.0, length * length / 2)),
}


def _or_none(x: NDArray[Any] | None) -> NDArray[Any]:
    return np.empty(0) if x is None else x


def _pairs(chunks: Any) -> Iterator[tuple[Any, Any]]:
    first = next(iter(chunks), ()) if isinstance(chunks, (list, tuple)) else None
    in_parts = isinstance(first, tuple) or (first is not None and np.ndim(first) == 2)
    if is_path_like(chunks) or (is_array_like(chunks) and not in_parts):
        yield chunks, None
        return
    iterable: Iterable[Any] = chunks
    for chunk in iterable:
        yield chunk if isinstance(chunk, tuple) else (chunk, None)
