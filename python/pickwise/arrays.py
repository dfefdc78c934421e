"""Anything array-like becomes borrowed NumPy matrices, without a copy where none is needed.

The one door for every argument that holds numbers. What lies in memory as one matrix, whatever its strides, is looked
at where it is. So are columns that lie apart (a DataFrame), for scores; for all else they are transposed a block at a
time into one small buffer, and no copy of the whole is made. Libraries other than NumPy are never imported to recognise
an object, only to read one of their own.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import DTypeLike, NDArray

BLOCK_BYTES = 4 << 20
"""Bytes of a block that has to be copied: it stays in the cache until it is read."""

MOST_APART = 63
"""Columns to read side by side: of more, one row would be a walk through all of memory."""

_PROBABILITIES = "(rows, classes), or 1-D P(y=1)"
_EMBEDDINGS = "(rows, dims)"
_SCORES = "(rows,), one score a row"
_ON_CPU = {1, 3}  # DLPack's numbers for plain and for pinned host memory


class ColumnMatrix:
    """A matrix whose columns lie apart, each an array of its own. `np.asarray` makes one array of it.

    Parameters
    ----------
    columns : sequence of ndarray of shape (rows,)
        One or more, of floats.
    dtype : dtype
        What holds the numbers of all.

    Attributes
    ----------
    columns : tuple of ndarray of shape (rows,)
    dtype : dtype
    shape : (int, int)
    """

    ndim = 2

    def __init__(self, columns: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> None:
        self.columns = tuple(columns)
        self.dtype = dtype
        self.shape = len(self.columns[0]), len(self.columns)

    @property
    def is_ready(self) -> bool:
        """Whether the native part can score the columns where they are."""
        return len(self.columns) <= MOST_APART and all(
            column.dtype == self.dtype and column.flags.c_contiguous for column in self.columns
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> ColumnMatrix:
        return ColumnMatrix([column[rows] for column in self.columns], self.dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("columns that lie apart are no array without a copy")
        return self.into(np.empty(self.shape[::-1], self.dtype if dtype is None else dtype))

    def into(self, buffer: NDArray[Any]) -> NDArray[Any]:
        """Copy it to the first places of a buffer of shape (columns, rows or more), and return it as it lies there."""
        some = buffer[:, : len(self)]
        for target, column in zip(some, self.columns, strict=True):
            target[:] = column
        return some.T

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield it as arrays, from the first row to the last; each is valid until the next is asked for."""
        step = min(len(self), _block_rows(len(self.columns), self.dtype))
        buffer = np.empty((len(self.columns), step), self.dtype)
        for start in range(0, len(self), max(1, step)):
            yield self[start : start + step].into(buffer)


