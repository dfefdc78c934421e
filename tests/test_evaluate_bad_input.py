"""What makes no sense is refused before any run, in words that tell how to mend it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")

from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import SVC, LinearSVC

import pickwise as pw
from pickwise.evaluate import simulation
from pickwise.loop import ExternalModel, SklearnModel

X, Y = make_classification(100, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
NAMES = np.array(["cat", "dog", "ox"])[Y]
P = np.random.default_rng(0).dirichlet(np.ones(3), (2, 100))
NAN = float("nan")


def changed(array, row, value):
    out = np.array(array, dtype=object)
    out[row] = value
    return out


@pytest.fixture(autouse=True)
def _no_run(monkeypatch):
    """Fail where a run begins."""

    def begin(*_):
        raise AssertionError("a run has begun")

    monkeypatch.setattr(sys.modules["pickwise.evaluate.simulate"], "run", begin)


def refused(error, match, **options):
    usual = {"X": X, "y": Y, "model": LogisticRegression(), "strategies": ["margin"], "batch_size": 10, "seeds": 2}
    with pytest.raises(error, match=match):
        pw.simulate(**usual | options)


def test_what_makes_sense_would_run():
    refused(AssertionError, "a run has begun")


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (
            changed(NAMES, 7, None),
            ValueError,
            "y: expected a label for each row, got None in row 7; leave such rows out",
        ),
        (changed(NAMES, 7, NAN), ValueError, "y: expected a label for each row, got nan in row 7"),
        (changed(NAMES, 7, NAN).tolist(), ValueError, "got nan in row 7"),
        (changed(NAMES, 7, None).tolist(), ValueError, "got None in row 7"),
        (np.where(Y == 0, NAN, Y), ValueError, "y: expected a label for each row, got nan in row"),
        (changed(Y, 3, "dog"), TypeError, "all of them text or all whole numbers, got"),
        (Y + 0.25, TypeError, "y: expected classes, all of them text or all whole numbers, got"),
        (changed(Y.astype(float), 2, float("inf")), TypeError, "got inf in row 2"),
        (np.eye(3)[Y], ValueError, r"y: expected one label a row, got shape \(100, 3\)"),
        (Y[:99], ValueError, "X: expected 99 rows, one for each label, got 100"),
        (np.zeros(100, int), ValueError, r"y: expected at least two classes, got \[0\]"),
        ([], ValueError, r"y: expected at least two classes, got \[\]"),
    ],
)
def test_labels(y, error, match):
    refused(error, match, y=y)


def test_labels_that_pandas_has_none_of():
    pd = pytest.importorskip("pandas")
    for missing in (pd.NA, pd.NaT, None, NAN):
        refused(
            ValueError, "y: expected a label for each row, got .* in row 7", y=pd.Series(changed(NAMES, 7, missing))
        )
    numbers = pd.Series(Y, dtype="Int64")
    numbers[7] = pd.NA
    refused(ValueError, "y: expected a label for each row, got .* in row 7", y=numbers)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        ("pool.parquet", TypeError, "X: expected rows in memory, an array, texts or a DataFrame, got str"),
        (iter(X), TypeError, "X: expected rows in memory"),
        ({"a": X[:, 0]}, TypeError, "X: expected rows in memory"),
        ([], ValueError, "X: expected 100 rows, one for each label, got 0"),
        (X[:50], ValueError, "X: expected 100 rows, one for each label, got 50"),
    ],
)
def test_rows(x, error, match):
    refused(error, match, X=x)


@pytest.mark.parametrize(
    ("model", "error", "match"),
    [
        (LogisticRegression, TypeError, r"got the class LogisticRegression; LogisticRegression\(\) makes one"),
        (lambda seed: LogisticRegression, TypeError, "got the class LogisticRegression"),
        (LinearRegression(), TypeError, "with predict_proba or decision_function, a function .* got LinearRegression"),
        (lambda seed: LinearRegression(), TypeError, "got LinearRegression"),
        (SklearnModel(LinearRegression(), task="regression"), TypeError, "got SklearnModel"),
        (ExternalModel(), TypeError, "got ExternalModel"),
        ("sklearn.linear_model.LogisticRegression", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
        (P[:, :99], ValueError, "model: expected 100 rows in the predictions of round 0, got 99"),
        (
            P[:, :, :2],
            ValueError,
            "model: expected 3 columns, one for each class, .* round 0, got 2",
        ),
        (P[0], ValueError, "model: expected the shape"),
        (np.where(P > 0.9, NAN, P), ValueError, "model: expected finite values in the predictions of round 0"),
        (2 * P, ValueError, "in the predictions of round 0"),
        (P[:0], ValueError, "model: expected predictions of one round or more, got none"),
        ([P[0], P[1][:50]], ValueError, "model: expected 100 rows in the predictions of round 1, got 50"),
    ],
)
def test_models(model, error, match):
    refused(error, match, model=model)


@pytest.mark.parametrize("name", ["entropy", "badge", "uncertainty_herding", "bald", "power"])
def test_models_without_probabilities(name):
    for model in (SVC(), LinearSVC(), lambda seed: LinearSVC(random_state=seed)):
        refused(
            TypeError,
            "model: expected one with predict_proba for .*, got (Linear)?SVC, which has only a decision function",
            model=model,
            strategies=["margin", name],
        )


def test_strategies_of_a_committee_without_one():
    for model in (LogisticRegression(), GradientBoostingClassifier()):
        for name in ("bald", "vote_entropy", "batch_bald"):
            match = (
                f"model: expected one with members, such as a random forest, for '{name}', got {type(model).__name__}"
            )
            refused(TypeError, match, model=model, strategies=["margin", name])
    refused(TypeError, "expected one with members for 'bald', got predictions of one", model=P, strategies=["bald"])
    forest = RandomForestClassifier(3)
    strategies = {"badly": pw.UncertaintyHerding(score="bald")}
    refused(TypeError, "strategies: expected scores of single predictions", model=forest, strategies=strategies)


@pytest.mark.parametrize("name", ["k_center", "badge", "typiclust", "uncertainty_herding"])
@pytest.mark.parametrize("x", [list(NAMES), Y[:, None], np.where(X > 2, NAN, X)], ids=["texts", "ints", "nan"])
def test_strategies_that_need_embeddings(name, x):
    match = f"embeddings: expected some with '{name}', got none, and X is no matrix of .*floats"
    refused(TypeError, match, X=x, strategies=["margin", name])
    refused(AssertionError, "a run has begun", X=x, strategies=["margin", name], embeddings=X)


@pytest.mark.parametrize(
    ("embeddings", "match"),
    [
        (X[:50], r"embeddings: expected numbers of shape \(100, dims\), one row for each of X, got float64 of shape"),
        (X[:, 0], "embeddings: expected numbers of shape"),
        (np.full((100, 2), "a"), "embeddings: expected numbers of shape"),
        (np.where(X > 2, NAN, X), "embeddings: expected finite numbers"),
    ],
)
def test_embeddings(embeddings, match):
    refused(ValueError, match, embeddings=embeddings)


@pytest.mark.parametrize(
    ("strategies", "error", "match"),
    [
        (["margin", "magic"], ValueError, "strategy: .*'magic'"),
        ("margin", TypeError, "strategies: expected a list or a mapping of strategies, got 'margin'"),
        (pw.Margin(), TypeError, "strategies: expected a list or a mapping of strategies"),
        ([], TypeError, "strategies: expected a list or a mapping of strategies"),
        (["margin", "margin"], ValueError, "strategies: expected each once"),
        (["margin", pw.Margin()], ValueError, "strategies: expected each once"),
        (["given"], TypeError, "strategies: expected some that choose by probabilities of classes, got 'given'"),
        (["mmc"], TypeError, "strategies: expected some that choose by probabilities of classes, got 'mmc'"),
        (
            ["greedy_xy"],
            TypeError,
            "strategies: expected some that choose by probabilities of classes, got 'greedy_xy'",
        ),
        (["greedy_y"], TypeError, "strategies: expected some that choose by probabilities of classes, got 'greedy_y'"),
    ],
)
def test_strategies(strategies, error, match):
    refused(error, match, strategies=strategies)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"budget": 71}, ValueError, "budget: expected from 10, the rows labelled at the beginning, to 70, .* got 71"),
        ({"budget": 9}, ValueError, "budget: expected from 10, .* got 9"),
        ({"budget": 50.5}, TypeError, "budget: expected an integer, got 50.5"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size: expected an integer, got 2.5"),
        ({"batch_size": 71}, ValueError, "initial: expected from 1 to 70 rows, all that are not for testing, got 71"),
        ({"initial": 0}, ValueError, "initial: expected at least 1, got 0"),
        ({"initial": 71}, ValueError, "initial: expected from 1 to 70 rows"),
        ({"initial": []}, ValueError, "initial: expected from 1 to 70 rows, all that are not for testing, got 0"),
        ({"initial": [1, 1, 2]}, ValueError, "initial: expected different positions from 0 to 99"),
        ({"initial": [1, 100]}, ValueError, "initial: expected different positions from 0 to 99"),
        ({"initial": [0.5, 1.5]}, TypeError, "initial: expected positions of rows, integers, got float64"),
        ({"initial": Y == 1}, TypeError, "initial: expected positions of rows, integers, got bool"),
        (
            {"initial": np.flatnonzero(Y == 1)},
            ValueError,
            "initial: expected rows of at least two classes, got .* of 1",
        ),
        ({"initial": [0, 1, 2], "test": [5, 1]}, ValueError, "initial: .* not for testing, got row 1, which is"),
        ({"test": 0}, ValueError, r"test: expected a share between 0 and 1, positions, or \(X, y\), got 0"),
        ({"test": 1.0}, ValueError, "test: expected a share between 0 and 1"),
        ({"test": NAN}, ValueError, "test: expected a share between 0 and 1"),
        ({"test": None}, ValueError, "test: expected a share between 0 and 1"),
        ({"test": "half"}, ValueError, "test: expected a share between 0 and 1"),
        ({"test": 0.001}, ValueError, "test: expected a share that leaves some of 100 rows on both sides, got 0.001"),
        ({"test": []}, ValueError, "test: expected one row or more, got none"),
        ({"test": [-1]}, ValueError, "test: expected different positions from 0 to 99"),
        ({"test": (1, 2, 3)}, ValueError, r"test: .* got a tuple of 3; positions in a list"),
        ({"test": (X, Y[:5])}, ValueError, "test: expected 5 rows, one for each label, got 100"),
        ({"test": (X[:2], [0, 9])}, ValueError, "test: expected the classes of y, got 9, too"),
        ({"test": (X[:2], [0, None])}, ValueError, "test: expected a label for each row, got None in row 1"),
        ({"test": (X, Y), "model": P}, TypeError, "test: expected a share or positions with predictions"),
        ({"seeds": 0}, ValueError, "seeds: expected at least 1, got 0"),
        ({"seeds": []}, ValueError, "seeds: expected one or more, each of them once"),
        ({"seeds": [1, 1]}, ValueError, "seeds: expected one or more, each of them once"),
        ({"seeds": [-1]}, ValueError, "seeds: expected at least 0, got -1"),
        ({"seeds": 2.5}, TypeError, "seeds: expected an integer, got 2.5"),
        ({"n_jobs": 0}, ValueError, "n_jobs: expected how many runs at a time"),
        ({"n_jobs": -2}, ValueError, "n_jobs: expected at least -1, got -2"),
        ({"progress": "yes"}, TypeError, "progress: expected None, True, False or a function, got str"),
    ],
)
def test_protocols(options, error, match):
    refused(error, match, **options)


def test_too_few_rows():
    refused(ValueError, "test: expected a share that leaves some of 2 rows", X=X[:2], y=[0, 1], test=0.1)
    # Of two rows one is for testing, so that the other is all there is to learn from.
    refused(
        ValueError, "initial: .* got 1 of [01], all that are not for testing", X=X[:2], y=[0, 1], test=0.5, initial=1
    )
    refused(ValueError, "initial: expected from 1 to 1 rows", X=X[:2], y=[0, 1], test=0.5)


def test_a_class_of_one_example_that_leaves_no_second_one():
    """It falls among the test rows with some seeds, and then there is nothing to learn from."""
    y = np.zeros(100, int)
    y[42] = 1
    refused(
        ValueError,
        "initial: expected rows of at least two classes, got 70 of 0, all that are not for testing with the seed",
        y=y,
        seeds=20,
    )
    refused(ValueError, "budget: expected at least .*, as with the seed", y=y, test=[0, 1], seeds=20, budget=11)
    refused(AssertionError, "a run has begun", y=y, test=[0, 1], seeds=20)


def test_no_bar_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    refused(ImportError, r"needs tqdm; install it with pip install 'pickwise\[progress\]'", progress=True)


@pytest.mark.parametrize("missing", ["sklearn", "sqlalchemy"])
def test_what_is_to_be_installed(run_python, missing):
    told = run_python(
        f"""
        import sys
        sys.modules[{missing!r}] = None
        import pickwise as pw
        try:
            pw.simulate
        except ImportError as error:
            print(error)
        """
    )
    assert "pip install 'pickwise[evaluate]'" in told


def test_importing_pickwise_loads_none_of_it(run_python):
    code = "import sys, pickwise; print([m for m in sys.modules if 'evaluate' in m or m == 'sklearn'])"
    assert run_python(code) == "[]"
    assert simulation.Simulation is pw.Simulation
