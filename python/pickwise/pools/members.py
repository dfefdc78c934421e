"""Which columns of a table hold the members of a committee."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pickwise import arrow
from pickwise.pools.base import Chunk, rows_per_chunk
from pickwise.pools.columns import Columns, Matrices, choose_columns, matching, read_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pickwise.pools.filters import Filter

WantedMembers: TypeAlias = "str | Sequence[str | Sequence[str]] | None"
"""For each member what `choose_columns` takes; or one column of lists of lists."""


@dataclass(frozen=True)
class MemberColumns:
    """The columns to read from a table, as `Columns` are.

    Attributes
    ----------
    members : tuple of Columns
        Those of each member; or one, the column of lists of lists.
    is_nested : bool
        Whether it is that.
    """

    members: tuple[Columns, ...]
    is_nested: bool = False

    @property
    def names(self) -> list[str]:
        """The columns to read, and no others."""
        return list(dict.fromkeys(name for member in self.members for name in member.names))

    @property
    def string_ids(self) -> bool:
        """Whether the ids are strings."""
        return self.members[0].string_ids

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (a guess where the schema does not tell)."""
        return sum(member.row_bytes for member in self.members) * (8 if self.is_nested else 1)

    @property
    def step(self) -> int:
        """The rows to read at once."""
        return rows_per_chunk(self.row_bytes)

    def matrices(self, rows: int) -> MemberMatrices:
        """Make what turns batches of at most so many rows into chunks."""
        return MemberMatrices(self, rows)

    def widened(self, others: Sequence[MemberColumns]) -> MemberColumns:
        """Return the same in types that hold the numbers of others as well."""
        columns = zip(*(other.members for other in others), strict=True)
        pairs = zip(self.members, columns, strict=True)
        return replace(self, members=tuple(member.widened(more) for member, more in pairs))

    def measured(self, width: Callable[[str], int | None]) -> MemberColumns:
        """Return the same, with the length of lists that is not in the schema."""
        if self.is_nested:
            return self
        return replace(self, members=tuple(member.measured(width) for member in self.members))

    def difference(self, first: MemberColumns) -> str | None:
        """Say what keeps a file from being of one pool with another."""
        if len(self.members) != len(first.members):
            return f"it has {len(self.members)} members, but {len(first.members)}"
        pairs = zip(self.members, first.members, strict=True)
        return next((what for mine, theirs in pairs if (what := mine.difference(theirs))), None)


class MemberMatrices:
    """Turns record batches into chunks of a committee."""

    def __init__(self, columns: MemberColumns, rows: int) -> None:
        self._columns = columns
        self._members = [] if columns.is_nested else [Matrices(member, rows) for member in columns.members]

    def chunk(self, batch: Any, source: str, rows: arrow.Rows) -> Chunk:
        """View or copy one batch; `rows` tell where its rows are in the source, for messages."""
        first = self._columns.members[0]
        ids = read_ids(batch, first, source, rows)
        if not self._members:
            name = first.probabilities[0]
            return Chunk(_nested(batch.column(name), f"{source}: column {name!r}", rows), ids)
        return Chunk([member.matrix(batch, source, rows) for member in self._members], ids)


def choose_members(
    schema: Any,
    probabilities: WantedMembers,
    id: str | None,  # noqa: A002 - as in select
    source: str,
    filters: Filter | None = None,
) -> MemberColumns:
    """Choose the columns of each member by name or pattern; without any, every column of lists of floats is a member.

    Raises
    ------
    ValueError
        As `choose_columns` does, and where there are no members.
    """
    types = {field.name: field.type for field in schema if field.name != id}
    if probabilities is None:
        wanted: list[Any] = [name for name, kind in types.items() if _depth(kind)]
    elif isinstance(probabilities, str):
        wanted = matching([probabilities], types, source)
    else:
        wanted = list(probabilities)
    nested = [name for name in wanted if isinstance(name, str) and name in types and _depth(types[name]) == 2]
    if len(wanted) == 1 and nested:
        flat = schema.set(
            schema.get_field_index(nested[0]), schema.field(nested[0]).with_type(types[nested[0]].value_type)
        )
        return MemberColumns((choose_columns(flat, nested[0], id, source, filters),), is_nested=True)
    if probabilities is None or isinstance(probabilities, str):
        wanted = [name for name in wanted if _depth(types[name]) == 1]
    if not wanted:
        raise ValueError(
            f"{source}: no column holds a member of the committee; name the columns of each with "
            "probabilities=['a_*', 'b_*'], or one column of lists for each"
        )
    return MemberColumns(tuple(choose_columns(schema, member, id, source, filters) for member in wanted))


def _depth(kind: Any) -> int:
    """Count how deep lists are in lists, of floats."""
    from pyarrow import types

    depth = 0
    while arrow.is_list(kind):
        depth, kind = depth + 1, kind.value_type
    return depth if types.is_floating(kind) else 0


def _nested(column: Any, name: str, rows: arrow.Rows) -> list[NDArray[Any]]:
    """View a column of lists of lists as the matrices of its members."""
    import pyarrow.compute as pc

    arrow.refuse_nulls(column, name, rows)
    lengths = pc.list_value_length(column).to_numpy()
    if not len(lengths):
        return []
    members = int(lengths[0])
    ragged = np.flatnonzero(lengths != members)
    if ragged.size:
        row = arrow.row_of(rows, int(ragged[0]))
        raise ValueError(f"{name}: row {row} holds {lengths[ragged[0]]} members, expected {members} as the rows before")
    if members == 0:
        raise ValueError(f"{name}: row {arrow.row_of(rows, 0)} holds no members; expected one or more")
    at = arrow.row_numbers(rows, len(column)).repeat(members)
    matrix = arrow.matrix(column.flatten(), name, at, None)
    cube = matrix.reshape(len(column), members, matrix.shape[1])
    return [cube[:, member] for member in range(members)]
