"""What is new in tasks of Label Studio since they were last looked at: the cursor, and what it remembers."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pickwise.annotators.base import Annotation
from pickwise.annotators.label_studio.mapping import ID, KEY, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pickwise.annotators.base import RowId
    from pickwise.annotators.label_studio.config import Config

Json = dict[str, Any]

# How long ago a change must be for all changes before it to be visible: transactions do not end in the order in which
# they read the clock.
_SETTLED = timedelta(seconds=60)

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass
class Cursor:
    """How far a project has been read.

    Attributes
    ----------
    project : int
        Its number.
    since : str
        Tasks that changed at that time or later are looked at; empty at the beginning.
    seen : dict
        By task and user the annotation that was delivered, and when it was made: what was deleted is known by it, and
        what is met again is no news.
    again : list of int
        Tasks with an annotation that could not be read, which are looked at until it can.
    """

    project: int
    since: str = ""
    seen: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    again: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, text: str | None, project: int) -> Cursor:
        """Read a cursor; one of another project, or of another annotator, is at the beginning of this one."""
        content: Any = None
        with suppress(ValueError):
            content = json.loads(text or "{}")
        if not isinstance(content, dict) or content.get("project") != project:
            return cls(project)
        return cls(project, content["since"], content["seen"], content["again"])

    def write(self) -> str:
        """Write it as text."""
        content = {"project": self.project, "since": self.since, "seen": self.seen, "again": sorted(set(self.again))}
        return json.dumps(content, separators=(",", ":"), sort_keys=True)

    def filters(self) -> list[tuple[str, str, str, Any]]:
        """Tell which tasks are to be looked at."""
        return [("updated_at", "greater_or_equal", "Datetime", self.since)] if self.since else []

    def move(self, newest: str, date: datetime | None) -> None:
        """Go on to where nothing older can turn up any more.

        Parameters
        ----------
        newest : str
            When the last change was made of those that were there before tasks were read.
        date : datetime, optional
            The server's clock then.
        """
        latest = moment(newest)
        settled = latest - _SETTLED if date is None else min(latest, date.astimezone(UTC) - _SETTLED)
        self.since = max(self.since, settled.strftime(_FORMAT))


def moment(text: str) -> datetime:
    """Read a time as the server writes it."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


class Reader:
    """Turns tasks into what is new about them.

    Parameters
    ----------
    cursor : Cursor
        It is moved on.
    config : Config
    classes : mapping of str to object
        What the classes are called on our side.
    name_of : callable
        ``name_of(user)`` is called with the number of a user.
    """

    def __init__(
        self, cursor: Cursor, config: Config, classes: Mapping[str, Any], name_of: Callable[[Any], str]
    ) -> None:
        self._cursor = cursor
        self._config = config
        self._classes = classes
        self._name_of = name_of

    def read(self, task: Json) -> tuple[list[Annotation], dict[str, str]]:
        """Read a task; return what is new, and by version the annotations that are no answers."""
        row, number = task["data"].get(ID), str(task["id"])
        if KEY not in task["data"] or row is None:
            return [], {}
        before = self._cursor.seen.get(number, {})
        after: dict[str, list[Any]] = {}
        events: list[Annotation] = []
        problems: dict[str, str] = {}
        found = _latest(task)
        for user, annotation in found.items():
            stamp = [annotation["id"], annotation["updated_at"]]
            known = before.get(user)
            if known == stamp:
                after[user] = stamp
                continue
            try:
                events.append(self._event(row, task, annotation, user, known))
            except ValueError as error:
                problems[f"{stamp[0]}@{stamp[1]}"] = self._problem(task, row, annotation, user, error)
                if known is not None:
                    after[user] = known
            else:
                after[user] = stamp
        events += [self._withdrawn(row, task, user, known) for user, known in before.items() if user not in found]
        self._cursor.seen.pop(number, None)
        if after:
            self._cursor.seen[number] = after
        if problems:
            self._cursor.again.append(task["id"])
        return events, problems

    def _event(self, row: RowId, task: Json, annotation: Json, user: str, known: list[Any] | None) -> Annotation:
        kind, label = answer_of(annotation, self._config, self._classes)
        at = annotation["updated_at"]
        key = f"label-studio:{self._cursor.project}:{annotation['id']}:{at}"
        if known is not None and moment(known[1]) > moment(at):
            # The later one was deleted, and this one holds again: that is news, and newer than the later one was.
            at = task["updated_at"]
            key = f"{key}:{at}"
        seconds = annotation.get("lead_time")
        return Annotation(
            key=key,
            id=row,
            kind=kind,
            label=label,
            annotator=self._name_of(user),
            version=moment(at).timestamp(),
            seconds=float(seconds) if isinstance(seconds, (int, float)) and seconds >= 0 else None,
        )

    def _withdrawn(self, row: RowId, task: Json, user: str, known: list[Any]) -> Annotation:
        return Annotation(
            key=f"label-studio:{self._cursor.project}:{known[0]}:deleted",
            id=row,
            kind="withdrawn",
            annotator=self._name_of(user),
            version=max(moment(task["updated_at"]), moment(known[1])).timestamp(),
        )

    def _problem(self, task: Json, row: RowId, annotation: Json, user: str, error: ValueError) -> str:
        return (
            f"Label Studio: project {self._cursor.project}, task {task['id']} (row {row!r}), annotation "
            f"{annotation['id']} of {self._name_of(user)}: {error}; mend it there"
        )


def _latest(task: Json) -> dict[str, Json]:
    """Choose the last annotation of each user."""
    found: dict[str, Json] = {}
    for annotation in sorted(task.get("annotations") or [], key=lambda each: (moment(each["updated_at"]), each["id"])):
        who = annotation.get("completed_by")
        found[str(who["id"] if isinstance(who, dict) else who)] = annotation
    return found