@dataclass(frozen=True)
class Rows:
    """A matrix that is read once, block by block.

    Attributes
    ----------
    shape : (int, int)
        Rows and classes.
    dtype : dtype
        float16, bfloat16, float32 or float64, in native byte order.
    binary : bool
        Whether it came as 1-D *P(y=1)*; the blocks then have one column.
    whole : bool
        Whether there is only one block, which is the matrix itself.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    binary: bool
    whole: bool
    _blocks: Callable[[], Iterator[NDArray[Any] | ColumnMatrix]]

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield 2-D arrays from the first row to the last; each is valid until the next is asked for."""
        for block in self._blocks():
            if isinstance(block, ColumnMatrix):
                yield from block.blocks()
            else:
                yield block

    def to_score(self) -> Iterator[tuple[int, NDArray[Any] | Sequence[NDArray[Any]]]]:
        """Yield the same for native scores: how many rows, and their 2-D array or, where they lie apart, columns."""
        for block in self._blocks():
            if not isinstance(block, ColumnMatrix):
                yield len(block), block
            elif block.is_ready:
                yield len(block), block.columns
            else:
                yield from ((len(part), part) for part in block.blocks())

    def some(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Copy a few rows, by their places in ascending order."""
        if self.whole:
            return next(self.blocks())[places]
        found, done = [], 0
        for block in self._blocks():
            first, last = np.searchsorted(places, (done, done + len(block)))
            found.append(np.asarray(block[places[first:last] - done]))
            done += len(block)
        return found[0] if len(found) == 1 else np.concatenate(found)


def as_rows(x: Any, name: str, *, min_classes: int = 2, allow_empty: bool = False) -> Rows:
    """Borrow the numbers of an array-like object.

    Parameters
    ----------
    x : array_like
        ``(rows, classes)`` or 1-D *P(y=1)*: a NumPy array, an object with ``__dlpack__`` on the CPU, ``__array__`` or
        the Arrow PyCapsule interface, a DataFrame of float columns, or nested lists.
    name : str
        What the caller's argument is called, for messages.
    min_classes : int
        The fewest columns that make sense.
    allow_empty : bool
        Whether no rows are fine.

    Raises
    ------
    TypeError
        If it is no array of floating-point numbers on the CPU.
    ValueError
        If it is ragged, has nulls or a shape that does not fit.
    """
    rows = _borrowed(x, name, _PROBABILITIES)
    count, classes = rows.shape
    if count == 0 and not allow_empty:
        raise ValueError(f"{name}: expected at least one row, got none")
    if not rows.binary and classes < min_classes:
        mend = "pass P(y=1) as a 1-D array" if classes == 1 else "there is nothing to score"
        raise ValueError(f"{name}: expected at least {min_classes} classes (columns), got {classes}; {mend}")
    return rows


def as_scores(x: Any, name: str) -> Rows:
    """Borrow scores: what `as_rows` takes, of one number a row.

    Raises
    ------
    TypeError, ValueError
        As `as_rows` does, and for more than one column.
    """
    rows = _borrowed(x, name, _SCORES)
    if rows.shape[1] != 1:
        raise ValueError(f"{name}: expected the shape {_SCORES}, got {rows.shape}")
    return rows


def as_points(x: Any, name: str, *, allow_empty: bool = False) -> NDArray[Any]:
    """Borrow embeddings as one matrix.

    Parameters
    ----------
    x : array_like of shape (rows, dims), or path
        What `as_rows` takes but for 1-D arrays, or a ``.npy`` file, which is mapped. What lies in pieces (Arrow chunks,
        columns, foreign byte order) is copied into one matrix.
    name : str
        What the caller's argument is called, for messages.
    allow_empty : bool
        Whether no rows are fine.

    Returns
    -------
    ndarray of shape (rows, dims)
        float16, bfloat16, float32 or float64, any strides.

    Raises
    ------
    TypeError, ValueError
        As `as_rows` does, and for 1-D arrays and no dimensions.
    """
    if isinstance(x, (str, os.PathLike)):
        x = mapped(x, name)
    rows = _borrowed(x, name, _EMBEDDINGS)
    count, dims = rows.shape
    if count == 0 and not allow_empty:
        raise ValueError(f"{name}: expected at least one row, got none")
    if rows.binary:
        raise ValueError(f"{name}: expected the shape {_EMBEDDINGS}, got 1-D ({count},); one dimension is (rows, 1)")
    if dims == 0:
        raise ValueError(f"{name}: expected at least one dimension (column), got none")
    return stacked(rows.blocks(), rows.shape, rows.dtype)


def stacked(blocks: Iterable[NDArray[Any]], shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Put matrices one below the other; a single one stays where it is."""
    out: NDArray[Any] | None = None
    done = 0
    for block in blocks:
        if block.shape == shape and block.dtype == dtype and done == 0:
            return block
        if out is None:
            out = np.empty(shape, dtype)
        out[done : done + len(block)] = block
        done += len(block)
    return np.empty(shape, dtype) if out is None else out


def below(upper: NDArray[Any] | None, lower: NDArray[Any]) -> NDArray[Any]:
    """Put one matrix below another; of two types, in float64."""
    if upper is None:
        return lower
    if upper.dtype != lower.dtype:
        upper, lower = upper.astype(np.float64), lower.astype(np.float64)
    return np.concatenate([upper, lower])


def mapped(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """Map a ``.npy`` file into memory, read-only."""
    if not os.fspath(path).lower().endswith(".npy"):
        raise ValueError(f"{name}: expected an array or a .npy file, got {os.fspath(path)!r}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{name}: {os.fspath(path)!r} is no readable .npy file: {error}") from None
    return array


def is_matrix(x: Any, name: str) -> bool:
    """Tell an array-like of two dimensions from one of one."""
    if isinstance(x, (list, tuple)):
        return len(x) > 0 and np.ndim(x[0]) > 0
    shape = getattr(x, "shape", None)
    if shape is not None and len(shape) != 1:
        return True
    if not arrow.is_arrow(x):
        return False
    column = arrow.chunked(x, name)
    return arrow.is_table(column) or arrow.is_list(column.type)


def _borrowed(x: Any, name: str, form: str) -> Rows:
    pandas = sys.modules.get("pandas")
    if isinstance(x, np.ndarray):
        return _from_numpy(x, name, form)
    if isinstance(x, ColumnMatrix):
        return _from_apart([x], x.shape, x.dtype)
    if pandas is not None and isinstance(x, pandas.DataFrame):
        return _from_pandas(x, name, form)
    if arrow.is_arrow(x) and not (pandas is not None and isinstance(x, pandas.Series) and _is_plain(x.dtype)):
        return _from_arrow(x, name)
    return _from_numpy(as_numpy(x, name), name, form)


def as_numpy(x: Any, name: str) -> NDArray[Any]:
    """View any array-like object, of any element type and shape, as a NumPy array."""
    if isinstance(x, (str, bytes, os.PathLike)):
        raise TypeError(f"{name}: expected an array, got {_described(x)}; files are read by pickwise.select")
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__") and not arrow.is_arrow(x):  # Arrow's own knows no strings
        return _from_dlpack(x, name)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name}: expected rows of equal length: {error}") from None
    if array.dtype == object and array.ndim == 0:
        raise TypeError(f"{name}: expected an array, a table or a list of lists, got {_described(x)}")
    if isinstance(x, (list, tuple)) and array.dtype.kind in "iu":
        return array.astype(np.float64)  # Python's 0 and 1 are as good as 0.0 and 1.0 in a list
    return array


def row_count(x: Any, name: str) -> int:
    """Count the rows of an array or table without looking at what is in them."""
    count = getattr(x, "num_rows", None)
    if count is None:
        shape = getattr(x, "shape", None)
        try:
            count = shape[0] if shape else len(x)
        except TypeError:
            raise TypeError(f"{name}: expected an array, a table or a list, got {_described(x)}") from None
    return int(count)


def is_array_like(x: object) -> bool:
    """Tell an array or table in memory from a source that can only be read once or in parts."""
    if isinstance(x, (str, bytes, os.PathLike)):
        return False
    if hasattr(x, "__array__") or hasattr(x, "__dlpack__") or arrow.is_arrow(x):
        return True
    return hasattr(x, "__len__") and hasattr(x, "__getitem__")  # a DataLoader has a length, but no items


def _from_numpy(x: NDArray[Any], name: str, form: str) -> Rows:
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(f"{name}: expected no masked values, got {int(x.mask.sum())}; fill them or drop their rows")
    array = np.asarray(x)
    dtype = _checked(array.dtype, name)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: expected the shape {form}, got {array.ndim}-D {array.shape}")
    matrix = array.reshape(-1, 1) if array.ndim == 1 else array
    if dtype == array.dtype:
        return Rows(_shape(matrix), dtype, array.ndim == 1, whole=True, _blocks=lambda: iter((matrix,)))
    step = _block_rows(matrix.shape[1], dtype)

    def converted() -> Iterator[NDArray[Any]]:
        for start in range(0, len(matrix), step):
            yield matrix[start : start + step].astype(dtype)

    return Rows(_shape(matrix), dtype, array.ndim == 1, whole=False, _blocks=converted)


def _from_chunks(chunks: list[NDArray[Any]], name: str, *, binary: bool) -> Rows:
    if not chunks:
        raise ValueError(f"{name}: expected at least one row, got none")
    dtype = _checked(chunks[0].dtype, name)
    matrices = [chunk.reshape(-1, 1) for chunk in chunks] if binary else chunks
    shape = sum(map(len, matrices)), matrices[0].shape[1]
    return Rows(shape, dtype, binary, whole=len(matrices) == 1, _blocks=lambda: iter(matrices))


def _from_columns(names: list[str], chunks: list[list[NDArray[Any]]], name: str) -> Rows:
    if not names:
        raise ValueError(f"{name}: expected columns of floats, got a table without columns")
    dtypes = {
        _checked(column.dtype, f"{name}: column {field!r}")
        for columns in chunks
        for field, column in zip(names, columns, strict=True)
    }
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    shape = sum(len(columns[0]) for columns in chunks), len(names)
    return _from_apart([ColumnMatrix(columns, dtype) for columns in chunks], shape, dtype)


def _from_apart(matrices: list[ColumnMatrix], shape: tuple[int, int], dtype: np.dtype[Any]) -> Rows:
    return Rows(shape, dtype, binary=False, whole=False, _blocks=lambda: iter(matrices))


def _from_arrow(x: Any, name: str) -> Rows:
    column = arrow.chunked(x, name)
    if arrow.is_table(column):
        lists = [field for field in column.type if arrow.is_list(field.type)]
        if len(column.type) != 1 or not lists:
            return _from_columns(*arrow.columns(column, name), name)
        column = column.flatten()[0]
    if arrow.is_list(column.type):
        return _from_chunks(arrow.matrices(column, name), name, binary=False)
    chunks = [arrow.values(chunk, name) for chunk in column.chunks if len(chunk)]
    return _from_chunks(chunks, name, binary=True)


def _from_pandas(frame: Any, name: str, form: str) -> Rows:
    dtypes = list(frame.dtypes)
    one_type = len(set(dtypes)) == 1 and _is_plain(dtypes[0])
    # Columns that lie in one block come out as a view; two blocks would be copied together, all of them.
    if one_type and len(frame) and np.shares_memory(frame.iloc[:1].to_numpy(), frame.iloc[:1, 0].to_numpy()):
        return _from_numpy(frame.to_numpy(), name, form)
    columns = [_pandas_column(frame.iloc[:, i], f"{name}: column {label!r}") for i, label in enumerate(frame.columns)]
    return _from_columns([str(label) for label in frame.columns], [columns], name)


def _pandas_column(column: Any, name: str) -> NDArray[Any]:
    if _is_plain(column.dtype):
        return np.asarray(column.to_numpy())
    if column.dtype.kind != "f":
        raise TypeError(f"{name}: expected floats, got {column.dtype}")
    if column.isna().any():
        row = int(np.argmax(column.isna().to_numpy()))
        raise ValueError(f"{name}: row {row} is null; fill or drop it first")
    return np.asarray(column.to_numpy(dtype=f"float{8 * column.dtype.itemsize}"))


def _from_dlpack(x: Any, name: str) -> NDArray[Any]:
    if getattr(x, "requires_grad", False):
        x = x.detach()
    if x.__dlpack_device__()[0] not in _ON_CPU:
        raise TypeError(
            f"{name}: expected an array in CPU memory, got {_described(x)} on {getattr(x, 'device', 'a device')}; "
            "copy it over first (.cpu() in PyTorch, .get() in CuPy, jax.device_get(x) in JAX)"
        )
    if str(x.dtype) == "torch.bfloat16":
        return _from_torch_bfloat16(x, name)
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError) as error:  # what NumPy's DLPack has no type for, such as bfloat16
        if hasattr(x, "__array__"):
            return np.asarray(x)
        raise TypeError(f"{name}: {_described(x)} cannot be read: {error}") from None


