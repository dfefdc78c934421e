"""Votes of several annotators about a row become one label, and how far the annotators agree."""

from __future__ import annotations

import warnings
from copy import copy
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from pickwise.annotators.base import KINDS
from pickwise.arrays import as_objects
from pickwise.options import one_of

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

Task: TypeAlias = Literal["multiclass", "multilabel", "regression"]
Method: TypeAlias = Literal["majority", "dawid_skene", "crowdlab", "median"]

METHODS: dict[str, tuple[Method, ...]] = {
    "multiclass": ("majority", "dawid_skene", "crowdlab"),
    "multilabel": ("majority",),
    "regression": ("median",),
}
"""How votes may be merged, by task; the first is the default."""


@dataclass(frozen=True, eq=False)
class Votes:
    """What annotators said about rows: of each annotator about each row the latest alone.

    Attributes
    ----------
    rows : ndarray of int64 of shape (votes,)
        The row that each is about, as a number.
    annotators : ndarray of shape (votes,)
        Who says it: names or numbers.
    labels : ndarray of object of shape (votes,)
        The name of a class; of several labels a list of names; in regression a number. None where the kind is not
        "label".
    kinds : ndarray of str of shape (votes,), optional
        As in `pickwise.annotators.base.Kind`; all are labels where none are given.
    seconds : ndarray of float64 of shape (votes,), optional
        How long each answer took; NaN where that is not known.
    who : ndarray of int64 of shape (votes,)
        The annotators by number, in the order of their names; no argument.

    Raises
    ------
    ValueError
        If they differ in length, a kind is unknown, or an annotator is there twice for a row.

    Examples
    --------
    >>> Votes([3, 3, 8], ["ann", "bob", "ann"], ["cat", "dog", None], ["label", "label", "skip"])
    Votes of 2 annotators about 2 rows
    """

    rows: NDArray[np.int64]
    annotators: NDArray[Any]
    labels: NDArray[np.object_]
    kinds: NDArray[Any] | None = None
    seconds: NDArray[np.float64] | None = None
    who: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows)
        if rows.ndim != 1 or not (rows.dtype.kind in "iu" or rows.size == 0):
            raise ValueError(f"rows: expected integers in one dimension, got {rows.dtype} of shape {rows.shape}")
        columns = {"rows": rows.astype(np.int64, copy=False), "annotators": np.asarray(self.annotators)}
        columns["labels"] = as_objects(self.labels)
        if self.kinds is not None:
            columns["kinds"] = np.asarray(self.kinds)
            if unknown := set(columns["kinds"].tolist()) - set(KINDS):
                raise ValueError(f"kinds: expected {', '.join(KINDS)}, got {min(unknown, key=repr)!r}")
        if self.seconds is not None:
            columns["seconds"] = np.asarray(self.seconds, np.float64)
        for name, column in columns.items():
            if column.shape != rows.shape:
                raise ValueError(f"{name}: expected {len(rows)}, one for each of the rows, got shape {column.shape}")
            object.__setattr__(self, name, column)
        object.__setattr__(self, "who", coded(self.annotators.tolist()))
        self._check_latest()

    def _check_latest(self) -> None:
        who, order = self.who, np.lexsort((self.who, self.rows))
        twice = np.flatnonzero((np.diff(self.rows[order]) == 0) & (np.diff(who[order]) == 0))
        if len(twice):
            vote = order[twice[0]]
            raise ValueError(
                f"annotators: expected one vote of each about a row, got two or more of {self.annotators[vote]} about "
                f"row {self.rows[vote]}; keep the latest"
            )

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        """Tell which votes are of a kind."""
        if self.kinds is None:
            return np.full(len(self), kind == "label")
        return np.asarray(self.kinds == kind, np.bool_)

    def where(self, mask: NDArray[np.bool_]) -> Votes:
        """Return some of them."""
        some = copy(self)  # what has been checked needs no second look
        for name in (each.name for each in fields(self)):
            if (column := getattr(self, name)) is not None:
                object.__setattr__(some, name, column[mask])
        return some

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Votes of {len(np.unique(self.who))} annotators about {len(np.unique(self.rows))} rows"


