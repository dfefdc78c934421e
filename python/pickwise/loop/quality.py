"""How good labels are: how far annotators and the model agree with them, and which are to be asked for again."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.merging import (
    Votes,
    as_ballot,
    as_matrix,
    as_numbers,
    as_probabilities,
    class_index,
    coded,
    majority,
    merge,
    multiannotator,
    untied,
)
from pickwise.selection import top_k

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from pickwise.loop.merging import Merged, Task


def align(probabilities: Any, classes: Sequence[Hashable], to: Sequence[Hashable]) -> NDArray[np.float64]:
    """Put the columns of probabilities in the order of other classes; a class that is not there has probability 0.

    Parameters
    ----------
    probabilities : array_like of shape (rows, classes)
        As the model gives them.
    classes : sequence
        What its columns stand for.
    to : sequence
        The classes wanted, in order: all of `classes` and perhaps more.

    Returns
    -------
    ndarray of float64 of shape (rows, len(to))
        A copy.

    Raises
    ------
    ValueError
        If `to` lacks one of the classes, or there are more or fewer columns than classes.

    Examples
    --------
    >>> align([[0.25, 0.75]], ["dog", "cat"], to=["ant", "cat", "dog"])
    array([[0.  , 0.75, 0.25]])
    """
    p = as_probabilities(probabilities, "probabilities", None, len(classes))
    index = {name: code for code, name in enumerate(to)}
    if lost := [name for name in classes if name not in index]:
        raise ValueError(f"to: expected all classes of the columns, got none that is {lost[0]!r}")
    aligned = np.zeros((len(p), len(to)))
    aligned[:, [index[name] for name in classes]] = p
    return aligned


def label_quality(labels: Any, probabilities: Any, classes: Sequence[Hashable]) -> NDArray[np.float64]:
    """Return how probable the model finds each label: its self-confidence. The lowest are the likeliest mistakes.

    It is the score by which confident learning ranks labels [1]_, that of cleanlab's ``get_label_quality_scores``.

    Parameters
    ----------
    labels : array_like of shape (rows,)
        The class that each row was given.
    probabilities : array_like of shape (rows, classes)
        What the model says of the rows. A model that has learnt from these labels finds them all probable: predict by
        cross-validation, as `Project.label_quality` does.
    classes : sequence
        What the columns stand for.

    Returns
    -------
    ndarray of float64 of shape (rows,)
        From 0 to 1. No score in the sense of `select`: *lower* is more suspicious.

    Raises
    ------
    ValueError
        If a label is none of the classes, or shapes do not fit.

    References
    ----------
    .. [1] C. G. Northcutt, L. Jiang and I. L. Chuang. Confident learning: estimating uncertainty in dataset labels.
       Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    >>> label_quality(["cat", "dog"], [[0.9, 0.1], [0.8, 0.2]], classes=["cat", "dog"])
    array([0.9, 0.2])
    """
    names = np.asarray(labels, object).tolist()
    index = class_index(classes, names)
    p = as_probabilities(probabilities, "probabilities", len(names), len(index))
    return p[np.arange(len(names)), [index[name] for name in names]]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows to ask for next, best first.

    Attributes
    ----------
    rows : ndarray of int64 of shape (k,)
        Of a row that is labelled its number in the votes, of another its position among `probabilities_pool`.
    relabel : ndarray of bool of shape (k,)
        Which of them are labelled already.
    scores : ndarray of float64 of shape (k,)
        Higher = more worth labelling: 1 less the score of ActiveLab.
    """

    rows: NDArray[np.int64]
    relabel: NDArray[np.bool_]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


