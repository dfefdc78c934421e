"""Models of any library in the loop: what they learn, which columns are whose, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pickwise.loop.models import (
    as_loop_model,
)
from pickwise.loop.models.base import checked

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

RNG = np.random.default_rng(0)
NAMES = np.array(["cat", "dog", "eel"], dtype=object)
CODES = np.arange(60) % 3
Y = NAMES[CODES]
X = RNG.normal(size=(60, 4)) + 2 * np.eye(3, 4)[CODES]
LABELS = (X[:, :3] > 0.5).astype(int)


class Returns(BaseEstimator, ClassifierMixin):
    """Predicts what it is told to."""

    def __init__(self, what=None):
        self.what = what

    def fit(self, x, y):
        self.fitted_ = True
        return self

    def predict_proba(self, x):
        if isinstance(self.what, Exception):
            raise self.what
        return self.what

    predict = predict_proba


# --- which columns are whose ---


@given(st.lists(st.sampled_from(["b", "a", "c", 10, 2, -1]), min_size=8, max_size=20).filter(lambda y: len(set(y)) > 1))
@settings(max_examples=30, deadline=None)
def test_columns_are_the_classes_that_were_seen(y):
    rows = np.array([[["b", "a", "c", 10, 2, -1].index(label)] for label in y], dtype=float)
    model = as_loop_model(KNeighborsClassifier(1)).fit(rows, y)
    seen = set(y)
    assert list(model.classes_) == sorted(x for x in seen if isinstance(x, int)) + sorted(
        x for x in seen if isinstance(x, str)
    )
    assert list(model.predict(rows)) == y
    assert {type(name) for name in model.classes_} == {type(name) for name in seen}


def test_classes_in_the_order_that_was_set():
    model = as_loop_model(GaussianNB())
    model.set_classes(["eel", "fox", "cat", "dog"])
    model.fit(X, Y)
    assert list(model.classes_) == ["eel", "cat", "dog"]
    other = as_loop_model(GaussianNB()).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X)[:, [2, 0, 1]], atol=1e-12)
    with pytest.raises(ValueError, match=r"labels: expected the classes \['eel', .*got 'gnu'"):
        model.fit(X[:3], ["eel", "cat", "gnu"])
    with pytest.raises(ValueError, match="classes: expected each class once, got 'a' 2 times"):
        model.set_classes(["a", "b", "a"])


@pytest.mark.parametrize("name", ["xgboost.XGBClassifier", "lightgbm.LGBMClassifier"])
def test_boosting_with_classes_that_are_not_consecutive(name):
    pytest.importorskip(name.partition(".")[0])
    y = np.array([7, 11, 900])[CODES]
    quiet = {"verbose": -1} if "lightgbm" in name else {}
    model = as_loop_model(name, parameters={"n_estimators": 5, **quiet}).fit(X, y)
    assert list(model.classes_) == [7, 11, 900]
    assert (model.predict(X) == y).mean() > 0.8
    assert model.describe()["versions"].keys() > {"python", "numpy"}


def test_the_users_estimator_and_arrays_stay_as_they_are():
    estimator, x, y = LogisticRegression(), X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    model = as_loop_model(estimator).fit(x, y)
    assert not hasattr(estimator, "coef_")
    first = model.estimator_
    model.fit(x[:30], y[:30])
    assert model.estimator_ is not first


def test_weights_go_by_the_names_of_classes():
    weights = {"cat": 1.0, "dog": 5.0, "eel": 1.0, "fox": 9.0}
    model = as_loop_model(make_pipeline(StandardScaler(), LogisticRegression(class_weight=weights))).fit(X, Y)
    plain = make_pipeline(StandardScaler(), LogisticRegression(class_weight={0: 1.0, 1: 5.0, 2: 1.0})).fit(X, CODES)
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert model.estimator.steps[-1][1].class_weight == weights


def test_texts_and_frames():
    texts = ["good fine", "bad poor", "fine", "poor"]
    model = as_loop_model(make_pipeline(TfidfVectorizer(), LogisticRegression())).fit(texts, ["+", "-", "+", "-"])
    assert list(model.predict(["good", "bad"])) == ["+", "-"]
    assert model.predict_proba([]).shape == (0, 2)
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = as_loop_model(RandomForestClassifier(5, random_state=0)).fit(frame, Y)
    np.testing.assert_allclose(model.predict_committee(frame).mean(0), model.predict_proba(frame))


@pytest.mark.parametrize("form", ["sparse", "polars", "pandas", "list"])
def test_rows_in_any_form_that_the_model_takes(form):
    if form == "sparse":
        rows = pytest.importorskip("scipy.sparse").csr_array(X)
    elif form == "list":
        rows = X.tolist()
    else:
        rows = pytest.importorskip(form).DataFrame(X, **({"schema": list("abcd")} if form == "polars" else {}))
    bagging = BaggingClassifier(LogisticRegression(), n_estimators=3, max_features=0.5, random_state=0)
    model = as_loop_model(bagging).fit(rows, Y)
    np.testing.assert_allclose(model.predict_committee(rows).mean(0), model.predict_proba(rows), atol=1e-12)
    model = as_loop_model(SGDClassifier(loss="log_loss", random_state=0), how="partial_fit")
    model.set_classes(list(NAMES))
    model.fit(rows, Y)
    matrix = rows if form == "sparse" else X  # which SGD takes smaller steps in
    by_hand = SGDClassifier(loss="log_loss", random_state=0).partial_fit(matrix, CODES, classes=range(3))
    np.testing.assert_allclose(model.estimator_.coef_, by_hand.coef_)


# --- what is refused, and in which words ---


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["cat"] * 60, "labels: expected at least two classes, got only 'cat' in 60 rows"),
        (Y[:59], "labels: expected 60, one for each row, got 59"),
        ([*Y[:59], None], "labels: expected a class for each row, got None in row 59"),
        ([*Y[:59], float("nan")], "got nan in row 59"),
        (LABELS, r"labels: expected a class for each row, \(rows,\), got the shape \(60, 3\)"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        as_loop_model(GaussianNB()).fit(X, y)


def test_no_labels():
    with pytest.raises(ValueError, match="at least two classes, got no labels"):
        as_loop_model(GaussianNB()).fit(X[:0], [])
    with pytest.raises(ValueError, match=r"labels: expected 0 or 1, .* got 2"):
        as_loop_model(RandomForestClassifier(2), "multilabel").fit(X, LABELS * 2)
    with pytest.raises(ValueError, match="labels: expected finite numbers, one a row, got nan"):
        as_loop_model(Ridge(), "regression").fit(X, np.full(60, np.nan))


GOOD = np.full((60, 3), 1 / 3)


def put(value):
    bad = GOOD.copy()
    bad[7, 1] = value
    return bad


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (GOOD[:59], "model: expected 60 rows from predict_proba of Returns, got 59"),
        (GOOD[:, :2], "model: expected 3 columns, one for each class, from predict_proba of Returns, got 2"),
        (put(np.nan), r"model: expected finite values .*, got nan in row 7 \(1 such row\)"),
        (put(np.inf), "got inf in row 7"),
        (put(-0.1), "expected values from 0 to 1 from predict_proba of Returns, got -0.1 in row 7"),
        (put(0.5), "expected rows that sum to 1 from predict_proba of Returns, got 1.16.* in row 7"),
        (GOOD[0], r"expected the shape \(60, 3\) from predict_proba of Returns, got \(3,\)"),
        (GOOD.astype(str), "expected floats from predict_proba of Returns"),
    ],
)
def test_predictions_that_are_none(found, message):
    model = as_loop_model(Returns(found)).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        model.predict_proba(X)


def test_probabilities_of_labels_need_not_sum_to_one_but_are_probabilities():
    model = as_loop_model(Returns(np.ones((60, 3))), "multilabel").fit(X, LABELS)
    assert model.predict(X).all()
    model = as_loop_model(Returns(np.full((60, 3), 1.5)), "multilabel").fit(X, LABELS)
    with pytest.raises(ValueError, match=r"values from 0 to 1 .*, got 1.5 in row 0 \(60 such rows\)"):
        model.predict_proba(X)


def test_predictions_of_any_float_are_taken_as_they_are():
    for dtype in (np.float16, np.float32, np.float64):
        p = RNG.dirichlet(np.ones(3), 60).astype(dtype)
        assert as_loop_model(Returns(p)).fit(X, Y).predict_proba(X).dtype == dtype
    one_hot = as_loop_model(Returns(np.eye(3, dtype=int)[CODES])).fit(X, Y)
    assert list(one_hot.predict(X)) == list(Y)
    two = as_loop_model(Returns(np.linspace(0, 1, 60))).fit(X, CODES > 0)
    np.testing.assert_allclose(two.predict_proba(X).sum(1), 1)


def test_errors_of_the_model_come_out_with_a_note():
    model = as_loop_model(Returns(KeyError("mine"))).fit(X, Y)
    with pytest.raises(KeyError, match="mine") as caught:
        model.predict_proba(X)
    assert caught.value.__notes__ == ["pickwise: Returns was predicting 60 rows"]
    with pytest.raises(ValueError, match="NaN") as caught:
        as_loop_model(GaussianNB()).fit(np.full((4, 1), np.nan), [0, 1, 0, 1])
    assert caught.value.__notes__ == ["pickwise: GaussianNB was being fitted to 4 rows"]


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    model = as_loop_model(GaussianNB()).fit(X, Y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((60, 4), np.nan), CODES + 10)
    assert list(model.classes_) == list(NAMES)
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        (LinearSVC(), "multiclass", "got LinearSVC, which has none, only decision_function; calibrate='sigmoid' makes"),
        (Ridge(), "multiclass", "expected predict_proba, got Ridge, which has none; for numbers say task='regression'"),
        (LogisticRegression, "multiclass", "expected an instance, got the class LogisticRegression; call it"),
        (object(), "multiclass", "model: expected fit, got object"),
        (StandardScaler(), "regression", "model: expected predict, got StandardScaler"),
    ],
)
def test_what_is_no_model(model, task, message):
    with pytest.raises(TypeError, match=message):
        as_loop_model(model, task)


def test_before_it_is_fitted():
    model = as_loop_model(GaussianNB())
    for ask in (model.predict_proba, model.predict):
        with pytest.raises(ValueError, match="expected one that is fitted, got GaussianNB as it was made"):
            ask(X)
    with pytest.raises(TypeError, match="a regression has no probabilities"):
        as_loop_model(Ridge(), "regression").fit(X, X[:, 0]).predict_proba(X)


# --- partial_fit ---


def test_partial_fit_begins_anew_and_knows_classes_without_labels():
    model = as_loop_model(SGDClassifier(loss="log_loss", random_state=0), how="partial_fit")
    model.set_classes([*NAMES, "fox"])
    model.fit(X[:30], Y[:30])
    spoilt = X.copy()
    spoilt[50] = np.nan
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(spoilt, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    model.fit(X, Y)
    expected = SGDClassifier(loss="log_loss", random_state=0).partial_fit(X, CODES, classes=range(4))
    np.testing.assert_array_equal(model.estimator_.coef_, expected.coef_)
    assert list(model.classes_) == [*NAMES, "fox"]


def test_partial_fit_is_refused_where_it_cannot_be():
    with pytest.raises(TypeError, match="expected partial_fit, got LogisticRegression, which has none; how='refit'"):
        as_loop_model(LogisticRegression(), how="partial_fit")
    with pytest.raises(ValueError, match=r"calibrate: expected None with .*how='partial_fit'"):
        as_loop_model(GaussianNB(), how="partial_fit", calibrate="sigmoid")
    with pytest.raises(ValueError, match="how: expected 'refit' with task='multilabel'"):
        as_loop_model(MultiOutputClassifier(GaussianNB()), "multilabel", how="partial_fit")


def test_partial_fit_of_a_regression():
    model = as_loop_model(SGDRegressor(random_state=0), "regression", how="partial_fit")
    model.fit(X[:40], X[:40, 0]).fit(X, X[:, 0])
    expected = SGDRegressor(random_state=0).partial_fit(X, X[:, 0])
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


# --- calibration ---


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_makes_probabilities(method, classes):
    codes = CODES % classes
    model = as_loop_model(LinearSVC(), calibrate=method).fit(X, NAMES[codes])
    expected = CalibratedClassifierCV(LinearSVC(), method=method, cv=5, ensemble=False).fit(X, codes)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    assert model.describe()["calibration"] == f"{method}, in 5 folds"


def test_calibration_with_few_labels():
    few = [0, 3, 1, 4, 7, 2, 5, 8, 11]
    model = as_loop_model(GaussianNB(), calibrate="sigmoid").fit(X[few], Y[few])
    assert model.describe()["calibration"] == "sigmoid, in 2 folds"
    model.fit(X[few[1:]], Y[few[1:]])
    assert model.describe()["calibration"] == "none: two labels of each class are needed, and there is 1 of 'cat'"
    expected = GaussianNB().fit(X[few[1:]], CODES[few[1:]]).predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    with pytest.raises(ValueError, match=r"labels: expected at least two of each class, as LinearSVC .*got 1 of 'cat'"):
        as_loop_model(LinearSVC(), calibrate="sigmoid").fit(X[few[1:]], Y[few[1:]])


# --- committees ---


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(4, random_state=0),
        BaggingClassifier(GaussianNB(), n_estimators=4, max_features=0.5, random_state=0),
        VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], voting="soft"),
        make_pipeline(StandardScaler(), RandomForestClassifier(4, random_state=0)),
    ],
    ids=["forest", "bagging", "voting", "pipeline"],
)
def test_the_mean_of_a_committee_is_the_prediction(estimator):
    model = as_loop_model(estimator).fit(X, Y)
    assert model.can_committee
    committee = model.predict_committee(X)
    assert committee.shape[1:] == (60, 3)
    np.testing.assert_allclose(committee.mean(0), model.predict_proba(X), atol=1e-12)


def test_members_that_missed_a_class():
    codes = np.r_[CODES[:50] % 2, 2, [0] * 9]
    bagging = BaggingClassifier(KNeighborsClassifier(1), n_estimators=8, max_samples=0.5, random_state=1)
    model = as_loop_model(bagging).fit(X, NAMES[codes])
    assert {len(member.classes_) for member in model.estimator_.estimators_} == {2, 3}
    np.testing.assert_allclose(model.predict_committee(X).mean(0), model.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingClassifier(n_estimators=3),
        OneVsRestClassifier(LogisticRegression()),
        GaussianNB(),
    ],
)
def test_estimators_that_are_no_committee(estimator):
    model = as_loop_model(estimator).fit(X, Y)
    assert not model.can_committee
    with pytest.raises(TypeError, match="expected an ensemble, such as a random forest"):
        model.predict_committee(X)


def test_members_of_a_calibrated_forest():
    model = as_loop_model(RandomForestClassifier(4, random_state=0), calibrate="sigmoid").fit(X, Y)
    forest = RandomForestClassifier(4, random_state=0).fit(X, CODES)
    np.testing.assert_allclose(model.predict_committee(X).mean(0), forest.predict_proba(X), atol=1e-12)


def test_a_committee_of_a_regression():
    model = as_loop_model(RandomForestRegressor(5, random_state=0), "regression").fit(X, X[:, 0])
    assert model.predict_committee(X).shape == (5, 60)
    np.testing.assert_allclose(model.predict_committee(X).mean(0), model.predict(X))
    assert model.classes_.size == 0


# --- several labels ---


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(9, random_state=0),
        OneVsRestClassifier(LogisticRegression()),
        MultiOutputClassifier(LogisticRegression()),
        KNeighborsClassifier(3),
    ],
)
def test_several_labels(estimator):
    model = as_loop_model(estimator, "multilabel")
    model.set_classes(["x", "y", "z"])
    model.fit(X, LABELS)
    p = model.predict_proba(X)
    assert p.shape == (60, 3)
    assert (model.predict(X) == LABELS).mean() > 0.8
    assert list(model.classes_) == ["x", "y", "z"]
    assert model.can_committee == isinstance(estimator, RandomForestClassifier)
    if model.can_committee:
        np.testing.assert_allclose(model.predict_committee(X).mean(0), p, atol=1e-12)


def test_a_label_that_is_always_the_same():
    labels = np.c_[LABELS[:, 0], np.zeros(60), np.ones(60)]
    model = as_loop_model(RandomForestClassifier(3, random_state=0), "multilabel").fit(X, labels)
    p = model.predict_proba(X)
    assert (p[:, 1] == 0).all()
    assert (p[:, 2] == 1).all()
    assert ((p[:, 0] >= 0.5) == labels[:, 0]).mean() > 0.8


def test_checks_leave_the_array_as_it_is():
    p = GOOD.copy()
    p.flags.writeable = False
    assert checked(p, (60, 3), "multiclass", "from f") is p
