"""Pools in Parquet files: only the columns that are needed, decoded ahead of the scoring."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.pools.base import Chunk, rows_per_chunk
from pickwise.pools.columns import Columns, Matrices, Wanted, choose_columns
from pickwise.pools.read_ahead import read_ahead

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

READ_BYTES = 64 << 20
"""Shared by the columns as read buffers; without them a whole row group is read before its first row comes out."""


class ParquetPool:
    """The rows of one Parquet file after another.

    Parameters
    ----------
    files : sequence of Path
        Their columns may differ, but not those that are read.
    probabilities : str, sequence of str or None
        See `choose_columns`.
    id : str or None
        The column of ids.

    Raises
    ------
    ValueError
        For a damaged file, a missing column or one of another type; the message names the file.
    """

    def __init__(self, files: Sequence[Path], probabilities: Wanted, id: str | None) -> None:  # noqa: A002
        self._files: list[tuple[Path, int]] = []
        found: list[Columns] = []
        for file in files:
            with opened(file) as parquet:
                found.append(choose_columns(parquet.schema_arrow, probabilities, id, str(file)))
                self._files.append((file, parquet.metadata.num_rows))
            difference = _difference(found[-1], found[0])
            if difference:
                raise ValueError(f"{file}: {difference} in {files[0]}")
        self._columns = replace(found[0], dtype=np.result_type(*(columns.dtype for columns in found)))

    @property
    def rows(self) -> int:
        """The number of rows, from the files' own notes."""
        return sum(rows for _, rows in self._files)

    @property
    def string_ids(self) -> bool:
        """Whether the ids are strings."""
        return self._columns.string_ids

    def chunks(self) -> Generator[Chunk, None, None]:
        """Read the files in order; decoding goes on while the caller works."""
        matrices = Matrices(self._columns, rows_per_chunk(self._columns.row_bytes))
        # The copy into the matrix is made on the caller's side: the reader's time is the scarcer.
        with closing(read_ahead(self._read)) as batches:
            for file, start, batch in batches:
                yield matrices.chunk(batch, str(file), start)

    def locate(self, row: int) -> str:
        """Say which file a row is in."""
        for file, rows in self._files:
            if row < rows:
                return f"{file}, row {row}"
            row -= rows
        raise IndexError(row)

    def _read(self) -> Generator[tuple[Path, int, Any], None, None]:
        step = rows_per_chunk(self._columns.row_bytes)
        names = self._columns.names
        buffer = max(1 << 15, min(1 << 20, READ_BYTES // len(names)))
        for file, _ in self._files:
            start = 0
            with opened(file, buffer) as parquet:
                for batch in parquet.iter_batches(batch_size=step, columns=names):
                    yield file, start, batch
                    start += batch.num_rows


@contextmanager
def opened(file: Path, buffer: int = 0) -> Iterator[Any]:
    """Open a Parquet file; what Arrow says of damage inside comes out as a `ValueError` that names the file."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        message = f"{file}: reading Parquet needs pyarrow; install it with pip install 'pickwise[arrow]'"
        raise ImportError(message) from error
    try:
        with pq.ParquetFile(file, buffer_size=buffer, pre_buffer=False) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, str(error), str(file)) from None
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{file}: not a readable Parquet file: {reason}") from error


def _difference(columns: Columns, first: Columns) -> str | None:
    """Say what keeps the files from being one pool. Order does not: columns are read by name."""
    if set(columns.probabilities) != set(first.probabilities):
        return f"its probabilities are {list(columns.probabilities)}, but {list(first.probabilities)}"
    if columns.width != first.width:
        return f"its lists hold {columns.width} classes, but {first.width}"
    if columns.string_ids != first.string_ids:
        return f"its ids are {_kind(columns)}, but {_kind(first)}"
    return None


def _kind(columns: Columns) -> str:
    return "strings" if columns.string_ids else "integers"