def relabel_candidates(
    votes: Votes,
    probabilities_labelled: Any,
    probabilities_pool: Any = None,
    *,
    classes: Sequence[Hashable],
    k: int,
) -> Candidates:
    """Find the rows for which one more label is worth most, labelled ones included, by ActiveLab [1]_.

    A labelled row is worth asking again where its annotators disagree, or the model disagrees with them, and less with
    each annotator who has answered; the scores of unlabelled rows compare with these.

    Parameters
    ----------
    votes : Votes
        What the annotators said. Rows that were skipped or abstained from alone, or found to be in no class by most,
        are left out.
    probabilities_labelled : array_like of shape (rows, classes)
        What the model says of the rows ``np.unique(votes.rows)``; by cross-validation, as `Project.relabel` does it.
    probabilities_pool : array_like of shape (pool rows, classes), optional
        What it says of unlabelled rows.
    classes : sequence
        What the columns stand for. A class that the model does not know yet can be added by `align`.
    k : int
        How many rows to return.

    Returns
    -------
    Candidates
        `k` rows. Of equal scores labelled rows come first, then the lower number.

    Raises
    ------
    ImportError
        If cleanlab is not there.
    ValueError
        If a label is none of the classes, shapes do not fit, or there are fewer than `k` rows.

    Notes
    -----
    The work is cleanlab's: about 0.2 ms for each labelled row where some have several votes, and memory for a matrix
    of labelled rows by annotators. A labelled row counts the model as one annotator more. Where no row has two votes
    nothing can be learnt of the annotators, and each counts as much as the model.

    References
    ----------
    .. [1] H. W. Goh and J. Mueller. ActiveLab: active learning with re-labeling by multiple annotators. ICLR 2023
       Workshop on Trustworthy ML (arXiv:2301.11856).

    Examples
    --------
    >>> votes = Votes([0, 0, 1, 1], ["ann", "bob"] * 2, ["cat", "dog", "cat", "cat"])
    >>> found = relabel_candidates(votes, [[0.5, 0.5], [0.9, 0.1]], [[0.6, 0.4]], classes=["cat", "dog"], k=2)
    >>> found.rows, found.relabel
    (array([0, 0]), array([ True, False]))
    """
    all_rows = np.unique(votes.rows)
    ballot = as_ballot(votes.where(votes.of_kind("label") | votes.of_kind("none_of_these")), classes)
    size = len(ballot.classes)
    p = as_probabilities(probabilities_labelled, "probabilities_labelled", len(all_rows), size)
    pool = np.empty((0, size)) if probabilities_pool is None else probabilities_pool
    pool = as_probabilities(pool, "probabilities_pool", None, size)
    asked_again = (majority(ballot)[0] < size)[ballot.position] & (ballot.codes < size)
    rows, row = np.unique(ballot.rows[ballot.position[asked_again]], return_inverse=True)
    column = np.unique(ballot.annotators[asked_again], return_inverse=True)[1]
    matrix = as_matrix(row, column, ballot.codes[asked_again]) if len(rows) else None
    labelled, unlabelled = _active_lab(matrix, p[np.searchsorted(all_rows, rows)], pool)
    chosen = top_k(np.concatenate([1 - labelled, 1 - unlabelled]), k)
    numbers = np.concatenate([rows, np.arange(len(pool))])
    return Candidates(numbers[chosen.indices], chosen.indices < len(rows), chosen.scores)


def _active_lab(matrix: Any, p: NDArray[np.float64], pool: NDArray[np.float64]) -> tuple[Any, Any]:
    if matrix is None and not len(pool):
        return np.empty(0), np.empty(0)
    score = multiannotator("relabel_candidates").get_active_learning_scores
    # It prints, and warns, where annotators share no rows or no class wins.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        scores = score(matrix, None if matrix is None else untied(p), untied(pool) if len(pool) else None)
    return scores[0], scores[1]


