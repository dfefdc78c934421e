"""The project goes on while people label: the model learns from each round, and the next one is asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pickwise.loop.driving import last_round

if TYPE_CHECKING:
    from collections.abc import Callable

    from pickwise.loop.history import Round
    from pickwise.loop.project import Project

_PACE = 0.5


class Watcher:
    """Drives a project in a thread of its own, whenever the open rows run low.

    Parameters
    ----------
    project : Project
        That was opened; it is not closed here.
    low : int
        How few open rows end a round in which some are answered. Those that are left stay with the people that have
        them, and count for the round after; where there is a budget a round is only ended by all its answers.
    keep : callable
        Told the number of a round before it is closed with rows left.
    tell : callable
        Told what happens, in one line.
    """

    def __init__(
        self,
        project: Project,
        *,
        low: int = 0,
        keep: Callable[[int], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        model = project.model
        if model is None or not model.trains:
            raise ValueError("watch: expected a model that is trained here, got one that is trained elsewhere")
        self._project = project
        self._low = 0 if project.settings.budget is not None else low
        self.keep = keep
        self._tell = tell
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pickwise label: watch", daemon=True)
        self.note = ""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Watch no more; a model that learns is waited for."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _tell_round(self, ended: Round) -> None:
        """Tell what has come of a round."""
        if ended.model is None:
            self._tell(f"round {ended.number}: no model yet, as it takes labels of two classes")
            return
        measured = "".join(f", {name} {value:.4g}" for name, value in ended.metrics.items())
        self._tell(f"round {ended.number}: a model of {ended.labelled} labelled rows{measured}")

    def _run(self) -> None:
        try:
            while not self._ended.wait(_PACE):
                why = self._go_on()
                if why is not None:
                    self.note = ""
                    self._tell(f"no more rounds: {why}")
                    return
        except Exception as error:  # noqa: BLE001 - people go on labelling, whatever a model does
            self.note = "The model could not learn; rows that are open can still be answered."
            self._tell(f"no more rounds: {type(error).__name__}: {error}")

    def _go_on(self) -> str | None:
        """Do what comes next, and say why nothing comes any more."""
        project = self._project
        last = last_round(project._context)  # noqa: SLF001 - of the same package
        if last is not None and last.state.awaits_answers:
            left = last.asked - last.answered
            if left > self._low or (left and not last.answered):
                return None
            if left:
                self.keep(last.number)
                project.close_round()
        self.note = "The model learns from the answers and chooses the next rows."
        why = project.run()
        is_open = project.status().open > 0
        self.note = ""
        if last is not None:
            self._tell_round(next(each for each in project.history() if each.number == last.number))
        if not is_open:
            return why
        self._tell(f"round {project.status().round}: {project.status().open} rows are asked for")
        return None
