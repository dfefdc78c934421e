# ruff: noqa: N803 - X and y are what scikit-learn calls them
"""The one shape in which the loop uses models, whatever library they are of."""

from __future__ import annotations

import json
import math
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias, cast, runtime_checkable

import numpy as np

from pickwise import __version__
from pickwise.arrays import as_numpy, as_objects, row_count
from pickwise.options import one_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Task: TypeAlias = Literal["multiclass", "multilabel", "regression"]
"""What is predicted: one class of several, any number of labels, or a number."""

TASKS: tuple[Task, ...] = ("multiclass", "multilabel", "regression")

Class: TypeAlias = "str | int"

STATE = "state.json"

# How far a row of probabilities may be off one, by the bytes of a float: as `select` has it.
_TOLERANCE = {2: 5e-3, 4: 1e-3, 8: 1e-5}


@runtime_checkable
class Model(Protocol):
    """What the loop can train: any object with these two methods.

    It may have more, each of which is used where it is there: ``embed(X) -> (rows, dims)``,
    ``predict_committee(X) -> (members, rows, classes)``, ``partial_fit(X, y)``, and the pair ``save(folder)`` and
    ``load(folder)``, which write its state into a folder and read it back.
    """

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from rows and their labels, 0 to classes - 1."""

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities, (rows, classes)."""


