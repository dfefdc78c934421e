"""Which rows of a table are in a pool: by a condition on its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.pools.paths import File


@dataclass(frozen=True)
class Filter:
    """A condition on rows.

    Attributes
    ----------
    condition : pyarrow.compute.Expression
    """

    condition: Any

    @classmethod
    def read(cls, filters: Any) -> Filter | None:
        """Read what the caller wrote.

        Parameters
        ----------
        filters : pyarrow.compute.Expression, list of tuple, list of list of tuple, or None
            An expression, or conditions ``(column, operator, value)`` as `pyarrow.parquet.read_table` takes them: all
            of a list, any of a list of lists.

        Raises
        ------
        TypeError, ValueError
            For anything else.
        """
        if filters is None:
            return None
        try:
            import pyarrow.compute as pc
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ImportError("filters need pyarrow; install it with pip install 'pickwise[arrow]'") from error
        if isinstance(filters, pc.Expression):
            return cls(filters)
        expected = "filters: expected a pyarrow expression or conditions such as [('lang', '==', 'en')]"
        if not isinstance(filters, (list, tuple)):
            raise TypeError(f"{expected}, got {type(filters).__name__}")
        try:
            return cls(pq.filters_to_expression(list(filters)))
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{expected}, got {filters!r} ({error})") from None

    def columns(self, names: list[str]) -> list[str]:
        """Find the columns that it may look at."""
        text = str(self.condition)
        return [name for name in names if name in text]

    def apply(self, batch: Any) -> tuple[Any, NDArray[np.int64]]:
        """Take the rows of a record batch that pass, and where in it they are."""
        import pyarrow as pa

        try:
            numbered = _without_views(batch).append_column(_ROW, pa.array(np.arange(batch.num_rows)))
            kept = numbered.filter(self.condition)
        except (pa.ArrowException, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"filters: cannot be applied to the columns {batch.schema.names}: {reason}") from error
        rows = kept.column(kept.num_columns - 1).to_numpy()
        return kept.select(batch.schema.names), rows

    def row_groups(self, file: File) -> list[int]:
        """Find the row groups of a Parquet file in which rows may pass, by the notes that it has of their values."""
        import pyarrow.dataset as ds
        from pyarrow import fs

        where = fs.LocalFileSystem() if file.filesystem is None else file.filesystem
        fragment = ds.ParquetFileFormat().make_fragment(file.path, filesystem=where)
        try:
            parts = fragment.split_by_row_group(self.condition)
        except ValueError as error:
            raise ValueError(f"{file.name}: filters: {str(error).strip().partition(chr(10))[0]}") from None
        return [group.id for part in parts for group in part.row_groups]


_ROW = "__pickwise_row"


def _without_views(batch: Any) -> Any:
    """Copy texts of a layout (Polars has it) that Arrow cannot filter."""
    import pyarrow as pa

    columns = [
        column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
