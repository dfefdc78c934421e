"""What is measured of models and batches is what scikit-learn measures, and what one would by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")

from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from pickwise.evaluate.measures import balance, diversity, measures


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_of_probabilities(classes):
    rng = np.random.default_rng(classes)
    truth, p = rng.integers(0, classes, 300), rng.dirichlet(np.ones(classes), 300).round(2)
    p /= p.sum(1, keepdims=True)
    found = measures(truth, p, np.arange(classes), classes)
    assert found["accuracy"] == accuracy_score(truth, p.argmax(1))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, p.argmax(1), average="macro"), abs=1e-12)
    auc = roc_auc_score(truth, p[:, 1] if classes == 2 else p, multi_class="ovr", average="macro")
    assert found["auc"] == pytest.approx(auc, abs=1e-12)


def test_of_classes_that_are_absent():
    """Of a class that the model does not know nothing is found; one that is not in the test rows does not count."""
    truth, known = np.array([0, 0, 1, 3, 3, 3]), np.array([0, 1, 2])
    p = np.array([[0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    found = measures(truth, p, known, 5)
    guessed = known[p.argmax(1)]
    assert found["accuracy"] == accuracy_score(truth, guessed)
    f1 = f1_score(truth, guessed, labels=[0, 1, 3], average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1, abs=1e-12)
    areas = [roc_auc_score(truth == 0, p[:, 0]), roc_auc_score(truth == 1, p[:, 1]), 0.5]
    assert found["auc"] == pytest.approx(np.mean(areas), abs=1e-12)


def test_of_test_rows_of_one_class():
    assert measures(np.zeros(3, int), np.eye(3), np.arange(3), 3) == {
        "accuracy": 1 / 3,
        "macro_f1": pytest.approx(0.5),
    }


def test_balance():
    assert balance(np.array([0, 1, 2, 3]), 4) == pytest.approx(1)
    assert balance(np.array([2, 2, 2]), 4) == 0
    assert balance(np.array([0, 0, 1, 1]), 4) == pytest.approx(0.5)
    assert balance(np.array([0, 0, 0, 1]), 2) == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))


@pytest.mark.parametrize("dims", [1, 20])
def test_diversity(dims):
    points = np.zeros((40, dims))
    points[:, 0] = np.arange(40)
    pool = np.arange(40)
    drawn = np.random.default_rng(5).choice(pool, 4, replace=False)
    usual = np.mean([np.sort(np.abs(drawn - each))[1] for each in drawn])
    assert diversity(points, np.array([0, 10, 20, 30]), pool, 5) == pytest.approx(10 / usual)
    assert diversity(points, np.array([0, 1, 5, 7]), pool, 5) == pytest.approx((1 + 1 + 2 + 2) / 4 / usual)


def test_no_diversity():
    pool = np.arange(40)
    assert np.isnan(diversity(None, pool[:3], pool, 0))
    assert np.isnan(diversity(np.ones((40, 2)), pool[:1], pool, 0))
    assert np.isnan(diversity(np.ones((40, 2)), pool[:3], pool, 0))
