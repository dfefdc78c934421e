"""Labels that are wrong, annotators who disagree, and rows worth asking again must be found, and no others."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickwise.loop.merging import Votes, merge
from pickwise.loop.quality import agreement_between, align, label_quality, relabel_candidates

CLASSES = ["ant", "bee", "cat"]


def from_table(*annotators, first=0):
    """Make votes of one list for each annotator, None where a row has no vote."""
    votes = [
        (row, f"annotator {who}", value)
        for who, values in enumerate(annotators)
        for row, value in enumerate(values, first)
        if value is not None
    ]
    rows, names, values = zip(*votes, strict=True)
    return Votes(np.array(rows), names, values)


_ = None
# K. Krippendorff, Computing Krippendorff's alpha-reliability (2011), section C: four observers, twelve units.
FOUR = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3),
    (_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _),
)
# The same, section A: two observers, ten units, two values.
TWO = ((0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0))
# The example of Wikipedia: three coders, fifteen units.
THREE = (
    (_, _, _, _, _, 3, 4, 1, 2, 1, 1, 3, 3, _, 3),
    (1, _, 2, 1, 3, 3, 4, 3, _, _, _, _, _, _, _),
    (_, _, 2, 1, 3, 4, 4, _, 2, 1, 1, 3, 3, _, 4),
)


@pytest.mark.parametrize(("table", "alpha"), [(FOUR, 0.743), (TWO, 0.095), (THREE, 0.691)])
def test_alpha_of_the_literature(table, alpha):
    assert agreement_between(from_table(*table)).alpha == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize(("table", "alpha"), [(FOUR, 0.849), (THREE, 0.811)])
def test_alpha_of_numbers_of_the_literature(table, alpha):
    assert agreement_between(from_table(*table), task="regression").alpha == pytest.approx(alpha, abs=5e-4)
    shifted = [[None if value is None else value + 1e9 for value in values] for values in table]
    assert agreement_between(from_table(*shifted), task="regression").alpha == pytest.approx(alpha, abs=5e-4)


@given(st.dictionaries(st.tuples(st.integers(0, 8), st.sampled_from("abc")), st.sampled_from(CLASSES), min_size=1))
def test_alpha_is_that_of_crowd_kit(cast):
    import pandas as pd
    from crowdkit.metrics.data import alpha_krippendorff

    rows, annotators = zip(*cast, strict=True)
    votes = Votes(np.array(rows), annotators, list(cast.values()))
    shared = [row for row in rows if rows.count(row) > 1]
    alpha = agreement_between(votes).alpha
    frame = pd.DataFrame({"task": rows, "worker": annotators, "label": list(cast.values())})
    frame = frame[frame["task"].isin(shared)]
    if frame["label"].nunique() < 2:
        assert np.isnan(alpha)
    else:
        assert alpha == pytest.approx(alpha_krippendorff(frame))


def test_alpha_of_lists_takes_each_list_as_one_value():
    lists = [[["x"], ["x", "y"], [], ["y"]], [["x"], ["y", "x"], [], ["x"]]]
    values = [["x", "xy", "none", "y"], ["x", "xy", "none", "x"]]
    assert (
        agreement_between(from_table(*lists), task="multilabel").alpha == agreement_between(from_table(*values)).alpha
    )


def test_records_of_annotators():
    votes = Votes(
        [0, 0, 0, 1, 1, 2, 3],
        ["ann", "bob", "cy", "ann", "bob", "bob", "dan"],
        ["ant", "ant", "bee", "bee", None, "cat", None],
        ["label"] * 4 + ["none_of_these", "label", "skip"],
        [1.0, 2.0, np.nan, 4.0, 6.0, 30.0, 1.0],
    )
    agreement = agreement_between(votes, merge(votes, CLASSES))
    assert agreement.rows == 2
    ann, bob, cy = agreement.annotators  # dan has never voted
    assert (ann.annotator, ann.rows, ann.agreeing, ann.seconds) == ("ann", 2, 1.0, 2.5)
    # Of bob's own row nobody else can say that he is right.
    assert (bob.annotator, bob.rows, bob.agreeing, bob.seconds) == ("bob", 3, 0.5, 6.0)
    assert (cy.annotator, cy.rows, cy.agreeing) == ("cy", 1, 0.0)
    assert np.isnan(cy.seconds)


def test_agreement_where_there_is_none_to_measure():
    agreement = agreement_between(Votes([0, 1], [7, 7], ["ant", "bee"]))
    assert np.isnan(agreement.alpha)
    assert agreement.rows == 0
    assert agreement.annotators[0].annotator == 7
    assert np.isnan(agreement.annotators[0].agreeing)
    assert agreement_between(Votes([0], ["a"], [None], ["skip"])).annotators == ()
    assert np.isnan(agreement_between(from_table("xx", "xx")).alpha)


def test_merged_labels_of_other_votes_are_refused():
    with pytest.raises(
        ValueError, match=r"^merged: expected all rows of the votes, got none of row 1; merge them again$"
    ):
        agreement_between(Votes([0, 1], ["a", "a"], ["x", "y"]), merge(Votes([0], ["a"], ["x"])))


@given(st.integers(0, 99), st.integers(1, 30))
def test_label_quality_is_that_of_cleanlab(seed, rows):
    from cleanlab.rank import get_label_quality_scores

    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(3), rows), rng.integers(3, size=rows)
    quality = label_quality(np.array(CLASSES)[labels], p, CLASSES)
    np.testing.assert_array_equal(quality, get_label_quality_scores(labels, p))


def test_label_quality_of_a_class_that_the_model_does_not_know():
    with pytest.raises(ValueError, match=r"^labels: expected one of the classes 'ant', 'bee', 'cat', got 'dog'$"):
        label_quality(["dog"], [[0.2, 0.3, 0.5]], CLASSES)
    p = align([[0.2, 0.3, 0.5]], CLASSES, to=["dog", *CLASSES])
    assert label_quality(["dog"], p, ["dog", *CLASSES]).tolist() == [0.0]


def test_align_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"^to: expected all classes of the columns, got none that is 'cat'$"):
        align([[0.2, 0.3, 0.5]], CLASSES, to=["ant", "bee"])
    with pytest.raises(
        ValueError, match=r"^probabilities: expected shape \(rows, 3\), one column for each class, got \(1, 2\)$"
    ):
        align([[0.5, 0.5]], CLASSES, to=CLASSES)


def crowd(seed, rows=40, votes=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=rows)
    row = np.repeat(np.arange(rows), votes)
    labels = np.where(rng.random(len(row)) < 0.3, rng.integers(3, size=len(row)), truth[row])
    who = np.concatenate([rng.permutation(5)[:votes] for _ in range(rows)])
    p = 0.5 * np.eye(3)[truth] + 0.5 * rng.dirichlet(np.ones(3), rows)
    return row, who, labels, p, rng.dirichlet(np.ones(3), 60)


@pytest.mark.parametrize("votes_each", [1, 3])
def test_candidates_are_those_of_active_lab(votes_each, capsys):
    from cleanlab.multiannotator import get_active_learning_scores

    row, who, labels, p, pool = crowd(0, votes=votes_each)
    matrix = np.full((40, 5), np.nan)
    matrix[row, who] = labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labelled, unlabelled = get_active_learning_scores(matrix, p, pool)
    capsys.readouterr()
    votes = Votes(row + 1000, who, np.array(CLASSES, object)[labels])
    found = relabel_candidates(votes, p, pool, classes=CLASSES, k=100)
    assert capsys.readouterr().out == ""
    assert (np.diff(found.scores) <= 0).all()
    assert sorted(found.rows[found.relabel]) == list(range(1000, 1040))
    assert sorted(found.rows[~found.relabel]) == list(range(60))
    np.testing.assert_allclose(found.scores[found.relabel], 1 - labelled[found.rows[found.relabel] - 1000], atol=1e-7)
    np.testing.assert_allclose(found.scores[~found.relabel], 1 - unlabelled[found.rows[~found.relabel]], atol=1e-7)
    few = relabel_candidates(votes, p, pool, classes=CLASSES, k=7)
    np.testing.assert_array_equal(few.rows, found.rows[:7])
    np.testing.assert_array_equal(few.relabel, found.relabel[:7])


def test_disputed_and_doubted_rows_come_first():
    votes = Votes([0, 0, 1, 1, 2, 2, 3, 3], ["a", "b"] * 4, ["ant", "ant", "ant", "bee", "bee", "bee", "ant", "ant"])
    p = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]
    assert set(relabel_candidates(votes, p, classes=["ant", "bee"], k=2).rows.tolist()) == {1, 2}


def test_more_votes_make_a_row_less_worth_asking():
    votes = from_table(["ant", "ant", "bee"], ["ant", "ant", "bee"], ["ant", None, "bee"], ["ant", None, "bee"])
    found = relabel_candidates(votes, [[0.6, 0.4], [0.6, 0.4], [0.4, 0.6]], classes=["ant", "bee"], k=3)
    assert found.rows[0] == 1


def test_rows_in_no_class_and_skipped_rows_are_not_asked_again():
    votes = Votes(
        [0, 1, 2, 2, 2, 3],
        ["a", "a", "a", "b", "c", "b"],
        ["ant", None, None, None, "ant", "bee"],
        ["label", "skip", "none_of_these", "none_of_these", "label", "label"],
    )
    p = [[0.9, 0.1], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]
    found = relabel_candidates(votes, p, classes=["ant", "bee"], k=2)
    assert found.rows.tolist() == [3, 0]
    with pytest.raises(ValueError, match=r"^k: expected at most 2, of 2 rows, got 3"):
        relabel_candidates(votes, p, classes=["ant", "bee"], k=3)


def test_candidates_without_labels_or_without_a_pool():
    none = Votes(np.empty(0, np.int64), [], [])
    pool = [[0.9, 0.1], [0.5, 0.5]]
    found = relabel_candidates(none, np.empty((0, 2)), pool, classes=["ant", "bee"], k=1)
    assert (found.rows.tolist(), found.relabel.tolist()) == ([1], [False])
    found = relabel_candidates(Votes([4], ["a"], ["ant"]), [[0.9, 0.1]], classes=["ant", "bee"], k=1)
    assert (found.rows.tolist(), found.relabel.tolist(), len(found)) == ([4], [True], 1)


@pytest.mark.parametrize("p", [[0.5, 0.5], [1.0, 0.0]])
def test_total_disagreement_and_certain_models_are_borne(p):
    votes = Votes([0, 0, 1, 1], ["a", "b"] * 2, ["ant", "bee", "bee", "ant"])
    found = relabel_candidates(votes, [p] * 2, [p], classes=["ant", "bee"], k=3)
    assert np.isfinite(found.scores).all()
    again = relabel_candidates(votes, [p] * 2, [p], classes=["ant", "bee"], k=3)
    np.testing.assert_array_equal(found.rows, again.rows)


def test_classes_that_nobody_has_voted_for_are_borne():
    votes = Votes([0, 0, 1], ["a", "b", "a"], ["ant", "ant", "ant"])
    found = relabel_candidates(votes, [[0.5, 0.2, 0.3]] * 2, classes=CLASSES, k=2)
    assert np.isfinite(found.scores).all()


def test_annotators_who_share_no_rows_and_classes_that_never_win_are_borne_in_silence(capsys):
    votes = Votes([0, 0, 1, 2, 2], ["a", "b", "alone", "a", "b"], ["ant", "ant", "bee", "ant", "cat"])
    found = relabel_candidates(votes, [[0.5, 0.2, 0.3]] * 3, classes=CLASSES, k=3)
    assert np.isfinite(found.scores).all()
    assert capsys.readouterr().out == ""


def test_probabilities_of_other_rows_are_refused():
    votes = Votes([0, 1], ["a", "a"], ["ant", "bee"])
    with pytest.raises(ValueError, match=r"^probabilities_labelled: expected shape \(2, 2\), .*, got \(1, 2\)$"):
        relabel_candidates(votes, [[0.5, 0.5]], classes=["ant", "bee"], k=1)
    with pytest.raises(ValueError, match=r"^probabilities_pool: expected shape \(rows, 2\), .*, got \(1, 3\)$"):
        relabel_candidates(votes, [[0.5, 0.5]] * 2, [[0.2, 0.3, 0.5]], classes=["ant", "bee"], k=1)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.multiannotator", None)
    with pytest.raises(ImportError, match=r"^relabel_candidates needs cleanlab; .* 'pickwise\[labels\]'$"):
        relabel_candidates(Votes([0], ["a"], ["ant"]), [[0.5, 0.5]], classes=["ant", "bee"], k=1)
