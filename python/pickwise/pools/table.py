"""Pools in tables whose columns are chosen by name or pattern, borrowed batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pickwise.pools.base import Chunk, Part, Pool, rows_per_chunk
from pickwise.pools.columns import choose_columns
from pickwise.pools.members import choose_members
from pickwise.pools.records import Records, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

    from pickwise.pools.columns import Columns
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
    committee : bool
        Whether there are several predictions for each row; see `choose_members` then.
    """

    def __init__(
        self,
        table: Any,
        probabilities: WantedMembers,
        id: str | None,  # noqa: A002 - as in select
        filters: Filter | None = None,
        *,
        committee: bool = False,
    ) -> None:
        records = records_of(table)
        choose: Callable[..., Any] = choose_members if committee else choose_columns
        columns = choose(records.schema, probabilities, id, "pool", filters)
        if not records.is_in_order and id is None:
            raise ValueError("id: expected a column of ids, as the rows of this pool are in no order, got None")
        self.rows = records.rows
        self.string_ids = columns.string_ids
        self.parts = [TablePart(records, columns, filters)]
        self._records = records

    @property
    def can_be_read_again(self) -> bool:
        """Whether there is more than one pass over its rows."""
        return self._records.can_be_read_again


class TablePart(Part):
    """All of a table."""

    def __init__(self, records: Records, columns: Columns | MemberColumns, filters: Filter | None) -> None:
        self.records = records
        self._columns = columns
        self._filters = filters
        self._step = rows_per_chunk(columns.row_bytes)
        self._matrices = columns.matrices(self._step)
        self.rows = records.rows
        self.is_in_order = records.is_in_order

    def over(self, records: Records) -> TablePart:
        """Return the same of another table with these columns."""
        other = TablePart(records, self._columns, self._filters)
        other.is_in_order = self.is_in_order
        return other

    def batches(self) -> Generator[tuple[int, Any, NDArray[np.int64] | None], None, None]:
        """Go through the table, filtered by itself where it can: where each batch begins, and which rows pass."""
        start = 0
        filters = None if self._filters is not None and self.records.filters_itself else self._filters
        pushed = self._filters if filters is None else None
        for batch in self.records.batches(self._columns.names, self._step, pushed):
            for offset in range(0, batch.num_rows, self._step):
                part = batch.slice(offset, self._step)
                yield start, *((part, None) if filters is None else filters.apply(part))
                start += min(self._step, batch.num_rows - offset)

    def chunk(self, batch: tuple[int, Any, NDArray[np.int64] | None]) -> Chunk:
        """Copy columns of their own, or look at lists in place."""
        start, records, passing = batch
        if passing is None:
            matrix, ids, _ = self._matrices.chunk(records, self.name, start)
            return Chunk(matrix, ids, start)
        rows = start + passing
        matrix, ids, _ = self._matrices.chunk(records, self.name, rows)
        return Chunk(matrix, rows if ids is None else ids, rows)
