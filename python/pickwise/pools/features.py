"""What models are asked about: rows of any kind, wherever they lie, as pools of batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pickwise import arrow
from pickwise.arrays import row_count
from pickwise.ids import as_ids
from pickwise.options import one_of
from pickwise.pools.base import Chunk, Part, Pool, rows_per_call
from pickwise.pools.columns import has_string_ids, hint, read_ids, refuse_columns, require, some
from pickwise.pools.iterator import each
from pickwise.pools.paths import find_files, is_alone, is_path_like

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from pickwise.pools.columns import Wanted
    from pickwise.pools.files import OnFileError
    from pickwise.pools.filters import Filter
    from pickwise.pools.models import Model

# What a text or a list may take, for which no schema tells.
_UNKNOWN = 4096


class Features(NamedTuple):
    """Rows for a model.

    Attributes
    ----------
    pool : Pool
        The matrix of a chunk is whatever a model is asked about: an array, a record batch, a frame, an item.
    batch_size : int or None
        To how many rows its chunks are to be joined; None where they are what they should be.
    as_polars : bool
        Whether a record batch came from Polars.
    """

    pool: Pool
    batch_size: int | None = None
    as_polars: bool = False


@dataclass(frozen=True)
class FeatureColumns:
    """The columns to read from a table, as `Columns` are.

    Attributes
    ----------
    features : tuple of str
        In the order in which the model gets them.
    id : str or None
    string_ids : bool
    step : int
        The rows to read at once.
    others : tuple of str
        Columns that are read beside.
    """

    features: tuple[str, ...]
    id: str | None
    string_ids: bool
    step: int
    others: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns to read, and no others."""
        return list(dict.fromkeys([*self.features, *([] if self.id is None else [self.id]), *self.others]))

    def matrices(self, rows: int) -> FeatureBatches:  # noqa: ARG002 - nothing is copied
        """Make what turns batches into chunks."""
        return FeatureBatches(self)

    def widened(self, others: Sequence[FeatureColumns]) -> FeatureColumns:  # noqa: ARG002
        """Return the same: the model gets what a file holds."""
        return self

    def measured(self, width: Callable[[str], int | None]) -> FeatureColumns:  # noqa: ARG002
        """Return the same: lists may be of any length."""
        return self

    def difference(self, first: FeatureColumns) -> str | None:
        """Say what keeps a file from being of one pool with another."""
        if set(self.features) != set(first.features):
            return f"its features are {list(self.features)}, but {list(first.features)}"
        return "its ids are of another type than those" if self.string_ids != first.string_ids else None


class FeatureBatches:
    """Turns record batches into chunks that hold the record batch of the features."""

    def __init__(self, columns: FeatureColumns) -> None:
        self._columns = columns

    def chunk(self, batch: Any, source: str, rows: arrow.Rows) -> Chunk:
        """Look at a batch where it is."""
        return Chunk(batch.select(list(self._columns.features)), read_ids(batch, self._columns, source, rows))