class LoopModel(ABC):
    """A model as the loop uses it: it checks labels and predictions, and knows the classes by name.

    Parameters
    ----------
    task : {"multiclass", "multilabel", "regression"}
        What is predicted.

    Attributes
    ----------
    kind : str
        What kind of model it is, as `describe` writes it.
    name : str
        What it is called in messages.
    trains : bool
        Whether it learns here; if not, its predictions are handed over.
    """

    kind: ClassVar[str] = "other"
    trains: ClassVar[bool] = True
    name: str
    task: Task

    def __init__(self, task: Task) -> None:
        self.task = cast("Task", one_of(task, "task", TASKS))
        self._known: list[Class] | None = None
        self._classes: list[Class] | None = None

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes in the order of the columns of `predict_proba`, (classes,); none in regression."""
        return as_objects(self._fitted_classes())

    def set_classes(self, classes: Sequence[Class]) -> None:
        """Say which classes there are, in which order; otherwise they are those of the labels, sorted.

        Columns of `predict_proba` are still only the classes that the model has seen, unless it cannot learn of new
        ones (``partial_fit``).

        Parameters
        ----------
        classes : sequence of str or int

        Raises
        ------
        ValueError
            If a class is there twice.
        """
        names = [plain_scalar(name) for name in classes]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"classes: expected each class once, got {twice!r} {names.count(twice)} times")
        self._known = names

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from all labelled rows, from the beginning. If that fails, the model is as it was.

        Parameters
        ----------
        X : array_like, table or list
            The rows, in any form that the model takes.
        y : array_like
            The names of their classes, (rows,); of several labels 0 or 1 for each, (rows, labels); in regression
            numbers, (rows,).

        Returns
        -------
        LoopModel
            Itself.

        Raises
        ------
        ValueError
            For labels that do not fit the rows or the task, and for fewer than two classes.
        Exception
            What the model raises comes out as it is, with a note.
        """
        rows = row_count(X, "X")
        labels, classes = self._read_labels(y)
        if len(labels) != rows:
            raise ValueError(f"labels: expected {rows}, one for each row, got {len(labels)}")
        with noting(f"{self.name} was being fitted to {rows} rows"):
            self._fit(X, labels, classes)
        self._classes = classes
        return self

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict probabilities.

        Parameters
        ----------
        X : array_like, table or list
            The rows.

        Returns
        -------
        ndarray of float, (rows, classes)
            Of several labels *P(y=1)* of each.

        Raises
        ------
        TypeError
            In regression.
        ValueError
            If the model is not fitted, or returns what are no probabilities of these rows.
        """
        if self.task == "regression":
            raise TypeError("predict_proba: a regression has no probabilities; use predict")
        classes, rows = len(self._fitted_classes()), row_count(X, "X")
        if rows == 0:
            return np.empty((0, classes))
        with noting(f"{self.name} was predicting {rows} rows"):
            found = self._predict_proba(X)
        return self._checked(found, (rows, classes), "predict_proba")

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the most probable class by name, (rows,); of several labels 0 or 1, (rows, labels); or numbers.

        Of equally probable classes it is the first.
        """
        if self.task == "multilabel":
            return (self.predict_proba(X) >= 0.5).astype(np.int8)
        if self.task == "multiclass":
            return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])
        self._fitted_classes()
        rows = row_count(X, "X")
        with noting(f"{self.name} was predicting {rows} rows"):
            found = self._predict(X)
        return self._checked(found, (rows,), "predict")

    @property
    def can_embed(self) -> bool:
        """Whether it has embeddings."""
        return False

    def embed(self, X: Any) -> NDArray[Any]:
        """Compute embeddings, (rows, dims)."""
        if not self.can_embed:
            raise TypeError(f"model: expected one with embed, for embeddings, got {self.name}")
        rows = row_count(X, "X")
        with noting(f"{self.name} was embedding {rows} rows"):
            found = _as_array(self._embed(X))
        if found.ndim != 2 or len(found) != rows:
            raise ValueError(f"model: expected ({rows}, dims) from embed of {self.name}, got the shape {found.shape}")
        return found

    @property
    def can_committee(self) -> bool:
        """Whether it has members that predict on their own."""
        return False

    def predict_committee(self, X: Any) -> NDArray[Any]:
        """Predict by each member, (members, rows, classes); in regression (members, rows)."""
        if not self.can_committee:
            raise TypeError(
                f"model: expected an ensemble, such as a random forest, or one with predict_committee, got {self.name}"
            )
        shape: tuple[int, ...] = (row_count(X, "X"),)
        if self.task != "regression":
            shape = (*shape, len(self._fitted_classes()))
        with noting(f"{self.name} was predicting {shape[0]} rows by each member"):
            found = _as_array(self._predict_committee(X))
        if found.ndim != len(shape) + 1 or len(found) < 2:
            raise ValueError(
                f"model: expected (members, {', '.join(map(str, shape))}) and at least two members from "
                f"predict_committee of {self.name}, got the shape {found.shape}"
            )
        return np.stack([self._checked(member, shape, "predict_committee") for member in found])

    @property
    def needed_of_each_class(self) -> int:
        """How many rows of a class it must learn from, to do with this class what it is to do."""
        return 1

    def fresh(self, seed: int) -> LoopModel | None:
        """Return a model like this one that has learnt nothing, and may be fitted without a trace in this one.

        Parameters
        ----------
        seed : int
            Of what it draws, where it was told no seed: two that are made with the same seed come to the same.

        Returns
        -------
        LoopModel or None
            None where there is no such way.
        """
        del seed
        return None

    def save(self, folder: Path) -> bool:
        """Write the state into a folder, in a format that runs no code when it is read.

        Returns
        -------
        bool
            False if there is none: the model is refitted from its labels when it is needed again.
        """
        del folder
        return False

    def load(self, folder: Path, *, trusted: Sequence[str] = ()) -> None:
        """Read the state that `save` wrote.

        Parameters
        ----------
        folder : Path
        trusted : sequence of str
            Types, by their full names, that the file may hold beside those that are known to be harmless.
        """
        del folder, trusted
        raise TypeError(f"model: {self.name} has no format to be read from; fit it to its labels")

    @classmethod
    def restore(cls, folder: Path, description: Mapping[str, Any], trusted: Sequence[str] = ()) -> LoopModel:
        """Make a model of what `save` and `describe` wrote, without the object it came from."""
        del folder, description, trusted
        raise ValueError(f"into: expected the model whose state it is, as one of kind {cls.kind!r} cannot be made anew")

    def describe(self) -> dict[str, Any]:
        """Say what it is, as JSON can hold it: kind, task, what it is made of, classes, versions."""
        described = {"kind": self.kind, "task": self.task, "name": self.name}
        versions = {"python": platform.python_version(), "pickwise": __version__, "numpy": np.__version__}
        more = self._describe()
        versions |= more.pop("versions", {})
        return {**described, **more, "classes": self._classes, "versions": versions}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, task={self.task!r})"

    @abstractmethod
    def _fit(self, X: Any, y: NDArray[Any], classes: list[Class]) -> None:
        """Learn from codes, 0 to classes - 1; or the matrix of labels, or numbers."""

    @abstractmethod
    def _predict_proba(self, X: Any) -> Any: ...

    # Of models that say they can: others are refused before it comes to these.
    def _predict(self, X: Any) -> Any:
        raise NotImplementedError

    def _embed(self, X: Any) -> Any:
        raise NotImplementedError

    def _predict_committee(self, X: Any) -> Any:
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        return {}

    @property
    def _has_all_classes(self) -> bool:
        """Whether the columns are all classes that are known, seen or not."""
        return False

    def _fitted_classes(self) -> list[Class]:
        if self._classes is None:
            raise ValueError(f"model: expected one that is fitted, got {self.name} as it was made; call fit first")
        return self._classes

    def _read_labels(self, y: Any) -> tuple[NDArray[Any], list[Class]]:
        if self.task == "multiclass":
            return _codes(y, self._known, all_classes=self._has_all_classes)
        if self.task == "regression":
            numbers = np.asarray(y, dtype=np.float64)
            if numbers.ndim != 1 or not np.isfinite(numbers).all():
                raise ValueError(f"labels: expected finite numbers, one a row, got {_what_is_wrong(numbers)}")
            return numbers, []
        matrix = np.asarray(y)
        if matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
            raise ValueError(f"labels: expected 0 or 1, (rows, labels), got {_what_is_wrong(matrix)}")
        names = list(range(matrix.shape[1])) if self._known is None else self._known
        if len(names) != matrix.shape[1]:
            raise ValueError(f"labels: expected {len(names)} columns, one for each class, got {matrix.shape[1]}")
        return matrix.astype(np.int64), list(names)

    def _checked(self, found: Any, shape: tuple[int, ...], method: str) -> NDArray[Any]:
        return checked(_as_array(found), shape, self.task, f"from {method} of {self.name}")


