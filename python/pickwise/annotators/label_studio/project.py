"""A project of Label Studio: found or made once, and its tasks listed, imported and deleted."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pickwise.annotators.label_studio.client import Client, RefusedError, UnsureError
from pickwise.annotators.label_studio.config import Config, DataKind, is_same, make_config, read_config
from pickwise.annotators.label_studio.mapping import KEY, MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pickwise.annotators.answers import LabelTask

Json = dict[str, Any]
Filter = tuple[str, str, str, Any]

# Tasks a request: small enough for a slow server to answer in time.
_AT_ONCE = 100

# Seconds before a request that may have been carried out is looked for; each further time twice as long.
_WAIT = 1.0

# How often a server that imports after it has answered is asked whether it is done, and the longest pause between.
_ASKED = 20
_LONGEST = 10.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The project that is wanted.

    Attributes
    ----------
    project : str or int
        Its title or number.
    classes : mapping of str to object
        What people choose from, and what each class is called on our side; empty if whatever the config has will do.
    kind : {"text", "image", "audio", "table"}
        What is shown, if the project is made.
    config : str or None
        A config of the user's own.
    control : str or None
        The name of the tag in which people answer.
    task : {"multiclass", "multilabel", "regression"}
        What labels are.
    shows : bool
        Whether people see suggestions, if the project is made.
    """

    project: str | int
    classes: Mapping[str, Any] = field(default_factory=dict)
    kind: DataKind = "text"
    config: str | None = None
    control: str | None = None
    task: LabelTask = "multiclass"
    shows: bool = True

    def checked(self, xml: str, whose: str = "") -> Config:
        """Read a config, and look for the classes in it.

        Raises
        ------
        ValueError
            If it cannot be read, or has no such classes.
        """
        try:
            config = read_config(xml, self.control, self.task)
        except ValueError as error:
            raise ValueError(str(error).replace("config:", f"config{whose}:", 1)) from None
        if config.names is not None and config.type == "choices":
            missing = [name for name in self.classes if name not in config.names.values()]
            if missing:
                raise ValueError(f"classes: expected those of the config{whose}, it has no {missing[0]!r}")
        return config

    def made(self) -> str:
        """Return the config of a project that is to be made.

        Raises
        ------
        ValueError
            If there is none, nor classes to make it of.
        """
        if self.config is None and not self.classes and self.task != "regression":
            raise ValueError(
                f"classes: expected some, or a config, as project {self.project!r} is to be made, got none"
            )
        return self.config or make_config(self.kind, list(self.classes), self.task)


