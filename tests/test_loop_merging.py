"""Votes become labels: whatever their order, without asking again for rows that have no class, and quickly."""

from __future__ import annotations

import sys
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickwise.loop.merging import Votes, merge

CLASSES = ["ant", "bee", "cat"]


def votes_of(*votes):
    """Make votes of (row, annotator, label) or (row, annotator, kind, None)."""
    rows, annotators, labels, kinds = [], [], [], []
    for row, annotator, label, *_ in votes:
        is_kind = label in ("skip", "abstain", "none_of_these", "withdrawn") if isinstance(label, str) else False
        rows.append(row)
        annotators.append(annotator)
        labels.append(None if is_kind else label)
        kinds.append(label if is_kind else "label")
    return Votes(np.array(rows, np.int64), annotators, labels, kinds)


def crowd(seed, rows=60, annotators=5, votes=3, classes=3, error=0.2):
    """Draw votes of annotators who differ in how often they err, what is true, and what a model makes of it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=rows)
    row = np.repeat(np.arange(rows), votes)
    who = np.concatenate([rng.permutation(annotators)[:votes] for _ in range(rows)])
    wrong = rng.random(len(row)) < error * 2 * who / annotators
    labels = np.where(wrong, rng.integers(classes, size=len(row)), truth[row])
    p = 0.4 * np.eye(classes)[truth] + 0.6 * rng.dirichlet(np.ones(classes), rows)
    return Votes(row, [f"annotator {i}" for i in who], [CLASSES[i] for i in labels]), truth, p


def naive(votes, classes):
    """Take the majority, row by row."""
    names = [*classes, None]
    cast = [
        (row, label)  # None for no class
        for row, label, kind in zip(votes.rows, votes.labels, votes.kinds, strict=True)
        if kind in ("label", "none_of_these")
    ]
    overall = Counter(label for _, label in cast)
    won = {}
    for row in sorted({row for row, _ in cast}):
        count = Counter(label for of, label in cast if of == row)
        won[row] = max(names, key=lambda name: (count[name], overall[name], -names.index(name)))
    return won


KIND = st.sampled_from([*CLASSES, "none_of_these", "skip", "abstain"])
VOTES = st.dictionaries(st.tuples(st.integers(-3, 9), st.sampled_from("abcde")), KIND, min_size=1)


@given(VOTES, st.randoms())
def test_majority_is_that_of_counting_whatever_the_order(cast, random):
    given_votes = [(row, who, label) for (row, who), label in cast.items()]
    votes = votes_of(*given_votes)
    merged = merge(votes, CLASSES)
    assert dict(zip(merged.rows.tolist(), merged.labels.tolist(), strict=True)) == naive(votes, CLASSES)
    assert (merged.is_label == [label is not None for label in merged.labels]).all()
    random.shuffle(given_votes)
    again = merge(votes_of(*given_votes), CLASSES)
    for name in ("rows", "labels", "is_label", "confidence", "agreement", "n_votes"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(again, name))


def test_shares_of_the_majority():
    merged = merge(votes_of((5, "a", "cat"), (5, "b", "cat"), (5, "c", "bee"), (2, "a", "ant"), (5, "d", "skip")))
    assert merged.rows.tolist() == [2, 5]
    assert merged.labels.tolist() == ["ant", "cat"]
    assert merged.n_votes.tolist() == [1, 3]
    np.testing.assert_allclose(merged.confidence, [1, 2 / 3])
    np.testing.assert_allclose(merged.agreement, [1, 2 / 3])
    assert (merged.method, merged.reason) == ("majority", None)


def test_ties_go_to_the_commoner_class_and_then_to_the_first():
    tied = [(0, "a", "cat"), (0, "b", "bee")]
    assert merge(votes_of(*tied), CLASSES).labels.tolist() == ["bee"]
    assert merge(votes_of(*tied), ["cat", "bee"]).labels.tolist() == ["cat"]
    assert merge(votes_of(*tied, (1, "a", "cat")), CLASSES).labels.tolist() == ["cat", "cat"]


def test_a_row_in_no_class_is_settled_and_one_that_was_skipped_is_not():
    merged = merge(
        votes_of(
            (0, "a", "none_of_these"),
            (1, "a", "skip"),
            (2, "a", "abstain"),
            (3, "a", "none_of_these"),
            (3, "b", "none_of_these"),
            (3, "c", "ant"),
            (4, "a", "withdrawn"),
        )
    )
    assert merged.rows.tolist() == [0, 3]
    assert merged.labels.tolist() == [None, None]
    assert not merged.is_label.any()
    np.testing.assert_allclose(merged.agreement, [1, 2 / 3])


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression"])
@pytest.mark.parametrize("votes", [votes_of(), votes_of((3, "a", "skip"))])
def test_no_votes_make_no_labels(task, votes):
    merged = merge(votes, task=task)
    assert len(merged) == len(merged.labels) == len(merged.agreement) == 0


def test_labels_may_be_integers_and_mixed():
    assert merge(Votes([0, 1], ["a", "a"], [10, 9])).labels.tolist() == [10, 9]
    assert merge(Votes([0, 1], ["a", "a"], [10, "x"])).labels.tolist() == [10, "x"]


def test_the_callers_arrays_are_left_alone():
    rows, labels = np.array([1, 0, 1]), np.array(["cat", "ant", "bee"], object)
    annotators = np.array(["a", "b", "b"])
    for array in (rows, labels, annotators):
        array.flags.writeable = False
    votes = Votes(rows, annotators, labels)
    p = np.full((2, 3), 1 / 3)
    p.flags.writeable = False
    for method in ("majority", "dawid_skene", "crowdlab"):
        merge(votes, CLASSES, method=method, probabilities=p)


@pytest.mark.parametrize("method", ["dawid_skene", "crowdlab"])
def test_better_annotators_count_more(method):
    votes, truth, p = crowd(0, rows=300, votes=4, error=0.45)
    found = {}
    for one in ("majority", method):
        merged = merge(votes, CLASSES, method=one, probabilities=p)
        found[one] = np.mean(merged.labels == np.array(CLASSES, object)[truth])
    assert found[method] > found["majority"] + 0.01
    assert merged.method == method
    assert ((merged.confidence > 0) & (merged.confidence <= 1)).all()


@pytest.mark.parametrize("method", ["dawid_skene", "crowdlab"])
def test_learned_labels_do_not_depend_on_the_order_of_votes(method):
    votes, _, p = crowd(1)
    order = np.random.default_rng(0).permutation(len(votes))
    shuffled = Votes(votes.rows[order], votes.annotators[order], votes.labels[order])
    one, two = (merge(v, CLASSES, method=method, probabilities=p) for v in (votes, shuffled))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.confidence, two.confidence)


def test_dawid_skene_is_that_of_crowd_kit():
    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    votes, _, _ = crowd(2)
    merged = merge(votes, CLASSES, method="dawid_skene")
    frame = pd.DataFrame({"task": votes.rows, "worker": votes.annotators, "label": votes.labels.astype(str)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = DawidSkene().fit_predict_proba(frame).sort_index()
    np.testing.assert_allclose(merged.confidence, theirs.max(axis=1), rtol=1e-6)
    assert merged.labels.tolist() == theirs.idxmax(axis=1).tolist()


def by_cleanlab(votes, p):
    from cleanlab.multiannotator import get_label_quality_multiannotator

    matrix = np.full((len(p), votes.who.max() + 1), np.nan)
    matrix[votes.rows, votes.who] = [CLASSES.index(label) for label in votes.labels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_label_quality_multiannotator(matrix, p, consensus_method="best_quality", verbose=False)


@given(st.integers(0, 9999), st.integers(2, 30), st.integers(2, 5), st.floats(0, 1), st.floats(0, 1))
def test_crowdlab_is_that_of_cleanlab_also_where_rows_have_one_vote(seed, rows, annotators, error, alone):
    votes, _, p = crowd(seed, rows, annotators, votes=2, error=error)
    rng = np.random.default_rng(seed)
    kept = rng.random(len(votes)) >= alone
    kept[::2] = True  # each row keeps its first vote
    kept[1] = True  # and one of them both, without which cleanlab refuses
    cast = votes.where(kept)
    cast = Votes(cast.rows, cast.annotators, cast.labels)
    merged = merge(cast, CLASSES, method="crowdlab", probabilities=p)
    theirs = by_cleanlab(cast, p)["label_quality"]
    # All agree: ties, which cleanlab draws, do not occur among probabilities that were drawn.
    np.testing.assert_array_equal(merged.labels, np.array(CLASSES, object)[theirs["consensus_label"]])
    np.testing.assert_allclose(merged.confidence, theirs["consensus_quality_score"], atol=1e-6)
    np.testing.assert_allclose(merged.agreement, theirs["annotator_agreement"])


def with_single_votes(method, *, model):
    """Merge a crowd's votes, and three of one vote each: of its best annotator, its worst, and one who is new."""
    votes, truth, p = crowd(4, rows=200, votes=4, error=0.45)
    alone = [(900, "annotator 0"), (901, "annotator 4"), (902, "a stranger")]
    more = Votes(
        [*votes.rows, *(row for row, _ in alone)],
        [*votes.annotators, *(who for _, who in alone)],
        [*votes.labels, *["cat"] * 3],
    )
    sure = 0.8 * np.eye(3)[truth] + 0.2 * p  # as good as this a model counts for much
    merged = merge(more, CLASSES, method=method, probabilities=np.concatenate([sure, [model] * 3]))
    return merged, merge(votes, CLASSES, method=method, probabilities=sure)


