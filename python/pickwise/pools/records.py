"""Tables of any library as Arrow record batches, of the columns that are wanted."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pickwise import arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pickwise.pools.filters import Filter


def is_table(pool: object) -> bool:
    """Whether an object is a table with named columns."""
    if any(test(pool) for test in (_is_pandas, _is_lazy, _is_dataset, _is_hugging_face, _is_duckdb, _is_ray)):
        return True
    if not arrow.is_arrow(pool):
        return False
    if hasattr(pool, "schema") or hasattr(pool, "columns"):
        return True
    # A NumPy-like array or a column is Arrow data without names, and says of what type it is.
    return hasattr(pool, "__arrow_c_stream__") and not any(hasattr(pool, name) for name in ("type", "dtype"))


def is_frame(pool: object) -> bool:
    """Whether an object is a table that may lie in memory as a matrix: a DataFrame of pandas or Polars."""
    return _is_pandas(pool) or _is_a(pool, "polars", "DataFrame")


def records_of(table: Any) -> Records:
    """Read a table.

    Parameters
    ----------
    table : object
        - with ``__arrow_c_stream__``: a pyarrow Table, RecordBatch or RecordBatchReader, a Polars DataFrame, a DuckDB
          relation and whatever else speaks Arrow; a reader can be read only once;
        - a pandas DataFrame, a Polars LazyFrame, a `pyarrow.dataset.Dataset` or Scanner, a Hugging Face or Ray Dataset.

    Raises
    ------
    ImportError
        Without pyarrow.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        message = "pool: choosing columns needs pyarrow; install it with pip install 'pickwise[arrow]'"
        raise ImportError(message) from error
    kinds: list[tuple[Callable[[Any], bool], type[Any]]] = [
        (_is_pandas, PandasRecords),
        (_is_lazy, LazyRecords),
        (_is_dataset, DatasetRecords),
        (_is_hugging_face, HuggingFaceRecords),
        (_is_duckdb, DuckdbRecords),
        (_is_ray, RayRecords),
    ]
    for is_one, kind in kinds:
        if is_one(table):
            return kind(table)  # type: ignore[no-any-return]
    if isinstance(table, (pa.Table, pa.RecordBatch)) or type(table).__module__.startswith("polars"):
        return TableRecords(pa.table(table))
    return StreamRecords(table)


class Records(ABC):
    """A table as record batches.

    Attributes
    ----------
    schema : pyarrow.Schema
    rows : int or None
        None where that is only known after reading.
    can_be_read_again : bool
        Whether there is more than one pass.
    is_in_order : bool
        Whether rows have an order, and so positions.
    """

    can_be_read_again: bool = True
    is_in_order: bool = True
    schema: Any
    rows: int | None = None

    @abstractmethod
    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:
        """Go through some columns, in batches of about `step` rows where it has a choice.

        Rows of which it is known that they do not pass need not be read: their number stands for them.
        """