def open_features(
    rows: Any,
    model: Model,
    *,
    batch_size: int | None,
    columns: Wanted,
    id: str | None,  # noqa: A002 - as in select
    filters: Any,
    on_file_error: OnFileError,
) -> Features:
    """Open rows for a model; `pickwise.predict` says what the arguments are."""
    from pickwise.pools.records import is_table

    one_of(on_file_error, "on_file_error", ("raise", "skip"))
    condition = None
    if filters is not None:
        from pickwise.pools.filters import Filter

        condition = Filter.read(filters)
    choose = partial(choose_features, model=model, batch_size=batch_size)
    named = {"columns": columns, "id": id, "filters": filters}
    if is_path_like(rows):
        kind, files = find_files(rows)
        if kind == ".parquet":
            from pickwise.pools.parquet import ParquetPool

            opened = ParquetPool(files, columns, id, condition, on_file_error, choose=choose)
            return Features(opened, opened.parts[0].columns.step)
        from pickwise.pools.npy import NpyPool, read_rows

        refuse_columns(f"a .npy file ({files[0].name})", **named)
        array = read_rows(files[0])
        step = batch_size or rows_per_call(array.row_bytes)
        numbered = not is_alone(rows, files)
        return Features(NpyPool(files, numbered=numbered, on_file_error=on_file_error, step=step, header=read_rows))
    if is_table(rows):
        from pickwise.pools.records import records_of
        from pickwise.pools.table import TablePool

        if hasattr(rows, "iloc") and model.takes != "matrix":
            return Features(FramePool(rows, choose(records_of(rows).schema, columns, id, "rows", condition), condition))
        table = TablePool(rows, columns, id, condition, choose=choose, name="rows")
        return Features(table, table.parts[0].step, type(rows).__module__.startswith("polars"))
    refuse_columns(f"a {type(rows).__name__}", **named)
    if isinstance(rows, (list, tuple)) and rows and _is_numbers(rows[0]):
        rows = np.asarray(rows)
    if hasattr(rows, "__getitem__") and (hasattr(rows, "shape") or hasattr(rows, "__array__") or arrow.is_arrow(rows)):
        return Features(SlicedPool(rows, batch_size or rows_per_call(_row_bytes(rows))))
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, dict)):
        if batch_size is not None:
            raise TypeError(
                f"batch_size: expected None with a {type(rows).__name__}, whose items are the batches, got {batch_size}"
            )
        return Features(ItemsPool(rows))
    raise TypeError(f"rows: expected an array, a path, a table or an iterable of batches, got {type(rows).__name__}")


def choose_features(
    schema: Any,
    columns: Wanted,
    id: str | None,  # noqa: A002
    source: str,
    filters: Filter | None = None,
    *,
    model: Model,
    batch_size: int | None,
) -> FeatureColumns:
    """Choose the columns that a model gets: those that it asks for, else those that are named, else all but the id.

    Raises
    ------
    ValueError
        For a column that is missing or doubled, or of a type that the model cannot take.
    """
    types = {field.name: field.type for field in schema}
    strings = has_string_ids(schema, id, source)
    chosen = _named(columns, [name for name in types if name != id], list(types), source)
    for name in model.columns or ():
        if name not in types:
            raise ValueError(f"{source}: no column {name!r}, as {model.name} expects; {hint(name, list(types))}")
        if columns is not None and name not in chosen:
            raise ValueError(f"columns: expected {name!r} among them, as {model.name} expects it, got {some(chosen)}")
    chosen = list(model.columns or chosen)
    if not chosen:
        raise ValueError(f"{source}: has no column beside the id")
    repeated = [name for name, count in Counter(schema.names).items() if count > 1 and name in {*chosen, id}]
    if repeated:
        raise ValueError(f"{source}: has more than one column named {repeated[0]!r}")
    model.check({name: types[name] for name in chosen}, source)
    step = batch_size or rows_per_call(_bytes([types[name] for name in chosen]))
    others = () if filters is None else tuple(filters.columns(schema, source))
    return FeatureColumns(tuple(chosen), id, strings, step, others)


class SlicedPool(Pool):
    """The rows of an array, or of anything that has a length and slices.

    Parameters
    ----------
    rows : array_like
    step : int
        The rows of a slice.
    """

    def __init__(self, rows: Any, step: int) -> None:
        self.rows = row_count(rows, "rows")
        self.string_ids = False
        # A pandas Series is sliced by its labels otherwise.
        self.parts = [SlicedPart(getattr(rows, "iloc", rows), self.rows, step)]


class SlicedPart(Part):
    """All of an array."""

    def __init__(self, rows: Any, count: int, step: int) -> None:
        self._all = rows
        self._step = step
        self.name, self.rows = "rows", count

    def batches(self) -> Generator[Chunk, None, None]:
        """Slice it."""
        for start in range(0, self.rows or 0, self._step):
            yield Chunk(self._all[start : start + self._step], None, start)

    def chunk(self, batch: Chunk) -> Chunk:
        """Return it as it is."""
        return batch


class FramePool(Pool):
    """The rows of a pandas DataFrame, as frames with their own types.

    Parameters
    ----------
    frame : pandas.DataFrame
    columns : FeatureColumns
    filters : Filter or None
        Which rows are in the pool.
    """

    def __init__(self, frame: Any, columns: FeatureColumns, filters: Filter | None) -> None:
        self.rows = len(frame)
        self.string_ids = columns.string_ids
        self.parts = [FramePart(frame, columns, filters)]


