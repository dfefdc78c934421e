"""Pools of committees: the predictions of several models, in pools of their own that lie side by side."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.ids import Ids, count_ids, slice_ids
from pickwise.pools.base import Chunk, Part, Pool
from pickwise.pools.files import side_by_side
from pickwise.pools.npy import NpyPart
from pickwise.pools.reading import read

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pickwise.pools.npy import Array
    from pickwise.pools.paths import File


class SideBySide(Pool):
    """Members of a committee, pools that hold the same rows in the same order.

    Parameters
    ----------
    members : sequence of Pool
        Ids are those of the first; others that have ids must have the same.

    Raises
    ------
    ValueError
        If they are known to differ in rows, or files of one were left out.
    """

    def __init__(self, members: Sequence[Pool]) -> None:
        members = side_by_side(members)
        first = members[0]
        for at, member in enumerate(members):
            if None not in (member.rows, first.rows) and member.rows != first.rows:
                raise ValueError(f"pool: expected {first.rows} rows of member {at}, as member 0 has, got {member.rows}")
            earlier = next((at for at, other in enumerate(members[:at]) if member.once is other.once is not None), None)
            if earlier is not None:
                raise ValueError(
                    f"pool: members {earlier} and {at} read one {type(member.once).__name__}, which gives its rows "
                    "only once; give each member one of its own, or a list of batches"
                )
        self._members: Sequence[Pool] = members
        self.rows = next((member.rows for member in members if member.rows is not None), None)
        self.string_ids = first.string_ids
        self.skips_failed = any(member.skips_failed for member in members)
        self.numbering = first.numbering
        shapes = [[part.rows for part in member.parts] for member in members]
        named = [member.numbering is None for member in members]
        if None not in shapes[0] and all(shape == shapes[0] for shape in shapes):
            # Files that hold the same rows are read together, and each such set by itself.
            sets = zip(*(member.parts for member in members), strict=True)
            self.parts = [SidePart([[part] for part in files], named) for files in sets]
        else:
            self.parts = [SidePart([member.parts for member in members], named)]

    @property
    def can_be_read_again(self) -> bool:
        """Whether all members can."""
        return all(member.can_be_read_again for member in self._members)

    @property
    def failed(self) -> dict[str, str]:
        """Files that were left out when the members were opened, and why."""
        return {name: why for member in self._members for name, why in member.failed.items()}

    @property
    def about(self) -> dict[str, Any]:
        """What the members hold beside their files."""
        return {str(at): about for at, member in enumerate(self._members) if (about := member.about)}

    def locate(self, row: int) -> str:
        """Say where the row of the first member is."""
        return self._members[0].locate(row)


class SidePart(Part):
    """Parts of each member that hold the same rows.

    Parameters
    ----------
    members : sequence of sequences of Part
        For each member what to read one after the other.
    named : sequence of bool
        For each member whether the ids in its chunks are ids of its own.
    """

    def __init__(self, members: Sequence[Sequence[Part]], named: Sequence[bool]) -> None:
        self._members = members
        self._named = named
        self.travels = all(part.travels for member in members for part in member)
        self.name = members[0][0].name
        self.rows = _count(members[0])
        self.size = sum(part.size or 0 for member in members for part in member) or None

    @property
    def files(self) -> Sequence[File]:
        """The files of all members; none if a member has others."""
        parts = [part for member in self._members for part in member]
        return [file for part in parts for file in part.files] if all(part.files for part in parts) else ()

    def batches(self) -> Generator[Chunk, None, None]:
        """Read the members in step, each in a thread of its own."""
        with ExitStack() as stack:
            streams = [stack.enter_context(closing(_chunks(member))) for member in self._members]
            held: list[Chunk | None] = [None] * len(streams)
            done = [0] * len(streams)
            row = 0
            while True:
                for at, stream in enumerate(streams):
                    while held[at] is None or done[at] == _rows(held[at]):
                        held[at], done[at] = next(stream, None), 0
                        if held[at] is None:
                            break
                chunks = [chunk for chunk in held if chunk is not None]
                if not chunks:
                    self.rows = _count(self._members[0])
                    return
                if len(chunks) < len(held):
                    short = next(at for at, chunk in enumerate(held) if chunk is None)
                    raise ValueError(f"pool: member {short} ends after {row} rows, before others do")
                step = min(_rows(chunk) - start for chunk, start in zip(chunks, done, strict=True))
                yield self._together(chunks, done, step, row)
                done = [start + step for start in done]
                row += step

    def chunk(self, batch: Chunk) -> Chunk:
        """Return it as it is."""
        return batch

    def locate(self, position: int) -> str:
        """Say where the row of the first member is."""
        return self._members[0][0].locate(position) if len(self._members[0]) == 1 else f"row {position}"

    def _together(self, chunks: Sequence[Chunk], starts: Sequence[int], step: int, row: int) -> Chunk:
        pairs = list(zip(chunks, starts, strict=True))
        matrices = [np.asarray(chunk.matrix[start : start + step]) for chunk, start in pairs]
        ids = [None if chunk.ids is None else slice_ids(chunk.ids, start, start + step) for chunk, start in pairs]
        for at, own in enumerate(ids[1:], 1):
            if self._named[at] and self._named[0] and own is not None and not _equal(ids[0], own):
                raise ValueError(
                    f"pool: the ids of member {at} are not those of member 0 among the {step} rows from row {row} on; "
                    "members must hold the same rows in the same order"
                )
        positions = chunks[0].positions
        if isinstance(positions, int):
            positions += starts[0]
        elif positions is not None:
            positions = positions[starts[0] : starts[0] + step]
        return Chunk(matrices, ids[0], positions)


class StackedPool(SideBySide):
    """A committee in one ``.npy`` file, of shape (members, rows, classes).

    Parameters
    ----------
    array : Array
    """

    def __init__(self, array: Array) -> None:
        super().__init__([_OneFile(array.member(number)) for number in range(array.shape[0])])


class _OneFile(Pool):
    def __init__(self, array: Array) -> None:
        self.rows = array.rows
        self.string_ids = False
        self.parts = [NpyPart(array, 0, None)]


def _chunks(parts: Sequence[Part]) -> Generator[Chunk, None, None]:
    with closing(read(parts, readers=1)) as items:  # there is one for each member
        for part, item in items:
            if isinstance(item, Exception):
                raise item
            if item is not None:
                yield part.chunk(item)


def _count(parts: Sequence[Part]) -> int | None:
    rows = [part.rows for part in parts]
    return None if None in rows else sum(row or 0 for row in rows)


def _rows(chunk: Chunk | None) -> int:
    return 0 if chunk is None else len(chunk.matrix)


def _equal(one: Ids | None, other: Ids) -> bool:
    if one is None:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)
    (a, text), (b, more) = one, other
    return (
        count_ids(one) == count_ids(other)
        and np.array_equal(a - a[0], b - b[0])
        and np.array_equal(text[a[0] : a[-1]], more[b[0] : b[-1]])
    )
