"""Answers as they come in: into the log, and into what holds now; each once, however often it is delivered."""

from __future__ import annotations

import gc
import json
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import and_, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pickwise.loop.schema import asks, counts, events, rows, votes
from pickwise.loop.store import among, now, write_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection, Insert, Table

WITHDRAWN = "withdrawn"
"""The kind of an answer that takes back what was answered before."""

STANDING = votes.c.kind != WITHDRAWN
"""What votes are more than the note that there is none."""

LABELS = "label:"
"""What the names of totals of classes begin with."""

STEP = 20_000
"""Rows to a statement: enough to hide what a statement costs, and of no weight in memory."""


class Answer(NamedTuple):
    """An answer in the words of the tables."""

    key: str
    row: str
    kind: str
    label: str | None
    annotator: str
    version: float = 0.0
    seconds: float | None = None


@dataclass
class Recorded:
    """What came of answers.

    Attributes
    ----------
    new : int
        Answers that were not known before.
    repeated : int
        Answers that were, and changed nothing.
    superseded : int
        New ones that are older than what the annotator has said since.
    corrected : int
        New ones in the place of another answer of the same annotator.
    refused : list of str
        What is wrong with those that were refused.
    """

    new: int = 0
    repeated: int = 0
    superseded: int = 0
    corrected: int = 0
    refused: list[str] = field(default_factory=list)


def log(
    connection: Connection,
    kind: str,
    key: str,
    *,
    round: int | None = None,  # noqa: A002 - the field's word
    body: Any = None,
) -> bool:
    """Append an event, unless its key is there already; tell whether it was new."""
    if connection.scalar(select(events.c.number).where(events.c.key == key)) is not None:
        return False
    number = event_number(connection) + 1
    text = None if body is None else json.dumps(body, ensure_ascii=False)
    connection.execute(
        insert(events).values(number=number, key=key, kind=kind, at=now(connection), round=round, body=text)
    )
    add_counts(connection, {"events": 1})
    return True


def record(
    connection: Connection, answers: Iterable[Answer], *, overlap_of: Callable[[str], int], held_out: bool = False
) -> Recorded:
    """Record answers, in their order.

    Parameters
    ----------
    connection : Connection
        In a `Store.write` transaction.
    answers : iterable of Answer
    overlap_of : callable
        Tells how many answers a row needs, as `Settings.overlap_of`.
    held_out : bool
        Whether their rows are for evaluation alone; rows that are known stay what they are.

    Returns
    -------
    Recorded
    """
    done = Recorded()
    at = now(connection)
    coming = iter(answers)
    with _no_cycles():
        while some := list(islice(coming, STEP)):
            fresh = _log(connection, some, at, done)
            if fresh:
                first = event_number(connection) - len(fresh) + 1
                _Standing(connection, fresh, overlap_of, held_out).apply(first, done)
    return done


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Do not look for cycles of objects, of which there are none; it would take a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _log(connection: Connection, answers: Sequence[Answer], at: float, done: Recorded) -> list[Answer]:
    """Append answers to the log, and return those that were not in it."""
    known = set(
        connection.scalars(
            select(events.c.key).where(among(connection, events.c.key, [answer.key for answer in answers]))
        )
    )
    fresh: list[Answer] = []
    for answer in answers:
        if answer.key in known:
            done.repeated += 1
        else:
            known.add(answer.key)
            fresh.append(answer)
    done.new += len(fresh)
    before = event_number(connection)
    write_many(
        connection,
        insert(events),
        ("number", "key", "kind", "at", "row", "annotator", "body"),
        (
            (number, answer.key, answer.kind, at, answer.row, answer.annotator, answer.label)
            for number, answer in enumerate(fresh, before + 1)
        ),
    )
    add_counts(connection, {"events": len(fresh)})
    return fresh


