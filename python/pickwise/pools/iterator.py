"""Pools that arrive piece by piece: any iterator of chunks, with or without ids."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pickwise.arrays import as_rows
from pickwise.ids import as_ids, slice_ids
from pickwise.pools.base import Chunk, Part, Pool

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


class IteratorPool(Pool):
    """The chunks of an iterable, in its order.

    Parameters
    ----------
    pieces : iterable
        Of arrays ``(rows, classes)`` or 1-D *P(y=1)*, anything array-like, or of pairs ``(array, ids)``: all of the one
        or all of the other. An iterator can be read only once.
    """

    def __init__(self, pieces: Iterable[Any]) -> None:
        self.parts = [IteratorPart(pieces)]
        self._pieces = pieces
        self.once = None if self.can_be_read_again else pieces

    @property
    def can_be_read_again(self) -> bool:
        """Whether it is more than an iterator."""
        return iter(self._pieces) is not self._pieces


class IteratorPart(Part):
    """All of an iterable."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self._pieces = pieces

    def batches(self) -> Generator[Chunk, None, None]:
        """Take the pieces as they come; a generator that is not read to its end is closed."""
        first: tuple[int, bool] | None = None
        with closing(each(self._pieces)) as pieces:
            for number, (values, given) in enumerate(pieces):
                name = f"pool: chunk {number}"
                rows = as_rows(values, name, allow_empty=True)
                ids = None if given is None else as_ids(given, f"{name}: ids", rows.shape[0])
                shape = rows.shape[1], ids is not None
                first = first or shape
                if shape != first:
                    raise ValueError(f"{name}: has {_described(*shape)}, but the first has {_described(*first)}")
                done = 0
                for matrix in rows.blocks():
                    yield Chunk(matrix, None if ids is None else slice_ids(ids, done, done + len(matrix)))
                    done += len(matrix)

    def chunk(self, batch: Chunk) -> Chunk:
        """Return it as it is."""
        return batch


def each(pieces: Iterable[Any]) -> Generator[tuple[Any, Any], None, None]:
    """Go through pieces with their ids, None where there are none; a generator that is left early is closed."""
    items = iter(pieces)
    try:
        for item in items:
            # A tuple is a pair with ids; a tuple of numbers is no chunk.
            yield item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _described(columns: int, has_ids: bool) -> str:
    return f"{columns} {'column' if columns == 1 else 'columns'} {'and ids' if has_ids else 'without ids'}"
