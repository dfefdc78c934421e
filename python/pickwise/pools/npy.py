"""Pools in ``.npy`` files: read, not mapped, so that memory stays flat and a cold disk is read ahead."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from pickwise.pools.base import Chunk, Part, rows_per_chunk
from pickwise.pools.files import FilePool, open_each
from pickwise.pools.numbering import Numbering
from pickwise.pools.reading import BUFFERS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from pickwise.pools.files import OnFileError
    from pickwise.pools.paths import File


class NpyPool(FilePool):
    """The rows of one ``.npy`` file after another.

    Parameters
    ----------
    files : sequence of File
        2-D arrays of floats with the same number of columns, or 1-D arrays of *P(y=1)*, in C or Fortran order.
    numbered : bool
        Whether rows are known by ``path#row``, not by their positions.
    on_file_error : {"raise", "skip"}
        What to do about files that cannot be read.
    step : int, optional
        The rows to read at once.
    header : callable, optional
        What reads the header of a file: by default `read_header`, which refuses what holds no probabilities.

    Raises
    ------
    ValueError
        For a file that is damaged, cut short or holds something else; the message names it.
    """

    parts: list[NpyPart]

    def __init__(
        self,
        files: Sequence[File],
        *,
        numbered: bool = False,
        on_file_error: OnFileError = "raise",
        step: int | None = None,
        header: Callable[[File], Array] | None = None,
    ) -> None:
        self.files = files
        self._options: dict[str, Any] = {"on_file_error": on_file_error, "step": step, "header": header}

        def described(file: File) -> Array:
            return read_single(file) if header is None else header(file)

        good, self._failed = open_each(files, described, Array.difference, on_file_error)
        arrays = [array for _, array in good]
        self.rows = sum(array.rows for array in arrays)
        self._whole = Numbering([array.file.name for array in arrays], [array.rows for array in arrays])
        self.numbering = self._whole if numbered else None
        self.string_ids = numbered
        starts = np.cumsum([0, *(array.rows for array in arrays)]).tolist()
        self.parts = [
            NpyPart(array, starts[number], self._whole.first(number) if numbered else None, step)
            for number, array in enumerate(arrays)
        ]

    @property
    def is_one_array(self) -> bool:
        """Whether it is a single file of this machine, named as such, which may be mapped."""
        return self.numbering is None and len(self.parts) == 1 and self.parts[0].file.filesystem is None

    def _of(self, files: Sequence[File], failed: dict[str, str]) -> NpyPool:
        made = NpyPool(files, numbered=self.numbering is not None, **self._options)
        made._failed |= failed
        return made


class NpyPart(Part):
    """A matrix in a ``.npy`` file.

    Parameters
    ----------
    array : Array
    start : int
        The position of its first row.
    first : int or None
        The number of its first row, where rows are numbered.
    step : int, optional
        The rows to read at once.
    """

    file: File
    travels = True

    def __init__(self, array: Array, start: int, first: int | None, step: int | None = None) -> None:
        self._array = array
        self._step = step or rows_per_chunk(array.row_bytes)
        self._start = start
        self._first = first
        self.file = array.file
        self.name = array.file.name
        self.rows = array.rows
        self.size = array.rows * array.row_bytes

    def batches(self) -> Generator[Chunk, None, None]:
        """Read it in pieces, into buffers that are used in turn."""
        array = self._array
        step = self._step
        buffers = itertools.cycle([np.empty(min(step, array.rows) * array.row_bytes, np.uint8) for _ in range(BUFFERS)])
        with array.file.open() as file:
            for start in range(0, array.rows, step):
                rows = min(step, array.rows - start)
                ids = None if self._first is None else np.arange(self._first + start, self._first + start + rows)
                yield Chunk(array.read(file, start, rows, next(buffers)), ids, self._start + start)

    def chunk(self, batch: Chunk) -> Chunk:
        """Return it as it is."""
        return batch

    def locate(self, position: int) -> str:
        """Say which row of the file it is."""
        return f"{self.name}, row {position - self._start}"


@dataclass(frozen=True)
class Array:
    """Where the numbers of a matrix are in a file, and what they are.

    Attributes
    ----------
    file : File
    shape : tuple of int
        Of all that the file holds.
    offset : int
        Where its bytes begin.
    dtype : dtype
    rows, columns : int
    fortran : bool
        Whether it lies column by column.
    row_shape : tuple of int
        The shape of a row as it is read.
    """

    file: File
    shape: tuple[int, ...]
    offset: int
    dtype: np.dtype[Any]
    rows: int
    columns: int
    fortran: bool
    row_shape: tuple[int, ...]

    @property
    def row(self) -> str:
        """What a row is, in words; all files of a pool share it."""
        if len(self.shape) > 2:
            return f"rows of shape {self.shape[1:]}"
        return "a single value to a row (1-D)" if len(self.shape) == 1 else f"{self.columns} columns"

    def difference(self, other: Array) -> str | None:
        """Say what keeps a file from being of one pool with another."""
        return None if self.row == other.row else f"has {self.row}, but {other.file.name} has {other.row}"

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.columns * self.dtype.itemsize

    def member(self, number: int) -> Array:
        """Return a member of a committee of shape (members, rows, classes)."""
        size = self.rows * self.row_bytes
        return replace(self, shape=self.shape[1:], offset=self.offset + number * size)

    def read(self, file: IO[bytes], start: int, rows: int, buffer: NDArray[np.uint8]) -> NDArray[Any]:
        """Read some rows of the open file into a buffer, and view them there."""
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
        return matrix.reshape(rows, *self.row_shape, order="F" if self.fortran else "C")

    def _fill(self, file: IO[bytes], values: NDArray[Any]) -> None:
        rest = values.view(np.uint8).data
        while rest:
            read = file.readinto(rest)  # type: ignore[attr-defined] # raw files have it
            if not read:
                raise ValueError(f"{self.file.name}: ends too early; was it cut short while it was read?")
            rest = rest[read:]


def read_header(file: File) -> Array:
    """Read what a file says that it holds: a matrix of probabilities, a single column of them, or a committee."""
    array = _declared(file)
    path, shape, dtype = file.name, array.shape, array.dtype
    if dtype.str[1:] == "V2":
        raise ValueError(f"{path}: holds raw 2-byte values (bfloat16?), which .npy cannot name; save them as float32")
    if dtype.kind != "f" or dtype.itemsize not in {2, 4, 8}:
        raise ValueError(f"{path}: expected float16, float32 or float64, got {dtype}")
    if len(shape) not in {1, 2, 3}:
        raise ValueError(f"{path}: expected (rows, classes) or 1-D P(y=1), got the shape {shape}")
    if len(shape) == 3:
        if array.fortran:
            raise ValueError(
                f"{path}: holds a committee in Fortran order; save it in C order (numpy.ascontiguousarray)"
            )
        array = replace(array, rows=shape[1], columns=shape[2])
    array = replace(array, row_shape=(array.columns,))
    if len(shape) > 1 and array.columns < 2:
        raise ValueError(f"{path}: has {array.columns} classes; selection needs two or more, or 1-D P(y=1)")
    return _whole(array)


def read_single(file: File) -> Array:
    """Read the same, but refuse a committee."""
    array = read_header(file)
    if len(array.shape) == 3:
        raise ValueError(
            f"{file.name}: expected (rows, classes) or 1-D P(y=1), got the shape {array.shape}; a committee "
            "(members, rows, classes) is for strategies such as 'bald'"
        )
    return array


def read_rows(file: File) -> Array:
    """Read what a file says that it holds: rows of any shape, of numbers or texts."""
    array = _declared(file)
    if array.dtype.hasobject or not array.shape:
        what = "a single value" if not array.shape else "Python objects"
        raise ValueError(f"{file.name}: expected an array of rows, got {what}")
    return _whole(array)


def _declared(file: File) -> Array:
    with file.open() as opened:
        try:
            version = npy_format.read_magic(opened)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            shape, fortran, dtype = read(opened)
        except ValueError as error:
            raise ValueError(f"{file.name}: not a readable .npy file: {error}") from None
        offset = opened.tell()
    rows, columns = math.prod(shape[:1]), math.prod(shape[1:])
    return Array(file, shape, offset, dtype, rows, columns, fortran and len(shape) > 1, shape[1:])


def _whole(array: Array) -> Array:
    """Refuse a file that is shorter than it should be."""
    size, expected = array.file.size(), array.offset + math.prod(array.shape) * array.dtype.itemsize
    if size < expected:
        raise ValueError(f"{array.file.name}: cut short: {size} bytes of {expected}")
    return array
