"""A project as anybody may look at it, whoever drives it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.loop import answering, driving
from pickwise.loop.archive import verify
from pickwise.loop.drift import Drift
from pickwise.loop.rounds import read_rounds
from pickwise.loop.store import get_fact
from pickwise.loop.tables import LabelTable, Status, label_table, read_status

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from contextlib import ExitStack
    from typing import Self

    from pickwise.annotators.base import Annotation, Task
    from pickwise.annotators.page.serving import LabelServer
    from pickwise.loop.context import Context
    from pickwise.loop.history import Round
    from pickwise.loop.ledger import Recorded
    from pickwise.loop.settings import Settings


class JoinedProject:
    """A project that is looked at, and that takes labels, beside the process that drives it; made by `Project.join`.

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, context: Context, held: ExitStack) -> None:
        self._context = context
        self._held = held
        self.folder = context.folder

    def close(self) -> None:
        """Let others drive the project."""
        if self._context.annotator is not None:
            self._context.annotator.close()
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What people call it."""
        return self.settings.name

    @property
    def id(self) -> str:
        """What it is known by, and no other project."""
        with self._context.store.read() as connection:
            return str(get_fact(connection, "id"))

    @property
    def settings(self) -> Settings:
        """What the project was told."""
        return self._context.settings

    def tasks(self) -> list[Task]:
        """Return what is asked and has no answer yet, best first."""
        return driving.open_tasks(self._context)

    def record(self, annotations: Sequence[Annotation]) -> Recorded:
        """Record answers that come from elsewhere than the annotator; also those that were recorded before.

        Parameters
        ----------
        annotations : sequence of Annotation

        Returns
        -------
        Recorded
            What was wrong with those that were refused is told there; all others are safe.
        """
        return answering.record_annotations(self._context, annotations)

    def label(self, **options: Any) -> LabelServer:
        """Serve a page on which people answer what is asked; a notebook shows it below the cell.

        It is served in a thread of this process until it is closed, which is to be done before the project is. Answers
        are recorded as by `record`, so `collect` and `fit` know of them.

        Parameters
        ----------
        **options
            ``host`` ("127.0.0.1") and ``port`` (any that is free); ``lease``, for how many seconds a row is kept for
            one person (120); ``media``, the folder of images and sounds that rows name; ``guidelines``, a file of text;
            ``highlight``, a regular expression of what is marked in texts; ``show``, columns of the pool to look at.

        Returns
        -------
        LabelServer
            With `url` and `close`.
        """
        from pickwise.loop.page import serve

        return serve(self, framed=True, **options)

    def drift(self) -> Drift | None:
        """Return how the pool differs from the one before, as it was when it was replaced; None if it never was."""
        with self._context.store.read() as connection:
            found = get_fact(connection, "drifts")
        return Drift.from_dict(found[-1]) if found else None

    def labels(self) -> LabelTable:
        """Return the label of each row that models learn from, merged from all answers."""
        return label_table(self._context)

    def history(self) -> list[Round]:
        """Return all rounds; that of number 0 is the seed."""
        with self._context.store.read() as connection:
            return read_rounds(connection)

    def status(self) -> Status:
        """Return where the project is, and what comes next."""
        return read_status(self._context)

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write the labels to a file; whole or not at all.

        Parameters
        ----------
        path : path
            Ending in ``.parquet``, ``.csv`` or ``.jsonl``.

        Returns
        -------
        int
            How many rows.
        """
        return self.labels().write(Path(path))

    def verify(self) -> list[str]:
        """Compare the files of all closed rounds with their manifests, and each manifest with the one before.

        Returns
        -------
        list of str
            What was changed or is missing; empty where all is as it was written.
        """
        return verify(self.folder)

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write what there is to know about the project into one HTML file.

        Parameters
        ----------
        path : path, optional
            ``report.html`` in the folder of the project by default.

        Returns
        -------
        Path
            The file.
        """
        from pickwise.loop.report import write
        from pickwise.loop.reporting import report_data

        target = self.folder / "report.html" if path is None else Path(path)
        write(report_data(self._context), target)
        return target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    def __getattr__(self, name: str) -> Any:
        from pickwise.loop.project import Project

        if name.startswith("_") or isinstance(self, Project) or not hasattr(Project, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise AttributeError(
            f"{name}: expected a project that was opened, got one that was joined; Project.open drives it"
        )
