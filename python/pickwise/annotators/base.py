"""The one protocol by which rows reach whoever labels them, and answers come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RowId: TypeAlias = "int | str"
"""How a row is known."""

Kind: TypeAlias = Literal["label", "skip", "abstain", "none_of_these", "withdrawn"]
"""What an answer is.

"label" has one; "skip" leaves the row to somebody else or to later; "abstain" says that this annotator cannot tell;
"none_of_these" that the row is in no class; "withdrawn" takes back what the annotator answered before.
"""

KINDS: tuple[Kind, ...] = ("label", "skip", "abstain", "none_of_these", "withdrawn")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A row to be labelled.

    Attributes
    ----------
    key : str
        The same for the same row of the same round, however often it is pushed.
    id : int or str
        The row.
    round : int
        The round that asks for it.
    rank : int
        Its place in the selection: 0 is the best.
    score : float
        What it was selected by; higher = more worth labelling.
    why : str
        Why it was selected: "selected", "relabel", "new region", or "initial".
    data : object
        What is to be looked at: a text, a path, a mapping of columns; None where the pool has nothing to show.
    suggestions : mapping of str to float
        The most probable classes, as the model sees it; empty without one.
    overlap : int
        How many annotators shall answer.
    """

    key: str
    id: RowId
    round: int
    rank: int
    score: float
    why: str = "selected"
    data: Any = None
    suggestions: Mapping[str, float] = field(default_factory=dict)
    overlap: int = 1


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What an annotator says about a row.

    Attributes
    ----------
    key : str
        Different for each event, and the same when an event is delivered again: the tool, the annotation and its
        version.
    id : int or str
        The row.
    kind : {"label", "skip", "abstain", "none_of_these", "withdrawn"}
        What it is.
    label : object
        Of kind "label" the name of a class; of several labels a list of them; a number in regression.
    annotator : str
        Who answers.
    version : float
        Of two events of one annotator about one row the one with the higher version holds, and of equal ones the later
        one: for instance the second at which the tool stored it.
    seconds : float, optional
        How long it took to answer.
    """

    key: str
    id: RowId
    kind: Kind = "label"
    label: Any = None
    annotator: str = "annotator"
    version: float = 0.0
    seconds: float | None = None


@runtime_checkable
class Annotator(Protocol):
    """Who answers: people behind a tool, a function, or known labels.

    One that is told of answers may have a method ``wait(seconds)``, which returns as soon as there are some, or after
    so many seconds; a project that looks for answers every so often calls it in between.

    Attributes
    ----------
    remembers : bool
        Whether tasks outlive this process. Where they do not they are pushed again before answers are collected.
    """

    remembers: bool

    def push(self, tasks: Sequence[Task]) -> None:
        """Ask for labels. Tasks whose key is known already are left as they are."""

    def poll(self, cursor: str | None) -> tuple[Sequence[Annotation], str | None]:
        """Fetch what was answered since a cursor, None at the beginning, and the cursor to go on from."""

    def recall(self, keys: Sequence[str]) -> None:
        """Take back tasks, by key, that nobody has answered yet; unknown ones are fine."""

    def close(self) -> None:
        """Let go of connections and files."""
