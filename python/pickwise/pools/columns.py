"""Which columns of a table hold the probabilities, which the ids, and how their batches become matrices."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pickwise import arrow
from pickwise.arrays import MOST_APART, ColumnMatrix
from pickwise.pools.base import Chunk, rows_per_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pickwise.ids import Ids
    from pickwise.pools.features import FeatureColumns
    from pickwise.pools.filters import Filter

Wanted: TypeAlias = "str | Sequence[str] | None"
"""A column, a pattern such as ``"p_*"``, several of either, or None for the obvious ones."""


@dataclass(frozen=True)
class Columns:
    """The columns to read from a table.

    Attributes
    ----------
    probabilities : tuple of str
        One column of lists, or one column of floats for each class, in the table's order.
    id : str or None
        A column of integers or strings.
    string_ids : bool
        Whether it is one of strings.
    dtype : dtype
        What the matrix holds: the widest type among the columns.
    width : int or None
        Classes; None for a column of lists of any length.
    others : tuple of str
        Columns that are read beside, such as those that a filter looks at.
    """

    probabilities: tuple[str, ...]
    id: str | None
    string_ids: bool
    dtype: np.dtype[Any]
    width: int | None
    others: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns to read, and no others."""
        names = [*self.probabilities, *([] if self.id is None else [self.id]), *self.others]
        return list(dict.fromkeys(names))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of the matrix (a guess for lists whose length is not in the schema)."""
        return (self.width or 64) * self.dtype.itemsize

    @property
    def step(self) -> int:
        """The rows to read at once."""
        is_copied = len(self.probabilities) > MOST_APART
        return rows_per_chunk(self.row_bytes, copied=is_copied)

    def matrices(self, rows: int) -> Matrices:
        """Make what turns batches of at most so many rows into chunks."""
        return Matrices(self, rows)

    def widened(self, others: Sequence[Columns]) -> Columns:
        """Return the same in a type that holds the numbers of others as well."""
        width = next((columns.width for columns in (self, *others) if columns.width is not None), None)
        return replace(self, dtype=np.result_type(self.dtype, *(other.dtype for other in others)), width=width)

    def measured(self, width: Callable[[str], int | None]) -> Columns:
        """Return the same, with the length of lists that is not in the schema."""
        return self if self.width is not None else replace(self, width=width(self.probabilities[0]))

    def difference(self, first: Columns) -> str | None:
        """Say what keeps a file from being of one pool with another. Order does not: columns are read by name."""
        if set(self.probabilities) != set(first.probabilities):
            return f"its probabilities are {list(self.probabilities)}, but {list(first.probabilities)}"
        if self.width != first.width and None not in (self.width, first.width):
            return f"its lists hold {self.width} classes, but {first.width}"
        if self.string_ids != first.string_ids:
            kinds = ["strings" if columns.string_ids else "integers" for columns in (self, first)]
            return f"its ids are {kinds[0]}, but {kinds[1]}"
        return None


def choose_columns(
    schema: Any,
    probabilities: Wanted,
    id: str | None,  # noqa: A002 - as in select
    source: str,
    filters: Filter | None = None,
) -> Columns:
    """Choose the columns of a table by name, by pattern, or by their types where neither is given.

    Parameters
    ----------
    schema : pyarrow.Schema
    probabilities : str, sequence of str or None
        Without it: the one column of lists of floats if there is one, else all columns of floats.
    id : str or None
    source : str
        What the table is called in messages.
    filters : Filter, optional
        What looks at more columns.

    Raises
    ------
    ValueError
        For a column that is missing, doubled or of another type, and where no column can be meant.
    """
    types = {field.name: field.type for field in schema if field.name != id}
    strings = has_string_ids(schema, id, source)
    if probabilities is None:
        chosen = _obvious(types, source)
    else:
        wanted = [probabilities] if isinstance(probabilities, str) else list(probabilities)
        chosen = matching(wanted, types, source)
    repeated = [name for name, count in Counter(schema.names).items() if count > 1 and name in {*chosen, id}]
    if repeated:
        raise ValueError(f"{source}: has more than one column named {repeated[0]!r}")
    lists = [name for name in chosen if arrow.is_list(types[name])]
    if lists and len(chosen) > 1:
        raise ValueError(f"{source}: {lists[0]!r} is a column of lists, which must be the only column of probabilities")
    for name in chosen:
        if not _is_float(_element(types[name])):
            raise ValueError(f"{source}: the column {name!r} must hold floats, not {types[name]}")
    width: int | None = len(chosen)
    if lists:
        width = getattr(types[lists[0]], "list_size", None)
        if width is not None and width < 2:
            raise ValueError(f"{source}: the lists in {lists[0]!r} hold {width} classes; selection needs two or more")
    dtype = np.result_type(*(_element(types[name]).to_pandas_dtype() for name in chosen))
    others = () if filters is None else tuple(filters.columns(schema, source))
    return Columns(tuple(chosen), id, strings, dtype, width, others)


class Matrices:
    """Turns record batches into chunks: looks at them where they are, or copies them to a buffer that is used again.

    Parameters
    ----------
    columns : Columns
    rows : int
        The most rows a batch can have.
    """

    def __init__(self, columns: Columns, rows: int) -> None:
        self._columns = columns
        self._width = columns.width
        self._rows = rows
        self._buffer: NDArray[Any] | None = None

    def chunk(self, batch: Any, source: str, rows: arrow.Rows) -> Chunk:
        """View or copy one batch; `rows` tell where its rows are in the source, for messages.

        Raises
        ------
        ValueError
            For nulls and for lists of different lengths, naming source, column and row.
        """
        matrix: NDArray[Any] | ColumnMatrix
        if len(self._columns.probabilities) > 1:
            apart = self._apart(batch, source, rows)
            matrix = apart if apart.is_ready else self._together(apart)
        else:
            matrix = self.matrix(batch, source, rows)
        return Chunk(matrix, read_ids(batch, self._columns, source, rows))

    def matrix(self, batch: Any, source: str, rows: arrow.Rows) -> NDArray[Any]:
        """View or copy the probabilities of one batch as one array."""
        names = self._columns.probabilities
        if len(names) > 1:
            return self._together(self._apart(batch, source, rows))
        if arrow.is_list(batch.schema.field(names[0]).type):
            return self._lists(batch.column(names[0]), f"{source}: column {names[0]!r}", rows)
        return arrow.values(batch.column(names[0]), f"{source}: column {names[0]!r}", rows).reshape(-1, 1)

    def _apart(self, batch: Any, source: str, rows: arrow.Rows) -> ColumnMatrix:
        names = self._columns.probabilities
        columns = [arrow.values(batch.column(name), f"{source}: column {name!r}", rows) for name in names]
        return ColumnMatrix(columns, self._columns.dtype)

    def _together(self, matrix: ColumnMatrix) -> NDArray[Any]:
        if self._buffer is None:
            self._buffer = np.empty((matrix.shape[1], self._rows), matrix.dtype)
        return matrix.into(self._buffer)

    def _lists(self, column: Any, name: str, rows: arrow.Rows) -> NDArray[Any]:
        if len(column) == 0:
            return np.empty((0, self._width or 2), self._columns.dtype)
        matrix = arrow.matrix(column, name, rows, self._width)
        self._width = matrix.shape[1]
        if self._width < 2:
            raise ValueError(
                f"{name}: row {arrow.row_of(rows, 0)} holds {self._width} classes; selection needs two or more"
            )
        return matrix


def read_ids(batch: Any, columns: Columns | FeatureColumns, source: str, rows: arrow.Rows) -> Ids | None:
    """Read the ids of one batch, if there is a column of them."""
    if columns.id is None:
        return None
    import pyarrow as pa

    name, column = f"{source}: column {columns.id!r}", batch.column(columns.id)
    if columns.string_ids:
        return arrow.strings(pa.chunked_array([column]), name, rows)
    ids = arrow.values(column, name, rows)
    if ids.dtype == np.uint64 and ids.size and ids.max() > np.iinfo(np.int64).max:
        row = arrow.row_of(rows, int(ids.argmax()))
        raise ValueError(f"{name}: row {row} holds {ids.max()}, too large for an id (2**63 - 1)")
    return ids.astype(np.int64, copy=False)


def has_string_ids(schema: Any, id: str | None, source: str) -> bool:  # noqa: A002
    """Tell whether ids are strings; refuse a column that is missing or holds anything but these or integers."""
    if id is None:
        return False
    require(id, schema.names, "id", source)
    kind = schema.field(id).type
    if not (arrow.is_string(kind) or _is_integer(kind)):
        raise ValueError(f"{source}: the id column {id!r} must hold integers or strings, not {kind}")
    return arrow.is_string(kind)


def _obvious(types: dict[str, Any], source: str) -> list[str]:
    lists = [name for name, kind in types.items() if arrow.is_list(kind) and _is_float(_element(kind))]
    if len(lists) > 1:
        raise ValueError(f"{source}: has several columns of lists ({some(lists)}): say which with probabilities=")
    chosen = lists or [name for name, kind in types.items() if _is_float(kind)]
    if not chosen:
        raise ValueError(f"{source}: no column holds floats or lists of floats; its columns are {_described(types)}")
    return chosen


def matching(wanted: list[str], types: dict[str, Any], source: str) -> list[str]:
    """Find columns by name or pattern, in the order of the table."""
    found: set[str] = set()
    for want in wanted:
        matches = [want] if want in types else [name for name in types if fnmatchcase(name, want)]
        if not matches:
            require(want, list(types), "probabilities", source)
        found.update(matches)
    if not found:
        raise ValueError(f"{source}: probabilities names no column")
    return [name for name in types if name in found]


def require(name: str, names: list[str], argument: str, source: str) -> None:
    """Raise a `ValueError` if there is no such column."""
    if name in names:
        return
    raise ValueError(f"{source}: no column matches {argument}={name!r}; {hint(name, names)}")


def hint(name: str, names: list[str]) -> str:
    """Say which columns may have been meant by a name that none has."""
    import difflib

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {some(near)}?" if near else f"the columns are {some(names)}"


def refuse_columns(what: str, **names: Any) -> None:
    """Raise a `TypeError` if columns are named of what has none."""
    for name, value in names.items():
        if value is not None:
            raise TypeError(f"{name}={value!r} names columns, but {what} has none")


def some(names: list[str]) -> str:
    """Show names, but not too many."""
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _described(types: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in itertools.islice(types.items(), 12)) or "none"


def _element(kind: Any) -> Any:
    return kind.value_type if arrow.is_list(kind) else kind


def _is_float(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_floating(kind))


def _is_integer(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind))
