"""What annotators of this process have in common: tasks that wait, and answers in the order in which they came."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pickwise.annotators.base import Annotation, Task


class Outbox:
    """Tasks that wait, and the answers there have been.

    Answers stay, so that a cursor from before is given them again; a cursor of another outbox is at the beginning of
    this one, which knows nothing of what the other delivered.

    Attributes
    ----------
    waiting : dict of str to Task
        By key, in the order in which they were pushed.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, Task] = {}
        self._known: set[str] = set()
        self._answers: list[Annotation] = []
        self._name = secrets.token_hex(4)

    def new(self, tasks: Sequence[Task]) -> list[Task]:
        """Return those tasks that were not pushed before."""
        return list({task.key: task for task in tasks if task.key not in self._known}.values())

    def push(self, tasks: Iterable[Task]) -> None:
        """Let new tasks wait."""
        for task in tasks:
            self._known.add(task.key)
            self.waiting[task.key] = task

    def recall(self, keys: Iterable[str]) -> None:
        """Forget tasks that wait."""
        for key in keys:
            if self.waiting.pop(key, None) is not None:
                self._known.discard(key)

    def answer(self, key: str, answers: Iterable[Annotation]) -> None:
        """Take the answers to a task that waits."""
        self._answers.extend(answers)
        del self.waiting[key]

    def since(self, cursor: str | None) -> tuple[Sequence[Annotation], str]:
        """Return what was answered since a cursor, and the cursor to go on from."""
        name, _, count = (cursor or "").partition(":")
        passed = int(count) if name == self._name else 0
        return self._answers[passed:], f"{self._name}:{len(self._answers)}"
