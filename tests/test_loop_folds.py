"""A model that has learnt a label agrees with it: labels are to be judged by one that has not, alike in any process."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

import pickwise as pw
from pickwise.annotators import Annotation
from pickwise.loop.folds import FOLDS, assigned
from pickwise.loop.models import FunctionModel, SklearnModel

ROWS = 200
MIDDLES = np.array([[0, 0], [6, 0], [0, 6]])
KINDS = np.array(["ant", "bee", "cat"])
CODES = np.random.default_rng(0).integers(3, size=ROWS)
X = MIDDLES[CODES] + np.random.default_rng(1).normal(size=(ROWS, 2))
TRUTH = KINDS[CODES].tolist()
# A tenth of the labels is wrong.
WRONG = np.sort(np.random.default_rng(2).choice(ROWS, ROWS // 10, replace=False)).tolist()
GIVEN = {row: KINDS[(CODES[row] + 1) % 3].item() if row in set(WRONG) else TRUTH[row] for row in range(ROWS)}


def trees(**more):
    return ExtraTreesClassifier(20, **more)


def made(folder, labels=GIVEN, pool=X, model=None, **told):
    project = pw.Project.create(folder, pool, model=trees() if model is None else model, **told)
    project.seed(labels)
    project.fit()
    return project


def auc(scores, wrong):
    """Return how often a wrong label has a lower score than a right one."""
    low, high = scores[wrong], np.delete(scores, wrong)
    return np.mean(low[:, None] < high) + np.mean(low[:, None] == high) / 2


class Counted:
    """A model that notes what it learns from and what it predicts, all its copies in one list."""

    calls: list[tuple[str, list[float]]]

    def fit(self, x, y):
        self.calls.append(("fit", x[:, 0].tolist()))
        self.classes = len(np.unique(y))
        return self

    def predict_proba(self, x):
        self.calls.append(("predict", x[:, 0].tolist()))
        return np.full((len(x), self.classes), 1 / self.classes)

    def __deepcopy__(self, memo):
        return self._sharing()

    def _sharing(self):
        copied = Counted()
        copied.calls = self.calls
        return copied


@pytest.fixture
def counted():
    model = Counted()
    model.calls = []
    return model


def fits(model):
    return sum(kind == "fit" for kind, _ in model.calls)


# What is found.


def test_label_quality_finds_wrong_labels_that_a_forest_has_learnt(tmp_path):
    with made(tmp_path / "p") as project:
        found = project.label_quality()
        assert list(found) == list(range(ROWS))
        scores = np.array(list(found.values()))
        known = project.model.predict_proba(X)
        in_sample = known[np.arange(ROWS), [project.model.classes_.tolist().index(GIVEN[row]) for row in range(ROWS)]]
    assert auc(in_sample, WRONG) < 0.6
    assert auc(scores, WRONG) > 0.95


def test_relabel_asks_for_wrong_labels_that_a_forest_has_learnt(tmp_path):
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p") as project:
        asked = [task.id for task in project.relabel(len(WRONG))]
    assert len(set(asked) & set(WRONG)) >= 0.7 * len(WRONG)  # 2 of 20 by chance


def by_two(project, but=None):
    """Let a second annotator, who errs in one of twenty rows, answer for half of the rows."""
    rng = np.random.default_rng(3)
    again = [row for row in range(ROWS) if rng.random() < 0.5 and row != but]
    tasks = project.relabel(again)
    said = {task.id: TRUTH[task.id] if rng.random() < 0.95 else KINDS[rng.integers(3)].item() for task in tasks}
    project.record(
        [Annotation(key=f"bob:{task.key}", id=task.id, label=said[task.id], annotator="bob") for task in tasks]
    )
    project.collect()


def test_crowdlab_outvotes_wrong_answers_that_a_forest_has_learnt(tmp_path):
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p", merge="crowdlab") as project:
        assert project.labels().to_dict() == GIVEN  # nothing is known of an annotator who is alone
        by_two(project)
        table, quality = project.labels(), project.label_quality()
    labels, alone = table.to_dict(), set(table.ids[table.answers == 1].tolist())
    wrong = alone & set(WRONG)
    assert len(wrong) > 5
    right = {row for row in wrong if labels[row] == TRUTH[row]}
    assert len(right) > 0.8 * len(wrong)
    assert right <= set(table.ids[table.agreement == 0].tolist())
    # What is judged is the label that the project has.
    assert min(quality[row] for row in right) > 0.5


def test_the_only_row_of_a_class_is_not_outvoted_by_models_that_do_not_know_it(tmp_path):
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p", {**GIVEN, 3: "dog"}, merge="crowdlab") as project:
        by_two(project, but=3)
        assert [row for row, label in project.labels().to_dict().items() if label == "dog"] == [3]


# The same in any process.


@pytest.mark.parametrize("merge", ["majority", "crowdlab"])
def test_a_reopened_project_judges_and_asks_the_same(tmp_path, merge):
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p", merge=merge) as project:  # of a forest without a random_state
        by_two(project)
        project.fit()
        quality, labels = project.label_quality(), project.labels().to_dict()
    with pw.Project.open(tmp_path / "p", X, model=trees()) as project:
        assert project.labels().to_dict() == labels
        assert project.label_quality() == quality
        asked = [task.id for task in project.relabel(15)]
    with made(tmp_path / "q", merge=merge) as project:
        by_two(project)
        project.fit()
        assert [task.id for task in project.relabel(15)] == asked


def test_a_model_that_is_not_kept_learns_the_same_labels_when_it_is_fitted_again(tmp_path):
    pytest.importorskip("cleanlab")

    class Unkept:
        """A forest that no file holds."""

        def fit(self, x, y):
            self.trees = trees(random_state=0).fit(x, y)
            return self

        def predict_proba(self, x):
            return self.trees.predict_proba(x)

    with made(tmp_path / "p", merge="crowdlab", model=Unkept()) as project:
        by_two(project)
        project.fit()
        said = project.model.predict_proba(X)
    with pw.Project.open(tmp_path / "p", X, model=Unkept()) as project:
        np.testing.assert_array_equal(project.model.predict_proba(X), said)


# Folds.


@pytest.mark.parametrize("counts", [(100, 60, 7), (5, 4, 3), (30, 2, 1), (2, 2), (1, 1, 1), (3, 2)])
def test_folds_are_alike_and_each_has_its_share_of_each_class(counts):
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = min(FOLDS, len(codes))
    fold = assigned(codes, folds, seed=3)
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1
    for code in range(len(counts)):
        assert np.ptp(np.bincount(fold[codes == code], minlength=folds)) <= 1
    np.testing.assert_array_equal(fold, assigned(codes, folds, seed=3))
    assert len(codes) < 20 or (fold != assigned(codes, folds, seed=4)).any()


def test_no_fold_learns_from_the_rows_that_it_predicts(tmp_path, counted):
    with made(tmp_path / "p", model=counted) as project:
        counted.calls.clear()
        project.label_quality()
    learnt, predicted = counted.calls[::2], counted.calls[1::2]
    assert len(learnt) == len(predicted) == FOLDS
    for (kind, seen), (other, left) in zip(learnt, predicted, strict=True):
        assert (kind, other) == ("fit", "predict")
        assert not set(seen) & set(left)
        assert sorted(seen + left) == sorted(X[:, 0].tolist())
    assert sorted(x for _, left in predicted for x in left) == sorted(X[:, 0].tolist())


def first(name, count):
    """Return rows of a class that are labelled as what they are."""
    return dict.fromkeys([row for row in range(ROWS) if TRUTH[row] == GIVEN[row] == name][:count], name)


@pytest.mark.parametrize(
    ("model", "rows"),
    # Calibration takes two rows of a class.
    [(LogisticRegression(), (1, 2)), (SklearnModel(LinearSVC(), calibrate="sigmoid"), (2, 3))],
)
def test_classes_with_hardly_any_rows_are_known_to_all_folds(tmp_path, model, rows):
    few, fewer = (first(name, count) for name, count in zip(("cat", "bee"), rows, strict=True))
    labels = first("ant", 50) | few | fewer
    with made(tmp_path / "p", labels, model=model) as project:
        found = project.label_quality()
    assert found.keys() == labels.keys()
    # Of two rows each is found by what was learnt of the other; a single one by what was learnt of itself.
    assert min(found[row] for row in few | fewer) > 0.1


def test_rows_that_no_model_learns_from_are_predicted_too(tmp_path):
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p", {row: GIVEN[row] for row in range(100)}) as project:
        tasks = project.ask(4)
        project.record([Annotation(key=task.key, id=task.id, kind="skip") for task in tasks[:2]])
        project.record([Annotation(key=task.key, id=task.id, label=TRUTH[task.id]) for task in tasks[2:]])
        project.collect()
        found = project.label_quality()
        assert found.keys() == {*range(100), *(task.id for task in tasks[2:])}
        assert len(project.relabel(102)) == 102


@pytest.mark.parametrize("kind", ["frame", "sparse", "texts"])
def test_rows_of_any_kind_are_divided(tmp_path, kind):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline

    pool, model, told = X, LogisticRegression(), {}
    if kind == "frame":
        columns = {"id": range(ROWS), "width": X[:, 0], "height": X[:, 1]}
        pool, told = pytest.importorskip("pandas").DataFrame(columns), {"id": "id"}
    elif kind == "sparse":
        pool = pytest.importorskip("scipy.sparse").csr_matrix(X)
    else:
        pool = [f"{name} {name} word{row % 7}" for row, name in enumerate(TRUTH)]
        model = make_pipeline(CountVectorizer(), model)
    with made(tmp_path / "p", pool=pool, model=model, **told) as project:
        found = project.label_quality()
    assert auc(np.array(list(found.values())), WRONG) > 0.95


# What it costs, and when.


@pytest.mark.parametrize("merge", ["majority", "dawid_skene"])
def test_models_are_fitted_to_folds_only_when_somebody_asks_and_once(tmp_path, counted, merge):
    pytest.importorskip("crowdkit")
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p", model=counted, merge=merge) as project:
        project.labels()
        project.export(tmp_path / "labels.csv")
        assert fits(counted) == 1
        first = project.label_quality()
        assert fits(counted) == 1 + FOLDS
        assert project.label_quality() == first
        tasks = project.relabel(3)
        assert fits(counted) == 1 + FOLDS
        project.record([Annotation(key=task.key, id=task.id, label=TRUTH[task.id], annotator="bob") for task in tasks])
        project.record(
            [Annotation(key=f"{task.key}:2", id=task.id, label=TRUTH[task.id], annotator="cy") for task in tasks]
        )
        project.collect()
        project.fit()
        assert fits(counted) == 2 + FOLDS
        project.label_quality()
        assert fits(counted) == 2 + 2 * FOLDS


def test_crowdlab_fits_folds_once_for_the_same_labels(tmp_path, counted):
    pytest.importorskip("cleanlab")
    with made(tmp_path / "p", model=counted, merge="crowdlab") as project:
        assert fits(counted) == 1  # there was no model before
        for _ in range(2):
            project.labels()
            project.label_quality()
        project.fit()
        assert fits(counted) == 2 + FOLDS
        project.seed({0: TRUTH[0]} if GIVEN[0] != TRUTH[0] else {0: KINDS[(CODES[0] + 1) % 3].item()})
        project.fit()
        assert fits(counted) == 3 + 2 * FOLDS


def test_another_pool_is_read_anew(tmp_path):
    names = [f"row {row}" for row in range(ROWS)]
    labels = {names[row]: label for row, label in GIVEN.items()}
    with made(tmp_path / "p", labels, ids=names) as project:
        before = project.label_quality()
        project.replace_pool(X[::-1].copy(), ids=names)
        assert project.label_quality() != before


def test_the_model_of_the_project_is_left_as_it_is(tmp_path):
    estimator = trees()
    with made(tmp_path / "p", model=estimator) as project:
        before = project.model.predict_proba(X), project.model.classes_.tolist()
        project.label_quality()
        np.testing.assert_array_equal(project.model.predict_proba(X), before[0])
        assert project.model.classes_.tolist() == before[1]
    assert estimator.random_state is None
    assert not hasattr(estimator, "estimators_")


def test_a_seed_that_was_told_stays():
    assert SklearnModel(trees(random_state=7)).fresh(1).estimator.random_state == 7
    assert SklearnModel(trees()).fresh(1).estimator.random_state == 1


# Where it cannot be done.


def test_functions_and_models_from_elsewhere_are_taken_at_their_word(tmp_path):
    model = FunctionModel(lambda x, y: trees(random_state=0).fit(x, y), lambda state, x: state.predict_proba(x))
    with made(tmp_path / "p", model=model) as project:
        assert set(project.label_quality().values()) == {1.0}
    with pw.Project.create(tmp_path / "q", X, classes=KINDS.tolist()) as project:
        project.seed(GIVEN)
        p = np.random.default_rng(0).dirichlet(np.ones(3), ROWS)
        project.fit(p)
        places = [KINDS.tolist().index(GIVEN[row]) for row in range(ROWS)]
        assert list(project.label_quality().values()) == p[np.arange(ROWS), places].tolist()


def test_a_model_that_cannot_learn_from_fewer_rows_is_taken_at_its_word_and_a_warning_tells(tmp_path):
    labels = {row: GIVEN[row] for row in range(10)}
    with made(tmp_path / "p", labels, model=KNeighborsClassifier(10)) as project:
        with pytest.warns(UserWarning, match=r"it cannot learn from 8 of 10 rows: .*n_neighbors"):
            found = project.label_quality()
        known = project.model.predict_proba(X[:10])
        places = [project.model.classes_.tolist().index(GIVEN[row]) for row in range(10)]
        assert list(found.values()) == known[np.arange(10), places].tolist()
        assert project.label_quality() == found  # and is told once
