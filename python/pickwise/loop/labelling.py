"""What the page for labelling needs of a project: its open rows, what is seen of them, and where answers go."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pickwise.annotators.base import Annotation, Task
from pickwise.annotators.page.source import Answered, Asked, Changes, Refused, row_of
from pickwise.loop import answering, training
from pickwise.loop.carried import shown as shown_rows
from pickwise.loop.data import open_data
from pickwise.loop.driving import task_key
from pickwise.loop.history import State
from pickwise.loop.ledger import STANDING, decode_label, event_number
from pickwise.loop.models import as_loop_model
from pickwise.loop.rounds import read_asks, read_rounds
from pickwise.loop.schema import asks, events, votes
from pickwise.loop.settings import found_path
from pickwise.loop.store import among, get_fact, now
from pickwise.loop.tables import read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from pickwise.annotators.page.source import Given
    from pickwise.loop.context import Context
    from pickwise.loop.data import PoolData

# Events that are no answers begin or end rounds, and change which rows are asked for.
_OF_ROUNDS = {str(state) for state in State}


class Labelling:
    """A project as the page for labelling sees it. Safe to call from several threads.

    Parameters
    ----------
    context : Context
        Of a project that is opened or joined. Where it has no pool, as a joined one, the one in ``project.toml`` is
        read, and the model that was kept last.
    show : sequence of str, optional
        Columns of the pool that people look at, by default those that the model learns from.

    Attributes
    ----------
    unseen : str
        Why there is nothing to look at of any row; "" where there is.
    """

    def __init__(self, context: Context, *, show: Sequence[str] | None = None) -> None:
        is_joined = context.data is None and context.model is None
        self._is_joined = is_joined
        self._data = _columns(context, show) if show else None
        self._context, self.unseen = _with_pool(context) if is_joined else (context, "")
        self._predicts = Lock()

    def about(self) -> dict[str, Any]:
        """Tell what does not change while people label."""
        settings = self._context.settings
        with self._context.store.read() as connection:
            identity = get_fact(connection, "id")
        return {"id": identity, "name": settings.name, "task": settings.task, "overlap": settings.overlap}

    def classes(self) -> tuple[list[str], bool]:
        """Return the names of the classes, and whether others may come."""
        if self._context.settings.task == "regression":
            return [], False
        with self._context.store.read() as connection:
            names = answering.class_names(self._context, connection)
        is_open = self._context.settings.classes is None
        return sorted(names) if is_open else list(names), is_open

    def look(self, since: int | None) -> Changes | None:
        """Tell what has changed since a look; everything if there was none, None if nothing has changed."""
        with self._context.store.read() as connection:
            number = event_number(connection)
            if number == since:
                return None
            touched = None if since is None else _touched(connection, since)
            if touched is None:
                rounds = [each.number for each in read_rounds(connection) if each.state.awaits_answers]
                found = [ask for number in rounds for ask in read_asks(connection, number) if ask.state != "recalled"]
            else:
                found = list(connection.execute(select(asks).where(among(connection, asks.c.row, touched))))
            heard = _votes_of(connection, [each.row for each in found] if touched is None else touched)
        overlap_of = self._context.settings.overlap_of
        asked = [
            Asked(
                key=task_key(each.round, each.row),
                round=each.round,
                rank=each.rank,
                overlap=overlap_of(each.row),
                answered=frozenset(who for who, event in heard.get(each.row, ()) if event > each.since),
            )
            for each in found
        ]
        return Changes(number=number, whole=touched is None, asked=asked, about=self._where())

    def tasks(self, keys: Sequence[str]) -> list[Task]:
        """Return tasks with what is to be looked at and what the model suggests; those of unknown keys are left out."""
        wanted = dict.fromkeys(keys)
        with self._context.store.read() as connection:
            found = [each for each in _asks_of(connection, keys) if task_key(each.round, each.row) in wanted]
        ids = [self._context.as_id(each.row) for each in found]
        shown, suggested = self._shown(ids), self._suggestions(ids)
        made = {
            task_key(each.round, each.row): Task(
                key=task_key(each.round, each.row),
                id=name,
                round=each.round,
                rank=each.rank,
                score=each.score or 0.0,
                why=each.why,
                data=data,
                suggestions=classes,
                overlap=self._context.settings.overlap_of(each.row),
            )
            for each, name, data, classes in zip(found, ids, shown, suggested, strict=True)
        }
        return [made[key] for key in keys if key in made]

    def record(self, answers: Sequence[Given]) -> list[Refused | None]:
        """Record answers in one transaction; tell of each why it was refused, or None.

        Whether there is room for an answer is looked at in the same transaction, so that no row is answered by more
        people than asked for, however many pages there are.
        """
        with self._context.store.write() as connection:
            outcomes = self._record(connection, answers)
            # Where an answer has taken a place and was then found to be none, those after it have it.
            again = [place for place, each in enumerate(outcomes) if each is not None and each.is_taken]
            if again and any(each is not None and not (each.is_taken or each.is_known) for each in outcomes):
                anew = self._record(connection, [answers[place] for place in again])
                for place, outcome in zip(again, anew, strict=True):
                    outcomes[place] = outcome
        return outcomes

    def answered(self, annotator: str, most: int) -> list[Answered]:
        """Return what an annotator has answered last, the latest first."""
        with self._context.store.read() as connection:
            recent = connection.scalars(
                select(events.c.row)
                .where(events.c.annotator == annotator)
                .order_by(events.c.number.desc())
                .limit(4 * most)
            )
            names = list(dict.fromkeys(recent))
            found = connection.execute(
                select(votes).where(among(connection, votes.c.row, names), votes.c.annotator == annotator, STANDING)
            )
            held = {each.row: each for each in found}
            rows = [row for row in names if row in held][:most]
            rounds = {
                each.row: each.round
                for each in connection.execute(
                    select(asks).where(among(connection, asks.c.row, rows)).order_by(asks.c.round)
                )
            }
        keys = [task_key(rounds[row], row) for row in rows if row in rounds]
        return [
            Answered(task=task, kind=held[row].kind, label=decode_label(held[row].label))
            for task in self.tasks(keys)
            for row in [self._context.as_row(task.id)]
        ]

    def _record(self, connection: Connection, answers: Sequence[Given]) -> list[Refused | None]:
        """Record those answers that there is room for."""
        keys = [_event_key(each) for each in answers]
        room = _Room(connection, answers, self._context.settings.overlap_of)
        known = set(connection.scalars(select(events.c.key).where(among(connection, events.c.key, keys))))
        repeated = Refused("it was recorded before", is_known=True)
        outcomes = [repeated if key in known else room.refusal(each) for key, each in zip(keys, answers, strict=True)]
        # By the clock of the database, which never goes back, so that the later answer holds whoever has recorded it.
        at = now(connection)
        taken = {
            key: self._annotation(each, key, at)
            for key, each, refusal in zip(keys, answers, outcomes, strict=True)
            if refusal is None
        }
        # The same as `record_annotations` does, in the transaction that has looked for room.
        done = answering.record_within(self._context, connection, list(taken.values()))
        for place, key in enumerate(keys):
            why = next((text for text in done.refused if text.startswith(f"{key}: ")), None)
            if why is not None:
                outcomes[place] = Refused(why.removeprefix(f"{key}: "))
        return outcomes

    def _annotation(self, given: Given, key: str, at: float) -> Annotation:
        place = row_of(given.item)
        assert place is not None  # noqa: S101 - looked at before
        return Annotation(
            key=key,
            id=self._context.as_id(place[1]),
            kind=given.kind,
            label=given.label,
            annotator=given.annotator,
            version=at,
            seconds=given.seconds,
        )

    def _where(self) -> dict[str, Any]:
        found = read_status(self._context)
        return {"round": found.round, "state": found.state, "next": found.next, "labelled": found.labelled}

    def _shown(self, ids: Sequence[Any]) -> list[Any]:
        data = self._data or self._context.data
        if data is None or not ids:
            return [None] * len(ids)
        try:
            return shown_rows(self._context.folder, data, ids)
        except (ValueError, KeyError, OSError):
            return self._shown_of_those_left(data, ids)

    def _shown_of_those_left(self, data: PoolData, ids: Sequence[Any]) -> list[Any]:
        """Show what is there: rows that are no longer in the pool, or all if it cannot be read, are known by ids."""
        with suppress(ValueError, KeyError, OSError):
            gone = set(data.unknown(ids))
            inside = [name for name in ids if name not in gone]
            found = dict(zip(inside, data.shown(inside), strict=True))
            return [found.get(name) for name in ids]
        return [None] * len(ids)

    def _suggestions(self, ids: Sequence[Any]) -> list[dict[str, float]]:
        """Ask the model, unless it cannot tell now; people label without it."""
        with self._predicts:
            try:
                if self._is_joined:
                    self._take_model()
                return training.suggestions(self._context, ids)
            except Exception:  # noqa: BLE001 - models are code of the user, and may be learning at this moment
                return [{} for _ in ids]

    def _take_model(self) -> None:
        """Read the model that was kept last, where it is another one than before."""
        context = self._context
        with context.store.read() as connection:
            trained = [each.number for each in read_rounds(connection) if each.model is not None]
        if context.settings.model is None or not trained or trained[-1] == context.model_round:
            return
        context.model = as_loop_model(context.settings.model, context.settings.task)
        name = f"round-{trained[-1]:04}"
        about = context.models.describe(name)
        if about["saved"] and all(kind.startswith("sklearn.") for kind in about["untrusted"]):
            context.models.load(name, into=context.model, trusted=about["untrusted"])
            context.model_round = trained[-1]


def _with_pool(context: Context) -> tuple[Context, str]:
    """Read the pool that is written down in the settings, and tell why it cannot be."""
    settings = context.settings
    path = found_path(context.folder, settings.pool)
    data: PoolData | None = None
    why = (
        "the pool is in the memory of the process that has made the project; serve the page there, with "
        "project.label(), or make the project of a pool in files"
    )
    if path is not None:
        try:
            data, why = open_data(path, id=settings.id, columns=settings.columns), ""
        except (OSError, ValueError) as error:
            why = f"the pool cannot be read ({error}); change 'pool' in project.toml if it is elsewhere now"
    return replace(context, data=data, embeddings=found_path(context.folder, settings.embeddings)), why


def _columns(context: Context, show: Sequence[str]) -> PoolData:
    """Open the pool again, with the columns that people look at."""
    settings = context.settings
    path = found_path(context.folder, settings.pool)
    if path is None or settings.id is None:
        raise ValueError("show: expected a pool that is a table in files, whose columns could be shown")
    return open_data(path, id=settings.id, columns=show)


def _event_key(given: Given) -> str:
    return f"page:{given.item}:{given.annotator}:{given.key}"


class _Room:
    """Which rows have room for one more answer."""

    def __init__(self, connection: Connection, answers: Sequence[Given], overlap_of: Callable[[str], int]) -> None:
        self._overlap_of = overlap_of
        found = _asks_of(connection, [each.item for each in answers])
        self._since = {(each.round, each.row): each.since for each in found}
        heard = _votes_of(connection, [each.row for each in found])
        self._heard = {
            (number, row): {who for who, event in heard.get(row, ()) if event > since}
            for (number, row), since in self._since.items()
        }

    def refusal(self, given: Given) -> Refused | None:
        """Tell why an answer has no place, the row not being asked for or answered by others; else it has it."""
        place = row_of(given.item)
        if place is None or place not in self._heard:
            return Refused("item: there is no such row")
        heard = self._heard[place]
        if given.kind == "withdrawn":
            heard.discard(given.annotator)
            return None
        if given.annotator not in heard and len(heard) >= self._overlap_of(place[1]):
            return Refused("others have answered this row by now; this answer was not saved", is_taken=True)
        heard.add(given.annotator)
        return None


def _touched(connection: Connection, since: int) -> list[str] | None:
    """Return the rows that were answered after an event; None if a round has begun or ended meanwhile."""
    found = connection.execute(select(events.c.kind, events.c.row).where(events.c.number > since)).all()
    if any(each.kind in _OF_ROUNDS for each in found):
        return None
    return list(dict.fromkeys(each.row for each in found if each.row is not None))


def _votes_of(connection: Connection, rows: Sequence[str]) -> Mapping[str, list[tuple[str, int]]]:
    """Read who has answered some rows, and by which event."""
    heard: dict[str, list[tuple[str, int]]] = defaultdict(list)
    columns = select(votes.c.row, votes.c.annotator, votes.c.event)
    for row, who, event in connection.execute(columns.where(among(connection, votes.c.row, rows), STANDING)):
        heard[row].append((who, event))
    return heard


def _asks_of(connection: Connection, keys: Sequence[str]) -> list[Any]:
    rows = [place[1] for place in map(row_of, keys) if place is not None]
    return list(connection.execute(select(asks).where(among(connection, asks.c.row, rows))))
