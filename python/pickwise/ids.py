"""Which rows are meant: ids given by the caller, and rows that must not be chosen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pickwise import _native, arrays, arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Ids: TypeAlias = NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Integer ids, or string ids as Arrow lays them out: offsets ``(rows + 1,)`` into UTF-8 bytes."""


def as_ids(x: Any, name: str, rows: int | None = None) -> Ids:
    """Read integers or strings.

    Parameters
    ----------
    x : array_like
        Integers of any width, or strings: a list, a NumPy array, a Series, an Arrow array, a tensor.
    name : str
        What the caller's argument is called, for messages.
    rows : int, optional
        How many ids there must be.

    Raises
    ------
    TypeError
        For anything else than integers or strings.
    ValueError
        For nulls, integers beyond 64 bits, and if there are not as many as rows.
    """
    ids = _read(x, name)
    if rows is not None and count_ids(ids) != rows:
        raise ValueError(f"{name}: expected {rows}, one for each row, got {count_ids(ids)}")
    return ids


def count_ids(ids: Ids) -> int:
    """Count ids."""
    return len(ids) if isinstance(ids, np.ndarray) else len(ids[0]) - 1


def slice_ids(ids: Ids, start: int, stop: int) -> Ids:
    """Take the ids of some rows, without a copy."""
    return ids[start:stop] if isinstance(ids, np.ndarray) else (ids[0][start : stop + 1], ids[1])


def id_at(ids: Ids, position: int) -> int | str:
    """Read one id."""
    if isinstance(ids, np.ndarray):
        return int(ids[position])
    offsets, text = ids
    return text[offsets[position] : offsets[position + 1]].tobytes().decode()


def named(ids: Ids) -> NDArray[Any]:
    """Show ids as a selection does: int64, or objects of type `str`."""
    if isinstance(ids, np.ndarray):
        return ids
    return np.array([id_at(ids, position) for position in range(count_ids(ids))], dtype=object)


