"""Answers: checked, recorded, and merged into labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from pickwise.annotators.base import KINDS, Annotation
from pickwise.loop.history import State
from pickwise.loop.ledger import Answer, Recorded, decode_label, encode_label, record
from pickwise.loop.merging import Merged, Votes, merge
from pickwise.loop.rounds import advance, known_among, read_asks, read_rounds
from pickwise.loop.schema import asks, rows, votes
from pickwise.loop.store import among, get_fact, set_fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from pickwise.annotators.base import RowId
    from pickwise.loop.context import Context

# Names of rows in a message.
_NAMED = 3


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
    """

    ids: list[RowId]
    merged: Merged
    votes: Votes


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
            total = _sum(total, _record(context, connection, found))
            set_fact(connection, "cursor", following)
        if not found:
            return total


def record_annotations(context: Context, found: Sequence[Annotation]) -> Recorded:
    """Record answers that did not come from the project's annotator."""
    with context.store.write() as connection:
        return _record(context, connection, found)


def _record(context: Context, connection: Connection, found: Sequence[Annotation]) -> Recorded:
    """Record what can be, and tell what is wrong with the rest."""
    about = {str(each.id) for each in found}
    known = known_among(connection, about)
    answers, refused = [], []
    for each in found:
        try:
            row = context.as_row(each.id)
            if row not in known:
                raise ValueError(f"ids: expected a row that was asked for, got {each.id!r}")  # noqa: TRY301
            answers.append(_answer(context, each, row))
        except (ValueError, TypeError) as error:
            refused.append(f"{each.key}: {error}")
    done = record(connection, answers, overlap=context.settings.overlap)
    done.refused += refused
    for each_round in read_rounds(connection):
        if each_round.state is State.asked and _is_about(connection, each_round.number, answers):
            advance(connection, each_round.number, State.collecting)
    return done


def _is_about(connection: Connection, number: int, answers: Sequence[Answer]) -> bool:
    """Whether some answer is about a row that a round asks for."""
    inside = among(connection, asks.c.row, [answer.row for answer in answers])
    return connection.scalar(select(asks.c.row).where(asks.c.round == number, inside).limit(1)) is not None


def _answer(context: Context, each: Annotation, row: str) -> Answer:
    if each.kind not in KINDS:
        raise ValueError(f"kind: expected {', '.join(KINDS)}, got {each.kind!r}")
    label = encode_label(checked_label(context, each.label)) if each.kind == "label" else None
    if not math.isfinite(each.version):
        raise ValueError(f"version: expected a finite number, got {each.version}")
    return Answer(each.key, row, each.kind, label, each.annotator, float(each.version), each.seconds)


def checked_label(context: Context, label: Any) -> Any:
    """Return a label as JSON can hold it.

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
        return sorted({_class(settings.classes, each) for each in label}, key=str)
    return _class(settings.classes, label)


def _class(classes: tuple[str | int, ...] | None, label: Any) -> Any:
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, bool) or not isinstance(label, (str, int)):
        raise TypeError(f"labels: expected the name of a class, str or int, got {label!r}")
    if classes is not None and label not in classes:
        # Files differ in whether they have numbers or text, and classes are all of one type.
        same = [name for name in classes if str(name) == str(label)]
        if same:
            return same[0]
        from difflib import get_close_matches

        close = get_close_matches(str(label), map(str, classes), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        shown = ", ".join(map(repr, classes[:10])) + (" …" if len(classes) > 10 else "")
        raise ValueError(f"labels: no class is called {label!r}{hint} The classes are {shown}")
    return label


def given(context: Context, labels: Any) -> dict[str, str]:
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
    seen: dict[str, str] = {}
    for name, label in pairs:
        row = context.as_row(name.item() if isinstance(name, np.generic) else name)
        try:
            text = encode_label(checked_label(context, label))
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
        For "crowdlab": gives the model's probabilities of rows, by their ids, with a column for each of some classes.
    """
    with context.store.read() as connection:
        found = connection.execute(
            select(votes.c.row, votes.c.annotator, votes.c.kind, votes.c.label, votes.c.seconds)
            .join(rows, rows.c.row == votes.c.row)
            .where(rows.c.held_out == int(held_out))
        ).all()
    names = context.in_order({each.row for each in found})
    place = {name: number for number, name in enumerate(names)}
    heard = Votes(
        np.array([place[each.row] for each in found], np.int64),
        np.array([each.annotator for each in found], dtype=object),
        _objects([decode_label(each.label) for each in found]),
        np.array([each.kind for each in found], dtype=object),
        np.array([np.nan if each.seconds is None else each.seconds for each in found], np.float64),
    )
    settings = context.settings
    classes = settings.classes or seen_classes(heard, settings.task)
    given_p = None
    if settings.merge == "crowdlab" and probabilities is not None:
        given_p = probabilities([context.as_id(name) for name in names], classes)
    merged = merge(
        heard,
        classes,
        task=settings.task,
        method=None if settings.task != "multiclass" else settings.merge,
        probabilities=given_p,
    )
    return Labelled([context.as_id(names[row]) for row in merged.rows.tolist()], merged, heard)


def answered_rows(connection: Connection) -> set[str]:
    """Read the rows that have answers and are not held out."""
    inside = select(rows.c.row).where(rows.c.held_out == 0, rows.c.answers > 0)
    return set(connection.scalars(inside))


def seen_classes(heard: Votes, task: str) -> list[Any] | None:
    """Return the classes that occur, sorted."""
    if task == "regression":
        return None
    labels = [label for label in heard.labels.tolist() if label is not None]
    names = {name for label in labels for name in label} if task == "multilabel" else set(labels)
    return sorted(names, key=lambda name: (isinstance(name, str), name)) or None


def open_asks(connection: Connection) -> dict[int, list[Any]]:
    """Read what rounds still wait for."""
    waiting = (State.planned, State.asked, State.collecting)
    return {
        each.number: read_asks(connection, each.number, "open")
        for each in read_rounds(connection)
        if each.state in waiting
    }


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _sum(one: Recorded, other: Recorded) -> Recorded:
    return Recorded(
        one.new + other.new,
        one.repeated + other.repeated,
        one.superseded + other.superseded,
        one.corrected + other.corrected,
        one.refused + other.refused,
    )
