"""Models that are no estimators: objects, functions, none at all; and estimators that are named in settings."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pickwise as pw
from pickwise.loop.models import (
    ExternalModel,
    FunctionModel,
    LoopModel,
    Model,
    SklearnModel,
    as_loop_model,
    from_description,
)
from pickwise.loop.models.estimators import built, described, imported

pytest.importorskip("sklearn")

from sklearn.ensemble import (
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

RNG = np.random.default_rng(0)
NAMES = np.array(["cat", "dog", "eel"], dtype=object)
CODES = np.arange(60) % 3
Y = NAMES[CODES]
X = RNG.normal(size=(60, 4)) + 2 * np.eye(3, 4)[CODES]
GOOD = np.full((60, 3), 1 / 3)


class Own:
    """No estimator of scikit-learn, only methods."""

    def __init__(self):
        self.fits = 0

    def fit(self, x, y):
        self.fits += 1
        self.seen = list(y)

    def predict_proba(self, x):
        return np.full((len(x), max(self.seen) + 1), 1 / (max(self.seen) + 1))

    def embed(self, x):
        return np.asarray(x)[:, :2]

    def predict_committee(self, x):
        return np.stack([self.predict_proba(x)] * 3)

    def save(self, folder):
        (folder / "own.json").write_text(json.dumps([int(code) for code in self.seen]))

    def load(self, folder):
        self.seen = json.loads((folder / "own.json").read_text())


# --- other objects, functions, none ---


def test_an_object_of_its_own(tmp_path):
    mine = Own()
    assert isinstance(mine, Model)
    model = as_loop_model(mine).fit(X, Y)
    assert mine.fits == 0
    assert model.estimator_.seen == list(CODES)
    assert model.embed(X).shape == (60, 2)
    assert model.predict_committee(X).shape == (3, 60, 3)
    assert model.save(tmp_path)
    other = as_loop_model(Own())
    other.load(tmp_path)
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert not as_loop_model(GaussianNB()).can_embed


def functions(**more):
    return {
        "fit": lambda x, y: LogisticRegression().fit(x, y),
        "predict_proba": lambda state, x: state.predict_proba(x),
        **more,
    }


@pytest.mark.parametrize("y", [Y, CODES + 5, CODES.astype(object)])
def test_functions_get_the_names_of_classes(y):
    model = as_loop_model(functions()).fit(X, y)
    assert list(model.classes_) == list(np.unique(y))
    assert list(model.state.classes_) == list(model.classes_)
    assert (model.predict(X) == y).mean() > 0.8
    assert not model.can_embed
    assert not model.can_committee
    with pytest.raises(TypeError, match="expected one with embed"):
        model.embed(X)


def test_functions_with_all_that_there_may_be(tmp_path):
    model = FunctionModel(
        lambda x, y: {"mean": float(np.mean(x))},
        lambda state, x: np.full((len(x), 4), 0.25),
        classes=["d", "c", "b", "a"],
        embed=lambda state, x: x,
        predict_committee=lambda state, x: np.full((2, len(x), 4), 0.25),
        save=lambda state, folder: (folder / "mean.json").write_text(json.dumps(state)),
        load=lambda folder: json.loads((folder / "mean.json").read_text()),
    )
    model.fit(X, ["a", "b"] * 30)
    assert list(model.classes_) == ["d", "c", "b", "a"]
    assert model.embed(X).shape == X.shape
    assert model.predict_committee(X).shape == (2, 60, 4)
    assert model.save(tmp_path)
    state = model.state
    model.fit(X + 1, ["a", "b"] * 30)
    model.load(tmp_path)
    assert model.state == state
    assert json.loads(json.dumps(model.describe()))["functions"].keys() >= {"fit", "predict_proba"}


def test_functions_that_are_missing_or_none():
    with pytest.raises(TypeError, match="predict_proba: expected a function, got None; task='multiclass' needs it"):
        FunctionModel(lambda x, y: None)
    with pytest.raises(TypeError, match="predict: expected a function, got None; task='regression' needs it"):
        as_loop_model(functions(), "regression")
    with pytest.raises(TypeError, match="embed: expected a function, got 3"):
        FunctionModel(**functions(embed=3))
    with pytest.raises(TypeError, match="save: expected it together with load"):
        FunctionModel(**functions(save=print))


def test_a_regression_of_functions():
    fits = {"fit": lambda x, y: y.mean(), "predict": lambda mean, x: np.full(len(x), mean)}
    model = as_loop_model(fits, "regression").fit(X, np.arange(60))
    assert (model.predict(X) == 29.5).all()


def test_a_model_that_is_trained_elsewhere(tmp_path):
    model = as_loop_model(None)
    assert not model.trains
    with pytest.raises(ValueError, match=r"predictions: expected those of a model .* got none; call hand_over"):
        _ = model.predictions
    with pytest.raises(TypeError, match="train it elsewhere, and hand_over its predictions"):
        model.fit(X, Y)
    with pytest.raises(TypeError, match=r"its predictions are in .predictions"):
        model.set_classes(["a", "b"]) or model.predict_proba(X)
    model.hand_over(GOOD)
    assert model.predictions is GOOD
    assert not model.save(tmp_path)
    model.hand_over([tmp_path / "1.npy", tmp_path / "2.npy"])
    assert model.save(tmp_path)
    other = ExternalModel()
    other.load(tmp_path)
    assert other.predictions == [str(tmp_path / "1.npy"), str(tmp_path / "2.npy")]
    assert list(other.classes_) == ["a", "b"]


# --- descriptions ---


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(C=0.25, class_weight={"a": 2.0, 3: 1.0}),
        Pipeline([("tf", TfidfVectorizer(ngram_range=(1, 2))), ("lr", LogisticRegression(tol=1e-3))]),
        VotingClassifier([("a", GaussianNB(priors=[0.5, 0.5])), ("b", KNeighborsClassifier(n_neighbors=3))]),
    ],
)
def test_a_description_makes_the_estimator_again(estimator):
    written = json.loads(json.dumps(described(estimator), allow_nan=False))
    assert repr(built(written)) == repr(estimator)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.sampled_from(["tuple", "items", "float", "repr", "estimator", 1, None]), inner)
        ),
        max_leaves=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_parameters_survive_json(value):
    assert built(json.loads(json.dumps(described(value), allow_nan=False))) == value


def test_numbers_of_numpy_in_a_description():
    model = LogisticRegression(C=np.float64(0.5), max_iter=np.int64(7), tol=np.inf)
    again = built(json.loads(json.dumps(described(model), allow_nan=False)))
    assert (again.C, again.max_iter, again.tol) == (0.5, 7, np.inf)


def test_settings_that_people_write():
    model = from_description(
        {
            "estimator": "sklearn.calibration.CalibratedClassifierCV",
            "parameters": {"estimator": {"estimator": "sklearn.svm.LinearSVC", "parameters": {"C": 0.5}}, "cv": 3},
        }
    )
    assert repr(model.estimator) == "CalibratedClassifierCV(cv=3, estimator=LinearSVC(C=0.5))"
    again = from_description(as_loop_model(LinearSVC(C=3), calibrate="isotonic").describe())
    assert (again.calibrate, again.estimator.C) == ("isotonic", 3)
    assert as_loop_model({"estimator": "sklearn.svm.LinearSVC"}, calibrate="sigmoid").calibrate == "sigmoid"


def test_a_name_calls_nothing_but_a_class_with_fit(monkeypatch):
    called = []
    module = types.ModuleType("a_module_of_the_user")
    module.function = lambda: called.append(1)
    module.Plain = type("Plain", (), {"__init__": lambda self: called.append(1)})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("function", "Plain"):
        with pytest.raises(ValueError, match=r"dotted name of a class with fit, .* which is something else"):
            imported(f"a_module_of_the_user.{name}", {})
    assert called == []
    for name in ("LogisticRegression", "sklearn.linear_model.Logistic", "os.system('x')"):
        with pytest.raises((ValueError, ImportError), match="estimator: "):
            imported(name, {})
    with pytest.raises(ImportError, match="needs the module 'no_such_module'"):
        imported("no_such_module.Model", {})
    with pytest.raises(TypeError, match=r"parameters: expected those of sklearn.*unexpected keyword argument 'c'"):
        imported("sklearn.linear_model.LogisticRegression", {"c": 1})
    with pytest.raises(ValueError, match="parameters: expected what JSON or TOML can hold, got <function"):
        built(described(FunctionTransformer(described)))


def test_options_of_another_kind_of_model():
    with pytest.raises(ValueError, match="parameters: expected them with the dotted name"):
        as_loop_model(GaussianNB(), parameters={})
    with pytest.raises(ValueError, match="model: expected an estimator with how='refit' and calibrate='sigmoid'"):
        as_loop_model(functions(), calibrate="sigmoid")
    model = SklearnModel(GaussianNB())
    assert as_loop_model(model) is model
    assert isinstance(model, LoopModel)
    with pytest.raises(ValueError, match="model: expected one with task='multilabel', got SklearnModel"):
        as_loop_model(model, "multilabel")
    with pytest.raises(ValueError, match="task: expected 'multiclass' or 'multilabel' or 'regression', got 'other'"):
        as_loop_model(GaussianNB(), "other")


def test_a_project_whose_model_was_left_out_is_not_taken_for_one_that_is_trained_elsewhere(tmp_path):
    pytest.importorskip("sqlalchemy")
    x = np.arange(8.0)[:, None]
    with pw.Project.create(tmp_path / "p", x, model=GaussianNB()) as project:
        project.seed({0: "a", 1: "a", 6: "b", 7: "b"})
        project.fit()
    with pytest.raises(TypeError, match="expected the one that was trained here, got none"):
        pw.Project.open(tmp_path / "p")
    with pw.Project.open(tmp_path / "p", x, model=GaussianNB()) as project:
        assert len(project.ask(2)) == 2