class _Standing:
    """What holds of the rows that some answers are about, and what comes of the answers."""

    def __init__(
        self, connection: Connection, answers: Sequence[Answer], overlap_of: Callable[[str], int], held_out: bool
    ) -> None:
        self._connection = connection
        self._answers = answers
        self._overlap_of = overlap_of
        about = list(dict.fromkeys(answer.row for answer in answers))
        self._rows = {
            row: bool(is_held_out)
            for row, is_held_out in connection.execute(
                select(rows.c.row, rows.c.held_out).where(among(connection, rows.c.row, about))
            )
        }
        self._new_rows = [row for row in about if row not in self._rows]
        self._rows |= dict.fromkeys(self._new_rows, held_out)
        # A withdrawal is one of them, so that an older answer that is delivered after it does not count again.
        self._votes: dict[str, dict[str, tuple[Answer, int]]] = defaultdict(dict)
        if len(self._new_rows) < len(about):
            for found in connection.execute(select(votes).where(among(connection, votes.c.row, about))):
                answer = Answer("", found.row, found.kind, found.label, found.annotator, found.version, found.seconds)
                self._votes[found.row][found.annotator] = (answer, found.event)
        self._before = {row: dict(kept) for row, kept in self._votes.items()}
        self._delta: Counter[str] = Counter(rows=len(self._new_rows))
        if held_out:
            self._delta["held_out"] += len(self._new_rows)

    def apply(self, first: int, done: Recorded) -> None:
        """Let the answers hold, the first of which is the event `first`."""
        for number, answer in enumerate(self._answers, first):
            kept = self._votes[answer.row].get(answer.annotator)
            if kept is not None and answer.version < kept[0].version:
                done.superseded += 1
                continue
            done.corrected += kept is not None and kept[0].kind != WITHDRAWN
            self._votes[answer.row][answer.annotator] = (answer, number)
        changed = [
            (row, *kept)
            for row, holds in self._votes.items()
            for who, kept in holds.items()
            if row not in self._before or self._before[row].get(who) != kept
        ]
        self._delta.subtract(self._totals(self._before))
        self._delta.update(self._totals(self._votes))
        self._write_votes(changed)
        self._write_rows()
        self._finish_asks()
        add_counts(self._connection, self._delta)

    def _totals(self, votes_of: dict[str, dict[str, tuple[Answer, int]]]) -> Counter[str]:
        """Count answers, and of rows that are not held out how often each class is named."""
        total = Counter(answers=sum(_standing(answer) for held in votes_of.values() for answer, _ in held.values()))
        learnt = [
            [answer.label for answer, _ in held.values() if answer.kind == "label"]
            for row, held in votes_of.items()
            if not self._rows[row]
        ]
        total["labelled"] = sum(map(bool, learnt))
        for label, count in Counter(label for labels in learnt for label in labels).items():
            for name in classes_in(decode_label(label)):
                total[LABELS + encode_label(name)] += count
        return total

    def _write_votes(self, changed: list[tuple[str, Answer, int]]) -> None:
        write_many(
            self._connection,
            _upsert(self._connection, votes, ("row", "annotator")),
            ("row", "annotator", "kind", "label", "version", "event", "seconds"),
            (
                (row, answer.annotator, answer.kind, answer.label, answer.version, number, answer.seconds)
                for row, answer, number in changed
            ),
        )

    def _write_rows(self) -> None:
        values = []
        for row, is_held_out in self._rows.items():
            held = [answer for answer, _ in self._votes.get(row, {}).values() if _standing(answer)]
            values.append((row, int(is_held_out), len(held), sum(answer.kind == "label" for answer in held)))
        columns = ("row", "held_out", "answers", "labels")
        write_many(self._connection, _upsert(self._connection, rows, ("row",)), columns, values)

    def _finish_asks(self) -> None:
        """Note which rows have all the answers that a round has asked for, and which no longer."""
        found = self._connection.execute(
            select(asks.c.round, asks.c.row, asks.c.since, asks.c.state).where(
                among(self._connection, asks.c.row, list(self._rows)), asks.c.state != "recalled"
            )
        )
        changes = []
        for number, row, since, state in found:
            answers = sum(event > since and _standing(answer) for answer, event in self._votes.get(row, {}).values())
            now_is = "done" if answers >= self._overlap_of(row) else "open"
            if now_is != state:
                changes.append({"n": number, "r": row, "s": now_is})
                self._delta[f"done:{number}"] += 1 if now_is == "done" else -1
        if changes:
            condition = and_(asks.c.round == bindparam("n"), asks.c.row == bindparam("r"))
            self._connection.execute(update(asks).where(condition).values(state=bindparam("s")), changes)


def add_counts(connection: Connection, delta: dict[str, int]) -> None:
    """Add to totals."""
    values = [{"name": name, "count": count} for name, count in delta.items() if count]
    if values:
        maker = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        made = maker(counts)
        connection.execute(
            made.on_conflict_do_update(index_elements=["name"], set_={"count": counts.c.count + made.excluded.count}),
            values,
        )


def read_counts(connection: Connection) -> dict[str, int]:
    """Read all totals."""
    return {row[0]: row[1] for row in connection.execute(select(counts.c.name, counts.c.count))}


@lru_cache(maxsize=1 << 16)
def _as_text(label: Any) -> str:
    return json.dumps(label, ensure_ascii=False)


def encode_label(label: Any) -> str:
    """Write a label as text: the name of a class, a list of them, or a number."""
    return json.dumps(list(label), ensure_ascii=False) if isinstance(label, (list, tuple)) else _as_text(label)


@lru_cache(maxsize=1 << 16)
def _of_text(text: str) -> Any:
    return json.loads(text)


def decode_label(text: str | None) -> Any:
    """Read a label."""
    return None if text is None else _of_text(text)


def classes_in(label: Any) -> Sequence[Any]:
    """Return the classes that a label names: one, those of a list, or none for a number to be predicted."""
    if isinstance(label, float):
        return ()
    return label if isinstance(label, list) else (label,)


def _standing(answer: Answer) -> bool:
    """Whether it is more than the note that there is none."""
    return answer.kind != WITHDRAWN


def event_number(connection: Connection) -> int:
    """Tell how many events there are."""
    return int(connection.scalar(select(counts.c.count).where(counts.c.name == "events")) or 0)


def _upsert(connection: Connection, table: Table, keys: Sequence[str]) -> Insert:
    """Insert rows, or change those that are there."""
    maker = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    made = maker(table)
    others = {column.name: made.excluded[column.name] for column in table.columns if column.name not in keys}
    return made.on_conflict_do_update(index_elements=list(keys), set_=others)
