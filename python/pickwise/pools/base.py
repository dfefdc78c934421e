"""What every source of rows looks like to the engine: a pool of parts, each read chunk by chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from pickwise.pools.reading import read

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pickwise.ids import Ids
    from pickwise.pools.numbering import Numbering
    from pickwise.pools.paths import File

CHUNK_BYTES = 4 << 20
"""Matrix bytes to a chunk: large enough to hide the cost of a hand-over, small enough to stay in the cache."""


class Chunk(NamedTuple):
    """Some rows of a pool, in its order.

    Attributes
    ----------
    matrix : ndarray or ColumnMatrix of shape (rows, classes), or a list of arrays
        Any strides. One column means *P(y=1)*: a source of one-class distributions is refused where it is opened. A
        list holds the members of a committee.
    ids : ndarray of int64 of shape (rows,), (offsets, utf8), or None
        None where rows are known by their positions. Where the pool has a `Pool.numbering`, its numbers.
    positions : int, ndarray of int64 of shape (rows,), or None
        Positions in the pool: that of the first row, if they follow each other, else of each; None: they follow those
        of the chunk before.
    """

    matrix: Any
    ids: Ids | None
    positions: int | NDArray[np.int64] | None = None


class Part(ABC):
    """A piece of a pool that can be read by itself, such as a file.

    Attributes
    ----------
    name : str
        What it is called in messages and reports.
    rows : int or None
        Its rows, those that a filter leaves out as well; None where that is only known after reading.
    size : int or None
        The bytes that are to be read.
    file : File or None
        What it is read from, if that is a file.
    travels : bool
        Whether it can be read by another process, perhaps on another machine.
    is_in_order : bool
        Whether its rows have positions.
    """

    name: str = "pool"
    travels: bool = False
    is_in_order: bool = True
    rows: int | None = None
    size: int | None = None
    file: File | None = None

    @property
    def files(self) -> Sequence[File]:
        """All that it is read from, if that are files."""
        return () if self.file is None else (self.file,)

    @abstractmethod
    def batches(self) -> Generator[Any, None, None]:
        """Read it from its start; this may run in another thread, a few batches ahead."""

    @abstractmethod
    def chunk(self, batch: Any) -> Chunk:
        """Make a chunk of a batch. Its arrays hold until the next one is made."""

    def locate(self, position: int) -> str:
        """Say in words where the row at a position of the pool is, for messages."""
        return f"row {position}"


class Pool(ABC):
    """Unlabelled rows that need not fit into memory.

    Attributes
    ----------
    parts : sequence of Part
        In the order of the pool.
    rows : int or None
        The number of positions; None where it is only known after reading.
    string_ids : bool or None
        Whether ids are strings; None where it is only known after reading.
    numbering : Numbering or None
        Where rows are known by ``path#row``: what turns the numbers in its chunks into these ids.
    reads_ahead : bool
        Whether a thread of its own reads it, while rows before are worked on.
    skips_failed : bool
        Whether files that cannot be read to their end are left out, whatever else was asked for.
    once : object or None
        The iterator that gives its rows, where it gives them only once.
    """

    parts: Sequence[Part]
    rows: int | None = None
    string_ids: bool | None = None
    numbering: Numbering | None = None
    reads_ahead: bool = False
    skips_failed: bool = False
    once: Any = None

    @property
    def can_be_read_again(self) -> bool:
        """Whether there is more than one pass over its rows."""
        return True

    @property
    def failed(self) -> dict[str, str]:
        """Files that were left out when the pool was opened, and why."""
        return {}

    @property
    def about(self) -> dict[str, Any]:
        """What it holds beside its files, for a checkpoint."""
        return {}

    def chunks(self) -> Generator[Chunk, None, None]:
        """Read the pool from its start.

        A chunk's arrays belong to the pool and hold until the next chunk is asked for; copy what must live longer.
        Close the generator (``contextlib.closing``) when leaving it early: that closes its files and ends its reader
        thread at once, whatever else still refers to it.
        """
        with closing(read(self.parts, ahead=self.reads_ahead)) as items:
            for part, item in items:
                if isinstance(item, Exception):
                    raise item
                if item is not None:
                    yield part.chunk(item)

    def locate(self, row: int) -> str:
        """Say in words where the row at a position is, for messages: ``"pool/b.parquet, row 17"``."""
        return f"row {row}"


def rows_per_call(row_bytes: int) -> int:
    """Return how many rows of this size a model gets at once, where nobody says."""
    return max(32, min(CHUNK_BYTES // max(row_bytes, 1), 1 << 16))


def rows_per_chunk(row_bytes: int, *, copied: bool = True) -> int:
    """Return how many rows of this size to read at once: a multiple of 1024, so that chunks stay aligned.

    What is scored where a decoder has put it, and not copied, may be larger: decoders are slow with small batches.
    """
    size, most = (CHUNK_BYTES, 1 << 17) if copied else (16 * CHUNK_BYTES, 1 << 20)
    return max(1024, min(size // max(row_bytes, 1), most) // 1024 * 1024)
