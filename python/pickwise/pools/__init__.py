"""Where rows come from: files, tables and iterators, all read as chunks of a matrix and its ids."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pickwise.arrays import is_array_like
from pickwise.options import one_of
from pickwise.pools.base import Chunk, Part, Pool
from pickwise.pools.paths import PathLike, find_files, is_alone, is_path_like
from pickwise.pools.records import is_frame, is_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pickwise.pools.files import OnFileError
    from pickwise.pools.filters import Filter
    from pickwise.pools.members import WantedMembers

__all__ = ["Chunk", "Part", "PathLike", "Pool", "is_matrix_like", "is_path_like", "open_pool"]


def open_pool(
    pool: Any,
    *,
    probabilities: WantedMembers = None,
    id: str | None = None,  # noqa: A002 - as in select
    filters: Any = None,
    on_file_error: OnFileError = "raise",
    committee: bool = False,
) -> Pool:
    """Open a pool for reading in chunks. What can be checked without reading rows is checked here.

    Parameters
    ----------
    pool : path, table, iterable or Pool
        - a path, a URL, a glob, a folder or a list of them, of ``.npy`` or ``.parquet`` files;
        - a table with named columns: Arrow, Polars, pandas, DuckDB and others, see `records_of`;
        - an iterable of arrays or of ``(array, ids)`` pairs;
        - a pool that is already open;
        - for committees: the same, or a list with one pool for each member, row for row.
    probabilities : str or sequence of str, optional
        For tables: the columns of class probabilities by name or pattern (``"p_*"``), or one column of lists, or one
        column of *P(y=1)*. By default the one column of lists of floats, else all columns of floats. For committees in
        one table: one entry a member, see `choose_members`.
    id : str, optional
        For tables: the column of ids, integers or strings. Without it rows of files are known by ``path#row``, but
        those of a single ``.npy`` file and of what is no file by their position.
    filters : pyarrow.compute.Expression or list of tuple, optional
        For tables: which rows are in the pool, as `pyarrow.parquet.read_table` takes them.
    on_file_error : {"raise", "skip"}
        What to do about files that cannot be read.
    committee : bool
        Whether there are several predictions for each row.

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
    from pickwise.pools.columns import refuse_columns

    if isinstance(pool, Pool):
        refuse_columns("a pool that is open", probabilities=probabilities, id=id, filters=filters)
        return pool
    one_of(on_file_error, "on_file_error", ("raise", "skip"))
    condition = None
    if filters is not None:
        from pickwise.pools.filters import Filter

        condition = Filter.read(filters)
    if committee and is_list_of_pools(pool):
        from pickwise.pools.committee import SideBySide

        options = {"probabilities": probabilities, "id": id, "filters": filters, "on_file_error": on_file_error}
        return SideBySide([open_pool(member, **options) for member in pool])
    if is_path_like(pool):
        return _open_files(pool, probabilities, id, condition, on_file_error, committee=committee)

    if is_table(pool):
        from pickwise.pools.table import TablePool

        return TablePool(pool, probabilities, id, condition, choose=_chooser(committee=committee))
    if isinstance(pool, Iterable) and not is_array_like(pool) and not committee:
        from pickwise.pools.iterator import IteratorPool

        refuse_columns(f"a {type(pool).__name__}", probabilities=probabilities, id=id, filters=filters)
        return IteratorPool(pool)
    raise TypeError(f"pool: expected a path, a table or an iterable of chunks, got {type(pool).__name__}")


def is_matrix_like(pool: Any, probabilities: str | Sequence[str] | None, id: str | None) -> bool:  # noqa: A002
    """Tell a matrix in memory from a pool with columns to choose, or one that is read chunk by chunk."""
    if is_table(pool):
        # A frame whose columns are all of one type has nothing to choose from, and may lie in memory as a matrix.
        return probabilities is None and id is None and is_frame(pool) and len(set(pool.dtypes)) == 1
    if not is_array_like(pool) or is_path_like(pool):
        return False
    if isinstance(pool, (list, tuple)) and any(isinstance(member, Pool) for member in pool):
        return False
    for name, value in (("probabilities", probabilities), ("id", id)):
        if value is not None:
            raise TypeError(f"{name}={value!r} names columns, but a {type(pool).__name__} has none")
    return True


def is_list_of_pools(pool: Any) -> bool:
    """Whether a committee has its members in pools of their own: files, tables, or pools that are open."""
    if not isinstance(pool, (list, tuple)) or not pool:
        return False
    kinds = (str, os.PathLike, Pool)
    return all(isinstance(member, kinds) or is_path_like(member) or is_table(member) for member in pool)


def _open_files(
    pool: Any,
    probabilities: WantedMembers,
    id: str | None,  # noqa: A002
    filters: Filter | None,
    on_file_error: OnFileError,
    *,
    committee: bool,
) -> Pool:
    from pickwise.pools.columns import refuse_columns

    kind, files = find_files(pool)
    if kind == ".parquet":
        from pickwise.pools.parquet import ParquetPool

        return ParquetPool(files, probabilities, id, filters, on_file_error, choose=_chooser(committee=committee))
    from pickwise.pools.npy import NpyPool, read_header

    condition = None if filters is None else filters.condition
    refuse_columns(f"a .npy file ({files[0].name})", probabilities=probabilities, id=id, filters=condition)
    if committee:
        from pickwise.pools.committee import StackedPool

        array = read_header(files[0])
        if len(files) > 1 or len(array.shape) != 3:
            raise ValueError(
                f"pool: expected a committee with {files[0].name}: one file of shape (members, rows, classes), or a "
                "list with one file for each member"
            )
        return StackedPool(array)
    return NpyPool(files, numbered=not is_alone(pool, files), on_file_error=on_file_error)


def _chooser(*, committee: bool) -> Callable[..., Any]:
    from pickwise.pools.columns import choose_columns
    from pickwise.pools.members import choose_members

    return choose_members if committee else choose_columns