def checked(found: NDArray[Any], shape: tuple[int, ...], task: Task, where: str) -> NDArray[Any]:
    """Look at what a model returned.

    Parameters
    ----------
    found : ndarray
        Of two classes also *P(y=1)*, (rows,).
    shape : tuple of int
        What it should have: (rows, classes), or (rows,) in regression.
    task : {"multiclass", "multilabel", "regression"}
    where : str
        What it came from, for messages.

    Returns
    -------
    ndarray
        The same, of that shape.

    Raises
    ------
    ValueError
        For another number of rows or classes, NaN, infinite values, and rows that are no probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> checked(np.array([0.25, 0.5]), (2, 2), "multiclass", "from f")
    array([[0.75, 0.25],
           [0.5 , 0.5 ]])
    >>> checked(np.ones((1, 2)), (1, 2), "multiclass", "from f")
    Traceback (most recent call last):
    ValueError: model: expected rows that sum to 1 from f, got 2.0 in row 0 (1 such row)
    """
    if found.dtype.kind in "iub":
        found = found.astype(np.float64)
    if found.dtype.kind != "f" and found.dtype.name != "bfloat16":
        raise ValueError(f"model: expected floats {where}, got {found.dtype}")
    if task == "multiclass" and found.ndim == 1 and shape[1] == 2:
        found = np.stack([1 - found, found], axis=1)
    if task == "regression" and found.shape == (shape[0], 1):
        found = found[:, 0]
    if found.ndim != len(shape):
        raise ValueError(f"model: expected the shape {shape} {where}, got {found.shape}")
    if len(found) != shape[0]:
        raise ValueError(f"model: expected {shape[0]} rows {where}, got {len(found)}")
    if found.shape != shape:
        raise ValueError(f"model: expected {shape[1]} columns, one for each class, {where}, got {found.shape[1]}")
    rows = found.reshape(len(found), -1)
    _refuse(~np.isfinite(rows), rows, f"finite values {where}")
    if task != "regression":
        tolerance = _TOLERANCE.get(found.dtype.itemsize, 1e-5) if found.dtype.kind == "f" else 2e-2
        _refuse((rows < 0) | (rows > 1 + tolerance), rows, f"values from 0 to 1 {where}")
        if task == "multiclass":
            sums = rows.sum(1, keepdims=True, dtype=np.float64)
            _refuse(np.abs(sums - 1) > tolerance, sums, f"rows that sum to 1 {where}")
    return found