def take_ids(ids: Ids, positions: NDArray[np.int64]) -> Ids:
    """Copy the ids at some positions."""
    if isinstance(ids, np.ndarray):
        return ids[positions]
    offsets, text = ids
    lengths = np.diff(offsets)[positions]
    ends = np.zeros(len(positions) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    # The place of each byte: where its string begins, and how far it is into it.
    places = np.repeat(offsets[:-1][positions] - ends[:-1], lengths) + np.arange(ends[-1])
    return ends, text[places]


def in_order(ids: Ids) -> NDArray[np.int64]:
    """Sort ids: the positions of the lowest and those after it; strings compare by their bytes."""
    if isinstance(ids, np.ndarray):
        return np.argsort(ids, kind="stable")
    offsets, text = ids
    texts = [text[begin:end].tobytes() for begin, end in itertools.pairwise(offsets.tolist())]
    return np.array(sorted(range(len(texts)), key=texts.__getitem__), np.int64)


def joined(parts: Sequence[Ids]) -> Ids:
    """Copy ids of one kind one behind the other."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    texts = [part for part in parts if not isinstance(part, np.ndarray)]
    lengths = np.concatenate([np.diff(offsets) for offsets, _ in texts])
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends, np.concatenate([text[offsets[0] : offsets[-1]] for offsets, text in texts])


def among(ids: Ids, some: NDArray[np.int64] | list[str]) -> NDArray[np.uint8]:
    """Mark the ids that are among some, both of one kind."""
    if isinstance(ids, np.ndarray):
        return np.isin(ids, np.asarray(some)).view(np.uint8)
    known = set(some)
    return np.fromiter((id_at(ids, row) in known for row in range(count_ids(ids))), np.uint8, count_ids(ids))


def refuse_repeated(ids: Ids, name: str, where: Callable[[int], object] = int) -> None:
    """Raise a `ValueError` if an id occurs twice; `where` says of its places in `ids` what they are called."""
    repeated = _native.first_repeated(ids)
    if repeated is not None:
        first, second = map(where, repeated)
        raise ValueError(f"{name}: {id_at(ids, repeated[0])!r} occurs at {first} and at {second}; ids must be unique")


def as_excluded_ids(x: Any, name: str) -> NDArray[np.int64] | list[str] | None:
    """Read ids that must not be selected, in no order; none at all are None."""
    if x is None:
        return None
    if isinstance(x, (set, frozenset)):
        x = list(x)
    ids = as_ids(x, name)
    count = count_ids(ids)
    if count == 0:
        return None
    return ids if isinstance(ids, np.ndarray) else [str(id_at(ids, position)) for position in range(count)]


def refuse_other_kind(some: NDArray[np.int64] | list[str], *, strings: bool) -> None:
    """Raise a `TypeError` unless excluded ids are of the kind that the ids of the rows are."""
    if isinstance(some, list) != strings:
        mine = "strings" if strings else "integers (positions, where no ids are given)"
        raise TypeError(f"exclude_ids: expected {mine}, as the ids are, got the other kind")


@dataclass(frozen=True)
class Excluded:
    """Rows that must not be selected, asked for a stretch of rows at a time.

    Attributes
    ----------
    mask : ndarray of uint8 or None
        One byte a row of the pool, nonzero where it is excluded.
    positions : ndarray of int64 or None
        Or their positions, sorted.
    name : str
        What the caller's argument is called, for messages.
    """

    mask: NDArray[np.uint8] | None
    positions: NDArray[np.int64] | None
    name: str

    @classmethod
    def read(cls, x: Any, name: str, rows: int | None = None) -> Excluded:
        """Read a boolean mask or positions; `rows` is the length of the pool, where it is known already.

        Raises
        ------
        TypeError
            For anything else than booleans or integers.
        ValueError
            For a mask of another length and for positions outside the pool.
        """
        if isinstance(x, cls):
            return x
        array = _numbers(x, name)
        if array.ndim != 1:
            raise ValueError(f"{name}: expected a 1-D mask or positions, got the shape {array.shape}")
        if array.dtype == np.bool_:
            excluded = cls(np.ascontiguousarray(array).view(np.uint8), None, name)
        elif array.dtype.kind in "iu" or array.size == 0:
            positions = np.sort(_int64(array, name))
            if positions.size and positions[0] < 0:
                raise ValueError(f"{name}: expected positions from 0, got {positions[0]}")
            excluded = cls(None, positions, name)
        else:
            raise TypeError(f"{name}: expected a boolean mask or integer positions, got {array.dtype}")
        if rows is not None:
            excluded.check(rows)
        return excluded

    def joined(self, positions: NDArray[np.int64]) -> Excluded:
        """Return the same with more rows."""
        mine = self.positions if self.mask is None else np.flatnonzero(self.mask)
        assert mine is not None  # noqa: S101 - one of the two is set
        return Excluded(None, np.union1d(mine, positions).astype(np.int64), self.name)

    def between(self, start: int, stop: int) -> NDArray[np.uint8] | None:
        """Return the mask of these rows, None where none of them is excluded."""
        if self.mask is not None:
            if len(self.mask) < stop:
                raise ValueError(f"{self.name}: the mask has {len(self.mask)} rows, but the pool has at least {stop}")
            return self.mask[start:stop]
        assert self.positions is not None  # noqa: S101 - one of the two is set
        first, last = np.searchsorted(self.positions, (start, stop))
        if first == last:
            return None
        mask = np.zeros(stop - start, np.uint8)
        mask[self.positions[first:last] - start] = 1
        return mask

    def at(self, positions: int | NDArray[np.int64], rows: int) -> NDArray[np.uint8] | None:
        """Return the mask of so many rows: from a position on, or at positions that ascend."""
        if isinstance(positions, int):
            return self.between(positions, positions + rows)
        if not rows:
            return None
        first, last = int(positions[0]), int(positions[-1])
        mask = self.between(first, last + 1)
        return None if mask is None else np.ascontiguousarray(mask[positions - first])

    def check(self, rows: int) -> None:
        """Raise a `ValueError` unless it is about a pool of so many rows."""
        if self.mask is not None and len(self.mask) != rows:
            raise ValueError(f"{self.name}: the mask has {len(self.mask)} rows, but the pool has {rows}")
        if self.positions is not None and self.positions.size and self.positions[-1] >= rows:
            raise ValueError(
                f"{self.name}: expected positions below {rows}, the rows of the pool, got {self.positions[-1]}"
            )


def _read(x: Any, name: str) -> Ids:
    if isinstance(x, str):
        raise TypeError(f"{name}: expected a list or an array of ids, got the string {x!r}")
    if arrow.is_arrow(x) and not _is_pandas(x):
        column = arrow.chunked(x, name)
        if arrow.is_string(column.type):
            return arrow.strings(column, name)
    if isinstance(x, (list, tuple)):
        return _from_items(x, name)
    array = _numbers(x, name)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a 1-D array, got the shape {array.shape}")
    if array.dtype.kind in "OUST":
        return _from_items(array.tolist(), name)
    if array.dtype.kind in "iu":
        return _int64(array, name)
    raise TypeError(f"{name}: expected integers or strings, got {array.dtype}")


def _numbers(x: Any, name: str) -> NDArray[Any]:
    """View integers, booleans or objects from any library as NumPy."""
    if isinstance(x, (list, tuple, range)):
        return np.asarray(x)
    if not arrow.is_arrow(x) or _is_pandas(x):
        return arrays.as_numpy(x, name)
    column = arrow.chunked(x, name)
    if arrow.is_boolean(column.type):
        return np.concatenate(
            [np.empty(0, np.bool_), *(chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks)]
        )
    if not column.num_chunks:
        return np.empty(0, np.int64)
    return np.concatenate([arrow.values(chunk, name) for chunk in column.chunks])


def _from_items(items: list[Any] | tuple[Any, ...], name: str) -> Ids:
    types = set(map(type, items))
    if types and all(issubclass(kind, str) for kind in types):
        return _from_strings(items, name)
    if types and all(issubclass(kind, bytes) for kind in types):
        return _from_strings([item.decode() for item in items], name)
    if all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in types):
        try:
            return np.array(items, np.int64)
        except OverflowError:
            raise ValueError(f"{name}: expected integers of at most 64 bits with a sign, got larger ones") from None
    kinds = ", ".join(sorted(kind.__name__ for kind in types))
    raise TypeError(f"{name}: expected all integers or all strings, got {kinds}")


def _from_strings(items: list[str] | tuple[str, ...], name: str) -> Ids:
    try:
        encoded = [item.encode() for item in items]
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: {error.object!r} is not valid Unicode") from None
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)


def _int64(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected integers below 2**63, got {array.max()}")
    return np.ascontiguousarray(array, np.int64)


def _is_pandas(x: object) -> bool:
    return type(x).__module__.partition(".")[0] == "pandas"
