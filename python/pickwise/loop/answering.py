"""Answers: checked, recorded, and merged into labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sqlalchemy import select

from pickwise.annotators.base import KINDS, Annotation
from pickwise.arrays import as_objects
from pickwise.loop.history import State
from pickwise.loop.ledger import (
    LABELS,
    STANDING,
    Answer,
    Recorded,
    classes_in,
    decode_label,
    encode_label,
    read_counts,
    record,
)
from pickwise.loop.merging import Merged, Votes, merge
from pickwise.loop.rounds import advance, known_among, read_asks, read_rounds
from pickwise.loop.schema import asks, rounds, rows, votes
from pickwise.loop.store import among, get_fact, is_storable, set_fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from pickwise.annotators.base import RowId
    from pickwise.loop.context import Context


@dataclass(frozen=True)
class Labelled:
    """Rows with one label each.

    Attributes
    ----------
    ids : list of int or str
        Ascending.
    merged : Merged
        Their labels, in the same order.
    votes : Votes
        What they were merged from.
    heard : list of int or str
        The rows of the votes by their numbers there: of all answers, also of those that are no labels. Ascending.
    """

    ids: list[RowId]
    merged: Merged
    votes: Votes
    heard: list[RowId]

    @property
    def learnable(self) -> tuple[list[RowId], NDArray[np.object_]]:
        """The rows that a model may learn from, and their labels: without those that are in no class."""
        taken = self.merged.is_label
        ids = [name for name, is_label in zip(self.ids, taken.tolist(), strict=True) if is_label]
        return ids, self.merged.labels[taken]


def collect(context: Context) -> Recorded:
    """Fetch what the annotator has answered, and record it; nothing is lost in between, or counted twice."""
    annotator = context.annotator
    total = Recorded()
    if annotator is None:
        return total
    while True:
        with context.store.read() as connection:
            cursor = get_fact(connection, "cursor")
        found, following = annotator.poll(cursor)
        if not found and following == cursor:
            return total
        with context.store.write() as connection:
            total = _sum(total, record_within(context, connection, found))
            set_fact(connection, "cursor", following)
        if not found:
            return total


def record_annotations(context: Context, found: Sequence[Annotation]) -> Recorded:
    """Record answers that did not come from the project's annotator."""
    with context.store.write() as connection:
        return record_within(context, connection, found)


def record_within(context: Context, connection: Connection, found: Sequence[Annotation]) -> Recorded:
    """Record what can be, and tell what is wrong with the rest."""
    names = class_names(context, connection)
    read = [_read(context, names, each) for each in found]
    known = known_among(connection, {answer.row for answer in read if isinstance(answer, Answer)})
    answers, refused = [], []
    for each, answer in zip(found, read, strict=True):
        if not isinstance(answer, Answer):
            refused.append(f"{each.key}: {answer}")
        elif answer.row not in known:
            refused.append(f"{each.key}: ids: expected a row that was asked for, got {each.id!r}")
        else:
            answers.append(answer)
    done = record(connection, answers, overlap_of=context.settings.overlap_of)
    done.refused += refused
    for number in list(connection.scalars(select(rounds.c.number).where(rounds.c.state == State.asked))):
        if _is_about(connection, number, answers):
            advance(connection, number, State.collecting)
    return done


def _is_about(connection: Connection, number: int, answers: Sequence[Answer]) -> bool:
    """Whether some answer is about a row that a round asks for."""
    inside = among(connection, asks.c.row, [answer.row for answer in answers])
    return connection.scalar(select(asks.c.row).where(asks.c.round == number, inside).limit(1)) is not None


def _read(context: Context, names: Names, each: Annotation) -> Answer | str:
    """Read an answer, or tell what is wrong with it: what no database takes would hold up all others."""
    try:
        row, key, annotator = context.as_row(each.id), _text(each.key, "key"), _text(each.annotator, "annotator")
        if each.kind not in KINDS:
            raise ValueError(f"kind: expected {', '.join(KINDS)}, got {each.kind!r}")  # noqa: TRY301
        label = encode_label(checked_label(context, names, each.label)) if each.kind == "label" else None
        version = _finite(each.version, "version")
        seconds = None if each.seconds is None else _finite(each.seconds, "seconds")
    except (ValueError, TypeError) as error:
        return str(error)
    return Answer(key, row, each.kind, label, annotator, version, seconds)


def _text(text: Any, name: str) -> str:
    if not isinstance(text, str) or not is_storable(text):
        raise TypeError(f"{name}: expected text in UTF-8 without NUL, got {text!r}")
    return str(text)


def _finite(number: Any, name: str) -> float:
    if isinstance(number, (str, bool)) or not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number!r}")
    return float(number)


Names: TypeAlias = dict[str, "str | int"]
"""The classes that there are, by what they are called as text."""


def class_names(context: Context, connection: Connection) -> Names:
    """Return the classes that were named at the beginning, or else those that labels have named so far."""
    if context.settings.classes is not None:
        return {str(name): name for name in context.settings.classes}
    seen = (name.removeprefix(LABELS) for name in read_counts(connection) if name.startswith(LABELS))
    return {str(name): name for name in map(decode_label, seen)}


def checked_label(context: Context, names: Names, label: Any) -> Any:
    """Return a label as JSON can hold it.

    Parameters
    ----------
    context : Context
    names : dict of str to str or int
        The classes. Where none were named at the beginning new ones are added.
    label : object

    Raises
    ------
    ValueError, TypeError
        For a class that is none, or a label of another kind than those of the task.
    """
    label = label.item() if isinstance(label, np.generic) else label
    settings = context.settings
    if settings.task == "regression":
        if isinstance(label, bool) or not isinstance(label, (int, float)) or not math.isfinite(label):
            raise ValueError(f"labels: expected a finite number, got {label!r}")
        return float(label)
    if settings.task == "multilabel":
        if isinstance(label, str) or not hasattr(label, "__iter__"):
            raise TypeError(f"labels: expected a list of classes, got {label!r}")
        return sorted({_class(names, each, settings.classes) for each in label}, key=str)
    return _class(names, label, settings.classes)