def _refuse(bad: NDArray[Any], values: NDArray[Any], expected: str) -> None:
    at = np.flatnonzero(bad.any(1))
    if len(at):
        value = float(values[at[0]][bad[at[0]]][0])
        raise ValueError(
            f"model: expected {expected}, got {value} in row {at[0]} ({len(at)} such row{'s' if len(at) > 1 else ''})"
        )


@contextmanager
def noting(what: str) -> Iterator[None]:
    """Let errors of the user's own code out as they are, with a note of what was being done."""
    try:
        yield
    except Exception as error:
        error.add_note(f"pickwise: {what}")
        raise


def plain(value: Any) -> Any:
    """Turn numbers of NumPy, tuples and paths into what JSON holds; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    value = plain_scalar(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def write_state(folder: Path, **state: Any) -> None:
    """Write what a model needs beside its own files to be read back."""
    (folder / STATE).write_text(json.dumps(state, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """Read what `write_state` wrote."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"model: expected {STATE} of a saved model in {str(folder)!r}, got none ({error})") from None
    return state


def _codes(y: Any, known: list[Class] | None, *, all_classes: bool) -> tuple[NDArray[np.int64], list[Class]]:
    """Replace classes by their place among those that the model gets to know."""
    if np.ndim(y) != 1:
        raise ValueError(f"labels: expected a class for each row, (rows,), got the shape {np.shape(y)}")
    labels = [plain_scalar(label) for label in y]
    for row, label in enumerate(labels):
        if label is None or label != label:  # noqa: PLR0124 - NaN
            raise ValueError(f"labels: expected a class for each row, got {label} in row {row}; leave such rows out")
    seen = set(labels)
    if len(seen) < 2:
        some = f"only {next(iter(seen))!r} in {len(labels)} rows" if seen else "no labels"
        raise ValueError(f"labels: expected at least two classes, got {some}; label rows of another class first")
    if known is None:
        classes = sorted(seen, key=lambda name: (isinstance(name, str), name))
    elif unknown := seen - set(known):
        raise ValueError(f"labels: expected the classes {known}, got {sorted(map(repr, unknown))[0]}")
    else:
        classes = [name for name in known if all_classes or name in seen]
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places[label] for label in labels], dtype=np.int64), classes


def plain_scalar(value: Any) -> Any:
    """Turn a scalar of NumPy into one of Python, and leave all else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def _as_array(found: Any) -> NDArray[Any]:
    if hasattr(found, "detach"):  # a tensor of PyTorch, wherever it lies
        found = found.detach().cpu()
    return as_numpy(found, "model")


def _what_is_wrong(found: NDArray[Any]) -> str:
    bad = found[~np.isin(found, (0, 1))] if found.ndim == 2 else found[~np.isfinite(found)] if found.ndim == 1 else []
    return f"{bad[0]}" if len(bad) else f"the shape {found.shape}"
