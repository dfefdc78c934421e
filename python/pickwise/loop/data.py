"""The pool of a project, as models and annotators see its rows: by id, for months."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import pickwise
from pickwise.points import invalid
from pickwise.pools.features import open_features
from pickwise.pools.models import Function, as_matrix
from pickwise.pools.paths import KINDS, find_files, is_path_like

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from pickwise.annotators.base import RowId
    from pickwise.pools.paths import File

# Of a file or an array so many bytes are looked at, spread over all of it.
_LOOKED_AT = 64 << 20
_BLOCK = 1 << 16

# Rows of a table in memory whose values tell it from another one with the same ids.
_SAMPLED = 1000

# Numbers of a row that are shown to an annotator.
_SHOWN = 64


class PoolData(ABC):
    """The rows of a pool.

    Attributes
    ----------
    rows : object
        What `pickwise.predict` reads.
    ids : ndarray or None
        Of an array; where they are None rows are known by their positions.
    id, columns : str, sequence of str or None
        Of a table.
    id_type : {"int", "str"}
        What ids are.
    count : int
        How many rows there are.
    """

    rows: Any
    ids: NDArray[Any] | None = None
    id: str | None = None
    columns: Sequence[str] | None = None
    id_type: Literal["int", "str"] = "int"
    count: int

    @abstractmethod
    def take(self, ids: Sequence[RowId]) -> Any:
        """Return rows as a model gets them, in the order of their ids.

        Raises
        ------
        ValueError
            For an id that is not in the pool.
        """

    def shown(self, ids: Sequence[RowId]) -> list[Any]:
        """Return what annotators look at."""
        return as_shown(self.take(ids)) if ids else []

    @abstractmethod
    def sample(self, count: int, seed: int) -> list[RowId]:
        """Draw ids, without those that repeat; all of them where there are no more."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Tell this pool from others: by its content, wherever it lies."""

    @abstractmethod
    def unknown(self, ids: Sequence[RowId]) -> list[RowId]:
        """Return ids that are not in the pool."""

    @property
    def is_matrix(self) -> bool:
        """Whether rows can stand for their own embeddings."""
        return is_float_matrix(self.rows)

    @cached_property
    def are_points(self) -> bool:
        """Whether rows are a matrix in which every distance is known; looked at once."""
        return is_float_matrix(self.rows) and not invalid(self.rows, "euclidean").any()

    def positions(self, ids: Sequence[RowId]) -> NDArray[np.int64] | None:  # noqa: ARG002
        """Return where rows are, if that is known without reading the pool."""
        return None

    @abstractmethod
    def inputs(self) -> Iterator[Any]:
        """Read the pool in its order, as a model gets it, batch by batch."""

    @abstractmethod
    def all_ids(self) -> Any:
        """Return the ids of all rows."""

    def take_embeddings(self, ids: Sequence[RowId], embeddings: Any) -> Any:
        """Return the embeddings of rows: of a column of the pool, or of what lies beside it, row for row."""
        from pickwise.gathering import gather, names_columns, open_embeddings
        from pickwise.ranking import Request

        if self.id is not None and isinstance(embeddings, str) and names_columns(embeddings, self.rows):
            return TableData(self.rows, self.id, [embeddings]).take(ids)
        places = {name: place for place, name in enumerate(self.all_ids().tolist())}
        missing = [name for name in ids if name not in places]
        if missing:
            raise ValueError(_unknown(missing))
        wanted, back = np.unique(np.array([places[name] for name in ids], np.int64), return_inverse=True)
        request = Request()
        return gather(open_embeddings(embeddings, self.rows, request), wanted, request)[0][back]

    def predicted(self, function: Callable[[Any], Any]) -> Any:
        """Make a pool of what a function of a model's input returns."""
        return pickwise.predict(lambda batch: function(as_input(batch)), self.rows, id=self.id, columns=self.columns)


