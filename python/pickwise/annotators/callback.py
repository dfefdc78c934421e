"""A Python function as an annotator: a rule, a model that knows more, a language model."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pickwise.annotators.base import Annotation
from pickwise.annotators.outbox import Outbox
from pickwise.options import as_count, as_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pickwise.annotators.base import Kind, Task

# Seconds after which a poll returns what it has, so that little is lost if the process ends.
_AT_ONCE = 2.0

# Seconds before the first retry; each further one waits twice as long.
_BACK_OFF = 1.0


class CallbackAnnotator:
    """A function that answers.

    It is called while answers are collected, one row at a time.

    Parameters
    ----------
    function : callable
        ``function(task)`` returns the label, None to skip the row, or an `Annotation`, whose key is not looked at.
    name : str
        Who the annotator is, unless the function says otherwise.
    per_minute : float, optional
        How many calls may begin in a minute; they are spread evenly.
    retries : int
        How often a call that raises is made again, after 1, 2, 4, ... seconds. Then its error comes out, with a note
        that names the row. What was answered before is delivered first, and the row is tried again at the next poll.
    cost : float or callable, optional
        What a call costs, also one that raises; or ``cost(task, answer)``, asked when a call has returned.

    Attributes
    ----------
    calls : int
        Calls that were made, retries included.
    spent : float
        What they cost.

    Raises
    ------
    TypeError, ValueError
        For a function that cannot be called, and numbers out of range.

    Examples
    --------
    >>> from pickwise.annotators import CallbackAnnotator, Task
    >>> annotator = CallbackAnnotator(lambda task: "spam" if "win" in task.data else "ham", cost=0.002)
    >>> annotator.push([Task(key="1/7", id=7, round=1, rank=0, score=0.9, data="win a prize")])
    >>> answers, cursor = annotator.poll(None)
    >>> answers[0].id, answers[0].label, annotator.spent
    (7, 'spam', 0.002)
    """

    remembers = False

    def __init__(
        self,
        function: Callable[[Task], Any],
        *,
        name: str = "callback",
        per_minute: float | None = None,
        retries: int = 2,
        cost: float | Callable[[Task, Any], float] | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function: expected something to call with a task, got {function!r}")
        self._pause = 0.0 if per_minute is None else 60 / _positive(per_minute, "per_minute")
        self._function = function
        self._name = name
        self._retries = as_count(retries, "retries", least=0)
        self._cost = cost if callable(cost) else as_number(0.0 if cost is None else cost, "cost")
        self._outbox = Outbox()
        self._began = float("-inf")
        self.calls = 0
        self.spent = 0.0

    def push(self, tasks: Sequence[Task]) -> None:
        """Take tasks; the function is called when answers are collected."""
        self._outbox.push(self._outbox.new(tasks))

    def poll(self, cursor: str | None) -> tuple[Sequence[Annotation], str | None]:
        """Call the function for tasks that wait: for one, and for more as long as little time has passed.

        Raises
        ------
        Exception
            What the function raised, with a note that names the row.
        """
        until = time.monotonic() + _AT_ONCE
        has_answered = False
        for key, task in list(self._outbox.waiting.items()):
            # A long wait for the rate limit is begun with empty hands only.
            if has_answered and max(time.monotonic(), self._began + self._pause) > until:
                break
            try:
                answer = self._ask(task)
            except Exception:
                if not has_answered:
                    raise
                break  # What was answered before has to be stored first; the next poll begins with this row.
            self._outbox.answer(key, [answer])
            has_answered = True
        return self._outbox.since(cursor)

    def recall(self, keys: Sequence[str]) -> None:
        """Forget tasks that were not answered yet."""
        self._outbox.recall(keys)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _ask(self, task: Task) -> Annotation:
        answer = self._call(task)
        seconds = time.monotonic() - self._began
        if callable(self._cost):
            self.spent += self._cost(task, answer)
        return self._annotation(task, answer, seconds)

    def _call(self, task: Task) -> Any:
        """Call the function, again where it raises."""
        attempt = 0
        while True:
            attempt += 1
            _sleep_until(self._began + self._pause)
            self._began = time.monotonic()
            self.calls += 1
            if not callable(self._cost):
                self.spent += self._cost
            try:
                return self._function(task)
            except Exception as error:
                if attempt > self._retries:
                    error.add_note(f"{self._name}: row {task.id!r} of round {task.round}, called {attempt} times")
                    raise
            time.sleep(_BACK_OFF * 2 ** (attempt - 1))

    def _annotation(self, task: Task, answer: Any, seconds: float) -> Annotation:
        # The same whenever the row is answered, so that an answer that is given twice counts once.
        key = f"{task.key}:{self._name}"
        if isinstance(answer, Annotation):
            if answer.id != task.id:
                raise ValueError(f"function: expected an answer about row {task.id!r}, got one about {answer.id!r}")
            return replace(answer, key=key, seconds=seconds if answer.seconds is None else answer.seconds)
        if hasattr(answer, "tolist"):
            answer = answer.tolist()
        kind: Kind = "skip" if answer is None else "label"
        return Annotation(key=key, id=task.id, kind=kind, label=answer, annotator=self._name, seconds=seconds)


def _positive(x: Any, name: str) -> float:
    number = as_number(x, name)
    if not number > 0:
        raise ValueError(f"{name}: expected more than 0, got {number}")
    return number


def _sleep_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)