def _class(names: Names, label: Any, declared: Sequence[Any] | None) -> str | int:
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, bool) or not isinstance(label, (str, int)):
        raise TypeError(f"labels: expected the name of a class, str or int, got {label!r}")
    # Files differ in whether they have numbers or text, and 1 and "1" are one class.
    known = names.get(str(label))
    if known is not None:
        return known
    if declared is not None:
        from difflib import get_close_matches

        close = get_close_matches(str(label), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        shown = ", ".join(map(repr, declared[:10])) + (" …" if len(declared) > 10 else "")
        raise ValueError(f"labels: no class is called {label!r}{hint} The classes are {shown}")
    if not is_storable(str(label)):
        raise ValueError(f"labels: expected text in UTF-8 without NUL, got {label!r}")
    return names.setdefault(str(label), label)


def given(context: Context, connection: Connection, labels: Any) -> dict[str, str]:
    """Read labels that somebody hands over, a mapping of ids, or a pair of ids and labels, as the tables have them.

    Raises
    ------
    ValueError
        For a row that has two different ones, and for what is no label.
    """
    pairs: Iterable[tuple[Any, Any]]
    if hasattr(labels, "items"):
        pairs = labels.items()
    else:
        ids, values = labels
        ids, values = _listed(ids), _listed(values)
        if len(ids) != len(values):
            raise ValueError(f"labels: expected {len(ids)}, one for each of the ids, got {len(values)}")
        pairs = zip(ids, values, strict=True)
    names = class_names(context, connection)
    seen: dict[str, str] = {}
    for name, label in pairs:
        row = context.as_row(name.item() if isinstance(name, np.generic) else name)
        try:
            text = encode_label(checked_label(context, names, label))
        except (ValueError, TypeError) as error:
            error.add_note(f"labels: it is that of row {name!r}; nothing was recorded")
            raise
        if seen.setdefault(row, text) != text:
            raise ValueError(f"labels: expected one for each row, got {seen[row]} and {text} for row {name!r}")
    return seen


def _listed(values: Any) -> list[Any]:
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return list(listed)


def labelled(context: Context, *, held_out: bool = False, probabilities: Any = None) -> Labelled:
    """Merge the votes about all rows, those that are held out or the others.

    Parameters
    ----------
    context : Context
    held_out : bool
        Which rows.
    probabilities : callable, optional
        For "crowdlab": takes the rows as they are labelled without a model, and classes, and returns what a model says
        of ``heard``, with a column for each class; or None, and they stay so.
    """
    with context.store.read() as connection:
        found = connection.execute(
            select(votes.c.row, votes.c.annotator, votes.c.kind, votes.c.label, votes.c.seconds)
            .join(rows, rows.c.row == votes.c.row)
            .where(rows.c.held_out == int(held_out), STANDING)
        ).all()
    names = context.in_order({each.row for each in found})
    ids = [context.as_id(name) for name in names]
    place = {name: number for number, name in enumerate(names)}
    heard = Votes(
        np.array([place[each.row] for each in found], np.int64),
        np.array([each.annotator for each in found], dtype=object),
        as_objects([decode_label(each.label) for each in found]),
        np.array([each.kind for each in found], dtype=object),
        np.array([np.nan if each.seconds is None else each.seconds for each in found], np.float64),
    )
    known = _labelled(context, heard, ids)
    if probabilities is None or context.settings.merge != "crowdlab":
        return known
    return weighed(context, known, probabilities(known, classes_of(context, heard)))


def weighed(context: Context, known: Labelled, probabilities: NDArray[np.float64] | None) -> Labelled:
    """Merge the votes again by what a model says of ``heard``; there is nothing to do unless by "crowdlab"."""
    if probabilities is None or context.settings.merge != "crowdlab":
        return known
    return _labelled(context, known.votes, known.heard, probabilities)


def _labelled(context: Context, heard: Votes, ids: list[RowId], probabilities: Any = None) -> Labelled:
    settings = context.settings
    merged = merge(
        heard,
        classes_of(context, heard),
        task=settings.task,
        method=None if settings.task != "multiclass" else settings.merge,
        probabilities=probabilities,
    )
    return Labelled([ids[row] for row in merged.rows.tolist()], merged, heard, ids)


def classes_of(context: Context, heard: Votes) -> Sequence[Any] | None:
    """Return the classes that were named at the beginning, or else those that occur."""
    return context.settings.classes or seen_classes(heard, context.settings.task)


def seen_classes(heard: Votes, task: str) -> list[Any] | None:
    """Return the classes that occur, sorted."""
    if task == "regression":
        return None
    labels = [label for label in heard.labels.tolist() if label is not None]
    names = {name for label in labels for name in classes_in(label)}
    return sorted(names, key=lambda name: (isinstance(name, str), name)) or None


def open_asks(connection: Connection) -> dict[int, list[Any]]:
    """Read what rounds still wait for."""
    return {
        each.number: read_asks(connection, each.number, "open")
        for each in read_rounds(connection)
        if each.state.is_open
    }


def _sum(one: Recorded, other: Recorded) -> Recorded:
    return Recorded(
        one.new + other.new,
        one.repeated + other.repeated,
        one.superseded + other.superseded,
        one.corrected + other.corrected,
        one.refused + other.refused,
    )