class ArrayData(PoolData):
    """An array, a sequence of texts or paths, or one `.npy` file."""

    def __init__(self, rows: Any, ids: Any = None) -> None:
        if isinstance(rows, (list, tuple)):
            rows = np.asarray(rows, dtype=object if rows and isinstance(rows[0], str) else None)
        if hasattr(rows, "tocsr"):
            rows = rows.tocsr()  # of a sparse matrix the one form that rows are taken from
        self.rows = rows
        self.count = int(rows.shape[0] if hasattr(rows, "shape") else len(rows))
        if not self.count:
            raise ValueError("pool: expected at least one row, got none")
        self._places: dict[RowId, int] | None = None
        if ids is not None:
            self.ids = np.asarray(ids)
            if self.ids.shape != (self.count,):
                raise ValueError(f"ids: expected {self.count}, one for each row of the pool, got {self.ids.shape}")
            self.id_type = "int" if self.ids.dtype.kind in "iu" else "str"
            self._places = {name: place for place, name in enumerate(self.ids.tolist())}
            if len(self._places) < self.count:
                raise ValueError(f"ids: expected each once, got {self.count - len(self._places)} that repeat")

    def take(self, ids: Sequence[RowId]) -> Any:
        """Index the array."""
        missing = self.unknown(ids)
        if missing:
            raise ValueError(_unknown(missing))
        return getattr(self.rows, "iloc", self.rows)[self.positions(ids)]

    def sample(self, count: int, seed: int) -> list[RowId]:
        """Draw positions."""
        drawn = np.random.default_rng(seed).choice(self.count, min(count, self.count), replace=False)
        chosen: list[RowId] = (drawn if self.ids is None else self.ids[drawn]).tolist()
        return chosen

    def fingerprint(self) -> str:
        """Look at the bytes of the array, all of one of some megabytes, blocks of a larger one."""
        about = hashlib.blake2b(f"{getattr(self.rows, 'dtype', '')} {self.count}".encode(), digest_size=16)
        for block in _blocks(self.rows):
            about.update(block)
        if self.ids is not None:
            about.update("\0".join(map(str, self.ids.tolist())).encode())
        return about.hexdigest()

    def unknown(self, ids: Sequence[RowId]) -> list[RowId]:
        """Look ids up."""
        if self._places is not None:
            return [name for name in ids if name not in self._places]
        return [name for name in ids if not (isinstance(name, int) and 0 <= name < self.count)]

    def inputs(self) -> Iterator[Any]:
        """Slice the array."""
        rows = getattr(self.rows, "iloc", self.rows)
        for start in range(0, self.count, _BLOCK):
            yield rows[start : start + _BLOCK]

    def all_ids(self) -> Any:
        """Return the ids of all rows."""
        return np.arange(self.count) if self.ids is None else self.ids

    def positions(self, ids: Sequence[RowId]) -> NDArray[np.int64]:
        """Look ids up."""
        places = ids if self._places is None else [self._places[name] for name in ids]
        return np.asarray(places, np.int64)