class Project:
    """A project on a server.

    Parameters
    ----------
    client : Client
    wanted : Wanted
    retries : int
        How often what may have been carried out is looked for, and done again if it was not.

    Attributes
    ----------
    number : int
    title : str
    config : Config

    Raises
    ------
    PermissionError, ConnectionError, ValueError
        If the token is refused, the server is not reached, or there is no such project and it cannot be made.
    """

    def __init__(self, client: Client, wanted: Wanted, retries: int) -> None:
        self._client = client
        self._wanted = wanted
        self._retries = retries
        self._users: dict[str, str] = {}
        self._take(self._found() or self._made())

    def refresh(self) -> None:
        """Read its config again."""
        self._take(self._by_number(self.number))

    def ask_of(self, people: int) -> None:
        """Let at least that many people answer each task."""
        if people > self._overlap:
            self._take(
                self._client.send("PATCH", f"/api/projects/{self.number}/", body={"maximum_annotations": people})
            )

    def ask_each(self, people: Mapping[str, int]) -> None:
        """Let as many people answer each task as is told by its key."""
        for task in self.keyed(people):
            wanted = people[task["data"][KEY]]
            if task["overlap"] == wanted:
                continue
            try:
                self._client.send("PATCH", f"/api/tasks/{task['id']}/", body={"overlap": wanted})
            except RefusedError as error:
                if error.status != 404:  # deleted meanwhile
                    raise

    def name_of(self, user: str) -> str:
        """Return the e-mail address of a user."""
        if user not in self._users:
            listed = self._client.get("/api/users/")
            self._users = {str(each["id"]): each.get("email") or f"user {each['id']}" for each in listed}
        return self._users.setdefault(user, f"user {user}")

    def newest(self) -> str | None:
        """Return when a task last changed; None if there are none."""
        found = self._list([], "-tasks:updated_at", 1)
        return str(found[0]["updated_at"]) if found else None

    def tasks(self, filters: Sequence[Filter]) -> Iterator[Json]:
        """List tasks by their number, so that none is left out if others come or go meanwhile."""
        last = 0
        while True:
            found = self._list([*filters, ("id", "greater", "Number", last)], "tasks:id", _AT_ONCE)
            yield from found
            if len(found) < _AT_ONCE:
                return
            last = found[-1]["id"]

    def numbered(self, numbers: Sequence[int]) -> Iterator[Json]:
        """List tasks by their numbers."""
        for some in pieces(numbers):
            yield from self.tasks([("id", "in_list", "List", list(some))])

    def keyed(self, keys: Iterable[str]) -> list[Json]:
        """List tasks by their keys."""
        found: list[Json] = []
        for some in pieces(list(keys)):
            found += self.tasks([(f"data.{KEY}", "in_list", "List", list(some))])
        return found

    def once_each(self, keys: Iterable[str]) -> dict[str, Json]:
        """Find tasks by key, and delete those that are there twice: imported by a request whose answer came late."""
        kept: dict[str, Json] = {}
        ranked = sorted(self.keyed(keys), key=lambda task: (not is_answered(task), task["id"]))
        extra = [task for task in ranked if kept.setdefault(task["data"][KEY], task) is not task]
        self.delete([task["id"] for task in extra if not is_answered(task)])
        return kept

    def add(self, bodies: Mapping[str, Json]) -> None:
        """Import tasks, by key; what a request whose answer was lost has imported is not imported again.

        Raises
        ------
        PermissionError, ConnectionError
            If the server refuses the token, or fails.
        ValueError
            If the tasks do not fit the config.
        """
        for keys in pieces(list(bodies)):
            self._add({key: bodies[key] for key in keys})

    def suggest(self, pairs: Iterable[tuple[Json, Json | None]]) -> None:
        """Bring what tasks suggest up to date, and leave what other models suggest as it is."""
        alone: list[tuple[Json, Json | None]] = []
        for task, wanted in pairs:
            ours = [each for each in task.get("predictions") or [] if each.get("model_version") == MODEL]
            if [(each["score"], each["result"]) for each in ours] == _content(wanted):
                continue
            if task["total_predictions"] == len(ours):
                alone.append((task, wanted))
            else:
                self._replace(task, ours, wanted)
        for some in pieces(alone):
            self._replace_all(some)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete tasks, but for those that have been answered in the meantime."""
        unanswered = [_filter(count, "equal", "Number", 0) for count in ("total_annotations", "cancelled_annotations")]
        for some in pieces(numbers):
            body = {
                "filters": {"conjunction": "and", "items": unanswered},
                "selectedItems": {"all": False, "included": list(some)},
            }
            params = {"id": "delete_tasks", "project": self.number}
            self._client.send("POST", "/api/dm/actions/", params=params, body=body)

    def _found(self) -> Json | None:
        """Look the project up."""
        title = self._wanted.project
        if not isinstance(title, str):
            return self._by_number(title)
        found, page, following = [], 1, True
        while following:
            listed = self._client.get("/api/projects/", title=title, page=page, page_size=_AT_ONCE)
            results = listed.get("results") if isinstance(listed, dict) else None
            if not isinstance(results, list):
                raise self._client.is_not_there("lists no projects")
            found += [each["id"] for each in results if each["title"] == title]
            page, following = page + 1, bool(listed.get("next"))
        if len(found) > 1:
            raise ValueError(f"project: expected one called {title!r}, got {len(found)}; give a number of {found}")
        return self._by_number(found[0]) if found else None

    def _by_number(self, number: int) -> Json:
        try:
            project: Json = self._client.get(f"/api/projects/{number}/")
        except RefusedError as error:
            raise ValueError(
                f"project: expected one of {self._client.url}, got number {number}: {error.complaint}"
            ) from None
        return project

    def _made(self) -> Json:
        """Make the project; one that was made by a request whose answer was lost is found."""
        body = {
            "title": self._wanted.project,
            "label_config": self._wanted.made(),
            "show_skip_button": True,
            "sampling": "Sequential sampling",
            "show_collab_predictions": self._wanted.shows,
            "model_version": MODEL,
        }
        for attempt in range(self._retries + 1):
            try:
                made: Json = self._client.send("POST", "/api/projects/", body=body, once=True)
            except UnsureError:
                if attempt == self._retries:
                    raise
                time.sleep(_WAIT * 2.0**attempt)
                if (found := self._found()) is not None:
                    return found
            except RefusedError as error:
                what = "config" if "label_config" in error.fields else "project"
                raise ValueError(f"{what}: {error}") from None
            else:
                return made
        raise AssertionError  # the last attempt returns or raises

    def _take(self, project: Json) -> None:
        """Take a project, if its config is as expected."""
        xml, own = project["label_config"], self._wanted.config
        if own is not None and not is_same(own, xml):
            raise ValueError(
                f"config: expected that of project {project['title']!r}, got another; leave it out, or change it there"
            )
        self.config = self._wanted.checked(xml, f" of project {project['title']!r}")
        self.number: int = project["id"]
        self.title: str = project["title"]
        self._overlap = project.get("maximum_annotations") or 1

    def _list(self, filters: Sequence[Filter], ordering: str, size: int) -> list[Json]:
        """List tasks: the first of those that there are."""
        items = [_filter(*each) for each in filters]
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": [ordering]}
        listed = self._client.get(
            "/api/tasks/",
            project=self.number,
            query=json.dumps(query),
            page_size=size,
            fields="all",
            resolve_uri="false",
        )
        tasks: list[Json] = listed["tasks"]
        return tasks

    def _add(self, left: dict[str, Json]) -> None:
        path, params = f"/api/projects/{self.number}/import", {"return_task_ids": "true"}
        for attempt in range(self._retries + 1):
            try:
                done = self._client.send("POST", path, params=params, body=list(left.values()), once=True)
            except UnsureError:
                if attempt == self._retries:
                    raise
                time.sleep(_WAIT * 2.0**attempt)
                there = self.once_each(left)
                left = {key: body for key, body in left.items() if key not in there}
                if not left:
                    return
            except RefusedError as error:
                raise ValueError(f"config: the tasks do not fit it: {error}") from None
            else:
                if "import" in done:  # editions that import after they have answered
                    self._await(done["import"])
                if attempt:
                    self.once_each(left)
                return

    def _replace(self, task: Json, ours: Sequence[Json], wanted: Json | None) -> None:
        """Replace our suggestions of a task."""
        for each in ours:
            try:
                self._client.send("DELETE", f"/api/predictions/{each['id']}/")
            except RefusedError as error:
                if error.status != 404:  # gone already
                    raise
        if wanted is not None:
            self._client.send("POST", "/api/predictions/", body={"task": task["id"], **wanted})

    def _replace_all(self, pairs: Sequence[tuple[Json, Json | None]]) -> None:
        """Replace all suggestions of tasks; to do it twice does no harm, as long as both steps are done again."""
        selected = {"all": False, "included": [task["id"] for task, _ in pairs]}
        params = {"id": "delete_tasks_predictions", "project": self.number}
        new = [{"task": task["id"], **wanted} for task, wanted in pairs if wanted is not None]
        for attempt in range(self._retries + 1):
            self._client.send("POST", "/api/dm/actions/", params=params, body={"selectedItems": selected})
            try:
                if new:
                    path = f"/api/projects/{self.number}/import/predictions"
                    self._client.send("POST", path, body=new, once=True)
            except UnsureError:
                if attempt == self._retries:
                    raise
                time.sleep(_WAIT * 2.0**attempt)
            else:
                return

    def _await(self, number: int) -> None:
        """Wait until an import is done."""
        for attempt in range(_ASKED):
            told = self._client.get(f"/api/projects/{self.number}/imports/{number}")
            if told.get("status") == "completed":
                return
            if told.get("status") == "failed":
                raise ValueError(f"config: the tasks do not fit it: {told.get('error')}")
            time.sleep(min(_WAIT * 2.0**attempt, _LONGEST))
        raise ConnectionError(f"Label Studio at {self._client.url} has not imported the tasks yet")


def is_answered(task: Json) -> bool:
    """Whether somebody has answered or skipped a task."""
    return bool(task.get("annotations")) or bool(task["total_annotations"] + task["cancelled_annotations"])


def pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a list into what one request takes."""
    for begin in range(0, len(items), _AT_ONCE):
        yield items[begin : begin + _AT_ONCE]


def _content(suggestion: Json | None) -> list[tuple[Any, Any]]:
    return [] if suggestion is None else [(suggestion["score"], suggestion["result"])]


def _filter(name: str, how: str, of: str, value: Any) -> Json:
    return {"filter": f"filter:tasks:{name}", "operator": how, "type": of, "value": value}