@pytest.mark.parametrize("method", ["dawid_skene", "crowdlab"])
def test_a_single_vote_that_no_model_contradicts_is_kept_and_trusted_as_its_annotator_is(method):
    merged, without = with_single_votes(method, model=[1 / 3] * 3)
    assert merged.labels[-3:].tolist() == ["cat"] * 3
    assert merged.agreement[-3:].tolist() == [1] * 3
    best, worst, unknown = merged.confidence[-3:]
    assert 1 >= best > worst > 0.3
    assert unknown == 1 if method == "dawid_skene" else worst < unknown < best
    np.testing.assert_array_equal(merged.labels[:-3], without.labels)


def test_a_sure_model_outvotes_a_single_vote_and_the_agreement_tells():
    merged, _ = with_single_votes("crowdlab", model=[0.0, 1.0, 0.0])
    assert merged.labels[-3:].tolist() == ["bee"] * 3
    assert merged.agreement[-3:].tolist() == [0] * 3
    assert merged.n_votes[-3:].tolist() == [1] * 3
    best, worst, unknown = merged.confidence[-3:]
    assert best < unknown < worst  # the more its annotator is trusted, the less sure it is that he was wrong
    unsure, _ = with_single_votes("crowdlab", model=[0.1, 0.45, 0.45])
    assert unsure.labels[-3:].tolist() == ["cat"] * 3
    by_dawid_skene, _ = with_single_votes("dawid_skene", model=[0.0, 1.0, 0.0])
    assert by_dawid_skene.labels[-3:].tolist() == ["cat"] * 3


