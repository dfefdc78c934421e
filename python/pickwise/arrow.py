"""Arrow data from any library, through the PyCapsule interface and pyarrow.

Polars, pandas, DuckDB, nanoarrow and pyarrow itself hand over their columns in one protocol, so one reader serves them
all. Nothing is copied: every NumPy array made here looks into the Arrow buffers.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows: TypeAlias = "int | NDArray[np.int64]"
"""Where the values of an array are in their column: the row of the first, or one each."""


def is_arrow(x: object) -> bool:
    """Tell whether an object offers its data through the Arrow PyCapsule interface."""
    return hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__")


def is_records(x: object) -> bool:
    """Tell whether an object is a record batch of pyarrow."""
    pyarrow = sys.modules.get("pyarrow")
    return pyarrow is not None and isinstance(x, pyarrow.RecordBatch)


def chunked(x: Any, name: str) -> Any:
    """Import an Arrow array, column or table as a `pyarrow.ChunkedArray`; a table becomes one of structs."""
    try:
        import pyarrow as pa
    except ImportError as error:
        message = f"{name}: reading a {type(x).__name__} needs pyarrow; install it with pip install 'pickwise[arrow]'"
        raise ImportError(message) from error
    column = pa.chunked_array(x) if hasattr(x, "__arrow_c_stream__") else pa.chunked_array([pa.array(x)])
    if isinstance(column.type, pa.BaseExtensionType):  # such as a tensor of fixed shape: a list to a row underneath
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column


def plain(table: Any) -> Any:
    """Show columns of an extension type, such as tensors of fixed shape, as what they are underneath."""
    import pyarrow as pa

    if not any(isinstance(kind, pa.BaseExtensionType) for kind in table.schema.types):
        return table
    arrays = []
    for column in table.columns:
        if isinstance(column.type, pa.BaseExtensionType):
            storage = column.type.storage_type
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], storage)  # noqa: PLW2901
        arrays.append(column)
    return pa.table(arrays, plain_schema(table.schema))


def plain_schema(schema: Any) -> Any:
    """Do the same to the types of columns."""
    import pyarrow as pa

    extended = pa.BaseExtensionType
    return pa.schema(
        [field.with_type(field.type.storage_type) if isinstance(field.type, extended) else field for field in schema]
    )


def is_table(column: Any) -> bool:
    """Tell whether an imported column is a whole table: its values are structs."""
    import pyarrow as pa

    return bool(pa.types.is_struct(column.type))


def is_list(dtype: Any) -> bool:
    """Tell whether an Arrow type holds a list of values a row, of fixed or of any length."""
    from pyarrow import types

    return any(test(dtype) for test in (types.is_fixed_size_list, types.is_list, types.is_large_list))


def columns(table: Any, name: str) -> tuple[list[str], list[list[NDArray[Any]]]]:
    """Split a table into column names and, for each of its chunks, one array a column."""
    fields = [field.name for field in table.type]
    start, chunks = 0, []
    for chunk in table.chunks:
        chunks.append(
            [
                values(array, f"{name}: column {field!r}", start)
                for field, array in zip(fields, chunk.flatten(), strict=True)
            ]
        )
        start += len(chunk)
    return fields, chunks


def matrices(column: Any, name: str) -> list[NDArray[Any]]:
    """View a column of equally long lists as one matrix a chunk."""
    width: int | None = None
    start, found = 0, []
    for chunk in column.chunks:
        if len(chunk) == 0:
            continue
        found.append(matrix(chunk, name, start, width))
        width = found[-1].shape[1]
        start += len(chunk)
    return found


def values(array: Any, name: str, rows: Rows = 0) -> NDArray[Any]:
    """View an Arrow array of numbers as NumPy, without nulls; `rows` are where it is, for messages."""
    import pyarrow as pa

    refuse_nulls(array, name, rows)
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        raise TypeError(f"{name}: expected floats, got Arrow type {array.type}")
    return np.asarray(array.to_numpy(zero_copy_only=True))


def strings(column: Any, name: str, rows: Rows = 0) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Read an array or column of strings as Arrow offsets into UTF-8 bytes."""
    import pyarrow as pa

    # Dictionaries and string views have layouts of their own.
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    array = column.cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.large_string())
    refuse_nulls(array, name, rows)
    if len(array) == 0:
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    text = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return ends, text


def is_string(dtype: Any) -> bool:
    """Tell whether an Arrow type holds text, plainly or in a dictionary."""
    from pyarrow import types

    if types.is_dictionary(dtype):
        return is_string(dtype.value_type)
    return any(test(dtype) for test in (types.is_string, types.is_large_string, types.is_string_view))


def is_boolean(dtype: Any) -> bool:
    """Tell whether an Arrow type holds booleans."""
    from pyarrow import types

    return bool(types.is_boolean(dtype))


def matrix(array: Any, name: str, rows: Rows, width: int | None) -> NDArray[Any]:
    """View an Arrow array of lists, each of `width` values (or as many as the first), as a matrix."""
    import pyarrow as pa
    import pyarrow.compute as pc

    refuse_nulls(array, name, rows)
    if pa.types.is_fixed_size_list(array.type):
        width = array.type.list_size
    else:
        lengths = pc.list_value_length(array).to_numpy()
        width = int(lengths[0]) if width is None else width
        ragged = np.flatnonzero(lengths != width)
        if ragged.size:
            row = int(ragged[0])
            raise ValueError(
                f"{name}: row {row_of(rows, row)} holds {lengths[row]} values, expected {width} as in the rows before"
            )
    flat = array.flatten()
    if flat.null_count:
        row = row_of(rows, _first_null(flat) // width)
        raise ValueError(f"{name}: row {row} holds a null; fill or drop it first")
    return values(flat, name).reshape(len(array), width)


def refuse_nulls(array: Any, name: str, rows: Rows) -> None:
    """Raise a `ValueError` that names the first null."""
    if array.null_count:
        row = row_of(rows, _first_null(array))
        raise ValueError(f"{name}: row {row} is null; fill or drop nulls first")


def _first_null(array: Any) -> int:
    return int(np.argmin(array.is_valid().to_numpy(zero_copy_only=False)))


def row_of(rows: Rows, at: int) -> int:
    """Find where a value of an array is in its column."""
    return rows + at if isinstance(rows, int) else int(rows[at])


def row_numbers(rows: Rows, count: int) -> NDArray[np.int64]:
    """List where the values of an array are in their column."""
    return np.arange(rows, rows + count) if isinstance(rows, int) else rows
