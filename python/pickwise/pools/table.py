"""Pools in tables whose columns are chosen by name or pattern, borrowed batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pickwise.pools.base import Chunk, Part, Pool
from pickwise.pools.columns import choose_columns
from pickwise.pools.records import Records, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

    from pickwise.pools.columns import Columns
    from pickwise.pools.features import FeatureColumns
    from pickwise.pools.filters import Filter
    from pickwise.pools.members import MemberColumns, WantedMembers


class TablePool(Pool):
    """The rows of a table.

    Parameters
    ----------
    table : object
        What `records_of` reads.
    probabilities : str, sequence of str or None
        See `choose_columns`.
    id : str or None
        The column of ids.
    filters : Filter or None
        Which rows are in the pool.
    choose : callable
        What chooses the columns: `choose_columns`; `choose_members` where there are several predictions for each row.
    name : str
        What the table is called in messages.
    """

    parts: list[TablePart]

    def __init__(
        self,
        table: Any,
        probabilities: WantedMembers,
        id: str | None,  # noqa: A002 - as in select
        filters: Filter | None = None,
        *,
        choose: Callable[..., Any] = choose_columns,
        name: str = "pool",
    ) -> None:
        records = records_of(table)
        columns = choose(records.schema, probabilities, id, name, filters)
        if not records.is_in_order and id is None:
            raise ValueError("id: expected a column of ids, as the rows of this pool are in no order, got None")
        self.rows = records.rows
        self.string_ids = columns.string_ids
        self.parts = [TablePart(records, columns, filters, name)]
        self._records = records
        self.once = None if records.can_be_read_again else table

    @property
    def can_be_read_again(self) -> bool:
        """Whether there is more than one pass over its rows."""
        return self._records.can_be_read_again


class TablePart(Part):
    """All of a table.

    Attributes
    ----------
    step : int
        The most rows of a batch.
    """

    def __init__(
        self, records: Records, columns: Columns | MemberColumns | FeatureColumns, filters: Filter | None, name: str
    ) -> None:
        self.name = name
        self.records = records
        self._columns = columns
        self._filters = filters
        self.step = columns.step
        self.rows = records.rows
        self.is_in_order = records.is_in_order

    def over(self, records: Records) -> TablePart:
        """Return the same of another table with these columns."""
        other = TablePart(records, self._columns, self._filters, self.name)
        other.is_in_order = self.is_in_order
        return other

    def locate(self, position: int) -> str:
        """Say which row it is, where rows have positions."""
        return super().locate(position) if self.is_in_order else "some row"

    def chosen(self) -> Any:
        """Return a Ray dataset of the columns that are needed."""
        return self.records.chosen(self._columns.names)  # type: ignore[attr-defined] # of the records of one

    def batches(self) -> Generator[tuple[int, Any, NDArray[np.int64] | None, Any], None, None]:
        """Go through the table: where each batch begins, what it holds, and which rows pass."""
        start = 0
        matrices = self._columns.matrices(self.step)
        for batch in self.records.batches(self._columns.names, self.step, self._filters):
            if isinstance(batch, int):
                start += batch
                continue
            for offset in range(0, batch.num_rows, self.step):
                part = batch.slice(offset, self.step)
                found = (part, None) if self._filters is None else self._filters.apply(part)
                if found[0].num_rows:
                    yield start, *found, matrices
                start += part.num_rows
        self.rows = start

    def chunk(self, batch: tuple[int, Any, NDArray[np.int64] | None, Any]) -> Chunk:
        """Copy columns of their own, or look at lists in place."""
        start, records, passing, matrices = batch
        if passing is None:
            matrix, ids, _ = matrices.chunk(records, self.name, start)
            return Chunk(matrix, ids, start)
        rows = start + passing
        matrix, ids, _ = matrices.chunk(records, self.name, rows)
        return Chunk(matrix, ids, rows)
