"""Pools in Parquet files, whose columns are chosen by name or pattern."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pickwise.pools.base import Chunk, Part
from pickwise.pools.columns import choose_columns
from pickwise.pools.files import FilePool, open_each
from pickwise.pools.numbering import Numbering

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from pickwise.pools.columns import Columns
    from pickwise.pools.features import FeatureColumns
    from pickwise.pools.files import OnFileError
    from pickwise.pools.filters import Filter
    from pickwise.pools.members import MemberColumns, WantedMembers
    from pickwise.pools.paths import File

READ_BYTES = 64 << 20
"""Shared by the columns as read buffers; without them a whole row group is read before its first row comes out."""


class ParquetPool(FilePool):
    """The rows of one Parquet file after another.

    Parameters
    ----------
    files : sequence of File
        Their columns may differ, but not those that are read.
    probabilities : str, sequence of str or None
        See `choose_columns`.
    id : str or None
        The column of ids.
    filters : Filter or None
        Which rows are in the pool.
    on_file_error : {"raise", "skip"}
        What to do about files that cannot be read.
    choose : callable
        What chooses the columns: `choose_columns`; `choose_members` where there are several predictions for each row.

    Raises
    ------
    ValueError
        For a damaged file, a missing column or one of another type; the message names the file.
    """

    parts: list[ParquetPart]

    def __init__(
        self,
        files: Sequence[File],
        probabilities: WantedMembers,
        id: str | None,  # noqa: A002 - as in select
        filters: Filter | None = None,
        on_file_error: OnFileError = "raise",
        *,
        choose: Callable[..., Any] = choose_columns,
    ) -> None:
        self.files = files
        self._options = probabilities, id, filters, on_file_error
        self._choose = choose

        def described(file: File) -> _Described:
            with opened(file) as parquet:
                metadata = parquet.metadata
                columns = choose(parquet.schema_arrow, probabilities, id, file.name, filters)
                columns = columns.measured(lambda name: _width(metadata, name))
                return _Described(file, columns, metadata.num_rows, _size(metadata, columns.names))

        good, self._failed = open_each(files, described, _Described.difference, on_file_error)
        self._columns = good[0][1].columns.widened([what.columns for _, what in good])
        counts = [what.rows for _, what in good]
        self.rows = sum(counts)
        names = [file.name for file, _ in good]
        whole = Numbering(names, counts)
        self.numbering = whole if id is None else None
        self._whole = whole
        self.string_ids = self._columns.string_ids or id is None
        starts = np.cumsum([0, *counts]).tolist()
        self.parts = [
            ParquetPart(
                file,
                self._columns,
                rows=what.rows,
                size=what.size,
                start=starts[number],
                first=whole.first(number) if id is None else None,
                filters=filters,
            )
            for number, (file, what) in enumerate(good)
        ]

    def _of(self, files: Sequence[File], failed: dict[str, str]) -> ParquetPool:
        made = ParquetPool(files, *self._options, choose=self._choose)
        made._failed |= failed
        return made


class _Described(NamedTuple):
    """What a file says of itself."""

    file: File
    columns: Any
    rows: int
    size: int

    def difference(self, other: _Described) -> str | None:
        """Say what keeps a file from being of one pool with another."""
        what = self.columns.difference(other.columns)
        return what and f"{what} in {other.file.name}"


class ParquetPart(Part):
    """A Parquet file.

    Attributes
    ----------
    start : int
        The position of its first row.
    first : int or None
        The number of its first row, where rows have no ids of their own.
    """

    file: File
    travels = True

    def __init__(
        self,
        file: File,
        columns: Columns | MemberColumns | FeatureColumns,
        *,
        rows: int,
        size: int,
        start: int,
        first: int | None,
        filters: Filter | None,
    ) -> None:
        self.file, self.name = file, file.name
        self.columns = columns
        self.rows, self.size = rows, size
        self.start, self.first = start, first
        self.filters = filters

    def batches(self) -> Generator[Any, None, None]:
        """Decode batches of the columns: where each begins, what it holds, which rows pass, and what takes it apart."""
        step = self.columns.step
        # Of each reading its own, as it has a buffer, and gone with it.
        matrices = self.columns.matrices(step)
        names = self.columns.names
        buffer = max(1 << 15, min(1 << 20, READ_BYTES // len(names)))
        with opened(self.file, buffer) as parquet:
            for groups, start in self._stretches(parquet):
                row = start
                for batch in parquet.iter_batches(batch_size=step, columns=names, row_groups=groups):
                    found = self._passing(batch)
                    if found[0].num_rows:
                        yield row, *found, matrices
                    row += batch.num_rows

    def chunk(self, batch: tuple[int, Any, NDArray[np.int64] | None, Any]) -> Chunk:
        """Copy or view a batch; by the caller, as the reader's time is the scarcer."""
        row, records, passing, matrices = batch
        if passing is None:
            matrix, ids, _ = matrices.chunk(records, self.name, row)
            if self.first is not None:
                ids = np.arange(self.first + row, self.first + row + records.num_rows)
            return Chunk(matrix, ids, self.start + row)
        rows = row + passing
        matrix, ids, _ = matrices.chunk(records, self.name, rows)
        return Chunk(matrix, ids if self.first is None else self.first + rows, self.start + rows)

    def locate(self, position: int) -> str:
        """Say which row of the file it is."""
        return f"{self.name}, row {position - self.start}"

    def _stretches(self, parquet: Any) -> Iterator[tuple[list[int], int]]:
        """Find the row groups to read, as stretches with the row that each begins at."""
        metadata = parquet.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if self.filters is None:
            yield list(range(len(sizes))), 0
            return
        wanted = self.filters.row_groups(self.file)
        starts = np.cumsum([0, *sizes]).tolist()
        for group in wanted:
            yield [group], starts[group]

    def _passing(self, batch: Any) -> tuple[Any, NDArray[np.int64] | None]:
        return (batch, None) if self.filters is None else self.filters.apply(batch)


@contextmanager
def opened(file: File, buffer: int = 0) -> Iterator[Any]:
    """Open a Parquet file; what Arrow says of damage inside comes out as a `ValueError` that names the file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        message = f"{file.name}: reading Parquet needs pyarrow; install it with pip install 'pickwise[arrow]'"
        raise ImportError(message) from error
    try:
        # What is far away is fetched in few large pieces.
        far = file.filesystem is not None
        with pq.ParquetFile(
            file.path, filesystem=file.filesystem, buffer_size=0 if far else buffer, pre_buffer=far
        ) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), file.name) from None
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{file.name}: not a readable Parquet file: {reason}") from error


def _width(metadata: Any, name: str) -> int | None:
    """Tell how long the lists in a column are, where all may be of one length."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = (group.column(column) for group in groups for column in range(group.num_columns))
    values = sum(column.num_values for column in columns if column.path_in_schema.partition(".")[0] == name)
    rows = metadata.num_rows
    return values // rows if rows and values % rows == 0 else None


def _size(metadata: Any, names: Sequence[str]) -> int:
    """Count the bytes of some columns in a file."""
    wanted = set(names)
    size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = (group.column(column) for column in range(group.num_columns))
        size += sum(
            column.total_compressed_size for column in columns if column.path_in_schema.partition(".")[0] in wanted
        )
    return size
