"""Annotators who know the labels, and err as people do: for tests, and to plan what labelling will bring."""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pickwise.annotators.base import Annotation
from pickwise.annotators.outbox import Outbox
from pickwise.options import as_count, as_number, as_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from pickwise.annotators.base import RowId, Task
    from pickwise.options import RandomState

Draws: TypeAlias = random.Random


class SimulatedAnnotators:
    """Annotators who answer from known labels.

    What one of them says about a row depends on the seed, the annotator and the row alone: not on the order of calls,
    nor on what was asked before, so that a run that is killed and resumed is given the same answers.

    Parameters
    ----------
    labels : mapping of int or str to label, or array_like (rows,)
        The true labels, by id or by position: names of classes; lists of names where a row has several labels; numbers
        of type float where they are to be predicted (unless `classes` are given).
    annotators : int
        How many there are: "annotator-1", "annotator-2" and so on. A task is answered by as many of them as its overlap
        says, which a hash chooses anew in each round. If one skips a row the next is asked.
    error : float or sequence of float
        How often an annotator, or each of them, errs: the answer is then one of the other classes, each as often. Of
        several labels each class is wrong as often. Of numbers it is the standard deviation of Gaussian noise.
    confusion : array_like (classes, classes) or (annotators, classes, classes), optional
        In place of `error`: how often a row of the one class (row) is called the other (column); rows sum to 1 (Dawid
        and Skene, 1979).
    skip : float
        How often an annotator skips a row.
    delay : int
        How many polls come back empty before a task is answered.
    classes : sequence, optional
        In the order of `confusion`; sorted, unless given.
    random_state : int, RandomState, Generator or None
        Seed of all that is drawn.

    Raises
    ------
    TypeError, ValueError
        For arguments of another kind or out of range.

    Examples
    --------
    >>> from pickwise.annotators import SimulatedAnnotators, Task
    >>> annotators = SimulatedAnnotators(["ham", "spam", "ham"], annotators=3, error=0.1)
    >>> annotators.push([Task(key="1/2", id=2, round=1, rank=0, score=0.9, overlap=3)])
    >>> answers, cursor = annotators.poll(None)
    >>> sorted(answer.annotator for answer in answers)
    ['annotator-1', 'annotator-2', 'annotator-3']
    >>> [answer.label for answer in answers]
    ['ham', 'ham', 'spam']
    >>> annotators.poll(cursor)[0]
    []
    """

    remembers = False

    def __init__(
        self,
        labels: Any,
        *,
        annotators: int = 1,
        error: float | Sequence[float] = 0.0,
        confusion: Any = None,
        skip: float = 0.0,
        delay: int = 0,
        classes: Sequence[Any] | None = None,
        random_state: RandomState = 0,
    ) -> None:
        self._labels = labels if isinstance(labels, Mapping) else _as_list(labels)
        self._names = [f"annotator-{i}" for i in range(1, as_count(annotators, "annotators", least=1) + 1)]
        self._skip = _share(skip, "skip")
        self._delay = as_count(delay, "delay", least=0)
        self._seed = as_seed(random_state)
        values = self._labels.values() if isinstance(self._labels, Mapping) else self._labels
        self._is_multilabel = _holds(values, (list, tuple, set, frozenset), "lists of classes")
        self._is_number = classes is None and _holds(values, (float, np.floating), "numbers of type float")
        self._classes = [] if self._is_number else self._all_classes(values, classes)
        self._error = _per_annotator(error, len(self._names), "error")
        self._confusion = None if confusion is None else self._as_confusion(confusion)
        if not self._is_number:
            self._check_error()
        self._outbox = Outbox()
        self._polls = 0
        self._due: dict[str, int] = {}

    def push(self, tasks: Sequence[Task]) -> None:
        """Take tasks.

        Raises
        ------
        ValueError
            If the label of a row is not known, or a task wants more annotators than there are; no task is taken then.
        """
        new = self._outbox.new(tasks)
        for task in new:
            self._true_label(task.id)
            if task.overlap > len(self._names):
                raise ValueError(
                    f"tasks: expected an overlap of at most {len(self._names)}, the number of annotators, "
                    f"got {task.overlap} for row {task.id!r}"
                )
        self._outbox.push(new)
        self._due |= {task.key: self._polls + self._delay for task in new}

    def poll(self, cursor: str | None) -> tuple[Sequence[Annotation], str | None]:
        """Answer the tasks whose delay is over."""
        for key, task in list(self._outbox.waiting.items()):
            if self._due[key] <= self._polls:
                self._outbox.answer(key, self._answers(task))
        self._polls += 1
        return self._outbox.since(cursor)

    def recall(self, keys: Sequence[str]) -> None:
        """Forget tasks that were not answered yet."""
        self._outbox.recall(keys)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    def _answers(self, task: Task) -> Iterator[Annotation]:
        """Ask one annotator after the other, until as many as are wanted have not skipped."""
        wanted = task.overlap
        for who in self._order(task):
            answer = self._answer(task, who)
            yield answer
            wanted -= answer.kind != "skip"
            if wanted <= 0:
                return

    def _order(self, task: Task) -> list[int]:
        # The round is part of it: a row that is asked for again shall be seen by others too.
        draws = self._draws("order", task.round, task.id)
        return draws.sample(range(len(self._names)), len(self._names))

    def _answer(self, task: Task, who: int) -> Annotation:
        name = self._names[who]
        key = f"{task.key}:{name}"
        draws = self._draws(name, task.id)
        if draws.random() < self._skip:
            return Annotation(key=key, id=task.id, kind="skip", annotator=name)
        label = self._noisy(self._true_label(task.id), who, draws)
        return Annotation(key=key, id=task.id, label=label, annotator=name)

    def _noisy(self, label: Any, who: int, draws: Draws) -> Any:
        error = self._error[who]
        if self._is_number:
            return label + error * draws.gauss(0.0, 1.0)
        if self._is_multilabel:
            return [name for name in self._classes if (name in label) != (draws.random() < error)]
        if self._confusion is not None:
            return draws.choices(self._classes, self._confusion[who][self._classes.index(label)])[0]
        if draws.random() < error:
            return draws.choice([name for name in self._classes if name != label])
        return label

    def _true_label(self, row: RowId) -> Any:
        """Look a label up."""
        try:
            if isinstance(self._labels, Mapping):
                label = self._labels[row]
            else:
                position = operator.index(row)  # type: ignore[arg-type]
                label = self._labels[position] if position >= 0 else None
        except (KeyError, IndexError, TypeError):
            label = None
        label = _plain(label)
        if label is None or (isinstance(label, float) and math.isnan(label)):
            what = "ids" if isinstance(self._labels, Mapping) else "positions"
            raise ValueError(f"labels: expected a label for row {row!r}, got none among {len(self._labels)} {what}")
        return label

    def _draws(self, *about: Any) -> Draws:
        """Draw what is the same for the same seed and the same things, in every process."""
        about = tuple(_plain(part) for part in about)
        return random.Random(f"{self._seed} {about!r}")  # noqa: S311 - nothing is kept secret

    def _all_classes(self, values: Iterable[Any], classes: Sequence[Any] | None) -> list[Any]:
        """List the classes, and check that there are no others among the labels."""
        names = (name for label in values for name in label or ()) if self._is_multilabel else iter(values)
        found = {_plain(name) for name in names} - {None}
        if classes is None:
            return sorted(found, key=lambda name: (isinstance(name, str), name))
        given = [_plain(name) for name in classes]
        if unknown := found - set(given):
            raise ValueError(f"classes: expected every class among the labels, {next(iter(unknown))!r} is missing")
        return given

    def _as_confusion(self, confusion: Any) -> NDArray[np.float64]:
        """Read one matrix, or one for each annotator."""
        if self._is_number or self._is_multilabel:
            raise ValueError("confusion: expected none but for rows of one class each; error= is for all kinds")
        if any(self._error):
            raise ValueError("error: expected none beside confusion, which tells how often each class is mistaken")
        m, people = len(self._classes), len(self._names)
        matrix = np.asarray(confusion, np.float64)
        if matrix.shape not in ((m, m), (people, m, m)):
            raise ValueError(f"confusion: expected the shape {(m, m)} or {(people, m, m)}, got {matrix.shape}")
        if not ((matrix >= 0).all() and np.allclose(matrix.sum(-1), 1)):
            raise ValueError("confusion: expected rows that are 0 or more and sum to 1")
        return np.broadcast_to(matrix, (people, m, m))

    def _check_error(self) -> None:
        if max(self._error) > 1:
            raise ValueError(f"error: expected shares from 0 to 1 between classes, got {max(self._error)}")
        if any(self._error) and not self._is_multilabel and len(self._classes) < 2:
            raise ValueError("classes: expected at least two to err between, got fewer; classes= names those unseen")


