"""What a model says of labelled rows that it has not learnt from: out-of-fold predictions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.carried import take
from pickwise.loop.merging import class_index
from pickwise.loop.quality import align

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pickwise.loop.answering import Labelled
    from pickwise.loop.context import Context
    from pickwise.loop.models.base import LoopModel

FOLDS = 5
"""How many parts the labelled rows are divided into; as many models are fitted."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What was predicted, and what from.

    Attributes
    ----------
    data, model : object
        Held, so that no other can take their place in memory.
    made_of : tuple
        Classes, rows, and their labels.
    probabilities : ndarray of float64 of shape (rows, classes) or None
        None where the model could not be fitted to fewer rows.
    """

    data: Any
    model: Any
    made_of: tuple[Any, ...]
    probabilities: NDArray[np.float64] | None


def out_of_fold(context: Context, known: Labelled, classes: Sequence[Any] | None) -> NDArray[np.float64] | None:
    """Predict each row that somebody has answered for, by a model that was fitted to labels of other rows.

    The project's model is left as it is. The same labels, model and seed give the same, in any process.

    Parameters
    ----------
    context : Context
    known : Labelled
        The rows, and labels in which no model has had a say.
    classes : sequence, optional
        What the columns stand for; None where there are no labels.

    Returns
    -------
    ndarray of float64 of shape (len(known.heard), len(classes)) or None
        None where there is no such model: with several labels a row or numbers, with labels of one class alone, for
        models without `fresh` (functions, and those that are trained elsewhere), and for those that raise where they
        learn from fewer rows, of which a warning tells.

    Notes
    -----
    It costs `FOLDS` fits, each to four fifths of the labelled rows. What was found last is kept: for the same labels no
    model is fitted again. The only row of a class is in no fold, but learnt by all models: those that have never seen
    its class would all say that it is wrong.
    """
    model = context.model
    if model is None or context.data is None or classes is None or context.settings.task != "multiclass":
        return None
    codes = _codes(known, classes)
    made_of = (tuple(classes), tuple(known.heard), codes.tobytes())
    last = context.left_out
    if last is None or last.data is not context.data or last.model is not model or last.made_of != made_of:
        rows = take(context.folder, context.data, known.heard)
        last = LeftOut(context.data, model, made_of, _predicted(model, rows, codes, classes, context.settings.seed))
        context.left_out = last
    return None if last.probabilities is None else last.probabilities.copy()


def _codes(known: Labelled, classes: Sequence[Any]) -> NDArray[np.int64]:
    """Return the number of each row's class, and that after the last for rows that no model learns from."""
    merged = known.merged
    index = class_index(classes, labels := merged.labels[merged.is_label].tolist())
    codes = np.full(len(known.heard), len(classes))
    codes[merged.rows[merged.is_label]] = [index[name] for name in labels]
    return codes


def _predicted(
    model: LoopModel, rows: Any, codes: NDArray[np.int64], classes: Sequence[Any], seed: int
) -> NDArray[np.float64] | None:
    """Predict rows fold by fold; None where that cannot be done."""
    counts = np.bincount(codes, minlength=len(classes) + 1)
    folds = min(FOLDS, int(counts[:-1].sum()))
    if np.count_nonzero(counts[:-1]) < 2:
        return None
    stays = counts[codes] <= model.needed_of_each_class
    learnt, fold = codes < len(classes), assigned(codes, folds, seed)
    names = np.fromiter([*classes, None], object)[codes]
    p = np.zeros((len(codes), len(classes)))
    for number, drawn in enumerate(np.random.SeedSequence(seed).generate_state(folds, np.uint32).tolist()):
        part, seen, left = model.fresh(drawn), learnt & ((fold != number) | stays), fold == number
        if part is None:
            return None
        part.set_classes(classes)
        try:
            part.fit(_some(rows, seen), names[seen])
            found = part.predict_proba(_some(rows, left))
        except Exception as error:  # noqa: BLE001 - whatever it is, the model learns from all rows, and so can be asked
            warnings.warn(
                f"{model.name}: labels are judged by a model that has learnt from them, as it cannot learn from "
                f"{int(seen.sum())} of {int(learnt.sum())} rows: {error}",
                stacklevel=2,
            )
            return None
        p[left] = align(found, part.classes_.tolist(), classes)
    return p


def assigned(codes: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Divide rows into folds that differ by one row at most, each with its share of every class.

    Parameters
    ----------
    codes : ndarray of int64 of shape (rows,)
        Their classes.
    folds : int
    seed : int

    Returns
    -------
    ndarray of int64 of shape (rows,)
        The fold of each. Two rows of a class, where there are no more, are in two.

    Examples
    --------
    >>> import numpy as np
    >>> fold = assigned(np.array([0, 1, 0, 1, 0, 0]), 2, seed=0)
    >>> np.bincount(fold[[0, 2, 4, 5]]), np.bincount(fold[[1, 3]])
    (array([2, 2]), array([1, 1]))
    """
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(codes), np.int64)
    fold[order] = np.arange(len(codes)) % folds
    return fold


def _some(rows: Any, mask: NDArray[np.bool_]) -> Any:
    return getattr(rows, "iloc", rows)[np.flatnonzero(mask)]