@dataclass(frozen=True, eq=False)
class Merged:
    """One label for each row that somebody has answered for.

    Attributes
    ----------
    rows : ndarray of int64 of shape (rows,)
        Ascending. Rows that were skipped or abstained from alone are not there.
    labels : ndarray of object of shape (rows,)
        The name of a class, a list of names, or a number; None where the row was found to be in no class.
    is_label : ndarray of bool of shape (rows,)
        False where the row was found to be in no class: nobody is to be asked again, and no model is to learn from it.
    confidence : ndarray of float64 of shape (rows,)
        The share of the votes that the label has, or its probability where the method gives one; NaN in regression.
    agreement : ndarray of float64 of shape (rows,)
        The share of the votes that say just this label: 0 where a model has outvoted them all. NaN in regression.
    n_votes : ndarray of int64 of shape (rows,)
        Votes, "none_of_these" included.
    method : str
        How they were merged in the end.
    reason : str, optional
        Why it is not the method that was asked for.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.object_]
    is_label: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    agreement: NDArray[np.float64]
    n_votes: NDArray[np.int64]
    method: Method
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.rows)


def merge(
    votes: Votes,
    classes: Sequence[Hashable] | None = None,
    *,
    task: Task = "multiclass",
    method: Method | None = None,
    probabilities: Any = None,
) -> Merged:
    """Merge votes into one label for each row.

    Parameters
    ----------
    votes : Votes
        What the annotators said. "skip", "abstain" and "withdrawn" are no votes. "none_of_these" is one, for no class
        at all: among classes it stands as one more, the last; in the other tasks it wins with more than half the votes.
    classes : sequence, optional
        The classes in order; those that occur, sorted, where none are given.
    task : {"multiclass", "multilabel", "regression"}
        What a label is: a class, a list of classes, or a number.
    method : {"majority", "dawid_skene", "crowdlab", "median"}, optional
        "majority" takes what most say. Of equally many the class that has more of all votes wins, then the first in
        the order of classes, so that the order of votes has no say. Of several labels each is decided by itself.
        "dawid_skene" [1]_ learns how often each annotator takes one class for another. "crowdlab" [2]_ weighs the
        annotators and the model by how well they agree with the others, and may choose a class that nobody voted for,
        also against the only vote of a row; such rows have an agreement of 0.
        "median" is for regression. By default "majority", or "median" in regression.
    probabilities : array_like of shape (rows, classes), optional
        For "crowdlab": what the model says of the rows ``np.unique(votes.rows)``, in the order of `classes`. A model
        that has learnt from these very rows agrees with their labels too readily: predict by cross-validation. None
        while there is no model: then the majority decides, and the result says so.

    Returns
    -------
    Merged
        Whose rows ascend.

    Raises
    ------
    ImportError
        If crowd-kit or cleanlab is needed and not there.
    TypeError, ValueError
        If a label is none of the classes or no number, or the method is not one of the task.

    Notes
    -----
    Sorting, O(votes · log votes), and memory for O(votes) with "majority" and "median". "dawid_skene" adds matrices of
    the rows with two votes or more by classes, "crowdlab" one of all rows by annotators.

    With "dawid_skene" a row with one vote keeps it: what is known of the annotator only says how far it is to be
    trusted (1 where the annotator shares no row with others). With "crowdlab", which is cleanlab's, all rows are
    decided alike. The weights are learnt from rows with two votes or more: of few such rows little can be learnt. Where
    there are none, each row keeps its vote, and its confidence is what the model says of that class. What the model
    finds equally probable is decided by the order of classes, where cleanlab draws.

    References
    ----------
    .. [1] A. P. Dawid and A. M. Skene. Maximum likelihood estimation of observer error-rates using the EM algorithm.
       Applied Statistics 28, 1979.
    .. [2] H. W. Goh, U. Tkachenko and J. Mueller. CROWDLAB: supervised learning to infer consensus labels and quality
       scores for data with multiple annotators. NeurIPS 2022 Human in the Loop Learning Workshop (arXiv:2210.06812).

    Examples
    --------
    >>> votes = Votes([0, 0, 0, 7], ["ann", "bob", "cy", "ann"], ["cat", "cat", "dog", "dog"])
    >>> merged = merge(votes)
    >>> merged.rows, merged.labels
    (array([0, 7]), array(['cat', 'dog'], dtype=object))
    >>> merged.agreement.round(3)
    array([0.667, 1.   ])
    """
    one_of(task, "task", tuple(METHODS))
    chosen: Any = one_of(METHODS[task][0] if method is None else method, f"method of {task}", METHODS[task])
    heard = votes.where(votes.of_kind("label") | votes.of_kind("none_of_these"))
    if task == "regression":
        return _median(heard)
    if task == "multilabel":
        return _label_sets(heard, classes)
    ballot = as_ballot(heard, classes)
    if chosen == "dawid_skene":
        return _dawid_skene(ballot)
    if chosen == "crowdlab":
        return _crowdlab(ballot, probabilities, np.unique(votes.rows))
    return _elected(ballot, *majority(ballot), "majority")


def coded(values: Collection[Any]) -> NDArray[np.int64]:
    """Return the number of each value in the order of their texts; to hash objects is quicker than to sort them."""
    return _codes_of(values, {name: code for code, name in enumerate(sorted(set(values), key=str))})


def _codes_of(values: Collection[Any], index: Mapping[Any, int]) -> NDArray[np.int64]:
    return np.fromiter(map(index.__getitem__, values), np.int64, len(values))


def class_index(classes: Sequence[Hashable] | None, found: Collection[Any]) -> dict[Any, int]:
    """Return the number of each class, in the order given or else sorted."""
    try:
        seen = set(found)
    except TypeError:
        raise TypeError("labels: expected one class for a row, got lists; task='multilabel' is for lists") from None
    if classes is None:
        mixed = len({isinstance(name, str) for name in seen}) > 1
        classes = sorted(seen, key=str if mixed else None)
    index = {name: code for code, name in enumerate(classes)}
    if len(index) < len(classes):
        raise ValueError(f"classes: expected each once, got {len(classes) - len(index)} twice")
    if unknown := seen.difference(index):
        known = ", ".join(map(repr, list(index)[:9])) + (", …" if len(index) > 9 else "")
        raise ValueError(f"labels: expected one of the classes {known}, got {min(unknown, key=str)!r}")
    return index


class Ballot(NamedTuple):
    """Votes for classes, by number; the number after the last class says that the row is in none."""

    rows: NDArray[np.int64]
    n_votes: NDArray[np.int64]
    position: NDArray[np.int64]  # of each vote its row
    codes: NDArray[np.int64]  # of each vote its class
    annotators: NDArray[np.int64]  # of each vote who says it
    classes: dict[Any, int]


def as_ballot(heard: Votes, classes: Sequence[Hashable] | None) -> Ballot:
    """Read votes for classes."""
    rows, position, n_votes = np.unique(heard.rows, return_inverse=True, return_counts=True)
    is_label = heard.of_kind("label")
    labels = heard.labels[is_label].tolist()
    index = class_index(classes, labels)
    codes = np.full(len(heard), len(index))
    codes[is_label] = _codes_of(labels, index)
    return Ballot(rows, n_votes, position, codes, heard.who, index)


def _elected(
    ballot: Ballot,
    won: NDArray[np.int64],
    confidence: NDArray[np.float64],
    method: Method,
    reason: str | None = None,
) -> Merged:
    agree = np.bincount(ballot.position[ballot.codes == won[ballot.position]], minlength=len(won))
    labels = as_objects([*ballot.classes, None])[won]
    is_label = won < len(ballot.classes)
    return Merged(ballot.rows, labels, is_label, confidence, agree / ballot.n_votes, ballot.n_votes, method, reason)


def majority(ballot: Ballot) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which class each row has, and its share of the votes."""
    size = len(ballot.classes) + 1
    won, share = np.empty(len(ballot.rows), np.int64), np.ones(len(ballot.rows))
    won[ballot.position] = ballot.codes
    several = ballot.n_votes[ballot.position] > 1
    pairs, counts = np.unique(ballot.position[several] * size + ballot.codes[several], return_counts=True)
    row, code = np.divmod(pairs, size)
    overall = np.bincount(ballot.codes, minlength=size)
    order = np.lexsort((-code, overall[code], counts, row))
    best = order[np.append(row[order][1:] != row[order][:-1], np.ones(min(1, len(order)), np.bool_))]
    won[row[best]] = code[best]
    share[row[best]] = counts[best] / ballot.n_votes[row[best]]
    return won, share