def test_a_single_vote_against_a_sure_model_is_trusted_less_where_nothing_is_known_of_annotators():
    votes = Votes([0, 1], ["a", "b"], ["ant", "ant"])
    merged = merge(votes, CLASSES, method="crowdlab", probabilities=[[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert merged.labels.tolist() == ["ant", "ant"]
    np.testing.assert_allclose(merged.confidence, [0.9, 0.1])


def test_without_overlap_or_a_model_the_majority_decides_and_says_why():
    alone = Votes([0, 1], ["a", "b"], ["ant", "bee"])
    merged = merge(alone, method="dawid_skene")
    assert (merged.method, merged.labels.tolist()) == ("majority", ["ant", "bee"])
    assert merged.reason == "dawid_skene needs rows that two annotators have voted on; there are none"
    merged = merge(crowd(0)[0], CLASSES, method="crowdlab")
    assert merged.method == "majority"
    assert merged.reason == "crowdlab needs the model's probabilities; there is no model yet"
    merged = merge(alone, ["ant", "bee"], method="crowdlab", probabilities=[[1, 0], [0, 1]])
    assert (merged.method, merged.reason) == ("crowdlab", None)


def test_the_model_is_asked_about_rows_that_were_skipped_too():
    votes = votes_of((0, "a", "skip"), (5, "a", "ant"), (7, "a", "none_of_these"), (9, "a", "bee"))
    merged = merge(
        votes, ["ant", "bee"], method="crowdlab", probabilities=[[0.5, 0.5], [0.8, 0.2], [0.9, 0.1], [0.7, 0.3]]
    )
    assert merged.labels.tolist() == ["ant", None, "bee"]
    np.testing.assert_allclose(merged.confidence, [0.8, 1, 0.3])


def test_crowdlab_leaves_rows_without_a_class_alone():
    votes, _, p = crowd(5)
    none = [(70, f"annotator {i}", "none_of_these" if i < 3 else "ant") for i in range(5)]
    mixed = [(71, "annotator 0", "none_of_these"), (71, "annotator 1", "ant"), (71, "annotator 2", "ant")]
    cast = [(row, who, label) for row, who, label in zip(votes.rows, votes.annotators, votes.labels, strict=True)]
    merged = merge(
        votes_of(*cast, *none, *mixed), CLASSES, method="crowdlab", probabilities=np.vstack([p, [[0.6, 0.2, 0.2]] * 2])
    )
    assert merged.labels[-2:].tolist() == [None, "ant"]
    assert merged.is_label[-2:].tolist() == [False, True]
    np.testing.assert_allclose(merged.agreement[-2:], [3 / 5, 2 / 3])
    np.testing.assert_array_equal(merged.labels[:-2], merge(votes, CLASSES, method="crowdlab", probabilities=p).labels)


def test_dawid_skene_has_no_class_as_a_class():
    cast = [(row, who, "none_of_these" if row % 3 == 0 else CLASSES[row % 2]) for row in range(30) for who in "abc"]
    merged = merge(votes_of(*cast), CLASSES, method="dawid_skene")
    assert merged.is_label.tolist() == [row % 3 != 0 for row in range(30)]
    assert (merged.confidence > 0.99).all()


@pytest.mark.parametrize("model", [[1 / 2, 1 / 2], [1.0, 0.0]])
def test_crowdlab_bears_total_disagreement(model):
    # Left to itself cleanlab draws from an empty list here, or from NumPy's global generator.
    votes = Votes([0, 0, 1, 1], ["a", "b"] * 2, ["ant", "bee", "bee", "ant"])
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that of others is what is at stake
    merged = merge(votes, ["ant", "bee"], method="crowdlab", probabilities=[model] * 2)
    assert merged.labels.tolist() == ["ant", "ant"]
    assert np.isfinite(merged.confidence).all()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_crowdlab_bears_classes_that_nobody_votes_for():
    votes = Votes([0, 0, 1, 1], ["a", "b"] * 2, ["cat"] * 4)
    merged = merge(votes, CLASSES, method="crowdlab", probabilities=[[0.2, 0.3, 0.5]] * 2)
    assert merged.labels.tolist() == ["cat", "cat"]
    assert (
        merge(votes, ["cat"], method="crowdlab", probabilities=[[1.0]] * 2).reason
        == "crowdlab needs two classes or more"
    )


def test_multilabel_decides_each_label_by_itself():
    merged = merge(
        votes_of(
            (0, "a", ["ant", "bee"]),
            (0, "b", ["bee"]),
            (0, "c", ["bee", "cat"]),
            (1, "a", []),
            (2, "a", "none_of_these"),
            (2, "b", "none_of_these"),
            (2, "c", ["ant"]),
            (3, "a", ("cat", "ant", "ant")),
        ),
        CLASSES,
        task="multilabel",
    )
    assert merged.labels.tolist() == [["bee"], [], None, ["ant", "cat"]]
    assert merged.is_label.tolist() == [True, True, False, True]
    np.testing.assert_allclose(merged.agreement, [1 / 3, 1, 2 / 3, 1])
    np.testing.assert_allclose(merged.confidence, [(2 / 3 + 1 + 2 / 3) / 3, 1, 2 / 3, 1])


def test_a_part_of_the_list_does_not_agree_with_it():
    votes = votes_of((0, "a", ["ant", "bee"]), (0, "b", ["bee", "ant"]), (0, "c", ["ant"]))
    merged = merge(votes, CLASSES, task="multilabel")
    assert merged.labels.tolist() == [["ant", "bee"]]
    np.testing.assert_allclose(merged.agreement, [2 / 3])


@pytest.mark.parametrize(("task", "label"), [("multilabel", ["ant"]), ("regression", 3.5)])
def test_half_the_votes_do_not_suffice_for_no_class(task, label):
    merged = merge(votes_of((0, "a", label), (0, "b", "none_of_these")), task=task)
    assert merged.labels.tolist() == [label]
    assert merged.is_label.all()


def test_tied_labels_go_with_the_votes_about_other_rows():
    tied = [(0, "a", ["ant"]), (0, "b", [])]
    assert merge(votes_of(*tied), task="multilabel").labels.tolist() == [[]]
    more = [(1, "a", ["ant"]), (2, "a", ["ant"])]
    assert merge(votes_of(*tied, *more), task="multilabel").labels.tolist() == [["ant"]] * 3


SETS = st.dictionaries(
    st.tuples(st.integers(0, 5), st.sampled_from("abc")), st.lists(st.sampled_from(CLASSES), max_size=3), min_size=1
)


@given(SETS)
def test_multilabel_is_a_binary_majority_for_each_class(cast):
    votes = votes_of(*((row, who, label) for (row, who), label in cast.items()))
    merged = merge(votes, CLASSES, task="multilabel")
    for name in CLASSES:
        binary = Votes(votes.rows, votes.annotators, [["no", "yes"][name in label] for label in votes.labels])
        alone = merge(binary, ["no", "yes"])
        assert [name in label for label in merged.labels] == (alone.labels == "yes").tolist()


def test_regression_takes_the_median():
    merged = merge(
        votes_of(
            (0, "a", 1),
            (0, "b", 9.0),
            (0, "c", 2),
            (1, "a", 1),
            (1, "b", 4),
            (2, "a", "none_of_these"),
            (2, "b", "skip"),
        ),
        task="regression",
    )
    assert merged.labels.tolist() == [2.0, 2.5, None]
    assert merged.is_label.tolist() == [True, True, False]
    assert merged.n_votes.tolist() == [3, 2, 1]
    assert merged.method == "median"
    assert np.isnan(merged.agreement).all()


@given(st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 4)), st.floats(-1e6, 1e6), min_size=1))
def test_medians_are_those_of_numpy(cast):
    rows, annotators = np.array(list(cast)).T
    merged = merge(Votes(rows, annotators, list(cast.values())), task="regression")
    values = np.array(list(cast.values()))
    assert merged.labels.tolist() == [np.median(values[rows == row]) for row in merged.rows]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Votes([0.5], ["a"], ["x"]), r"rows: expected integers in one dimension, got float64 of shape \(1,\)"),
        (lambda: Votes([0], ["a", "b"], ["x"]), r"annotators: expected 1, one for each of the rows, got shape \(2,\)"),
        (lambda: Votes([0], ["a"], ["x"], ["lable"]), "kinds: expected label, skip, .*, got 'lable'"),
        (
            lambda: Votes([4, 4], ["ann", "ann"], ["x", "y"]),
            "annotators: expected one vote of each about a row, got two or more of ann about row 4; keep the latest",
        ),
        (
            lambda: merge(Votes([0], ["a"], ["dog"]), CLASSES),
            "labels: expected one of the classes 'ant', 'bee', 'cat', got 'dog'",
        ),
        (lambda: merge(Votes([0], ["a"], [["ant"]])), "labels: expected one class for a row, got lists; .*"),
        (
            lambda: merge(Votes([0], ["a"], ["ant"]), task="multilabel"),
            "labels: expected lists of classes, .*, got 'ant'",
        ),
        (lambda: merge(Votes([0], ["a"], ["ant"]), task="regression"), "labels: expected numbers, .*"),
        (
            lambda: merge(Votes([0], ["a"], [float("nan")]), task="regression"),
            "labels: expected finite numbers, got nan",
        ),
        (lambda: merge(Votes([0], ["a"], ["ant"]), ["ant", "ant"]), "classes: expected each once, got 1 twice"),
        (lambda: merge(Votes([0], ["a"], ["ant"]), method="median"), "method of multiclass: expected 'majority' or .*"),
        (
            lambda: merge(Votes([0], ["a"], ["ant"]), CLASSES, method="crowdlab", probabilities=[[0.5, 0.5]]),
            r"probabilities: expected shape \(1, 3\), one column for each class, got \(1, 2\)",
        ),
        (
            lambda: merge(Votes([0], ["a"], ["ant"]), CLASSES, method="crowdlab", probabilities=[[2.0, 0, 0]]),
            "probabilities: expected probabilities from 0 to 1, got values from 0.0 to 2.0",
        ),
    ],
)
def test_bad_votes_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("method", "library"), [("dawid_skene", "crowdkit.aggregation"), ("crowdlab", "cleanlab.multiannotator")]
)
def test_a_missing_library_is_named_and_only_where_it_is_needed(monkeypatch, method, library):
    monkeypatch.setitem(sys.modules, library, None)
    votes, _, p = crowd(0)
    assert merge(votes, CLASSES).method == "majority"
    with pytest.raises(ImportError, match=rf"^{method} needs c.*; install it with pip install 'pickwise\[labels\]'$"):
        merge(votes, CLASSES, method=method, probabilities=p)
