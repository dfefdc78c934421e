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

    def columns(self, schema: Any, source: str) -> list[str]:
        """Find the columns that it looks at.

        Raises
        ------
        ValueError
            If it cannot be applied to these columns; the message names the source.
        """
        empty = _comparable(schema.empty_table())
        refused = _refusal(empty, self.condition)
        text = str(self.condition)
        if refused is None and "FieldPath(" in text:
            refused = "columns must be named, not counted"
        if refused is not None:
            shown = ", ".join(map(repr, schema.names[:12]))
            raise ValueError(f"{source}: filters: {refused.partition(' in ')[0]}; the columns are {shown}")
        # The name of one may be a part of the name of another, or of a value.
        maybe = [name for name in dict.fromkeys(schema.names) if name in text]
        return [name for name in maybe if _refusal(empty.drop_columns(name), self.condition) is not None]

    def apply(self, batch: Any) -> tuple[Any, NDArray[np.int64]]:
        """Take the rows of a record batch that pass, and where in it they are."""
        import pyarrow as pa

        numbered = _comparable(batch).append_column(_ROW, pa.array(np.arange(batch.num_rows)))
        table = _filtered(pa.Table.from_batches([numbered]), self.condition)
        kept = table.combine_chunks().to_batches()[0] if table.num_rows else numbered.slice(0, 0)
        return kept.select(batch.schema.names), kept.column(_ROW).to_numpy()

    def row_groups(self, file: File) -> list[int]:
        """Find the row groups of a Parquet file in which rows may pass, by the notes that it has of their values."""
        import pyarrow.dataset as ds
        from pyarrow import fs

        where = fs.LocalFileSystem() if file.filesystem is None else file.filesystem
        fragment = ds.ParquetFileFormat().make_fragment(file.path, filesystem=where)
        return self.groups_of(fragment, fragment.physical_schema)

    def groups_of(self, fragment: Any, schema: Any) -> list[int]:
        """Find them in a `pyarrow.dataset.ParquetFileFragment`, by what the names of its folders tell as well."""
        parts = fragment.split_by_row_group(self.condition, _comparable(schema.empty_table()).schema)
        return [group.id for part in parts for group in part.row_groups]


def _comparable(table: Any) -> Any:
    """Turn views of strings, which Arrow cannot compare yet, into strings."""
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            column = table.column(number).cast(pa.string())
            table = table.set_column(number, field.name, column)
    return table


def _filtered(table: Any, condition: Any) -> Any:
    """Take the rows that pass, in this thread alone.

    `pyarrow.Table.filter` works in threads of Arrow's. One that is late to let go of a buffer of Python's, while the
    interpreter ends, takes the process down: "terminate called without an active exception".
    """
    from pyarrow import acero

    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(table))
    passing = acero.Declaration("filter", acero.FilterNodeOptions(condition), inputs=[source])
    return passing.to_table(use_threads=False)


def _refusal(table: Any, condition: Any) -> str | None:
    """Say why a condition cannot be applied to a table, if it cannot."""
    import pyarrow as pa

    try:
        _filtered(table, condition)
    except (pa.ArrowException, KeyError) as error:
        return str(error).strip().partition("\n")[0]
    return None


_ROW = "__pickwise_row"