def _dawid_skene(ballot: Ballot) -> Merged:
    won, confidence = majority(ballot)
    several = ballot.n_votes > 1
    if not several.any():
        reason = "dawid_skene needs rows that two annotators have voted on; there are none"
        return _elected(ballot, won, confidence, "majority", reason)
    try:
        import pandas as pd
        from crowdkit.aggregation import DawidSkene
    except ImportError as error:
        raise ImportError("dawid_skene needs crowd-kit; install it with pip install 'pickwise[labels]'") from error
    frame = pd.DataFrame({"task": ballot.position, "worker": ballot.annotators, "label": ballot.codes})
    model: Any = DawidSkene()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # crowd-kit 1.4 calls what pandas 3 deprecates
        # Sorted, so that sums are rounded in the same way whatever the order of the votes.
        model.fit(frame[several[ballot.position]].sort_values(["task", "worker"]))
    codes = range(len(ballot.classes) + 1)
    probas, errors, priors = model.probas_, model.errors_, model.priors_
    posterior = probas.reindex(index=np.flatnonzero(several), columns=codes, fill_value=0.0).to_numpy()
    won[several], confidence[several] = posterior.argmax(1), posterior.max(1)
    alone = frame[~several[ballot.position]]
    likelihood = errors.reindex(pd.MultiIndex.from_frame(alone[["worker", "label"]])).reindex(columns=codes)
    joint = np.nan_to_num(likelihood.to_numpy() * priors.reindex(codes).to_numpy())
    total, vote = joint.sum(1), alone["label"].to_numpy()
    known = np.flatnonzero(total)
    confidence[alone["task"].to_numpy()[known]] = joint[known, vote[known]] / total[known]
    return _elected(ballot, won, confidence, "dawid_skene")


