"""K-center over streams and shards: a few rows that cover a shard stand for it, and the picks are among those."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pickwise import _native
from pickwise.arrays import as_points, is_array_like
from pickwise.ids import Excluded, Ids, among, as_ids, in_order, joined, refuse_repeated, take_ids
from pickwise.options import Invalid, RandomState, as_seed, one_of, too_few
from pickwise.points import Points, invalid
from pickwise.pools import is_path_like
from pickwise.state import State, id_kind
from pickwise.strategies import KCenter, Strategy, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from pickwise.result import Cover


class _Part(NamedTuple):
    """Rows that are kept: their embeddings, positions in the stream, and ids."""

    matrix: NDArray[Any]
    position: NDArray[np.int64]
    ids: Ids | None

    def take(self, rows: NDArray[np.int64]) -> _Part:
        ids = None if self.ids is None else take_ids(self.ids, rows)
        return _Part(self.matrix[rows], self.position[rows], ids)


class CoverReducer(State):
    """The state of a streaming k-center selection. Made by `reducer`, whose parameters it has.

    Rows are kept until they fill a shard (``KCenter.shard_bytes``). Then ``mu`` times `k` of them, picked by k-center,
    stay as its representatives; their number grows with the shards, and is reduced in the same way when it fills a
    shard itself. `finish` picks among the representatives and the rows of the last shard [1]_ [2]_.

    While everything fits into one shard, also after merging, the selection is that of `k_center` over the rows in the
    order of their ids. Beyond, it depends on which rows met in a shard: not on the chunks that they came in, but on the
    order of rows and of merging. Its radius is then an upper bound, and `cover` tells the true one.

    It pickles. One reducer takes one call at a time.

    Attributes
    ----------
    strategy : KCenter
    k : int

    References
    ----------
    .. [1] G. Malkomes, M. J. Kusner, W. Chen, K. Q. Weinberger and B. Moseley. Fast distributed k-center clustering
       with outliers on massive data. NeurIPS 2015.
    .. [2] M. Ceccarello, A. Pietracaprina and G. Pucci. Solving k-center clustering (with outliers) in MapReduce and
       streaming, almost as accurately as sequentially. PVLDB 12(7), 2019.

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

    strategy: KCenter
    _magic = b"pickwise-coreset-1\n"

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
        super().__init__(k, exclude_ids)
        chosen = resolve(strategy)
        if not isinstance(chosen, KCenter):
            raise ValueError(f"strategy: expected k_center or one that ranks rows, got {chosen!r}")  # noqa: TRY004
        if chosen.prefilter is not None:
            raise ValueError(
                f"strategy: expected no prefilter, as embeddings alone have nothing to rank rows by, got {chosen!r}"
            )
        self.strategy = chosen
        self._labelled = None if labelled is None else np.array(as_points(labelled, "labelled"), order="C")
        self._seed = None if random_state is None else as_seed(random_state)
        self._skip_invalid = one_of(invalid, "invalid", ("raise", "skip")) == "skip"
        self._count = self._skipped = 0
        self._recent: list[_Part] = []
        self._representatives: list[_Part] = []
        # The most that a row which is gone is away from its representative, as a length.
        self._slack = 0.0

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return self._count

    @property
    def skipped(self) -> int:
        """How many invalid rows were passed over."""
        return self._skipped

    @property
    def is_exact(self) -> bool:
        """Whether all rows fit into one shard so far, so that the selection is that of `k_center`."""
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
        matrix = as_points(chunk, "chunk", allow_empty=True)
        count = len(matrix)
        given = None if ids is None else as_ids(ids, "ids", count)
        mask = None if exclude is None else Excluded.read(exclude, "exclude", count).between(0, count)
        if count == 0:
            return
        kind, columns = id_kind(given), (matrix.shape[1], matrix.dtype.name)
        self._check(kind, columns, "chunk")
        self._check_dims(columns[0], "chunk")
        index = np.arange(self._count, self._count + count)
        out = self._left_out(matrix, index if given is None else given, mask, "chunk")
        skipped = int((out == _INVALID).sum())
        part = _Part(matrix, index, given)
        before = self._recent.copy(), self._representatives.copy(), self._slack
        try:
            self._take(part, np.flatnonzero(out == 0))
        except BaseException:
            self._recent, self._representatives, self._slack = before
            raise
        self._id_kind, self._columns = kind, columns
        self._count += count
        self._skipped += skipped

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
        before = self._recent.copy(), self._representatives.copy(), self._slack
        self._id_kind, self._columns = other._id_kind, other._columns
        self._representatives += other._representatives
        self._slack = max(self._slack, other._slack)
        try:
            for part in other._recent:
                self._take(part, np.arange(len(part.position)))
        except BaseException:
            self._recent, self._representatives, self._slack = before
            raise
        self._count += other._count
        self._skipped += other._skipped

    def finish(self, *, clip: bool = False) -> Cover:
        """Return the selection from the rows so far; more may follow.

        Parameters
        ----------
        clip : bool
            Whether fewer than `k` rows will do where there are no more.

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
        return self._finish(clip=clip)[0]

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
        cover, centers = self._finish(clip=clip)
        if self._labelled is not None:
            centers = np.concatenate([centers.astype(np.float64), self._labelled.astype(np.float64)])
        outliers, start = self.strategy.outliers, 0
        farthest = np.full(outliers + 1, -np.inf)
        for chunk, ids in _pairs(chunks):
            matrix = as_points(chunk, "chunks", allow_empty=True)
            self._check_dims(matrix.shape[1], "chunks")
            known = np.arange(start, start + len(matrix)) if ids is None else as_ids(ids, "ids", len(matrix))
            out = self._left_out(matrix, known, None, "chunks")
            used = matrix if not out.any() else matrix[out == 0]
            start += len(matrix)
            if len(used):
                distance = _native.nearest(used, centers, self.strategy.metric)[1]
                farthest = np.sort(np.concatenate([farthest, distance]))[-outliers - 1 :]
        if start == 0:
            raise ValueError("chunks: expected the rows that the reducer has taken, got none")
        return replace(cover, radius=max(0.0, float(farthest[0])))

    def to_bytes(self) -> bytes:
        """Return all of the state, options and rows included, for `from_bytes` on any machine."""
        file = io.BytesIO()
        arrays = [] if self._labelled is None else [self._labelled]
        for pile in (self._representatives, self._recent):
            if pile:
                part = _stacked(pile)
                arrays += [part.matrix, part.position]
                arrays += [] if part.ids is None else [part.ids] if isinstance(part.ids, np.ndarray) else part.ids
        for array in arrays:
            # A .npy file has no name for bfloat16.
            plain = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
            np.lib.format.write_array(file, plain, allow_pickle=False)
        header = self._header() | {
            "skip_invalid": self._skip_invalid,
            "seed": self._seed,
            "rows": self._count,
            "skipped": self._skipped,
            "slack": self._slack,
            "labelled": None if self._labelled is None else self._labelled.dtype.name,
            "piles": [bool(self._representatives), bool(self._recent)],
        }
        return self._pack(header, file.getvalue())

    @staticmethod
    def from_bytes(data: bytes) -> CoverReducer:
        """Read back what `to_bytes` wrote.

        Raises
        ------
        ValueError
            If the bytes are damaged or something else.
        """
        header, state = CoverReducer._unpack(data)
        file = io.BytesIO(state)

        def array(dtype: str = "") -> NDArray[Any]:
            read: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if dtype != "bfloat16":
                return read
            from ml_dtypes import bfloat16

            return read.view(bfloat16)

        def pile(is_there: bool) -> list[_Part]:
            if not is_there:
                return []
            matrix, index = array(header["columns"][1]), array()
            kind = header["id_kind"]
            ids = None if kind == "position" else array() if kind == "integer" else (array(), array())
            return [_Part(matrix, index, ids)]

        try:
            made = CoverReducer(
                resolve(header["strategy"], **header["options"]),
                header["k"],
                exclude_ids=header["exclude_ids"],
                labelled=None if header["labelled"] is None else array(header["labelled"]),
                random_state=header["seed"],
                invalid="skip" if header["skip_invalid"] else "raise",
            )
            made._representatives, made._recent = (pile(is_there) for is_there in header["piles"])
            made._id_kind = header["id_kind"]
            made._columns = None if header["columns"] is None else tuple(header["columns"])
            made._count, made._skipped, made._slack = header["rows"], header["skipped"], header["slack"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"from_bytes: expected bytes of this version of pickwise: {error}") from error
        return made

    def _described(self, columns: tuple[int, str]) -> str:
        return f"{columns[0]} dimensions of {columns[1]}"

    def _check_dims(self, dims: int, name: str) -> None:
        expected = self._columns[0] if self._columns is not None else dims
        if self._labelled is not None:
            expected = self._labelled.shape[1]
        if dims != expected:
            raise ValueError(f"{name}: expected {expected} dimensions (columns), got {dims}")

    def _left_out(
        self, matrix: NDArray[Any], ids: Ids, exclude: NDArray[np.uint8] | None, name: str
    ) -> NDArray[np.uint8]:
        """Mark rows that are excluded and, by another number, rows that are invalid; refuse the latter unless asked."""
        out = np.zeros(len(matrix), np.uint8)
        if exclude is not None:
            out[exclude != 0] = _EXCLUDED
        if self._exclude_ids is not None:
            out[among(ids, self._exclude_ids) != 0] = _EXCLUDED
        bad = np.flatnonzero((invalid(matrix, self.strategy.metric) != 0) & (out == 0))
        if len(bad) and not self._skip_invalid:
            row = matrix[bad[0]].astype(np.float64)
            column = int(np.argmin(np.isfinite(row)))
            what = (
                "is zero, so it has no direction" if np.isfinite(row).all() else f"has {row[column]} in column {column}"
            )
            raise ValueError(
                f"{name}: row {bad[0]} {what}; {len(bad)} of {len(matrix)} rows are invalid; exclude such rows, or "
                "pass invalid='skip'"
            )
        out[bad] = _INVALID
        return out

    @property
    def _wanted(self) -> int:
        """How many rows stand for a shard: each outlier may be one of them."""
        return self.strategy.mu * (self.k + self.strategy.outliers)

    def _take(self, part: _Part, rows: NDArray[np.int64]) -> None:
        """Copy rows into the shard, and reduce it whenever another row finds it full."""
        row_bytes = part.matrix.shape[1] * part.matrix.dtype.itemsize
        # At least twice as many as stand for a shard.
        limit = max(self.strategy.shard_bytes // row_bytes, 2 * self._wanted)
        while len(rows):
            room = limit - _held(self._recent)
            if room <= 0:
                self._reduce(limit)
                continue
            self._recent.append(part.take(rows[:room]))
            rows = rows[room:]

    def _reduce(self, limit: int) -> None:
        part, distance = self._represented(self._recent)
        self._recent = []
        self._representatives.append(part)
        self._slack = max(self._slack, distance)
        if _held(self._representatives) > limit:
            part, distance = self._represented(self._representatives)
            self._representatives = [part]
            self._slack += distance

    def _represented(self, parts: Sequence[_Part]) -> tuple[_Part, float]:
        """Pick rows that stand for some, and how far, as a length, a row is from one of them at most."""
        whole = _stacked(parts)
        metric = self.strategy.metric
        picks, _, radius, _ = _native.k_center(whole.matrix, self._wanted, metric=metric, centers=self._labelled)
        return whole.take(picks), _LENGTH[metric][0](radius)

    def _finish(self, *, clip: bool) -> tuple[Cover, NDArray[Any]]:
        parts = self._representatives + self._recent
        if not parts:
            if self._count == 0:
                raise ValueError("pool: expected at least one row, got none")
            raise too_few(self.k, 0, rows=self._count, skipped=self._skipped)
        whole = _in_order(_stacked(parts))
        if whole.ids is not None:
            refuse_repeated(whole.ids, "ids of the rows")
        available = len(whole.position)
        if available < self.k and not clip:
            raise too_few(self.k, available, rows=self._count, skipped=self._skipped)
        points = Points(whole.matrix, min(self.k, available), whole.ids, self._labelled, skipped=self._skipped)
        cover = self.strategy.choose(points, self._seed, None)
        index = whole.position[cover.indices]
        radius = cover.radius
        if not self.is_exact:
            as_length, back = _LENGTH[self.strategy.metric]
            radius = back(as_length(radius) + self._slack)
        ids = index if whole.ids is None else cover.ids
        return replace(cover, ids=ids, indices=index, radius=radius), whole.matrix[cover.indices]


_EXCLUDED, _INVALID = 1, 2

# Lengths obey the triangle inequality: of the metric's unit, and back.
_LENGTH: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "euclidean": (float, float),
    "sqeuclidean": (math.sqrt, lambda length: length * length),
    "cosine": (lambda distance: math.sqrt(2 * distance), lambda length: min(2.0, length * length / 2)),
}


def _held(parts: Sequence[_Part]) -> int:
    return sum(len(part.position) for part in parts)


def _stacked(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    ids = [part.ids for part in parts if part.ids is not None]
    return _Part(
        np.concatenate([part.matrix for part in parts]),
        np.concatenate([part.position for part in parts]),
        joined(ids) if ids else None,
    )


def _in_order(part: _Part) -> _Part:
    """Sort rows by their ids, which ties are broken by."""
    order = in_order(part.position if part.ids is None else part.ids)
    if (order == np.arange(len(order))).all():
        return part
    return part.take(order)


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