@dataclass(frozen=True)
class Record:
    """How an annotator does.

    Attributes
    ----------
    annotator : str or int
        Who.
    rows : int
        Rows voted on.
    agreeing : float
        The share of them with the label that the votes were merged into, among rows that others have voted on too;
        NaN where there are none, and in regression.
    seconds : float
        Median time to answer; NaN where it is not known.
    """

    annotator: Any
    rows: int
    agreeing: float
    seconds: float


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Attributes
    ----------
    alpha : float
        Krippendorff's alpha: 1 if they agree on all rows, 0 if as chance would have it, less if they contradict one
        another. NaN where no row has two votes or all votes are the same.
    rows : int
        Rows with two votes or more.
    annotators : tuple of Record
        By name.
    """

    alpha: float
    rows: int
    annotators: tuple[Record, ...]


def agreement_between(votes: Votes, merged: Merged | None = None, *, task: Task = "multiclass") -> Agreement:
    """Measure how far annotators agree, by Krippendorff's alpha, and each with the merged label.

    Alpha [1]_ allows for rows that not everybody has voted on, as Fleiss' kappa does not. Classes are the same or not
    (nominal), and so are lists of labels as a whole; numbers differ by their squared distance (interval). As a rule of
    the thumb 0.8 is good, and below 0.667 no conclusion holds [1]_.

    Parameters
    ----------
    votes : Votes
        What the annotators said; "none_of_these" is one more class, except in regression, where it is left out.
    merged : Merged, optional
        What the votes were merged into; by majority if none is given.
    task : {"multiclass", "multilabel", "regression"}
        What a label is.

    Returns
    -------
    Agreement
        Alpha, and a record for each annotator.

    Raises
    ------
    TypeError, ValueError
        As `merge` does; if `merged` lacks a row of the votes.

    Notes
    -----
    Sorting, O(votes · log votes).

    References
    ----------
    .. [1] K. Krippendorff. Content analysis: an introduction to its methodology. Sage, 2004.

    Examples
    --------
    >>> votes = Votes([0, 0, 1, 1, 2, 2], ["ann", "bob"] * 3, ["cat", "cat", "dog", "dog", "cat", "dog"])
    >>> agreement = agreement_between(votes)
    >>> round(agreement.alpha, 3), agreement.rows
    (0.444, 3)
    >>> agreement.annotators[0]
    Record(annotator='ann', rows=3, agreeing=1.0, seconds=nan)
    """
    merged = merge(votes, task=task) if merged is None else merged
    heard = votes.where(votes.of_kind("label") | votes.of_kind("none_of_these"))
    if task == "regression":
        heard = heard.where(heard.of_kind("label"))
    rows, position, n_votes = np.unique(heard.rows, return_inverse=True, return_counts=True)
    if missing := set(rows.tolist()).difference(merged.rows.tolist()):
        raise ValueError(f"merged: expected all rows of the votes, got none of row {min(missing)}; merge them again")
    shared = n_votes[position] > 1
    if task == "regression":
        alpha = _interval_alpha(position[shared], as_numbers(heard.labels)[shared])
        agree = np.full(len(heard), np.nan)
    else:
        given = heard.labels.tolist() + merged.labels.tolist()
        values = [frozenset(label) if isinstance(label, list) else label for label in given]
        codes = coded(values)
        label = codes[len(heard) :][np.searchsorted(merged.rows, heard.rows)]
        alpha = _nominal_alpha(position[shared], codes[: len(heard)][shared])
        agree = np.where(shared, codes[: len(heard)] == label, np.nan)
    seconds = np.full(len(heard), np.nan) if heard.seconds is None else heard.seconds
    of_each = np.split(np.argsort(heard.who, kind="stable"), np.cumsum(np.bincount(heard.who)))
    records = (
        Record(
            heard.annotators[of[:1]].tolist()[0], len(of), _known(np.mean, agree[of]), _known(np.median, seconds[of])
        )
        for of in of_each
        if len(of)
    )
    return Agreement(alpha, int((n_votes > 1).sum()), tuple(records))


def _known(average: Callable[[NDArray[Any]], Any], values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(average(known)) if len(known) else float("nan")


def _nominal_alpha(row: NDArray[np.int64], codes: NDArray[np.int64]) -> float:
    """Krippendorff's alpha of classes, of rows with two votes or more."""
    if not len(row):
        return float("nan")
    size, n = codes.max() + 1, len(row)
    votes = np.bincount(row)
    pairs, counts = np.unique(row * size + codes, return_counts=True)
    same = np.bincount(pairs // size, counts.astype(np.float64) ** 2)
    observed = ((votes**2 - same)[votes > 0] / (votes[votes > 0] - 1)).sum() / n
    expected = (float(n) ** 2 - (np.bincount(codes).astype(np.float64) ** 2).sum()) / n / (n - 1)
    return float(1 - observed / expected) if expected > 0 else float("nan")


def _interval_alpha(row: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Krippendorff's alpha of numbers, of rows with two votes or more."""
    if not len(row):
        return float("nan")
    votes, n = np.bincount(row), len(row)
    center = np.divide(np.bincount(row, values), votes, out=np.zeros(len(votes)), where=votes > 0)
    within = np.bincount(row, (values - center[row]) ** 2)[votes > 0]
    # The squared differences between all pairs of m numbers sum to m times the squared deviations from their mean.
    observed = 2 * (votes[votes > 0] * within / (votes[votes > 0] - 1)).sum() / n
    expected = 2 * ((values - values.mean()) ** 2).sum() / (n - 1)
    return float(1 - observed / expected) if expected > 0 else float("nan")