def _crowdlab(ballot: Ballot, probabilities: Any, all_rows: NDArray[np.int64]) -> Merged:
    won, confidence = majority(ballot)
    size = len(ballot.classes)
    if probabilities is None or size < 2:
        lacking = "the model's probabilities; there is no model yet" if probabilities is None else "two classes or more"
        return _elected(ballot, won, confidence, "majority", f"crowdlab needs {lacking}")
    p = as_probabilities(probabilities, "probabilities", len(all_rows), size)[np.searchsorted(all_rows, ballot.rows)]
    # Crowdlab knows no vote for no class: where that has not won, it is left out.
    counted = np.flatnonzero((ballot.codes < size) & (won < size)[ballot.position])
    weighed, row, n_votes = np.unique(ballot.position[counted], return_inverse=True, return_counts=True)
    if (n_votes > 1).any():
        column = np.unique(ballot.annotators[counted], return_inverse=True)[1]
        matrix = as_matrix(row, column, ballot.codes[counted])
        won[weighed], confidence[weighed] = _consensus(matrix, untied(p[weighed]))
    else:
        confidence[weighed] = p[weighed, won[weighed]]
    return _elected(ballot, won, confidence, "crowdlab")


def _consensus(matrix: NDArray[np.float64], p: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the class of each row by cleanlab's CROWDLAB, and how good it is."""
    get_label_quality_multiannotator = multiannotator("crowdlab").get_label_quality_multiannotator
    less = dict.fromkeys(("verbose", "return_detailed_quality", "return_annotator_stats"), False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that annotators never agree is for `agreement_between` to say
        quality = get_label_quality_multiannotator(matrix, p, **less)["label_quality"]
    return quality["consensus_label"].to_numpy(np.int64), quality["consensus_quality_score"].to_numpy(np.float64)


def multiannotator(needed_by: str) -> Any:
    """Import cleanlab's module for several annotators."""
    try:
        return import_module("cleanlab.multiannotator")
    except ImportError as error:
        raise ImportError(f"{needed_by} needs cleanlab; install it with pip install 'pickwise[labels]'") from error


def as_probabilities(probabilities: Any, name: str, rows: int | None, classes: int) -> NDArray[np.float64]:
    """Read probabilities of so many rows (None: any number) and classes."""
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or p.shape[1] != classes or rows not in (None, len(p)):
        shape = f"({'rows' if rows is None else rows}, {classes}), one column for each class"
        raise ValueError(f"{name}: expected shape {shape}, got {p.shape}")
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError(f"{name}: expected probabilities from 0 to 1, got values from {p.min()} to {p.max()}")
    return p


def as_matrix(row: NDArray[np.int64], column: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lay votes out by row and annotator, NaN where there is none, as cleanlab wants them."""
    matrix = np.full((row.max() + 1, column.max() + 1), np.nan)
    matrix[row, column] = codes
    return matrix


def untied(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tilt probabilities a little towards the first classes: cleanlab breaks ties by NumPy's global generator."""
    tilt = np.linspace(1e-9, 0.0, p.shape[1])
    return np.asarray((p + tilt) / (1 + tilt.sum()), np.float64)


def _no_class(heard: Votes, position: NDArray[np.int64], n_votes: NDArray[np.int64]) -> tuple[Any, Any, Any]:
    """Return which votes are labels, how many are for no class, by row, and where these are more than half."""
    is_label = heard.of_kind("label")
    against = np.bincount(position[~is_label], minlength=len(n_votes))
    return is_label, against, 2 * against > n_votes


def _median(heard: Votes) -> Merged:
    rows, position, n_votes = np.unique(heard.rows, return_inverse=True, return_counts=True)
    is_label, against, none = _no_class(heard, position, n_votes)
    values, counts = as_numbers(heard.labels[is_label]), n_votes - against
    values = values[np.lexsort((values, position[is_label]))]
    known = np.flatnonzero(~none)
    start = (np.cumsum(counts) - counts)[known]
    middle = (values[start + (counts[known] - 1) // 2] + values[start + counts[known] // 2]) / 2
    labels = np.full(len(rows), None, object)
    labels[known] = middle.tolist()
    unknown = np.full(len(rows), np.nan)
    return Merged(rows, labels, ~none, unknown, unknown.copy(), n_votes, "median")


def as_numbers(labels: NDArray[np.object_]) -> NDArray[np.float64]:
    """Read the labels of a regression."""
    try:
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"labels: expected numbers, as the task is regression; {error}") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"labels: expected finite numbers, got {numbers[~np.isfinite(numbers)][0]}")
    return numbers


def _label_sets(heard: Votes, classes: Sequence[Hashable] | None) -> Merged:
    rows, position, n_votes = np.unique(heard.rows, return_inverse=True, return_counts=True)
    is_label, against, none = _no_class(heard, position, n_votes)
    lists = heard.labels[is_label].tolist()
    if wrong := [label for label in lists if isinstance(label, str) or not hasattr(label, "__len__")]:
        raise TypeError(f"labels: expected lists of classes, as the task is multilabel, got {wrong[0]!r}")
    flat = [name for label in lists for name in label]
    index = class_index(classes, flat)
    size = max(1, len(index))
    voters = np.repeat(np.flatnonzero(is_label), np.fromiter(map(len, lists), np.int64, len(lists)))
    vote, named = np.divmod(np.unique(voters * size + _codes_of(flat, index)), size)
    pairs, pair, counts = np.unique(position[vote] * size + named, return_inverse=True, return_counts=True)
    row, code = np.divmod(pairs, size)
    n_labels = n_votes - against
    common = 2 * np.bincount(named, minlength=size) > len(lists)
    yes = (2 * counts > n_labels[row]) | (2 * counts == n_labels[row]) & common[code]
    minority = np.where(yes, n_labels[row] - counts, counts) / n_labels[row]
    confidence = 1 - np.bincount(row, minority, len(rows)) / size
    sizes = np.bincount(row[yes], minlength=len(rows))
    hits, length = np.bincount(vote[yes[pair]], minlength=len(heard)), np.bincount(vote, minlength=len(heard))
    same = is_label & (hits == length) & (length == sizes[position])
    agreement = np.where(none, against, np.bincount(position[same], minlength=len(rows))) / n_votes
    confidence[none] = agreement[none]
    names, ends = as_objects(index)[code[yes]].tolist(), np.cumsum(sizes)
    labels = [names[end - count : end] for end, count in zip(ends.tolist(), sizes.tolist(), strict=True)]
    merged = as_objects(labels)
    merged[none] = None
    return Merged(rows, merged, ~none, confidence, agreement, n_votes, "majority")
