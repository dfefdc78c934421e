"""How good a model is, on rows that it has not learnt from; by scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def classification(
    truth: Any, probabilities: NDArray[Any], classes: Sequence[Any], task: str
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Measure a classifier.

    Parameters
    ----------
    truth : sequence of shape (rows,)
        The names of classes, or lists of them.
    probabilities : ndarray of shape (rows, classes)
    classes : sequence
        The names of the columns. A class of `truth` that is none of them counts as never predicted.
    task : {"multiclass", "multilabel"}

    Returns
    -------
    metrics, per_class : dict
    """
    if task == "multilabel":
        return _multilabel(truth, probabilities, classes)
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    every = [*classes, *sorted(set(truth) - set(classes), key=str)]
    place = {name: code for code, name in enumerate(every)}
    codes = np.array([place[name] for name in truth])
    guessed = probabilities.argmax(1)
    table = precision_recall_fscore_support(codes, guessed, labels=np.arange(len(every)), zero_division=0)
    present = table[3] > 0
    wide = np.zeros((len(codes), len(every)))
    wide[:, : len(classes)] = probabilities
    # Clipped as scikit-learn does: a class that the model does not know costs as much as one that it rules out.
    likely = np.clip(wide[np.arange(len(codes)), codes], np.finfo(np.float64).eps, 1)
    metrics = {
        "accuracy": float(accuracy_score(codes, guessed)),
        "macro_f1": float(table[2][present].mean()),
        "log_loss": float(-np.log(likely).mean()),
    }
    return metrics, _by_class(every, table)


def regression(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Measure a regressor; there is no R² of one row."""
    from sklearn.metrics import mean_absolute_error, r2_score

    wanted = np.asarray(truth, np.float64)
    metrics = {"mae": float(mean_absolute_error(wanted, predicted))}
    return metrics if len(wanted) < 2 else {"r2": float(r2_score(wanted, predicted)), **metrics}


def _multilabel(
    truth: Any, probabilities: NDArray[Any], classes: Sequence[Any]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    wanted = np.array([[name in labels for name in classes] for labels in truth], bool)
    guessed = probabilities >= 0.5
    table = precision_recall_fscore_support(wanted, guessed, zero_division=0)
    metrics = {
        "macro_f1": float(f1_score(wanted, guessed, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(wanted, guessed, average="micro", zero_division=0)),
        "accuracy": float((wanted == guessed).all(1).mean()),
    }
    return metrics, _by_class(classes, table)


def _by_class(classes: Sequence[Any], table: Any) -> dict[str, dict[str, float]]:
    names = ("precision", "recall", "f1", "support")
    columns = [np.asarray(column, np.float64).tolist() for column in table]
    rows = zip(*columns, strict=True)
    return {str(name): dict(zip(names, row, strict=True)) for name, row in zip(classes, rows, strict=True)}
