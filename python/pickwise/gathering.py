"""Embeddings beside a pool, wherever they lie: as one matrix, or only those of a few rows."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points
from pickwise.ids import joined, refuse_repeated
from pickwise.pools import Pool, is_matrix_like, is_path_like, open_pool
from pickwise.pools.paths import KINDS, is_url
from pickwise.pools.records import is_table
from pickwise.ranking import Request, Source, run
from pickwise.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.ids import Ids
    from pickwise.pools import Chunk, Part


@dataclass(frozen=True, eq=False)
class Collected:
    """A pool that was read as a whole.

    Attributes
    ----------
    matrix : ndarray of shape (rows, columns)
    ids : Ids or None
        Those in its chunks.
    positions : ndarray of int64 of shape (rows,)
        Where its rows are among those that a filter leaves out.
    """

    matrix: NDArray[Any]
    ids: Ids | None
    positions: NDArray[np.int64]


def collect(pool: Pool) -> Collected:
    """Read a pool into one matrix."""
    parts, ids, positions, rows = [], [], [np.empty(0, np.int64)], 0
    with closing(pool.chunks()) as chunks:
        for chunk in chunks:
            parts.append(np.array(chunk.matrix, order="C"))
            ids += [] if chunk.ids is None else [joined([chunk.ids])]
            first = rows if chunk.positions is None else chunk.positions
            positions.append(np.arange(first, first + len(parts[-1])) if isinstance(first, int) else first)
            rows += len(parts[-1])
    if not any(map(len, parts)):
        raise ValueError("pool: expected at least one row, got none")
    found = Collected(as_points(np.concatenate(parts), "pool"), joined(ids) if ids else None, np.concatenate(positions))
    if found.ids is not None:
        refuse_repeated(found.ids, "ids of the rows", lambda at: pool.locate(int(found.positions[at])))
    return found


def open_embeddings(embeddings: Any, pool: Any, request: Request) -> NDArray[Any] | Pool:
    """Find the embeddings of a pool: a matrix that is there, or a pool of them to be read.

    Parameters
    ----------
    embeddings : array_like, path, table, Pool, or str or sequence of str
        Names that are no paths are columns of the pool itself.
    """
    options = {"filters": request.filters, "on_file_error": request.on_file_error}
    if names_columns(embeddings, pool):
        opened = open_pool(pool, probabilities=embeddings, **options)
        if not opened.can_be_read_again:
            raise ValueError(
                f"embeddings: expected a matrix, a path or a table beside a {type(pool).__name__}, which can be read "
                f"only once, got the name {embeddings!r}"
            )
        return opened
    if isinstance(embeddings, (str, os.PathLike)):
        name = os.fspath(embeddings)
        if name.lower().endswith(".npy") and not is_url(name) and not has_magic(name):
            return as_points(embeddings, "embeddings")
    if is_path_like(embeddings):
        return open_pool(embeddings, on_file_error=request.on_file_error)
    if isinstance(embeddings, Pool):
        return embeddings
    if is_table(embeddings) and not is_matrix_like(embeddings, None, None):
        return open_pool(embeddings)
    return as_points(embeddings, "embeddings")


def as_matrix(embeddings: Any, pool: Any, request: Request) -> NDArray[Any]:
    """Read all embeddings of a pool."""
    # A file that is left out would leave a gap.
    found = open_embeddings(embeddings, pool, replace(request, on_file_error="raise"))
    return collect(found).matrix if isinstance(found, Pool) else found


def gather(
    embeddings: NDArray[Any] | Pool, rows: NDArray[np.int64], request: Request
) -> tuple[NDArray[Any], NDArray[np.int64], Report]:
    """Read the embeddings of a few rows, in one pass over those files that hold them.

    Parameters
    ----------
    rows : ndarray of int64
        Their positions, ascending.

    Returns
    -------
    matrix : ndarray
        Of no use where rows are lost.
    lost : ndarray of int64
        The positions of all rows of files that cannot be read, and are to be left out.
    report : Report
    """
    none = np.empty(0, np.int64)
    if not isinstance(embeddings, Pool):
        return embeddings[rows], none, Report()
    if not all(part.is_in_order for part in embeddings.parts):
        raise TypeError("embeddings: expected rows in the order of the pool, got a dataset whose rows have no order")
    counts = [part.rows for part in embeddings.parts]
    parts, starts = list(embeddings.parts), none
    # Without counts nobody knows what is lost with a part.
    quiet = Request(engine=request.engine)
    if None not in counts:
        quiet = replace(quiet, on_file_error=request.on_file_error)
        starts = np.cumsum([0, *counts])
        parts = [parts[place] for place in np.unique(np.searchsorted(starts, rows, side="right") - 1)]
    source = Source(embeddings.rows, parts, embeddings, "embeddings")
    found, report = run(Gathered(rows), source, gathering, quiet)
    failed = [place for place, part in enumerate(embeddings.parts) if part.name in report.failed]
    if failed:
        lost = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in failed])
        return np.empty((0, 1), np.float32), lost, report
    return found.finish(), none, report


class Gathered:
    """Some rows of a pool, as far as they have been met; the state of a reducer.

    Parameters
    ----------
    rows : ndarray of int64
        The positions that are wanted, ascending.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self._places: list[NDArray[np.int64]] = []
        self._parts: list[NDArray[Any]] = []
        self._seen = 0

    def take(self, matrix: NDArray[Any], positions: int | NDArray[np.int64] | None) -> None:
        """Keep those rows of a chunk that are wanted."""
        first = self._seen if positions is None else positions
        if isinstance(first, int):
            begin, end = np.searchsorted(self._rows, (first, first + len(matrix)))
            places, inside = np.arange(begin, end), self._rows[begin:end] - first
        else:
            inside = np.flatnonzero(np.isin(first, self._rows))
            places = np.searchsorted(self._rows, first[inside])
        self._seen += len(matrix)
        if len(places):
            self._places.append(places)
            self._parts.append(matrix[inside])

    def merge(self, other: Gathered) -> None:
        """Take all that another has kept."""
        self._places += other._places
        self._parts += other._parts
        self._seen += other._seen

    def finish(self) -> NDArray[Any]:
        """Return the rows in the order in which they were wanted."""
        places = np.concatenate([np.empty(0, np.int64), *self._places])
        if len(np.unique(places)) < len(self._rows):
            missing = np.setdiff1d(np.arange(len(self._rows)), places)
            raise ValueError(
                f"embeddings: expected rows for all of the pool, got none at position {self._rows[missing[0]]}; "
                "embeddings must lie row for row as the pool does"
            )
        found = np.concatenate(self._parts)
        out = np.empty_like(found, shape=(len(self._rows), found.shape[1]))
        out[places] = found
        return out

    def condense(self) -> None:
        """Do nothing: all that is kept is wanted."""

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo all that follows."""
        return len(self._parts), self._seen

    def restore(self, snapshot: Any) -> None:
        """Go back to what was so when the snapshot was taken."""
        count, self._seen = snapshot
        del self._parts[count:], self._places[count:]

    def to_bytes(self) -> bytes:
        """Return all of the state."""
        from pickwise.coreset.parts import written

        places = np.concatenate([np.empty(0, np.int64), *self._places])
        return written(
            [self._rows, np.array(self._seen), places, *([np.concatenate(self._parts)] if self._parts else [])]
        )

    @staticmethod
    def from_bytes(data: bytes) -> Gathered:
        """Read back what `to_bytes` wrote."""
        from pickwise.coreset.parts import reading

        array = reading(data)
        made = Gathered(array())
        made._seen = int(array())
        places = array()
        if len(places):
            made._places, made._parts = [places], [array()]
        return made

    def __reduce__(self) -> tuple[Callable[[bytes], Gathered], tuple[bytes]]:
        return Gathered.from_bytes, (self.to_bytes(),)


def gathering(
    reducer: Gathered,
    part: Part,  # noqa: ARG001 - as all intakes are called
    chunk: Chunk,
    seen: Report,
    report: Callable[[int], object] | None,
) -> None:
    """Take a chunk of embeddings."""
    reducer.take(chunk.matrix, chunk.positions)
    seen.rows += len(chunk.matrix)
    if report is not None:
        report(len(chunk.matrix))


def names_columns(embeddings: Any, pool: Any) -> bool:
    """Tell names of columns from paths."""
    if not (is_table(pool) or is_path_like(pool)) or not is_path_like(embeddings):
        return False
    names = [embeddings] if isinstance(embeddings, (str, os.PathLike)) else list(embeddings)
    texts = [os.fspath(name) for name in names]
    return not any(text.lower().endswith(KINDS) or "/" in text or is_url(text) or Path(text).exists() for text in texts)
