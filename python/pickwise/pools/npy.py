"""Pools in ``.npy`` files: read, not mapped, so that memory stays flat and a cold disk is read ahead."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from pickwise.pools.base import Chunk, rows_per_chunk
from pickwise.pools.read_ahead import BUFFERS, read_ahead

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class NpyPool:
    """The rows of one ``.npy`` file after another.

    Parameters
    ----------
    files : sequence of Path
        2-D arrays of floats with the same number of columns, or 1-D arrays of *P(y=1)*, in C or Fortran order.

    Raises
    ------
    ValueError
        For a file that is damaged, cut short or holds something else; the message names it.
    """

    arrays: tuple[_Array, ...]

    string_ids = False

    def __init__(self, files: Sequence[Path]) -> None:
        arrays = tuple(_read_header(file) for file in files)
        first = arrays[0]
        for array in arrays:
            if array.shape != first.shape:
                raise ValueError(f"{array.file}: has {array.shape}, but {first.file} has {first.shape}")
        object.__setattr__(self, "arrays", arrays)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(array.rows for array in self.arrays)

    def chunks(self) -> Generator[Chunk, None, None]:
        """Read the files in order, one chunk ahead of the caller."""
        return read_ahead(self._read)

    def locate(self, row: int) -> str:
        """Say which file a row is in."""
        for array in self.arrays:
            if row < array.rows:
                return f"{array.file}, row {row}"
            row -= array.rows
        raise IndexError(row)

    def _read(self) -> Generator[Chunk, None, None]:
        widest = max(array.columns * array.dtype.itemsize for array in self.arrays)
        step = rows_per_chunk(widest)
        buffers = itertools.cycle([np.empty(step * widest, np.uint8) for _ in range(BUFFERS)])
        for array in self.arrays:
            with _named(array.file), array.file.open("rb", buffering=0) as file:
                for start in range(0, array.rows, step):
                    rows = min(step, array.rows - start)
                    yield Chunk(array.read(file, start, rows, next(buffers)), None)


@dataclass(frozen=True)
class _Array:
    """Where the numbers are in a file, and what they are."""

    file: Path
    offset: int
    dtype: np.dtype[Any]
    rows: int
    columns: int
    fortran: bool
    one_dimensional: bool

    @property
    def shape(self) -> str:
        """The part of the shape that all files of a pool share, in words."""
        return "a single value to a row (1-D)" if self.one_dimensional else f"{self.columns} columns"

    def read(self, file: FileIO, start: int, rows: int, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        size = self.dtype.itemsize
        values = buffer[: rows * self.columns * size].view(self.dtype)
        matrix = values.reshape(self.columns, rows).T if self.fortran else values.reshape(rows, self.columns)
        if self.fortran:
            for column in range(self.columns):
                file.seek(self.offset + (column * self.rows + start) * size)
                self._fill(file, matrix[:, column])
        else:
            file.seek(self.offset + start * self.columns * size)
            self._fill(file, values)
        if not self.dtype.isnative:
            values.byteswap(inplace=True)
            matrix = matrix.view(self.dtype.newbyteorder("="))
        return matrix

    def _fill(self, file: FileIO, values: NDArray[Any]) -> None:
        rest = values.view(np.uint8).data
        while rest:
            read = file.readinto(rest)
            if not read:
                raise ValueError(f"{self.file}: ends too early; was it cut short while it was read?")
            rest = rest[read:]


def _read_header(path: Path) -> _Array:
    with _named(path), path.open("rb") as file:
        try:
            version = npy_format.read_magic(file)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except ValueError as error:
            raise ValueError(f"{path}: not a readable .npy file: {error}") from None
        offset = file.tell()
        size = os.fstat(file.fileno()).st_size
    if dtype.str[1:] == "V2":
        raise ValueError(f"{path}: holds raw 2-byte values (bfloat16?), which .npy cannot name; save them as float32")
    if dtype.kind != "f" or dtype.itemsize not in {2, 4, 8}:
        raise ValueError(f"{path}: expected float16, float32 or float64, got {dtype}")
    if len(shape) not in {1, 2}:
        raise ValueError(f"{path}: expected (rows, classes) or 1-D P(y=1), got the shape {shape}")
    rows, columns = shape if len(shape) == 2 else (*shape, 1)
    if len(shape) == 2 and columns < 2:
        raise ValueError(f"{path}: has {columns} classes; selection needs two or more, or 1-D P(y=1)")
    if size < offset + rows * columns * dtype.itemsize:
        expected = offset + rows * columns * dtype.itemsize
        raise ValueError(f"{path}: cut short: {size} bytes of {expected}")
    return _Array(path, offset, dtype, rows, columns, fortran and len(shape) == 2, len(shape) == 1)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give an `OSError` without a file name, such as a failed read, the name of the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
