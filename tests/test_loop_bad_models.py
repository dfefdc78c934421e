"""Models that fail, lie or are lost: the round is fitted again, and the same rows are asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow.parquet as pq
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from pickwise.annotators import SimulatedAnnotators
from pickwise.loop import FunctionModel
from small_project import TRUTH, X, made, opened


def asked(place):
    """The rows of each round, best first."""
    paths = sorted(place.glob("rounds/*/selection.parquet"))
    return [pq.read_table(path).column("id").to_pylist() for path in paths]


def a_bad_model(what, state):
    def fit(x, y):
        if what == "raises in fit" and state["bad"]:
            raise RuntimeError("out of memory")
        return LogisticRegression().fit(x, y)

    def predict_proba(fitted, x):
        p = fitted.predict_proba(x)
        if not state["bad"]:
            return p
        if what == "raises in predict_proba":
            raise RuntimeError("out of memory")
        return {
            "NaN": np.full_like(p, np.nan),
            "too few rows": p[:-1],
            "too many rows": np.concatenate([p, p]),
            "a new class": np.concatenate([p / 2, p[:, :1] * 0 + 0.5], axis=1),
            "no probabilities": p * 3,
        }.get(what, p)

    return FunctionModel(fit, predict_proba)


@pytest.mark.parametrize(
    "what",
    [
        *("raises in fit", "raises in predict_proba", "NaN", "too few rows", "too many rows"),
        *("a new class", "no probabilities"),
    ],
)
def test_a_round_is_fitted_again_after_a_model_that_misbehaves(tmp_path, what):
    state = {"bad": False}
    with made(tmp_path / "whole", model=a_bad_model(what, state)) as project:
        project.run(rounds=3)
    with made(tmp_path / "p", model=a_bad_model(what, state)) as project:
        project.run(rounds=1)
        state["bad"] = True
        project_says = r"out of memory" if "raises" in what else r"model: expected"
        with pytest.raises((RuntimeError, ValueError), match=project_says) as caught:
            project.run(rounds=3)
        if "raises" in what:
            assert type(caught.value) is RuntimeError
            assert any("rows" in note for note in caught.value.__notes__)
        assert project.status().state in ("asked", "closed", "trained", "planned")
        state["bad"] = False
        project.run(rounds=3)
    assert asked(tmp_path / "p") == asked(tmp_path / "whole")


def test_a_model_that_misbehaves_can_be_replaced(tmp_path):
    state = {"bad": True}
    with made(tmp_path / "p", model=a_bad_model("NaN", state)) as project, pytest.raises(ValueError, match="finite"):
        project.run(rounds=2)
    with opened(tmp_path / "p") as project:
        assert project.status().state == "closed"
        project.run(rounds=2)
        assert project.history()[-1].state == "trained"


def test_without_two_classes_no_model_learns_and_the_first_strategy_goes_on(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(["yes"] * 18 + TRUTH[18:])) as project:
        project.seed(dict.fromkeys(range(4), "yes"))
        assert project.fit().state == "trained"
        assert project.history()[-1].labelled == 0
        assert project.history()[-1].model is None
        assert {task.why for task in project.ask()} == {"initial"}
        project.run(rounds=3)
        assert project.history()[-1].model is not None
        assert {task.why for task in project.ask()} == {"selected"}


@pytest.mark.parametrize("reopened", [False, True])
def test_classes_that_appear_later(tmp_path, reopened):
    truth = [("a", "b", "c")[min(2, int(abs(row[0]) * 2))] for row in X]
    held = {row: truth[row] for row in range(40, 60)}
    by_class = [next(row for row in range(40) if truth[row] == name) for name in "ab"]
    project = made(tmp_path / "p", annotator=SimulatedAnnotators(truth), classes=None)
    project.hold_out(held)
    project.seed({row: truth[row] for row in by_class})
    first = project.fit()
    # Of a class that the model does not know, no row is right.
    assert first.metrics["accuracy"] <= sum(name != "c" for name in held.values()) / len(held)
    assert first.per_class["c"]["recall"] == 0
    if reopened:
        project.close()
        project = opened(tmp_path / "p", annotator=SimulatedAnnotators(truth))
    with project:
        project.run(rounds=4)
        last = project.history()[-1]
        assert list(project.model.classes_) == ["a", "b", "c"]
        assert set(last.per_class) == {"a", "b", "c"}
        assert set(last.metrics) >= {"agreement", "changed", "delta_f", "uncertainty"}
        p = project.model.predict_proba(X[40:])
        guessed = project.model.classes_[p.argmax(1)]
        assert last.metrics["accuracy"] == np.mean(guessed == np.array(list(held.values())))


@pytest.mark.parametrize("how", ["changed", "removed", "no description"])
def test_a_model_file_that_is_not_as_it_was_is_refused_and_fitted_again(tmp_path, how):
    for name in ("whole", "p"):
        with made(tmp_path / name) as project:
            project.run(rounds=2)
    folder = tmp_path / "p" / "models" / "round-0002"
    path = folder / ("model.json" if how == "no description" else "model.skops")
    if how == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    else:
        path.unlink()
    with pytest.warns(UserWarning, match="fitted again"):
        project = opened(tmp_path / "p")
    with project, opened(tmp_path / "whole") as whole:
        assert (project.model.predict_proba(X) == whole.model.predict_proba(X)).all()
        assert [task.id for task in project.ask()] == [task.id for task in whole.ask()]


def test_a_forest_is_read_back_and_not_fitted_again(tmp_path, monkeypatch):
    forest = lambda: RandomForestClassifier(n_estimators=4, random_state=0)  # noqa: E731
    with made(tmp_path / "p", model=forest()) as project:
        project.run(rounds=1)
        expected = project.model.predict_proba(X)
    monkeypatch.setattr(RandomForestClassifier, "fit", lambda *_: pytest.fail("was fitted again"))
    with opened(tmp_path / "p", model=forest()) as project:
        assert (project.model.predict_proba(X) == expected).all()


def test_types_that_are_not_of_scikit_learn_are_not_trusted(tmp_path):
    with made(tmp_path / "p", model=RandomForestClassifier(n_estimators=4, random_state=0)) as project:
        project.run(rounds=1)
    path = tmp_path / "p" / "models" / "round-0001" / "model.json"
    about = json.loads(path.read_text())
    about["untrusted"].append("os.system")
    path.write_text(json.dumps(about))
    with pytest.warns(UserWarning, match=r"fitted again: trusted"):
        opened(tmp_path / "p", model=RandomForestClassifier(n_estimators=4, random_state=0)).close()
