"""Models that are kept: whole or not at all, never changed unnoticed, never more trusted than asked for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pickwise.loop.keeping import ModelStore
from pickwise.loop.models import ExternalModel, FunctionModel, as_loop_model

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

RNG = np.random.default_rng(0)
CODES = np.arange(60) % 3
X = RNG.normal(size=(60, 4)) + 2 * np.eye(3, 4)[CODES]
Y = np.array(["cat", 7, "eel|_*"], dtype=object)[CODES]
CARD = {
    "data": {"rows": 1000, "source": "reviews"},
    "labels": 60,
    "strategy": {"name": "margin", "k": 20},
    "seed": 3,
    "metrics": {"accuracy": np.float64(0.9125), "log_loss": float("nan")},
    "per_class": {"cat": {"precision": 0.5, "support": 20}, "eel|_*": {"precision": 0.25, "recall": 1.0}},
    "notes": "of people, for people",
}


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path)


def fitted(estimator=None, y=Y, **options):
    return as_loop_model(LogisticRegression() if estimator is None else estimator, **options).fit(X, y)


def keep(store, *names):
    for number, name in enumerate(names):
        store.keep(name, fitted(), {"metrics": {"accuracy": number / 10}})


# --- there and back ---


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        (LogisticRegression(class_weight={"cat": 2.0, 7: 1.0}), {}),
        (make_pipeline(StandardScaler(), GaussianNB()), {}),
        (LinearSVC(), {"calibrate": "sigmoid"}),
        (LinearSVC(), {"calibrate": "isotonic"}),
        (LinearSVC(), {"calibrate": "temperature"}),
    ],
    ids=["weights", "pipeline", "sigmoid", "isotonic", "temperature"],
)
def test_a_model_comes_back_as_it_was(store, estimator, options):
    model = fitted(estimator, **options)
    folder = store.keep("round-001", model, CARD)
    assert {path.name for path in folder.iterdir()} == {"model.skops", "state.json", "model.json", "README.md"}
    for back in (store.load("round-001"), store.load("round-001", into=as_loop_model(estimator, **options))):
        np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
        assert list(back.classes_) == [7, "cat", "eel|_*"]
        assert back.describe() == model.describe()
    back.fit(X, Y)
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))


def test_a_model_of_texts_comes_back(store):
    texts = ["good fine", "bad poor"] * 3
    model = as_loop_model(make_pipeline(TfidfVectorizer(), LogisticRegression())).fit(texts, ["+", "-"] * 3)
    store.keep("a", model, {})
    assert list(store.load("a").predict(["good", "bad"])) == ["+", "-"]


@pytest.mark.parametrize("name", ["xgboost.XGBClassifier", "lightgbm.LGBMClassifier"])
@pytest.mark.parametrize("classes", [2, 3])
def test_boosting_in_formats_of_its_own(store, name, classes):
    library = pytest.importorskip(name.partition(".")[0])
    quiet = {"verbose": -1} if library.__name__ == "lightgbm" else {"missing": -999.0}
    model = as_loop_model(name, parameters={"n_estimators": 4, "max_depth": 2, **quiet}).fit(X, Y[CODES % classes])
    folder = store.keep("a", model, {})
    assert any(path.name.startswith(f"model.{library.__name__}.") for path in folder.iterdir())
    back = store.load("a")
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    # Kept once more, and learnt once more.
    store.keep("b", back, {})
    np.testing.assert_array_equal(store.load("b").predict_proba(X), model.predict_proba(X))
    assert back.estimator.get_params()["max_depth"] == 2
    back.fit(X, Y[CODES % classes])
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))


def test_functions_and_objects_come_back_into_the_model(store):
    def model():
        return FunctionModel(
            lambda x, y: float(np.mean(x)),
            lambda state, x: np.full((len(x), 3), 1 / 3),
            save=lambda state, folder: (folder / "mean.txt").write_text(repr(state)),
            load=lambda folder: float((folder / "mean.txt").read_text()),
        )

    kept = model().fit(X, Y)
    folder = store.keep("a", kept, {})
    assert store.load("a", into=model()).state == kept.state
    with pytest.raises(ValueError, match=r"into: expected the model whose state it is, as one of kind 'functions'"):
        store.load("a")
    assert 'load("a", into=model)' in (folder / "README.md").read_text()


def test_predictions_from_elsewhere_come_back(store):
    model = ExternalModel()
    model.hand_over("predictions/*.parquet")
    folder = store.keep("a", model, {})
    assert store.load("a").predictions == "predictions/*.parquet"
    assert "trained elsewhere" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    "model",
    [
        FunctionModel(lambda x, y: None, lambda state, x: np.full((len(x), 3), 1 / 3)),
        as_loop_model(make_pipeline(FunctionTransformer(lambda x: x), GaussianNB())),
    ],
    ids=["functions", "lambda"],
)
def test_a_model_without_a_safe_format_leaves_its_card(store, model):
    folder = store.keep("a", model.fit(X, Y), CARD)
    assert {path.name for path in folder.iterdir()} == {"model.json", "README.md"}
    assert store.describe("a")["saved"] is False
    with pytest.raises(ValueError, match=r"got 'a', which has no safe format; refit it"):
        store.load("a")
    with pytest.raises(ValueError, match=r"expected a model that can be loaded, got 'a'"):
        store.promote("a")


# --- trust ---


def test_types_that_skops_does_not_trust_are_named(store):
    model = fitted(RandomForestClassifier(3, random_state=0))
    folder = store.keep("a", model, {})
    tree = "sklearn.tree._tree.Tree"
    assert store.describe("a")["untrusted"] == [tree]
    with pytest.raises(ValueError, match=rf"got also {tree}; .* load it with trusted=\['{tree}'\]"):
        store.load("a")
    back = store.load("a", trusted=[tree])
    np.testing.assert_array_equal(back.predict_committee(X), model.predict_committee(X))
    assert f"trusted=['{tree}']" in (folder / "README.md").read_text()


class Mine(GaussianNB):
    """Of the user."""


def test_a_class_of_the_user_is_not_made_unasked(store):
    store.keep("a", fitted(Mine()), {})
    (mine,) = store.describe("a")["untrusted"]
    assert mine.endswith("Mine")
    with pytest.raises(ValueError, match=r"trusted: expected every type"):
        store.load("a")


def test_no_pickle_is_written_or_read(store, monkeypatch):
    import pickle

    for name in ("dump", "dumps", "load", "loads", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, None)
    store.keep("a", fitted(), {})
    store.load("a")


def test_a_description_names_no_code_that_is_run(store):
    folder = store.keep("a", fitted(), {})
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(
        text.replace("sklearn.linear_model._logistic.LogisticRegression", "no.such.Thing")
    )
    store.load("a")


@pytest.mark.parametrize(("library", "name"), [("xgboost", "train"), ("os", "system")])
def test_whoever_can_change_the_hashes_too_gets_no_code_run(store, library, name):
    pytest.importorskip("xgboost")
    folder = store.keep("a", as_loop_model("xgboost.XGBClassifier", parameters={"n_estimators": 1}).fit(X, Y), {})
    state = json.loads((folder / "state.json").read_text()) | {"format": library, "class": name, "parameters": {}}
    (folder / "state.json").write_text(json.dumps(state))
    description = json.loads((folder / "model.json").read_text())
    description["files"]["state.json"] = hashlib.sha256((folder / "state.json").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=f"expected a saved model of XGBoost or LightGBM, got '{library}', '{name}'"):
        store.load("a")


# --- damage ---


@pytest.mark.parametrize("name", ["model.skops", "state.json"])
@pytest.mark.parametrize("how", ["one byte", "cut short", "gone"])
def test_a_changed_file_is_refused_and_named(store, name, how):
    file = store.keep("a", fitted(), {}) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(data if how == "one byte" else data[:-1])
    for ask in (store.load, store.promote):
        with pytest.raises(ValueError, match=f"got 'a', whose {name} (was changed|is missing)"):
            ask("a")
    assert store.deployed() is None


def test_a_card_may_be_written_on(store):
    folder = store.keep("a", fitted(), {})
    (folder / "README.md").write_text("For cats only.")
    store.load("a")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": "a"'])
def test_half_a_folder_is_no_model(store, text):
    folder = store.keep("a", fitted(), {})
    (folder / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"whose model.json is missing or damaged"):
        store.load("a")
    (folder / "model.json").unlink()
    assert store.names() == []
    with pytest.raises(ValueError, match=r"whose model.json is missing or damaged"):
        store.load("a")


def test_files_outside_the_folder_are_not_of_the_model(store, tmp_path):
    folder = store.keep("a", fitted(), {})
    description = json.loads((folder / "model.json").read_text())
    description["files"]["../../other.txt"] = "0"
    (tmp_path / "other.txt").write_text("x")
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="is missing"):
        store.load("a")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "../a", "a\n", 3, None])
def test_names_that_are_none(store, name):
    for ask in (lambda: store.keep(name, fitted(), {}), lambda: store.load(name), lambda: store.promote(name)):
        with pytest.raises(ValueError, match=r"name: expected letters, digits"):
            ask()


# --- whole or not at all ---


class Died(BaseException):
    """The process."""


def steps_of(monkeypatch, work):
    """Run some work again and again, and let it die at each of its steps on the disk in turn."""
    for last in range(100):
        left = [last]

        def dying(real, left=left):
            def step(*args, **kwargs):
                if left[0] == 0:
                    raise Died
                left[0] -= 1
                return real(*args, **kwargs)

            return step

        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "write_text")):
                patch.setattr(owner, name, dying(getattr(owner, name)))
            # What is dead tidies nothing up.
            patch.setattr(shutil, "rmtree", dying(lambda *args, **kwargs: None))
            with suppress(Died):
                work()
                return
        yield last


def test_death_at_any_step_leaves_the_old_model_or_the_new_one(store, monkeypatch):
    old, new = fitted(GaussianNB()), fitted(LogisticRegression())
    store.keep("a", old, {})
    died = 0
    for _ in steps_of(monkeypatch, lambda: store.keep("a", new, {})):
        died += 1
        again = ModelStore(store._folder)
        assert again.names() == ["a"]
        name = type(again.load("a").estimator).__name__
        assert name in ("GaussianNB", "LogisticRegression")
        again.prune({"a"})
        assert [path.name for path in again._models.iterdir() if path.name.endswith(".partial")] == []
        again.keep("a", old, {})
        assert type(again.load("a").estimator).__name__ == "GaussianNB"
        assert [path.name for path in again._models.iterdir()] == ["a"]
    assert died > 8


def test_death_at_any_step_leaves_what_was_deployed(store, monkeypatch):
    keep(store, "a", "b")
    store.promote("a")
    died = 0
    for _ in steps_of(monkeypatch, lambda: store.promote("b")):
        died += 1
        assert ModelStore(store._folder).deployed() in ("a", "b")
        store.promote("a")
    assert died > 2
    assert store.deployed() == "b"


def test_a_model_that_cannot_be_saved_leaves_nothing(store):
    def save(state, folder):
        (folder / "half").write_text("x")
        raise OSError("no space")

    def model(save):
        return FunctionModel(lambda x, y: None, lambda s, x: np.ones((len(x), 3)) / 3, save=save, load=print).fit(X, Y)

    store.keep("a", fitted(), {})
    before = sorted(path.name for path in store._models.rglob("*"))
    with pytest.raises(OSError, match="no space") as caught:
        store.keep("a", model(save), {})
    assert "was being saved" in caught.value.__notes__[0]
    assert sorted(path.name for path in store._models.rglob("*")) == before
    store.load("a")


# --- deployed ---


def test_deployed_and_back_again_several_steps(store):
    assert store.deployed() is None
    with pytest.raises(ValueError, match=r"rollback: expected a model deployed before, got 0 in all"):
        store.rollback()
    keep(store, "a", "b", "c")
    for name in ("a", "b", "b", "c"):
        store.promote(name)
    assert store.deployed() == "c"
    assert [store.rollback(), store.rollback()] == ["b", "a"]
    with pytest.raises(ValueError, match="got 1 in all"):
        store.rollback()
    assert store.deployed() == "a"


def test_what_is_deployed_is_told_without_a_library(store, tmp_path):
    keep(store, "a", "b")
    store.promote("a")
    store.promote("b")
    told = json.loads((tmp_path / "deployed.json").read_text())
    assert (told["name"], told["path"], told["metrics"]) == ("b", "models/b", {"accuracy": 0.1})
    assert told["when"].endswith("+00:00")
    assert [entry["name"] for entry in told["previous"]] == ["a"]


def test_a_damaged_model_is_not_gone_back_to(store):
    keep(store, "a", "b")
    store.promote("a")
    store.promote("b")
    (store._models / "a" / "model.skops").write_bytes(b"")
    with pytest.raises(ValueError, match=r"whose model.skops was changed"):
        store.rollback()
    assert store.deployed() == "b"


@pytest.mark.parametrize("text", ["", "[]", '{"name": "a"}', '{"previous": []}', '{"name": "a", "previous": [1]}'])
def test_a_damaged_note_of_what_is_deployed(store, tmp_path, text):
    (tmp_path / "deployed.json").write_text(text)
    with pytest.raises(ValueError, match=r"deployed.json: expected what promote wrote"):
        store.deployed()


def test_pruning_spares_what_is_deployed_and_was(store):
    keep(store, *"abcdef")
    store.promote("a")
    store.promote("c")
    assert store.prune({"e", "not there"}) == ["b", "d", "f"]
    assert store.names() == ["a", "c", "e"]
    assert store.rollback() == "a"
    with pytest.raises(ValueError, match=r"expected a model that was kept \(the last ones are a, c, e\), got 'b'"):
        store.load("b")


# --- the card ---


def test_the_card(store):
    model = fitted(RandomForestClassifier(3, random_state=0), calibrate="sigmoid")
    text = (store.keep("round-003", model, CARD) / "README.md").read_text(encoding="utf-8")
    for line in (
        "# round-003: RandomForestClassifier",
        "- model: RandomForestClassifier(n\\_estimators=3, random\\_state=0)",
        "- calibration: sigmoid, in 5 folds",
        "- classes: 7, cat, eel\\|\\_\\*",
        "## Data",
        "- source: reviews",
        "- name: margin",
        "| accuracy | 0.9125 |",
        "| log\\_loss | - |",
        "| class | precision | support | recall |",
        "| cat | 0.5 | 20 | - |",
        "| eel\\|\\_\\* | 0.25 | - | 1 |",
        "## Notes",
        "## Versions",
    ):
        assert line in text.splitlines(), line
    assert "sklearn" in text.split("## Versions")[1]
    assert store.describe("round-003")["card"]["metrics"]["log_loss"] is None


def test_the_code_on_the_card_runs(store, tmp_path):
    text = (store.keep("round-003", fitted(), CARD) / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0].replace("path/to/project", str(tmp_path))
    names = {"rows": X}
    exec(code, names)
    assert list(names["model"].classes_) == [7, "cat", "eel|_*"]
