"""What the page needs of whatever it labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pickwise.annotators.base import Kind, Task


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A row that is asked for, and who has answered it.

    Attributes
    ----------
    key : str
        That of its `Task`.
    round, rank : int
        Which round asks for it, and its place there; 0 is the best.
    overlap : int
        How many annotators shall answer.
    answered : frozenset of str
        Those who have.
    """

    key: str
    round: int
    rank: int
    overlap: int = 1
    answered: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What has changed since a look.

    Attributes
    ----------
    number : int
        Where the next look goes on from.
    whole : bool
        Whether `asked` is all that is asked, not only what has changed.
    asked : sequence of Asked
    about : mapping
        Where the project is: "round", "state", "next" and so on, as the page tells it.
    """

    number: int
    whole: bool
    asked: Sequence[Asked]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Given:
    """An answer as it comes from the page.

    Attributes
    ----------
    item : str
        The key of the task.
    key : str
        Different for each answer, and the same when it is sent again.
    """

    item: str
    key: str
    annotator: str
    kind: Kind = "label"
    label: Any = None
    seconds: float | None = None


class Refused(Exception):  # noqa: N818 - it is no error of the program
    """An answer that was not recorded, and why.

    Attributes
    ----------
    is_taken : bool
        Whether it is because others have answered.
    is_known : bool
        Whether it is because it was recorded before; what has become of it since stays as it is.
    """

    def __init__(self, why: str, *, is_taken: bool = False, is_known: bool = False) -> None:
        super().__init__(why)
        self.is_taken = is_taken
        self.is_known = is_known


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What an annotator has answered, to be looked at again."""

    task: Task
    kind: Kind
    label: Any


class Source(Protocol):
    """What is asked, and where answers go. Called from several threads."""

    def about(self) -> Mapping[str, Any]:
        """Tell what does not change while people label: "id", "name", "task", "overlap"."""

    def classes(self) -> tuple[Sequence[str], bool]:
        """Return the names of the classes, and whether others may come."""

    def look(self, since: int | None) -> Changes | None:
        """Tell what has changed since a look; everything if there was none, None if nothing has changed."""

    def tasks(self, keys: Sequence[str]) -> list[Task]:
        """Return tasks with what is to be looked at and what the model suggests; those of unknown keys are left out."""

    def record(self, answers: Sequence[Given]) -> list[Refused | None]:
        """Record answers, so that they survive whatever ends the process; tell of each why it was refused, or None."""

    def answered(self, annotator: str, most: int) -> list[Answered]:
        """Return what an annotator has answered last, the latest first."""


def row_of(key: str) -> tuple[int, str] | None:
    """Read the round and the row from the key of a task."""
    number, slash, row = key.partition("/")
    is_number = number.isascii() and number.isdigit() and len(number) < 9
    return (int(number), row) if slash and is_number else None
