"""What every source of rows looks like to the engine: a pool, read chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from pickwise.ids import Ids

CHUNK_BYTES = 4 << 20
"""Matrix bytes to a chunk: large enough to hide the cost of a hand-over, small enough to stay in the cache."""


class Chunk(NamedTuple):
    """Consecutive rows of a pool.

    Attributes
    ----------
    matrix : ndarray of shape (rows, classes)
        Any strides. One column means *P(y=1)*: a source of one-class distributions is refused where it is opened.
    ids : ndarray of int64 of shape (rows,), (offsets, utf8), or None
        ``None`` where the pool has no ids and a row is known by its position.
    """

    matrix: NDArray[Any]
    ids: Ids | None


@runtime_checkable
class Pool(Protocol):
    """Unlabelled rows that need not fit into memory."""

    @property
    def rows(self) -> int | None:
        """The number of rows, or None where it is only known after reading."""

    @property
    def string_ids(self) -> bool | None:
        """Whether ids are strings; None where it is only known after reading."""

    def chunks(self) -> Generator[Chunk, None, None]:
        """Read the pool from its start.

        A chunk's arrays belong to the pool and hold until the next chunk is asked for; copy what must live longer.
        Close the generator (``contextlib.closing``) when leaving it early: that closes its files and ends its reader
        thread at once, whatever else still refers to it.
        """

    def locate(self, row: int) -> str:
        """Say in words where the row at this position is, for messages: ``"pool/b.parquet, row 17"``."""


def rows_per_chunk(row_bytes: int) -> int:
    """Return how many rows of this size to read at once: a multiple of 1024, so that chunks stay aligned."""
    return max(1024, min(CHUNK_BYTES // max(row_bytes, 1), 1 << 17) // 1024 * 1024)