class TableRecords(Records):
    """A table that is all in memory."""

    def __init__(self, table: Any) -> None:
        self._table = arrow.plain(table)
        self.schema, self.rows = self._table.schema, table.num_rows

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Look at the columns where they are."""
        yield from self._table.select(names).to_batches()


class StreamRecords(Records):
    """Anything that hands over a stream of record batches."""

    def __init__(self, source: Any) -> None:
        import pyarrow as pa

        self._source = source
        self.can_be_read_again = not isinstance(source, pa.RecordBatchReader)
        known = getattr(source, "schema", None)
        self._opened: Any = None
        if not isinstance(known, pa.Schema):
            # What it holds is only told by a stream of it, which is the first one that is read.
            try:
                self._opened = pa.RecordBatchReader.from_stream(source)
            except pa.ArrowInvalid as error:
                kind = type(source).__name__
                raise ValueError(f"pool: expected a table with named columns, got the {kind}: {error}") from None
            known = self._opened.schema
        self.schema = known

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Take the batches as they come."""
        import pyarrow as pa

        reader, self._opened = self._opened, None
        if reader is None:
            source = self._source
            reader = source if isinstance(source, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(source)
        for batch in reader:
            yield batch.select(names)


class DatasetRecords(Records):
    """A `pyarrow.dataset.Dataset` or a Scanner, which reads in threads of its own."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._is_scanner = not hasattr(source, "scanner")
        self.can_be_read_again = not self._is_scanner
        self.schema = source.projected_schema if self._is_scanner else source.schema

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:
        """Let it read the columns, of those row groups in which rows may pass."""
        if self._is_scanner:
            # It has its columns and filter already.
            for batch in self._source.to_batches():
                yield batch.select(names)
            return
        for piece in [self._source] if filters is None else self._pieces(filters):
            if isinstance(piece, int):
                yield piece
                continue
            more = {} if piece is self._source else {"schema": self.schema}
            readahead = {"batch_readahead": 4, "fragment_readahead": 1}
            yield from piece.scanner(columns=list(names), batch_size=step, **readahead, **more).to_batches()

    def _pieces(self, filters: Filter) -> Iterator[Any]:
        """Split it into what is to be read, and numbers of rows that do not pass."""
        try:
            fragments = list(self._source.get_fragments())
        except ValueError:  # it was filtered before
            fragments = [self._source]
        for fragment in fragments:
            if not hasattr(fragment, "row_groups"):
                yield fragment
                continue
            wanted = set(filters.groups_of(fragment, self.schema))
            for group in fragment.row_groups:
                yield fragment.subset(row_group_ids=[group.id]) if group.id in wanted else group.num_rows


class DuckdbRecords(Records):
    """A DuckDB relation, which runs its query again whenever it is read."""

    def __init__(self, relation: Any) -> None:
        self._relation = relation
        self.schema = self._reader(relation.limit(0), 1).schema

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Let it compute the columns."""
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        yield from self._reader(self._relation.project(quoted), step)

    @staticmethod
    def _reader(relation: Any, step: int) -> Any:
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
        return read(step)


class HuggingFaceRecords(Records):
    """A Hugging Face Dataset: a table in memory or mapped, perhaps with an order of its own."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.schema, self.rows = dataset.features.arrow_schema, dataset.num_rows

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Go through its rows in its order."""
        for table in self._dataset.select_columns(list(names)).with_format("arrow").iter(step):
            # Of a dataset that was shuffled it is one of single rows.
            yield from table.combine_chunks().to_batches()


class RayRecords(Records):
    """A Ray dataset, whose rows are in no order."""

    is_in_order = False

    def __init__(self, dataset: Any) -> None:
        import pyarrow as pa

        self.dataset = dataset
        schema = getattr(dataset.schema(), "base_schema", None)
        if not isinstance(schema, pa.Schema):  # blocks of pandas, or none
            first = next(iter(dataset.limit(1).iter_batches(batch_format="pyarrow")), None)
            if first is None:
                raise ValueError("pool: expected at least one row, got none")
            schema = first.schema
        self.schema = arrow.plain_schema(schema)

    def chosen(self, names: Sequence[str]) -> Any:
        """Return a dataset of some columns, so that Ray reads no others."""
        return self.dataset.select_columns(list(names))

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Let it stream blocks to this process."""
        for table in self.chosen(names).iter_batches(batch_size=step, batch_format="pyarrow"):
            yield from TableRecords(table).batches(names, step, None)


class LazyRecords(Records):
    """A Polars LazyFrame, computed in batches as they are taken."""

    def __init__(self, lazy: Any) -> None:
        import pyarrow as pa

        self._lazy = lazy
        self.schema = pa.table(lazy.collect_schema().to_frame()).schema

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Let Polars compute the columns."""
        import pyarrow as pa

        lazy = self._lazy.select(names)
        streams = hasattr(lazy, "collect_batches")  # Polars 1.34
        for frame in lazy.collect_batches(chunk_size=step, maintain_order=True) if streams else [lazy.collect()]:
            yield from pa.table(frame).to_batches()


class PandasRecords(Records):
    """A pandas DataFrame, whose labels are known as text."""

    def __init__(self, frame: Any) -> None:
        import pyarrow as pa

        self._frame = frame
        self.rows = len(frame)
        fields = []
        for number, name in enumerate(frame.columns):
            try:
                fields.append(pa.field(str(name), _pandas_array(frame.iloc[:1, number]).type))
            except pa.ArrowException:  # objects of any kind, in a column that nobody may ask for
                fields.append(pa.field(str(name), pa.null()))
        self.schema = pa.schema(fields)

    def batches(self, names: Sequence[str], step: int, filters: Filter | None) -> Iterator[Any]:  # noqa: ARG002
        """Turn a few rows at a time into Arrow."""
        import pyarrow as pa

        places = {str(label): place for place, label in enumerate(self._frame.columns)}
        for start in range(0, len(self._frame), step):
            part = self._frame.iloc[start : start + step]
            arrays = [_pandas_array(part.iloc[:, places[name]]) for name in names]
            yield pa.RecordBatch.from_arrays(arrays, list(names))


def refuse_positions(pool: Any, **options: Any) -> None:
    """Raise a `ValueError` if options go by the positions of rows, and a pool has none."""
    for name, value in options.items():
        if value is not None and _is_ray(pool):
            raise ValueError(
                f"{name}: expected None with a Ray dataset, whose rows have no positions to go by, got "
                f"{type(value).__name__}; write the dataset to Parquet files first"
            )


def _pandas_array(column: Any) -> Any:
    import pyarrow as pa

    # Where pandas has NumPy floats, a NaN is a bad probability; elsewhere it is how pandas writes a null.
    if column.dtype.kind == "f" and not hasattr(column.dtype, "na_value"):
        return pa.array(column.to_numpy())
    return pa.array(column, from_pandas=True)


def _is_a(pool: object, module: str, *names: str) -> bool:
    """Whether an object is of a class of a module, if that has been imported."""
    found = sys.modules.get(module)
    kinds = tuple(kind for name in names if (kind := getattr(found, name, None)) is not None)
    return isinstance(pool, kinds)


def _is_pandas(pool: object) -> bool:
    return _is_a(pool, "pandas", "DataFrame")


def _is_lazy(pool: object) -> bool:
    return _is_a(pool, "polars", "LazyFrame")


def _is_dataset(pool: object) -> bool:
    return _is_a(pool, "pyarrow.dataset", "Dataset", "Scanner")


def _is_hugging_face(pool: object) -> bool:
    return _is_a(pool, "datasets", "Dataset")


def _is_ray(pool: object) -> bool:
    return _is_a(pool, "ray.data", "Dataset")


def _is_duckdb(pool: object) -> bool:
    return _is_a(pool, "duckdb", "DuckDBPyRelation")
