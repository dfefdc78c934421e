"""Rows that models are measured on: never asked for, never learnt from, and warned of where they leak."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import Annotation, SimulatedAnnotators
from pickwise.loop import SklearnModel
from small_project import ROWS, TRUTH, X, made


@pytest.fixture
def project(tmp_path):
    with made(tmp_path / "p", annotator=None) as opened:
        yield opened


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_are_held_out_are_never_asked_for_nor_learnt_from(tmp_path, seed):
    rng = np.random.default_rng(seed)
    held = {int(row): TRUTH[row] for row in rng.choice(ROWS, 15, replace=False)}
    strategy = ["margin", "random", "k_center"][seed % 3]
    annotator = SimulatedAnnotators(TRUTH)
    seen = []
    model = SklearnModel(Watching(seen))
    with pw.Project.create(
        tmp_path / "p", X, model=model, annotator=annotator, strategy=strategy, classes=["no", "yes"], batch_size=25
    ) as project:
        project.hold_out(held)
        assert project.run() == "no row is left to ask for"
        labels = project.labels().to_dict()
        assert len(labels) == ROWS - len(held)
        assert not labels.keys() & held.keys()
        assert project.history()[-1].metrics["accuracy"] > 0.6
    held_rows = {X[row].tobytes() for row in held}
    assert seen
    assert not any(row.tobytes() in held_rows for x in seen for row in x)


class Watching(LogisticRegression):
    """Notes what it learns from."""

    def __init__(self, seen=None):
        super().__init__()
        self.seen = seen

    def __sklearn_clone__(self):
        return Watching(self.seen)

    def fit(self, x, y):
        self.seen.append(np.array(x))
        return super().fit(x, y)


def test_rows_are_held_out_or_learnt_from_but_not_both(project):
    project.hold_out({0: "yes", 1: "no"})
    with pytest.raises(ValueError, match=r"'0' is held out.*nothing was recorded"):
        project.seed({5: "yes", 0: "yes"})
    assert len(project.labels()) == 0
    project.seed({5: "yes"})
    with pytest.raises(ValueError, match=r"'5' was asked for or labelled.*nothing was recorded"):
        project.hold_out({6: "yes", 5: "yes"})
    tasks = project.ask()
    with pytest.raises(ValueError, match="asked for"):
        project.hold_out({tasks[0].id: "yes"})
    assert project.status().held_out == 2


def test_the_label_of_a_row_that_is_held_out_can_be_corrected(project):
    project.hold_out({0: "yes", 1: "no"})
    project.hold_out({0: "no"})
    assert project.record([Annotation(key="k", id=1, label="yes", annotator="ann", version=1.0)]).new == 1
    assert project.status().held_out == 2
    assert project.status().labelled == 0
    assert len(project.labels()) == 0


def test_rows_that_leak_into_the_evaluation_are_warned_of_once(tmp_path):
    evaluation = (np.concatenate([X[:5], X[:5] + 9]), TRUTH[:5] + ["yes"] * 5)
    with pw.Project.create(
        tmp_path / "p", X, model=LogisticRegression(), classes=["no", "yes"], evaluation=evaluation
    ) as project:
        project.seed(dict(enumerate(TRUTH[:20])))
        with pytest.warns(UserWarning, match="5 of 10 rows equal labelled ones"):
            project.fit()


@pytest.mark.parametrize("kind", [list, np.array])
def test_texts_that_leak_into_the_evaluation_are_warned_of(tmp_path, kind):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    texts = [f"{name} word{row}" for row, name in enumerate(TRUTH)]
    evaluation = (kind([texts[3], "yes other"]), [TRUTH[3], "yes"])
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    with pw.Project.create(tmp_path / "p", texts, model=model, evaluation=evaluation) as project:
        project.seed(dict(enumerate(TRUTH[:20])))
        with pytest.warns(UserWarning, match="1 of 2 rows equal labelled ones"):
            project.fit()