def _as_list(labels: Any) -> Sequence[Any]:
    """Read an array by position."""
    if isinstance(labels, Sequence) and not isinstance(labels, str):
        return labels
    array = np.asarray(labels)
    if array.ndim != 1:
        raise TypeError(f"labels: expected a mapping of ids to labels, or one label a row, got {type(labels).__name__}")
    many: list[Any] = array.tolist()
    return many


def _holds(values: Iterable[Any], types: tuple[type, ...], what: str) -> bool:
    """Tell whether labels are of some types; all are, or none."""
    known = [isinstance(value, types) for value in values if value is not None]
    if any(known) and not all(known):
        raise TypeError(f"labels: expected all to be {what}, or none, got {sum(known)} of {len(known)}")
    return any(known)


def _per_annotator(x: Any, annotators: int, name: str) -> list[float]:
    many = x if isinstance(x, (Sequence, np.ndarray)) and not isinstance(x, str) else [x] * annotators
    numbers = [as_number(one, name) for one in many]
    if len(numbers) != annotators:
        raise ValueError(f"{name}: expected one number, or one for each of {annotators} annotators, got {len(numbers)}")
    if not all(0 <= number < np.inf for number in numbers):
        raise ValueError(f"{name}: expected numbers of 0 or more, got {list(islice(numbers, 5))}")
    return numbers


def _share(x: Any, name: str) -> float:
    number = as_number(x, name)
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a share from 0 to 1, got {number}")
    return number


def _plain(x: Any) -> Any:
    """Turn a NumPy scalar into Python's, which hashes and prints alike everywhere."""
    return x.item() if isinstance(x, np.generic) else x
