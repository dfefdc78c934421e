"""The seam between selections and the engines that run them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pickwise.options import Invalid
    from pickwise.pools import Chunk, Part
    from pickwise.report import Report
    from pickwise.result import Cover
    from pickwise.strategies import KCenter


class Reducing(Protocol):
    """The mergeable state of a selection, as engines see it. It pickles."""

    def merge(self, other: Self) -> None:
        """Take all that another has taken."""

    def to_bytes(self) -> bytes:
        """Return all of the state."""

    @staticmethod
    def from_bytes(data: bytes) -> Any:
        """Read it back."""

    def condense(self) -> None:
        """Make the state small to send, even if it is no longer exact."""

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo all that follows."""

    def restore(self, snapshot: Any) -> None:
        """Go back to what was so when the snapshot was taken."""


R = TypeVar("R", bound=Reducing)


class Intake(Protocol):
    """How a reducer takes the chunks of a pool. It pickles where the pool can be read elsewhere."""

    def __call__(
        self, reducer: Any, part: Part, chunk: Chunk, seen: Report, report: Callable[[int], object] | None
    ) -> None:
        """Take a chunk, and note in `seen` what was seen."""


class Engine(ABC):
    """Runs a reducer over the parts of a pool.

    Attributes
    ----------
    is_exact : bool
        Whether rows that are far apart are picked by `cover`, not by a reducer.
    """

    is_exact: bool = False

    @contextmanager
    def connected(self, parts: Sequence[Part]) -> Iterator[Any]:  # noqa: ARG002 - what an engine may look at
        """Make ready for several passes over some parts, and leave everything as it was found."""
        yield

    @abstractmethod
    def reduce(
        self,
        reducer: R,
        parts: Sequence[Part],
        intake: Intake,
        *,
        ahead: bool,
        skip_failed: bool,
        report: Callable[[int], object] | None,
        at_end: Callable[[Sequence[Part], R, Report], object] | None,
        begun: R | None = None,
    ) -> tuple[R, Report]:
        """Let a reducer take all rows.

        Parameters
        ----------
        reducer : Reducing
            One that has taken nothing yet.
        parts : sequence of Part
        intake : Intake
        ahead : bool
            Whether parts may be read in a thread of their own.
        skip_failed : bool
            Whether a part that cannot be read to its end is left out as a whole.
        report : callable or None
            Called with the number of rows done, those that were left out included.
        at_end : callable or None
            Called with parts that have been taken to their end, the reducer and what was seen so far.
        begun : Reducing, optional
            The same after rows of other parts, to go on from.

        Returns
        -------
        Reducing, Report
            The reducer that has taken all rows, and what was seen.
        """

    def cover(
        self,
        strategy: KCenter,
        k: int,
        parts: Sequence[Part],
        intake: Intake,
        *,
        exclude_ids: Any,
        labelled: Any,
        invalid: Invalid,
        clip: bool,
        skip_failed: bool,
    ) -> tuple[Cover, Report]:
        """Pick rows by exact k-center, as `pickwise.k_center` would of all rows in one matrix.

        Parameters
        ----------
        parts : sequence of Part
            Of files, whose embeddings fit into the memory of the engine together.
        intake : Intake
        exclude_ids, labelled, invalid, clip
            As in `pickwise.select`.
        skip_failed : bool
            As in `reduce`.

        Raises
        ------
        NotImplementedError
            Unless the engine says that it `is_exact`; no other is asked.
        """
        raise NotImplementedError(f"cover: {type(self).__name__} picks no rows by itself, so it must not be is_exact")