class TableData(PoolData):
    """A table, in memory or in files; with a column of ids."""

    def __init__(self, rows: Any, id: str | None, columns: Sequence[str] | None) -> None:  # noqa: A002 - as in select
        if id is None:
            raise TypeError(
                "id: expected the name of a column of ids with a pool that is a table or lies in files, by which its "
                "rows are known for as long as the project lasts, got None"
            )
        self.rows, self.id, self.columns = rows, id, None if columns is None else list(columns)
        self.id_type = "str" if self._open().pool.string_ids else "int"

    @cached_property
    def count(self) -> int:  # type: ignore[override]
        """Count the ids, once."""
        return sum(map(len, self._all_ids()))

    def take(self, ids: Sequence[RowId]) -> Any:
        """Read the rows; files are read where they may have them."""
        import pyarrow as pa

        places = {name: place for place, name in enumerate(ids)}
        batches, order = [], []
        for batch, names in self._matching(ids):
            inside = [row for row, name in enumerate(names) if name in places]
            if inside:
                batches.append(batch.iloc[inside] if hasattr(batch, "iloc") else batch.take(pa.array(inside)))
                order += [places[names[row]] for row in inside]
        if len(order) < len(ids):
            found = set(order)
            raise ValueError(_unknown([name for name, place in places.items() if place not in found]))
        back = np.argsort(order, kind="stable")
        return as_input(_joined(batches, back))

    def sample(self, count: int, seed: int) -> list[RowId]:
        """Draw while reading the ids: those with the lowest random numbers."""
        rng = np.random.default_rng(seed)
        kept: list[tuple[float, RowId]] = []
        for names in self._all_ids():
            kept += zip(rng.random(len(names)).tolist(), names, strict=True)
            if len(kept) > 4 * count:
                kept = sorted(kept)[:count]
        return [name for _, name in sorted(kept)[:count]]

    def fingerprint(self) -> str:
        """Look at the beginning and end of each file, where its statistics are; else at ids and some rows."""
        about = hashlib.blake2b(digest_size=16)
        if is_path_like(self.rows):
            # In no order and without names: rows are known by their ids, whatever their file is called.
            for digest in sorted(map(_digest, find_files(self.rows)[1])):
                about.update(digest)
            return about.hexdigest()
        for names in self._all_ids():
            about.update("".join(f"{name}\0" for name in names).encode())
        about.update("\0".join(map(str, self.shown(self.sample(_SAMPLED, 0)))).encode())
        return about.hexdigest()

    def unknown(self, ids: Sequence[RowId]) -> list[RowId]:
        """Read the ids of the pool."""
        left = dict.fromkeys(ids)
        if not left:
            return []
        for _, names in self._matching(ids):
            for name in names:
                left.pop(name, None)
        return list(left)

    def inputs(self) -> Iterator[Any]:
        """Read the table."""
        for batch, _ in self._chunks(self._open()):
            yield as_input(batch)

    def all_ids(self) -> Any:
        """Read the ids of all rows."""
        return np.asarray([name for names in self._all_ids() for name in names])

    def _open(self, filters: Any = None) -> Any:
        model = Function(None, "the model")
        options = {"columns": self.columns, "id": self.id, "filters": filters, "batch_size": None}
        return open_features(self.rows, model, on_file_error="raise", **options)

    def _matching(self, ids: Sequence[RowId]) -> Iterator[tuple[Any, list[RowId]]]:
        import pyarrow.compute as pc

        yield from self._chunks(self._open(pc.field(self.id).isin(list(ids))))

    def _all_ids(self) -> Iterator[list[RowId]]:
        for _, names in self._chunks(self._open()):
            yield names

    def _chunks(self, features: Any) -> Iterator[tuple[Any, list[RowId]]]:
        from pickwise.output import items

        with closing(features.pool.chunks()) as chunks:
            for chunk in chunks:
                yield chunk.matrix, items(chunk.ids)


def open_data(pool: Any, *, ids: Any = None, id: str | None = None, columns: Sequence[str] | None = None) -> PoolData:  # noqa: A002
    """Open the pool of a project.

    Parameters
    ----------
    pool : array_like, path or table
        As the rows of `pickwise.predict`, or a sparse matrix of SciPy. A list of strings holds texts, or paths of
        images, unless each of them ends in ".npy" or ".parquet".
    ids : array_like, optional
        Of an array, one for each row; positions otherwise.
    id : str, optional
        For tables: the column of ids.
    columns : sequence of str, optional
        For tables: the features.
    """
    from pickwise.pools.records import is_table

    if _are_files(pool):
        kind, files = find_files(pool)
        if kind == ".npy" and len(files) == 1:
            return ArrayData(np.load(files[0].name, mmap_mode="r"), ids)
    elif not is_table(pool):
        if not hasattr(pool, "__getitem__") or isinstance(pool, dict):
            raise TypeError(
                f"pool: expected an array, a list of texts, a path or a table, got {type(pool).__name__}; rows of a "
                "project are asked for by their ids, so that it cannot be an iterator"
            )
        return ArrayData(pool, ids)
    if ids is not None:
        raise TypeError("ids: expected None with a table, whose ids are in a column; name it with id=")
    return TableData(pool, id, columns)


