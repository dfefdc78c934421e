# ruff: noqa: N803 - X and y are what scikit-learn calls them
"""Models that are trained elsewhere, and hand over what they predict."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise.loop.models.base import Class, LoopModel, Task, read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class ExternalModel(LoopModel):
    """A model that the loop does not train: after each round its new predictions of the pool are handed over.

    Parameters
    ----------
    task : {"multiclass", "multilabel", "regression"}
        What is predicted.

    See Also
    --------
    pickwise.select : Takes the predictions, whatever pool they are.

    Examples
    --------
    >>> model = ExternalModel()
    >>> model.hand_over("predictions/round-3/*.parquet")
    >>> model.predictions
    'predictions/round-3/*.parquet'
    """

    kind: ClassVar[str] = "external"
    trains: ClassVar[bool] = False

    def __init__(self, task: Task = "multiclass") -> None:
        super().__init__(task)
        self.name = "a model that is trained elsewhere"
        self._predictions: Any = None

    @property
    def predictions(self) -> Any:
        """What was handed over last: a path or paths, an array, or any other pool.

        Raises
        ------
        ValueError
            If nothing was.
        """
        if not self.has_predictions:
            raise ValueError(
                "predictions: expected those of a model that is trained elsewhere, got none; call hand_over"
            )
        return self._predictions

    @property
    def has_predictions(self) -> bool:
        """Whether any were handed over."""
        return self._predictions is not None

    def hand_over(self, predictions: Any) -> None:
        """Take the new predictions of the pool.

        Parameters
        ----------
        predictions : path, sequence of paths, array_like or pool
            Whatever `pickwise.select` reads. Nothing of it is copied or looked at here.
        """
        if predictions is None:
            raise TypeError("predictions: expected a path, an array or a pool, got None")
        self._predictions = predictions

    def save(self, folder: Path) -> bool:
        """Write where the predictions lie; False if they are no files."""
        paths = _as_paths(self._predictions)
        if paths is None:
            return False
        write_state(folder, format="paths", predictions=paths, classes=self._known)
        return True

    def load(self, folder: Path, *, trusted: Sequence[str] = ()) -> None:
        """Read where the predictions lie."""
        del trusted
        state = read_state(folder)
        if state["format"] != "paths":
            raise TypeError("model: expected the one that was trained here, got none; pass it as model=, and its pool")
        self._predictions, self._known = state["predictions"], state["classes"]

    @classmethod
    def restore(cls, folder: Path, description: Mapping[str, Any], trusted: Sequence[str] = ()) -> ExternalModel:
        """Make one of what `save` and `describe` wrote."""
        model = cls(description["task"])
        model.load(folder, trusted=trusted)
        return model

    def _fitted_classes(self) -> list[Class]:
        if self._known is None:
            raise ValueError("classes: expected the order of the columns of the predictions; call set_classes")
        return self._known

    def _fit(self, X: Any, y: NDArray[Any], classes: list[Class]) -> None:
        del X, y, classes
        raise TypeError("fit: expected a model that is trained here; train it elsewhere, and hand_over its predictions")

    def _predict_proba(self, X: Any) -> Any:
        del X
        raise TypeError("predict_proba: expected a model that is trained here; its predictions are in .predictions")

    _predict = _predict_proba


def _as_paths(predictions: Any) -> str | list[str] | None:
    if isinstance(predictions, (str, os.PathLike)):
        return os.fspath(predictions)
    if isinstance(predictions, (list, tuple)) and all(isinstance(path, (str, os.PathLike)) for path in predictions):
        return [os.fspath(path) for path in predictions]
    return None
