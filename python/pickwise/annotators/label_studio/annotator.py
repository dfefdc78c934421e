"""The annotator: tasks go into a project of Label Studio, and what people do with them comes back."""

from __future__ import annotations

import os
import time
import warnings
from typing import TYPE_CHECKING, Any

from pickwise.annotators.files import plain
from pickwise.annotators.label_studio.changes import Cursor, Reader
from pickwise.annotators.label_studio.client import Client
from pickwise.annotators.label_studio.config import KINDS, DataKind
from pickwise.annotators.label_studio.mapping import ID, Media, is_bare, prediction_json, task_json
from pickwise.annotators.label_studio.project import Project, Wanted, is_answered
from pickwise.options import as_count, as_flag, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pickwise.annotators.answers import LabelTask
    from pickwise.annotators.base import Annotation, Task
    from pickwise.annotators.label_studio.webhook import Webhook

# Tasks that a warning names.
_SHOWN = 5

TOKEN = "LABEL_STUDIO_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that the token is read from."""


class LabelStudioAnnotator:
    """People who label in Label Studio.

    Nothing is sent before the first `push`, `poll` or `connect`. Then the project is found, or made. Tasks are imported
    in the order of their rank, with what the model suggests; tasks that are there already are not imported again,
    whatever was killed where, and only their suggestions are brought up to date. What people answer, change, skip and
    delete is delivered once.

    Parameters
    ----------
    url : str
        Where Label Studio is, for instance ``"http://localhost:8080"``.
    token : str, optional
        A personal access token, or a legacy token, of somebody who may change the project; the environment variable
        ``LABEL_STUDIO_TOKEN``, unless given.
    project : str or int
        The title of the project, which is made if there is none; or the number of one that is there.
    classes : sequence, optional
        What people choose from. A project that is there must have them; without them its own are taken.
    kind : {"text", "image", "audio", "table"}
        What is looked at, in a config that is made here. It is the column of that name, or all there is.
    config : str, optional
        A labelling config of your own, in place of one that is made.
    control : str, optional
        The name of the tag in which people answer, where the config has several.
    task : {"multiclass", "multilabel", "regression"}
        What labels are.
    media : str or callable, optional
        What makes an address of a path to an image or a sound: what is to be put before it, or a function.
    show_suggestions : bool
        Whether people see what the model suggests.
    webhook : str, optional
        An address of this machine at which Label Studio reaches it, such as ``"http://127.0.0.1:8124/"``. While answers
        are waited for it calls there when somebody has answered.
    timeout : float
        Seconds that each try may wait for the server.
    retries : int
        How often a request is made again that failed for the moment: after 0.5, 1, 2, ... seconds, or as many as the
        server asks for.

    Raises
    ------
    ImportError
        If httpx is not installed.
    ValueError, TypeError
        For arguments that can be none, and if there is no token.

    Notes
    -----
    Of several annotations of a user about a task the last one counts. Times are those of the server, so no clock needs
    to be right. The cursor grows by some 50 bytes with each answer.

    Examples
    --------
    >>> from pickwise.annotators import LabelStudioAnnotator
    >>> LabelStudioAnnotator("http://localhost:8080", token="0f3c", project="reviews", classes=["ham", "spam"])
    LabelStudioAnnotator('http://localhost:8080', project='reviews')
    """

    remembers = True

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        project: str | int,
        classes: Iterable[Any] | None = None,
        kind: DataKind = "text",
        config: str | None = None,
        control: str | None = None,
        task: LabelTask = "multiclass",
        media: Media = None,
        show_suggestions: bool = True,
        webhook: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
    ) -> None:
        one_of(kind, "kind", KINDS)
        one_of(task, "task", ("multiclass", "multilabel", "regression"))
        self._wanted = Wanted(
            project=_title_or_number(project),
            classes=_named(classes),
            kind=kind,
            config=config,
            control=control,
            task=task,
            shows=as_flag(show_suggestions, "show_suggestions"),
        )
        if config is not None:
            self._wanted.checked(config)
        token = os.environ.get(TOKEN) if token is None else token
        if token is None:
            raise ValueError(f"token: expected one, or the environment variable {TOKEN}, got neither")
        self._media = media
        self._retries = as_count(retries, "retries", least=0)
        self._client = Client(url, token, timeout=timeout, retries=self._retries)
        self._project: Project | None = None
        self._webhook: Webhook | None = None
        self._webhook_url = webhook
        if webhook is not None:
            from pickwise.annotators.label_studio.webhook import address_of

            address_of(webhook)
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"LabelStudioAnnotator({self._client.url!r}, project={self._wanted.project!r})"

    def connect(self) -> str:
        """Find the project, or make it.

        Returns
        -------
        str
            Where people label.

        Raises
        ------
        PermissionError
            If the token is refused.
        ConnectionError
            If the server is not reached, or fails, however often it is tried.
        ValueError
            If there is no Label Studio at the URL, no such project, or its config is another than expected.
        """
        return f"{self._client.url}/projects/{self._connected().number}"

    def push(self, tasks: Sequence[Task]) -> None:
        """Import tasks that are not there yet, and bring the suggestions of the others up to date.

        Raises
        ------
        PermissionError, ConnectionError, ValueError
            As `connect` does; and ValueError for tasks that cannot be shown, before any is imported, and if the project
            has other tasks by the same keys.
        """
        project = self._connected()
        ranked = sorted({task.key: task for task in tasks}.values(), key=lambda task: (task.round, task.rank))
        laid_out = {task.key: task_json(task, project.config, self._media) for task in ranked}
        self._tell_of_bare(project, ranked)
        there = project.once_each(laid_out)
        known = [task for task in ranked if task.key in there]
        for task in known:
            row = there[task.key]["data"].get(ID)
            if row != plain(task.id):
                raise ValueError(
                    f"project: {project.title!r} has a task {task.key!r} about row {row!r}, not {task.id!r}; "
                    "it is that of another pickwise project"
                )
        people = {task.key: task.overlap for task in ranked}
        project.ask_of(min(people.values(), default=1))
        project.add({key: body for key, body in laid_out.items() if key not in there})
        if len(set(people.values())) > 1:
            project.ask_each(people)
        project.suggest((there[task.key], prediction_json(task, project.config)) for task in known)

    def poll(self, cursor: str | None) -> tuple[Sequence[Annotation], str | None]:
        """Fetch what was answered, changed, skipped or deleted since a cursor.

        What is no answer, for instance a label that is not in the config, is left out, and a warning tells of it once.
        It is looked at again at each poll until it is mended.

        Raises
        ------
        PermissionError, ConnectionError, ValueError
            As `connect` does.
        """
        project = self._connected()
        place = Cursor.read(cursor, project.number)
        # Tasks that change from now on are read by the next poll, whether this one sees them or not.
        newest, date = project.newest(), self._client.date
        before, place.again = place.again, []
        events, problems = self._read(project, place, [*project.tasks(place.filters()), *project.numbered(before)])
        if problems:
            project.refresh()  # Its config may have been given more classes in the meantime.
            before, place.again = place.again, []
            more, problems = self._read(project, place, project.numbered(before))
            events += more
        self._tell_of(problems)
        if newest is not None:
            place.move(newest, date)
        return events, place.write()

    def recall(self, keys: Sequence[str]) -> None:
        """Delete tasks that nobody has answered or skipped.

        Raises
        ------
        PermissionError, ConnectionError, ValueError
            As `connect` does.
        """
        project = self._connected()
        project.delete([task["id"] for task in project.keyed(keys) if not is_answered(task)])

    def wait(self, seconds: float) -> None:
        """Wait until Label Studio tells of an answer, where it has a webhook; or for so many seconds.

        Raises
        ------
        PermissionError, ConnectionError, ValueError
            As `connect` does; and ValueError if the webhook is no address of this machine.
        """
        if self._webhook_url is None:
            time.sleep(seconds)
            return
        if self._webhook is None:
            from pickwise.annotators.label_studio.webhook import Webhook

            self._webhook = Webhook(self._client, self._connected().number, self._webhook_url)
        self._webhook.wait(seconds)

    def close(self) -> None:
        """Let go of the connection."""
        if self._webhook is not None:
            self._webhook.close()
            self._webhook = None
        self._client.close()

    def _connected(self) -> Project:
        if self._project is None:
            self._project = Project(self._client, self._wanted, self._retries)
        return self._project

    def _read(
        self, project: Project, place: Cursor, tasks: Iterable[dict[str, Any]]
    ) -> tuple[list[Annotation], dict[str, str]]:
        """Read tasks; return what is new, and by version the annotations that are no answers."""
        events: list[Annotation] = []
        problems: dict[str, str] = {}
        reader = Reader(place, project.config, self._wanted.classes, project.name_of)
        for task in tasks:
            new, wrong = reader.read(task)
            events += new
            problems |= wrong
        return events, problems

    def _tell_of(self, problems: dict[str, str]) -> None:
        for version, problem in problems.items():
            if version not in self._told:
                self._told.add(version)
                warnings.warn(problem, stacklevel=3)

    def _tell_of_bare(self, project: Project, tasks: Sequence[Task]) -> None:
        bare = [repr(task.id) for task in tasks if is_bare(task, project.config)]
        if bare:
            shown = ", ".join(bare[:_SHOWN])
            warnings.warn(f"tasks: {len(bare)} have nothing to show, people can but skip them: {shown}", stacklevel=3)


def _title_or_number(project: Any) -> str | int:
    if isinstance(project, bool) or not isinstance(project, (str, int)) or project == "":
        raise TypeError(f"project: expected a title or a number, got {project!r}")
    return project


def _named(classes: Iterable[Any] | None) -> dict[str, Any]:
    """Name classes as text, which is what Label Studio has; they are called as they were when they come back."""
    if isinstance(classes, str):
        raise TypeError(f"classes: expected a list of names, got the text {classes!r}")
    many: list[Any] = [] if classes is None else [plain(name) for name in classes]
    return {str(name): name for name in many}
