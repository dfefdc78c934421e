"""Where rows come from: files, tables and iterators, all read as chunks of a matrix and its ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pickwise.arrays import is_array_like
from pickwise.pools.base import Chunk, Pool
from pickwise.pools.paths import PathLike, find_files, is_path_like

if TYPE_CHECKING:
    from pickwise.pools.columns import Wanted

__all__ = ["Chunk", "PathLike", "Pool", "is_path_like", "open_pool"]


def open_pool(pool: Any, *, probabilities: str | Sequence[str] | None = None, id: str | None = None) -> Pool:  # noqa: A002
    """Open a pool for reading in chunks. What can be checked without reading rows is checked here.

    Parameters
    ----------
    pool : path, table, iterable or Pool
        - a path, a glob, a folder or a list of them, of ``.npy`` or ``.parquet`` files;
        - a table with named columns: pandas, Polars or Arrow;
        - an iterable of arrays or of ``(array, ids)`` pairs;
        - a pool that is already open.
    probabilities : str or sequence of str, optional
        For tables: the columns of class probabilities by name or pattern (``"p_*"``), or one column of lists, or one
        column of *P(y=1)*. By default the one column of lists of floats, else all columns of floats.
    id : str, optional
        For tables: the column of ids, integers or strings. Without it rows are known by their position.

    Returns
    -------
    Pool

    Raises
    ------
    FileNotFoundError
        For a path that matches nothing.
    ValueError
        For files that are damaged or do not belong together, and columns that are missing or of another type.
    TypeError
        For anything else, and for columns of what has none.
    """
    if isinstance(pool, Pool):
        return pool
    if is_path_like(pool):
        kind, files = find_files(pool)
        if kind == ".parquet":
            from pickwise.pools.parquet import ParquetPool

            return ParquetPool(files, probabilities, id)
        from pickwise.pools.npy import NpyPool

        _refuse_columns(probabilities, id, f"a .npy file ({files[0]})")
        return NpyPool(files)
    from pickwise.pools.table import TablePool, is_table

    if is_table(pool):
        return TablePool(pool, probabilities, id)
    if isinstance(pool, Iterable) and not is_array_like(pool):
        from pickwise.pools.iterator import IteratorPool

        _refuse_columns(probabilities, id, f"a {type(pool).__name__}")
        return IteratorPool(pool)
    raise TypeError(f"pool: expected a path, a table or an iterable of chunks, got {type(pool).__name__}")


def _refuse_columns(probabilities: Wanted, id: str | None, what: str) -> None:  # noqa: A002
    for name, value in (("probabilities", probabilities), ("id", id)):
        if value is not None:
            raise TypeError(f"{name}={value!r} names columns, but {what} has none")