def _from_torch_bfloat16(x: Any, name: str) -> NDArray[Any]:
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        message = f"{name}: reading bfloat16 needs ml_dtypes; install it with pip install ml_dtypes, or pass x.float()"
        raise ImportError(message) from error
    bits: NDArray[Any] = np.from_dlpack(x.view(sys.modules["torch"].int16))
    return bits.view(bfloat16)


def _checked(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Return the dtype in native byte order, if it is one that can be scored."""
    if (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)) or dtype.name == "bfloat16":
        return dtype.newbyteorder("=")
    mend = "; convert with .astype(np.float32)" if dtype.kind in "iubfO" else ""
    raise TypeError(f"{name}: expected float16, bfloat16, float32 or float64, got {dtype}{mend}")


def _shape(matrix: NDArray[Any]) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]


def _block_rows(classes: int, dtype: np.dtype[Any]) -> int:
    return max(1, BLOCK_BYTES // max(1, classes * dtype.itemsize))


def _is_plain(dtype: Any) -> bool:
    """Tell NumPy's own types from the extension types of pandas."""
    return isinstance(dtype, np.dtype)


def _described(x: object) -> str:
    kind = type(x)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def as_objects(values: Iterable[Any]) -> NDArray[np.object_]:
    """Keep Python values as they are in an array: 1 beside "one" does not become "1", and lists stay lists."""
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        return values
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    array = np.empty(len(items), object)
    array[:] = items
    return array
