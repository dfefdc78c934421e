# ruff: noqa: N803 - X and y are what scikit-learn calls them
"""Models that are plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise.arrays import as_objects
from pickwise.loop.models.base import Class, LoopModel, Task, noting, read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class FunctionModel(LoopModel):
    """A model of plain functions: one learns a state, others predict with it.

    Parameters
    ----------
    fit : function of (X, y)
        Returns the state, whatever that is. ``y`` holds the names of the classes as they were given; of several labels
        0 or 1 for each, (rows, labels); in regression numbers.
    predict_proba : function of (state, X), optional
        Returns the probabilities, (rows, classes), or of two classes *P(second)*, (rows,). Needed but in regression.
    classes : sequence, optional
        The classes in the order of the columns. By default those that are among the labels, sorted.
    predict : function of (state, X), optional
        Returns numbers, (rows,). Only for regression.
    embed : function of (state, X), optional
        Returns embeddings, (rows, dims).
    predict_committee : function of (state, X), optional
        Returns the probabilities by each member, (members, rows, classes); in regression (members, rows).
    save : function of (state, folder), optional
        Writes the state into a folder.
    load : function of (folder), optional
        Returns the state that ``save`` wrote.
    task : {"multiclass", "multilabel", "regression"}
        What is predicted.

    Raises
    ------
    TypeError
        For what cannot be called, or a missing function.

    Examples
    --------
    >>> import numpy as np
    >>> def fit(texts, y):
    ...     return {word for text, label in zip(texts, y) if label == "spam" for word in text.split()}
    >>> def predict_proba(spammy, texts):
    ...     return np.array([np.mean([word in spammy for word in text.split()]) for text in texts])
    >>> model = FunctionModel(fit, predict_proba)
    >>> model.fit(["win money", "see you"], ["spam", "ham"]).classes_
    array(['ham', 'spam'], dtype=object)
    >>> model.predict_proba(["money now"])
    array([[0.5, 0.5]])
    """

    kind: ClassVar[str] = "functions"

    def __init__(
        self,
        fit: Callable[[Any, Any], Any],
        predict_proba: Callable[[Any, Any], Any] | None = None,
        *,
        classes: Sequence[Class] | None = None,
        predict: Callable[[Any, Any], Any] | None = None,
        embed: Callable[[Any, Any], Any] | None = None,
        predict_committee: Callable[[Any, Any], Any] | None = None,
        save: Callable[[Any, Path], Any] | None = None,
        load: Callable[[Path], Any] | None = None,
        task: Task = "multiclass",
    ) -> None:
        super().__init__(task)
        given = {
            "fit": fit,
            "predict_proba": predict_proba,
            "predict": predict,
            "embed": embed,
            "predict_committee": predict_committee,
            "save": save,
            "load": load,
        }
        for name, function in given.items():
            if function is not None and not callable(function):
                raise TypeError(f"{name}: expected a function, got {function!r}")
        self._functions: dict[str, Any] = {name: function for name, function in given.items() if function is not None}
        needed = "predict" if task == "regression" else "predict_proba"
        for name in ("fit", needed):
            if name not in self._functions:
                raise TypeError(f"{name}: expected a function, got None; task={task!r} needs it")
        if ("save" in self._functions) != ("load" in self._functions):
            raise TypeError("save: expected it together with load, got only one of them")
        self.name = _name(self._functions[needed])
        self._state: Any = None
        self._fixed = classes is not None
        if classes is not None:
            self.set_classes(classes)

    @property
    def state(self) -> Any:
        """What ``fit`` returned last."""
        return self._state

    @property
    def can_embed(self) -> bool:
        """Whether there is a function for it."""
        return "embed" in self._functions

    @property
    def can_committee(self) -> bool:
        """Whether there is a function for it."""
        return "predict_committee" in self._functions

    def save(self, folder: Path) -> bool:
        """Write the state with ``save``; False without one."""
        if "save" not in self._functions:
            return False
        write_state(folder, format="its own", classes=self._fitted_classes())
        with noting(f"the state of {self.name} was being saved"):
            self._functions["save"](self._state, folder)
        return True

    def load(self, folder: Path, *, trusted: Sequence[str] = ()) -> None:
        """Read the state with ``load``. What it trusts is its own affair."""
        if "load" not in self._functions:
            super().load(folder, trusted=trusted)
        with noting(f"the state of {self.name} was being loaded"):
            state = self._functions["load"](folder)
        self._state, self._classes = state, read_state(folder)["classes"]

    @property
    def _has_all_classes(self) -> bool:
        return self._fixed

    def _fit(self, X: Any, y: NDArray[Any], classes: list[Class]) -> None:
        self._state = self._functions["fit"](X, _names(y, classes) if self.task == "multiclass" else y)

    def _predict_proba(self, X: Any) -> Any:
        return self._functions["predict_proba"](self._state, X)

    def _predict(self, X: Any) -> Any:
        return self._functions["predict"](self._state, X)

    def _embed(self, X: Any) -> Any:
        return self._functions["embed"](self._state, X)

    def _predict_committee(self, X: Any) -> Any:
        return self._functions["predict_committee"](self._state, X)

    def _describe(self) -> dict[str, Any]:
        return {"functions": {name: _name(function) for name, function in self._functions.items()}}


def _names(codes: NDArray[Any], classes: list[Class]) -> NDArray[Any]:
    """Turn codes into names, of the type that they have in common: scikit-learn takes no numbers among objects."""
    one_type = len({type(name) for name in classes}) == 1
    names = np.array(classes) if one_type else as_objects(classes)
    return np.asarray(names[codes])


def _name(function: Any) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else type(function).__name__
