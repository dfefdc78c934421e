"""Ids of rows in files that have none of their own: ``path#row``, known as numbers until somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pickwise.ids import Ids


class Numbering:
    """The numbers, ids and positions of the rows of files.

    A row's number counts the rows before it when the files are sorted by name, so that equal scores are ordered, and
    draws are made, in the same way in whatever order files are read. Its position counts them in the order given.

    Parameters
    ----------
    names : sequence of str
        The files, in the order given.
    rows : sequence of int
        How many rows each has.
    """

    def __init__(self, names: Sequence[str], rows: Sequence[int]) -> None:
        self._names = list(names)
        counts = np.array(rows, np.int64)
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._order = np.array(sorted(range(len(names)), key=lambda i: names[i].encode()), np.int64)
        self._firsts = np.concatenate([[0], np.cumsum(counts[self._order])])
        self._places = np.empty_like(self._order)
        self._places[self._order] = np.arange(len(names))
        self._known = {name: i for i, name in enumerate(self._names)}

    def first(self, file: int) -> int:
        """Return the number of the first row of a file."""
        return int(self._firsts[self._places[file]])

    def ids(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Write numbers as ids, objects of type `str`."""
        files, rows = self._split(numbers)
        names = self._names
        return np.array([f"{names[file]}#{row}" for file, row in zip(files, rows, strict=True)], dtype=object)

    def strings(self, numbers: NDArray[np.int64]) -> Ids:
        """Write numbers as ids, as Arrow lays strings out."""
        import pyarrow as pa
        import pyarrow.compute as pc

        files, rows = self._split(numbers)
        name = pc.take(pa.array(self._names, pa.large_string()), pa.array(files))
        text = pc.binary_join_element_wise(
            name, pa.array(rows).cast(pa.large_string()), pa.scalar("#", pa.large_string())
        )
        _, offsets, data = text.buffers()
        return np.frombuffer(offsets, np.int64)[: len(text) + 1], np.frombuffer(data, np.uint8)

    def positions(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the positions of rows."""
        files, rows = self._split(numbers)
        return np.asarray(self._starts[files] + rows)

    def numbers(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Read ids; those of no row here are left out."""
        found = []
        for text in ids:
            name, _, row = text.rpartition("#")
            file = self._known.get(name)
            if file is not None and row.isdecimal() and int(row) < self._starts[file + 1] - self._starts[file]:
                found.append(self.first(file) + int(row))
        return np.array(found, np.int64)

    def locate(self, position: int) -> str:
        """Say which file the row at a position is in."""
        file = int(np.searchsorted(self._starts, position, side="right")) - 1
        if not 0 <= file < len(self._names):
            raise IndexError(position)
        return f"{self._names[file]}, row {position - self._starts[file]}"

    def _split(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        places = np.searchsorted(self._firsts, numbers, side="right") - 1
        return self._order[places], numbers - self._firsts[places]