def _are_files(pool: Any) -> bool:
    """Tell files of rows from rows: a list of strings that are no such files holds texts, or paths of images."""
    if is_path_like(pool) and isinstance(pool, (list, tuple)):
        return all(os.fspath(name).lower().endswith(KINDS) for name in pool)
    return is_path_like(pool)


def is_float_matrix(rows: Any) -> bool:
    """Whether rows can stand for their own embeddings."""
    return isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.dtype in (np.float16, np.float32, np.float64)


def as_input(batch: Any) -> Any:
    """Turn a batch of a table into what a model gets: a matrix of numbers, a 1-D array of texts, or a pandas frame."""
    if hasattr(batch, "to_arrow"):  # Polars
        batch = batch.to_arrow().combine_chunks().to_batches()[0]
    if hasattr(batch, "iloc") and hasattr(batch, "columns"):
        kinds = {dtype.kind for dtype in batch.dtypes}
        if kinds <= set("iufb"):
            return batch.to_numpy()
        return batch.iloc[:, 0].to_numpy() if batch.shape[1] == 1 else batch
    if not hasattr(batch, "schema"):
        return batch
    import pyarrow.types as kinds_of

    numbers = [kinds_of.is_integer(f.type) or kinds_of.is_floating(f.type) for f in batch.schema]
    return as_matrix(batch) if all(numbers) or batch.num_columns == 1 else batch.to_pandas()


def as_shown(rows: Any) -> list[Any]:
    """Turn rows as a model gets them into what people look at: columns by name, a text, or a list of a few numbers."""
    if hasattr(rows, "to_dict"):
        return list(rows.to_dict("records"))
    if getattr(rows, "ndim", 1) == 1:
        return [value.item() if isinstance(value, np.generic) else value for value in rows]
    if not isinstance(rows, np.ndarray) or rows.ndim > 2 or rows.shape[1] > _SHOWN:
        return [None] * int(rows.shape[0])
    return list(rows.tolist())


def _joined(batches: list[Any], order: NDArray[np.int64]) -> Any:
    """Put batches together, in another order."""
    if batches and hasattr(batches[0], "iloc"):
        import pandas as pd

        return pd.concat(batches).iloc[order]
    import pyarrow as pa

    table = pa.Table.from_batches(batches).take(pa.array(order)).combine_chunks()
    return table.to_batches()[0]


def _digest(file: File) -> bytes:
    """Look at the beginning and the end of a file."""
    about = hashlib.blake2b(digest_size=16)
    with file.open() as stream:
        size = stream.seek(0, 2)
        about.update(str(size).encode())
        for start in (0, max(0, size - _BLOCK)):
            stream.seek(start)
            about.update(stream.read(_BLOCK))
    return about.digest()


def _unknown(missing: Sequence[RowId]) -> str:
    shown = ", ".join(map(repr, missing[:3]))
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"ids: expected rows of the pool, got {shown}{more}"


def _blocks(rows: Any) -> Iterator[bytes]:
    """Yield the bytes of an array, or of blocks that are spread over it."""
    if hasattr(rows, "indptr"):
        for part in (rows.data, rows.indices, rows.indptr):
            yield from _blocks(part)
        return
    if not isinstance(rows, np.ndarray) or rows.dtype.hasobject:
        step = max(1, len(rows) // 100_000) if hasattr(rows, "__len__") else 1
        if hasattr(rows, "__len__"):
            some = getattr(rows, "iloc", rows)[::step]
            yield "\0".join(map(str, some)).encode()
        return
    row = max(1, rows.nbytes // max(1, len(rows)))
    at_once = max(1, _BLOCK // row)
    starts = range(0, len(rows), at_once)
    step = max(1, rows.nbytes // _LOOKED_AT)
    for start in {*starts[::step], *starts[-1:]} if step > 1 else starts:
        yield np.ascontiguousarray(rows[start : start + at_once]).tobytes()
