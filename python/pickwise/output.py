"""Writing results: tables in the format that the file name asks for, whole or not at all."""

from __future__ import annotations

import itertools
import json
import math
import secrets
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from pickwise.ids import Ids, count_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Table: TypeAlias = "Mapping[str, NDArray[Any] | Ids]"
"""Columns of one length: numbers, or strings as Arrow lays them out."""


class Writer(Protocol):
    """Appends rows to a file that is open."""

    def write(self, table: Table) -> None:
        """Append rows; the first table tells the columns and their types."""

    def close(self) -> None:
        """Write what is still to be written. The file stays open."""


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a file beside its final place and move it there when all has gone well.

    A folder that cannot be written to is noticed here, before the work whose result shall go there. On an error or an
    interrupt nothing is left, and a file that was there before is as it was.

    Parameters
    ----------
    path : Path
        Its suffix, one of `WRITERS`, tells the format.

    Yields
    ------
    Writer
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: not a file that can be replaced")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {str(path.parent)!r}")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        file = unfinished.open("xb")
    except OSError as error:
        raise OSError(error.errno, f"cannot write there ({error.strerror})", str(path)) from None
    try:
        with file:
            writer: Writer = WRITERS[path.suffix.lower()](file)
            yield writer
            writer.close()
        unfinished.replace(path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()


class ParquetWriter:
    """Parquet, one row group for each table."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def write(self, table: Table) -> None:
        """Append a row group."""
        batch = _record_batch(table)
        if self._writer is None:
            from pyarrow.parquet import ParquetWriter as Parquet

            self._writer = Parquet(self._file, batch.schema)
        self._writer.write_batch(batch)

    def close(self) -> None:
        """Write the footer."""
        if self._writer is not None:
            self._writer.close()


class CsvWriter:
    """Comma-separated values with a header, in UTF-8."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begun = False

    def write(self, table: Table) -> None:
        """Append lines."""
        from pyarrow import csv

        if not self._begun:
            self._file.write((",".join(table) + "\n").encode())
            self._begun = True
        csv.write_csv(_record_batch(table), self._file, csv.WriteOptions(include_header=False))

    def close(self) -> None:
        """Do nothing: every line is in the file."""


class JsonlWriter:
    """One JSON object a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, table: Table) -> None:
        """Append lines."""
        line = "{" + ", ".join(f"{json.dumps(name)}: %s" for name in table) + "}\n"
        cells = [
            map(_json_number if isinstance(column, np.ndarray) else _json_string, items(column))
            for column in table.values()
        ]
        self._file.write("".join(map(line.__mod__, zip(*cells, strict=True))).encode())

    def close(self) -> None:
        """Do nothing: every line is in the file."""


class NpyWriter:
    """The last column alone, as a 1-D array."""

    _HEADER_BYTES = 128

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0
        self._dtype: np.dtype[Any] | None = None
        file.write(bytes(self._HEADER_BYTES))

    def write(self, table: Table) -> None:
        """Append values."""
        column = list(table.values())[-1]
        assert isinstance(column, np.ndarray)  # noqa: S101 - scores are numbers
        self._dtype = column.dtype if self._dtype is None else self._dtype
        self._file.write(np.ascontiguousarray(column, self._dtype).data)
        self._rows += len(column)

    def close(self) -> None:
        """Write the header, now that the number of rows is known; NumPy pads it to a multiple of 64 bytes."""
        dtype = np.dtype(np.float32) if self._dtype is None else self._dtype
        header = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({self._rows},), }}"
        room = self._HEADER_BYTES - 10
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + header.ljust(room - 1).encode() + b"\n")


WRITERS: dict[str, Callable[[IO[bytes]], Writer]] = {
    ".parquet": ParquetWriter,
    ".csv": CsvWriter,
    ".jsonl": JsonlWriter,
    ".npy": NpyWriter,
}
"""How to write, by suffix."""


def items(column: NDArray[Any] | Ids) -> list[Any]:
    """Turn a column into Python values."""
    if isinstance(column, np.ndarray):
        return list(column.tolist())
    offsets, text = column
    raw = text.tobytes()
    return [raw[start:stop].decode() for start, stop in itertools.pairwise(offsets.tolist())]


def _json_number(x: float) -> str:
    return repr(x) if math.isfinite(x) else "null"  # JSON has no infinity, which the first of all picks is at


_json_string = json.JSONEncoder(ensure_ascii=False).encode


def _record_batch(table: Table) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError("writing this needs pyarrow; install it with pip install 'pickwise[arrow]'") from error
    arrays = {}
    for name, column in table.items():
        if isinstance(column, np.ndarray):
            arrays[name] = pa.array(column)
        else:
            buffers = [None, pa.py_buffer(np.ascontiguousarray(column[0])), pa.py_buffer(column[1])]
            arrays[name] = pa.Array.from_buffers(pa.large_string(), count_ids(column), buffers)
    return pa.record_batch(arrays)
