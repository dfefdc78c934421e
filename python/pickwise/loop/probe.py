"""What criteria to stop need measured on the probe, a fixed sample of the pool, of which no labels are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.options import one_of
from pickwise.scores import entropy

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from pickwise.loop.merging import Task


def probe_metrics(
    previous: Any,
    current: Any,
    *,
    classes: Sequence[Hashable] | None = None,
    previous_classes: Sequence[Hashable] | None = None,
    task: Task = "multiclass",
) -> dict[str, float]:
    """Measure on a probe, a fixed sample of the pool, how far a model differs from the one before.

    Parameters
    ----------
    previous : array_like of shape (rows, classes) or (rows,), optional
        What the model before says of the probe: probabilities, or predictions in regression. None for the first.
    current : array_like of shape (rows, classes) or (rows,)
        What the model says now.
    classes, previous_classes : sequence, optional
        What the columns of each stand for; the same columns in both where none are given.
    task : {"multiclass", "multilabel", "regression"}
        What a row is. Of several labels each is measured by itself, "yes" from 0.5 on, if both models know it; the
        mean is returned.

    Returns
    -------
    dict of str to float
        "agreement": Cohen's kappa of the classes that the two give. 1 where both give all rows the same one class.

        "changed": the share of rows that changed their class; in regression, where it is all there is, the mean change
        divided by the standard deviation of `current`.

        "delta_f": by how much F is estimated to change, if the new model is right: 1 - 2a / (2a + b + c), where both
        models say a class of *a* rows, and one alone of *b* and *c* [1]_. The paper has two classes, and F of the
        positive one; of more it is the mean over classes that either model gives.

        "uncertainty": the mean entropy, divided by that of equally probable classes.

        Without `previous` there is only "uncertainty".

    Raises
    ------
    ValueError
        If shapes or classes do not fit, or `current` holds no probabilities.

    Notes
    -----
    One pass over both. Classes may come, go and change places between the two.

    References
    ----------
    .. [1] M. Altschuler and M. Bloodgood. Stopping active learning based on predicted change of F measure for text
       classification. IEEE International Conference on Semantic Computing 2019 (arXiv:1901.09118).

    Examples
    --------
    >>> before, now = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0.9, 0.1], [0.3, 0.7], [0.1, 0.9]]
    >>> {name: round(value, 3) for name, value in probe_metrics(before, now).items()}
    {'uncertainty': 0.606, 'agreement': 0.4, 'changed': 0.333, 'delta_f': 0.333}
    """
    one_of(task, "task", ("multiclass", "multilabel", "regression"))
    new = np.asarray(current)
    old = None if previous is None else np.asarray(previous)
    if old is not None and (len(old) != len(new) or old.ndim != new.ndim):
        raise ValueError(f"previous: expected the {len(new)} rows of current, got shape {old.shape}, not {new.shape}")
    if task == "regression":
        return {} if old is None else _change_of_numbers(old, new)
    if new.ndim != 2:
        raise ValueError(f"current: expected probabilities of shape (rows, classes), got shape {new.shape}")
    metrics = {"uncertainty": float(entropy(new, normalize=True, task=task, dtype=np.float64).mean())}
    if old is None:
        return metrics
    if classes is None and previous_classes is None and old.shape[1] != new.shape[1]:
        raise ValueError(
            f"classes: expected them by name, as previous has {old.shape[1]} columns and current {new.shape[1]}; "
            "pass classes and previous_classes"
        )
    names = _column_names(classes, new, "classes")
    old_names = _column_names(names if previous_classes is None else previous_classes, old, "previous_classes")
    if task == "multilabel":
        return metrics | _change_of_labels(old, old_names, new, names)
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*names, *old_names]))}
    one = np.array([numbers[name] for name in old_names])[old.argmax(1)]
    two = np.array([numbers[name] for name in names])[new.argmax(1)]
    return metrics | _change_of_classes(one, two, len(numbers))


def _column_names(classes: Sequence[Hashable] | None, p: NDArray[Any], name: str) -> list[Any]:
    names = list(range(p.shape[1])) if classes is None else list(classes)
    if len(set(names)) != p.shape[1] or len(names) != p.shape[1]:
        raise ValueError(f"{name}: expected {p.shape[1]} different ones, one for each column, got {names!r}")
    return names


def _change_of_classes(one: NDArray[Any], two: NDArray[Any], size: int) -> dict[str, float]:
    first, second = np.bincount(one, minlength=size), np.bincount(two, minlength=size)
    both = np.bincount(one[one == two], minlength=size)
    given = first + second > 0
    f = 2 * both[given] / (first + second)[given]
    return {
        "agreement": _kappa(both.sum(), first @ second, len(one)),
        "changed": float(np.mean(one != two)),
        "delta_f": float(1 - f.mean()),
    }


def _kappa(same: Any, chance: Any, rows: int) -> float:
    """Cohen's kappa (1960), of how many rows are the same, and rows² times the share that would be so by chance."""
    expected = chance / rows**2
    return 1.0 if expected == 1 else float((same / rows - expected) / (1 - expected))


def _change_of_labels(old: NDArray[Any], old_names: list[Any], new: NDArray[Any], names: list[Any]) -> dict[str, float]:
    where = {name: column for column, name in enumerate(old_names)}
    known = [name for name in names if name in where]
    if not known:
        return {}
    one = old[:, [where[name] for name in known]] >= 0.5
    two = new[:, [column for column, name in enumerate(names) if name in where]] >= 0.5
    rows, both, first, second = len(one), (one & two).sum(0), one.sum(0), two.sum(0)
    same, chance = (one == two).sum(0), first * second + (rows - first) * (rows - second)
    given = first + second > 0  # F of a label that nobody gives is not defined
    f = 2 * both[given] / (first + second)[given]
    return {
        "agreement": float(np.mean([_kappa(a, b, rows) for a, b in zip(same, chance, strict=True)])),
        "changed": float(np.mean(one != two)),
        "delta_f": float(1 - f.mean()) if given.any() else 0.0,
    }


def _change_of_numbers(old: NDArray[Any], new: NDArray[Any]) -> dict[str, float]:
    if old.shape != new.shape:
        raise ValueError(f"previous: expected the shape of current, {new.shape}, got {old.shape}")
    change, deviation = np.abs(new - old).mean(dtype=np.float64), new.std(dtype=np.float64)
    if deviation > 0:
        return {"changed": float(change / deviation)}
    return {"changed": 0.0} if change == 0 else {}