class FramePart(Part):
    """All of a frame."""

    def __init__(self, frame: Any, columns: FeatureColumns, filters: Filter | None) -> None:
        self._frame = frame
        self._columns = columns
        self._filters = filters
        self._places = {str(label): place for place, label in enumerate(frame.columns)}
        self.name, self.rows = "rows", len(frame)

    def batches(self) -> Generator[Chunk, None, None]:
        """Take so many rows at a time, of those that pass."""
        features = self._only(self._columns.features)
        step = self._columns.step
        if self._filters is None:
            for start in range(0, len(features), step):
                yield Chunk(features.iloc[start : start + step], self._ids(slice(start, start + step), start), start)
            return
        rows = np.concatenate([np.empty(0, np.int64), *self._passing(self._filters)])
        for start in range(0, len(rows), step):
            some_rows = rows[start : start + step]
            ids = self._ids(some_rows, some_rows)
            yield Chunk(features.iloc[some_rows], some_rows if ids is None else ids, some_rows)

    def chunk(self, batch: Chunk) -> Chunk:
        """Return it as it is."""
        return batch

    def _only(self, names: Sequence[str]) -> Any:
        return self._frame.iloc[:, [self._places[name] for name in names]]

    def _ids(self, some_rows: slice | NDArray[np.int64], rows: arrow.Rows) -> Any:
        if self._columns.id is None:
            return None
        from pickwise.pools.records import PandasRecords

        frame = self._only([self._columns.id]).iloc[some_rows]
        return read_ids(
            next(PandasRecords(frame).batches([self._columns.id], len(frame), None)), self._columns, "rows", rows
        )

    def _passing(self, filters: Filter) -> Generator[NDArray[np.int64], None, None]:
        from pickwise.pools.records import PandasRecords

        start = 0
        records = PandasRecords(self._only(self._columns.others))
        for batch in records.batches(self._columns.others, self._columns.step, None):
            yield start + filters.apply(batch)[1]
            start += batch.num_rows


class ItemsPool(Pool):
    """The items of an iterable, each a batch or a pair of a batch and its ids.

    Parameters
    ----------
    items : iterable
        An iterator can be read only once.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self.parts = [ItemsPart(items)]
        self.once = items if iter(items) is items else None

    @property
    def can_be_read_again(self) -> bool:
        """Whether it is more than an iterator."""
        return self.once is None


class ItemsPart(Part):
    """All of an iterable."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self.name = "rows"

    def batches(self) -> Generator[Chunk, None, None]:
        """Take the items as they come; a generator that is not read to its end is closed."""
        with closing(each(self._items)) as items:
            for number, (item, given) in enumerate(items):
                yield Chunk(item, None if given is None else as_ids(given, f"rows: batch {number}: ids"))

    def chunk(self, batch: Chunk) -> Chunk:
        """Return it as it is."""
        return batch


def _named(columns: Wanted, default: list[str], names: list[str], source: str) -> list[str]:
    """Find columns in the order in which they are named; those of a pattern in the order of the table."""
    if columns is None:
        return default
    found: list[str] = []
    for want in [columns] if isinstance(columns, str) else list(columns):
        matches = [want] if want in names else [name for name in default if fnmatchcase(name, want)]
        if not matches:
            require(want, names, "columns", source)
        found += matches
    return list(dict.fromkeys(found))


def _bytes(kinds: list[Any]) -> int:
    """Estimate the bytes of one row."""
    total, unknown = 0, 0
    for kind in kinds:
        values = getattr(kind, "list_size", 1)
        try:
            total += values * (kind.value_type if arrow.is_list(kind) else kind).bit_width // 8
        except (ValueError, AttributeError):
            unknown = _UNKNOWN
    return total + unknown


def _row_bytes(rows: Any) -> int:
    """Estimate the bytes of one row of an array."""
    kind = getattr(getattr(rows, "dtype", None), "kind", "")
    values = getattr(rows, "data", None) if hasattr(rows, "indptr") else rows
    size = getattr(values, "nbytes", None)
    if kind in ("O", "T") or not isinstance(size, int):
        return _UNKNOWN
    return size // max(1, row_count(rows, "rows"))


def _is_numbers(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and len(row) > 0 and isinstance(row[0], (int, float))
