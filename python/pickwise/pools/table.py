"""Pools in tables (Arrow, Polars, pandas) whose columns are chosen by name or pattern, borrowed batch by batch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pickwise import arrow
from pickwise.pools.base import Chunk, rows_per_chunk
from pickwise.pools.columns import Matrices, Wanted, choose_columns

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


def is_table(pool: object) -> bool:
    """Whether an object is a table with named columns: pandas, a Polars frame, or an Arrow table."""
    return _is_pandas(pool) or _is_lazy(pool) or (arrow.is_arrow(pool) and hasattr(pool, "schema"))


class TablePool:
    """The rows of a table.

    Parameters
    ----------
    table : object
        A pandas or Polars DataFrame, a Polars LazyFrame, a pyarrow Table, RecordBatch or RecordBatchReader (which
        can be read only once).
    probabilities : str, sequence of str or None
        See `choose_columns`.
    id : str or None
        The column of ids.
    """

    def __init__(self, table: Any, probabilities: Wanted, id: str | None) -> None:  # noqa: A002
        try:
            import pyarrow as pa
        except ImportError as error:
            message = "pool: choosing columns needs pyarrow; install it with pip install 'pickwise[arrow]'"
            raise ImportError(message) from error
        self.rows: int | None
        if _is_pandas(table):
            self._table, self.rows, schema = table, len(table), _pandas_schema(table)
        elif _is_lazy(table):
            self._table, self.rows = table, None
            schema = pa.table(table.collect_schema().to_frame()).schema
        else:
            whole = not isinstance(table, pa.RecordBatchReader)
            self._table = pa.table(table) if whole else table
            self.rows, schema = (self._table.num_rows if whole else None), self._table.schema
        self._columns = choose_columns(schema, probabilities, id, "pool")

    @property
    def string_ids(self) -> bool:
        """Whether the ids are strings."""
        return self._columns.string_ids

    def chunks(self) -> Generator[Chunk, None, None]:
        """Go through the table; columns of their own are copied a chunk at a time, lists are looked at in place."""
        step = rows_per_chunk(self._columns.row_bytes)
        matrices = Matrices(self._columns, step)
        start = 0
        for batch in self._batches(step):
            for offset in range(0, batch.num_rows, step):
                part = batch.slice(offset, step)
                yield matrices.chunk(part, "pool", start)
                start += part.num_rows

    def locate(self, row: int) -> str:
        """Say which row it is."""
        return f"row {row}"

    def _batches(self, step: int) -> Iterator[Any]:
        import pyarrow as pa

        names = self._columns.names
        if _is_pandas(self._table):
            # Arrow knows names as text, pandas as anything.
            places = {str(label): place for place, label in enumerate(self._table.columns)}
            for start in range(0, len(self._table), step):
                part = self._table.iloc[start : start + step]
                arrays = [_pandas_array(part.iloc[:, places[name]]) for name in names]
                yield pa.RecordBatch.from_arrays(arrays, names)
        elif _is_lazy(self._table):
            lazy = self._table.select(names)
            streams = hasattr(lazy, "collect_batches")  # Polars 1.34
            for frame in lazy.collect_batches(chunk_size=step, maintain_order=True) if streams else [lazy.collect()]:
                yield from pa.table(frame).to_batches()
        elif isinstance(self._table, pa.Table):
            yield from self._table.select(names).to_batches()
        else:
            yield from self._table


def _is_pandas(pool: object) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(pool, pandas.DataFrame)


def _is_lazy(pool: object) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(pool, polars.LazyFrame)


def _pandas_schema(frame: Any) -> Any:
    """Find the Arrow types of a DataFrame's columns, as far as its first row tells."""
    import pyarrow as pa

    fields = []
    for number, name in enumerate(frame.columns):
        try:
            fields.append(pa.field(str(name), _pandas_array(frame.iloc[:1, number]).type))
        except pa.ArrowException:  # objects of any kind, in a column that nobody may ask for
            fields.append(pa.field(str(name), pa.null()))
    return pa.schema(fields)


def _pandas_array(column: Any) -> Any:
    import pyarrow as pa

    # Where pandas has NumPy floats, a NaN is a bad probability; elsewhere it is how pandas writes a null.
    if column.dtype.kind == "f" and not hasattr(column.dtype, "na_value"):
        return pa.array(column.to_numpy())
    return pa.array(column, from_pandas=True)
