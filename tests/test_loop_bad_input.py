"""What makes no sense is refused where it comes in, by name, and leaves the project as it was."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow as pa
from sklearn.linear_model import LinearRegression, LogisticRegression

import pickwise as pw
from pickwise.annotators import Annotation, SimulatedAnnotators
from pickwise.loop import ExternalModel, FunctionModel

ROWS = 30
RNG = np.random.default_rng(4)
X = RNG.normal(size=(ROWS, 2)).round(3)
TRUTH = [str(name) for name in np.where(X.sum(1) > 0, "yes", "no")]
TABLE = pa.table({"name": [f"row-{i}" for i in range(ROWS)], "a": X[:, 0], "b": X[:, 1]})


def made(place, pool=X, **told):
    told = {"model": LogisticRegression(), "classes": ["no", "yes"], "batch_size": 6, **told}
    return pw.Project.create(place, pool, **told)


def opened(place):
    return pw.Project.open(place, X, model=LogisticRegression(), annotator=SimulatedAnnotators(TRUTH))


@pytest.fixture
def project(tmp_path):
    with made(tmp_path / "p") as opened:
        yield opened


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"budget": 0}, "budget"),
        ({"budget": -1}, "budget"),
        ({"overlap": 0}, "overlap"),
        ({"seed": -1}, "seed"),
        ({"drift_share": 1.5}, "drift_share"),
        ({"task": "many"}, "task"),
        ({"classes": ["yes"]}, "classes"),
        ({"classes": ["yes", "yes"]}, "classes"),
        ({"classes": ["yes", 1]}, "classes"),
        ({"classes": "yes"}, "classes"),
        ({"strategy": "margn"}, "did you mean 'margin'"),
        ({"initial_strategy": "rnd"}, "strategy"),
        ({"strategy": 3}, "strategy"),
        ({"merge": "mean"}, "merge"),
        ({"merge": "dawid_skene", "task": "multilabel"}, "merge"),
        ({"metric": "r2"}, "metric"),
        ({"model": 7}, "model"),
        ({"model": LogisticRegression}, "call it"),
        ({"model": LinearRegression()}, "predict_proba"),
        ({"model": "sklearn.linear_model.Nothing"}, "model"),
        ({"ids": [1, 2]}, "ids"),
        ({"ids": [0] * ROWS}, "ids: expected each once"),
        ({"id": "name", "pool": TABLE, "ids": list(range(ROWS))}, "ids"),
        ({"pool": TABLE}, "id: expected"),
        ({"pool": TABLE, "id": "nothing"}, "nothing"),
        ({"pool": TABLE, "id": "name", "columns": ["c"]}, "'c'"),
        ({"pool": None}, "pool: expected the rows"),
        ({"pool": iter(X)}, "pool"),
        ({"pool": {"a": 1}}, "pool"),
        ({"pool": X[:0]}, "pool"),
        ({"pool": "nowhere.parquet"}, "nowhere"),
        ({"database": "postgresql://me:secret@host/db"}, "password"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, told, said):
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=said) as caught:
        made(tmp_path / "p", **told)
    assert "secret" not in str(caught.value)
    # Nothing is left that would be in the way of another try.
    assert not (tmp_path / "p").exists()
    made(tmp_path / "p").close()


def test_a_strategy_that_needs_what_there_is_not(tmp_path):
    with made(tmp_path / "p", strategy="bald", annotator=SimulatedAnnotators(TRUTH)) as project:
        project.run(rounds=1)
        with pytest.raises(TypeError, match="needs a committee, got LogisticRegression"):
            project.ask()
        assert [each.number for each in project.history()] == [1]
    with made(
        tmp_path / "q", pool=["a b", "c d", "a d"] * 5, initial_strategy="k_center", model=FunctionModel(max, max)
    ) as project:
        with pytest.raises(TypeError, match="embeddings: expected some with k_center"):
            project.ask()
        assert project.history() == []


@pytest.mark.parametrize("k", [0, -1, 2.5, "all", True])
def test_numbers_of_rows_that_are_none(project, k):
    with pytest.raises((ValueError, TypeError), match="k: expected"):
        project.ask(k)
    assert project.history() == []


# Labels.


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({999: "yes"}, "not in it .*999"),
        ({-1: "yes"}, "not in it"),
        ({"0": "yes"}, "ids: expected int"),
        ({1.5: "yes"}, "ids: expected int"),
        ({True: "yes"}, "ids: expected int"),
        ({0: "yess"}, "did you mean 'yes'"),
        ({0: None}, "labels"),
        ({0: float("nan")}, "labels"),
        ({0: ["yes"]}, "labels"),
        ({0: True}, "labels"),
        (([0, 1], ["yes"]), "one for each of the ids"),
        (([0, 0], ["yes", "no"]), "one for each row"),
    ],
)
@pytest.mark.parametrize("verb", ["seed", "hold_out"])
def test_labels_that_are_none_are_refused_and_nothing_is_recorded(project, labels, said, verb):
    good = {5: "yes", 6: "no"}
    if isinstance(labels, dict):
        labels = good | labels
    with pytest.raises((ValueError, TypeError), match=said):
        getattr(project, verb)(labels)
    status = project.status()
    assert (status.labelled, status.held_out, status.round) == (0, 0, None)
    assert project.seed(good).new == 2


def test_no_labels_at_all(project):
    assert project.seed({}).new == 0
    assert project.seed(([], [])).new == 0
    assert project.history() == []
    with pytest.raises(RuntimeError, match="fit: expected labels, got none"):
        project.fit()


def test_bad_answers_are_told_and_the_good_ones_beside_them_are_recorded(project):
    tasks = project.ask()
    ids = [task.id for task in tasks]
    other = next(row for row in range(ROWS) if row not in ids)
    done = project.record(
        [
            Annotation(key="good", id=ids[0], label="yes"),
            Annotation(key="unknown row", id=999, label="yes"),
            Annotation(key="not asked for", id=other, label="yes"),
            Annotation(key="another type", id=str(ids[1]), label="yes"),
            Annotation(key="unknown class", id=ids[1], label="perhaps"),
            Annotation(key="no class", id=ids[1], label=None),
            Annotation(key="list", id=ids[1], label=["yes"]),
            Annotation(key="unknown kind", id=ids[1], kind="maybe"),
            Annotation(key="version", id=ids[1], label="yes", version=float("nan")),
            Annotation(key="good too", id=ids[2], label="no"),
        ]
    )
    assert done.new == 2
    assert [text.split(":")[0] for text in done.refused] == [
        *("unknown row", "not asked for", "another type", "unknown class", "no class", "list", "unknown kind"),
        "version",
    ]
    assert all("expected" in text or "no class" in text for text in done.refused)
    assert project.labels().to_dict() == {ids[0]: "yes", ids[2]: "no"}
    # What was refused can be sent again, mended.
    assert project.record([Annotation(key="unknown class", id=ids[1], label="no")]).new == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"key": 5},
        {"key": "a\0b"},
        {"key": "\ud800"},
        {"annotator": None},
        {"annotator": "\ud800"},
        {"seconds": "fast"},
        {"seconds": float("nan")},
        {"version": "later"},
    ],
)
def test_what_no_database_takes_is_refused_and_holds_up_no_others(project, bad):
    tasks = project.ask()
    poison = Annotation(id=tasks[0].id, **{"key": "k", "label": "yes"} | bad)
    for _ in range(2):  # also when it is delivered again
        done = project.record([poison, Annotation(key="good", id=tasks[1].id, label="no")])
        assert len(done.refused) == 1
        assert f"{next(iter(bad))}: expected" in done.refused[0]
    assert project.labels().to_dict() == {tasks[1].id: "no"}
    assert project.status().open == 5


@pytest.mark.parametrize("label", ["\ud800", "a\0b"])
def test_classes_that_no_database_takes_are_refused(tmp_path, label):
    with made(tmp_path / "p", classes=None) as project, pytest.raises(ValueError, match="labels: expected text"):
        project.seed({0: label})


@pytest.mark.parametrize("name", [None, 1.5, 3, b"row", "row\0", "\ud800"])
def test_ids_that_are_no_text(tmp_path, name):
    with made(tmp_path / "p", pool=None, model=None, ids="str") as project:
        with pytest.raises(TypeError, match="ids: expected str"):
            project.seed({name: "yes"})
        assert project.seed({"row": "yes"}).new == 1


@pytest.mark.parametrize("evaluation", [(X[:5], TRUTH[:4]), (X[:0], []), X, (X,)])
def test_an_evaluation_that_is_none_is_refused_before_a_model_is_trained(tmp_path, evaluation):
    with pytest.raises((ValueError, TypeError), match="evaluation: expected"):
        made(tmp_path / "p", evaluation=evaluation)
    made(tmp_path / "p").close()
    with pytest.raises((ValueError, TypeError), match="evaluation: expected"):
        pw.Project.open(tmp_path / "p", X, model=LogisticRegression(), evaluation=evaluation)


def test_one_row_to_measure_a_regression_on_has_no_r2(tmp_path):
    with made(tmp_path / "p", classes=None, task="regression", model=LinearRegression()) as project:
        project.seed(dict(enumerate(X[:20, 0].tolist())))
        project.hold_out({25: 1.0})
        assert set(project.fit().metrics) == {"mae"}


class Sloppy:
    """An annotator some of whose answers are none."""

    remembers = True

    def __init__(self):
        self.asked = []

    def push(self, tasks):
        self.asked += tasks

    def poll(self, cursor):
        begin = int(cursor or 0)
        found = [
            Annotation(key=task.key, id=task.id, label="?" if place % 2 else TRUTH[task.id])
            for place, task in enumerate(self.asked)
        ]
        return found[begin:], str(len(found))

    def recall(self, keys):
        pass

    def close(self):
        pass


def test_an_annotator_some_of_whose_answers_are_none_does_not_stop_the_others(tmp_path):
    with made(tmp_path / "p", annotator=Sloppy()) as project:
        project.ask()
        done = project.collect()
        assert (done.new, len(done.refused)) == (3, 3)
        assert project.status().open == 3
        assert project.collect().refused == []
        assert project.run() == "3 rows have no answer yet"
        project.close_round()
        assert project.fit().labelled == 3


@pytest.mark.parametrize(
    ("classes", "label", "expected"),
    [
        ((0, 1, 2), "2", 2),
        ((0, 1, 2), 2, 2),
        ((0, 1, 2), np.int64(2), 2),
        ((0, 1, 2), np.str_("2"), 2),
        ((0, 1, 2), "-2", None),
        ((0, 1, 2), "2.0", None),
        ((0, 1, 2), "two", None),
        (("0", "1", "2"), "2", "2"),
        (("0", "1", "2"), 2, "2"),
        (None, "2", "2"),
        (None, 2, 2),
    ],
)
def test_numbers_are_classes_by_either_name(tmp_path, classes, label, expected):
    with made(tmp_path / "p", classes=classes) as project:
        task = project.ask()[0]
        done = project.record([Annotation(key="k", id=task.id, label=label)])
        if expected is None:
            assert len(done.refused) == 1
            assert "no class is called" in done.refused[0]
        else:
            label = project.labels().to_dict()[task.id]
            assert (label, type(label)) == (expected, type(expected))


def test_several_labels_a_row_by_either_name(tmp_path):
    from sklearn.multiclass import OneVsRestClassifier

    model = OneVsRestClassifier(LogisticRegression())
    with made(tmp_path / "p", classes=(0, 1, 2), task="multilabel", model=model) as project:
        project.seed({0: ["2", 0], 1: [1, "1"], 2: []})
        assert project.labels().to_dict() == {0: [0, 2], 1: [1], 2: []}
        with pytest.raises(TypeError, match="list of classes"):
            project.seed({3: "1"})
        with pytest.raises(ValueError, match="no class is called 7"):
            project.seed({3: [7]})


@pytest.mark.parametrize("label", ["much", None, float("nan"), float("inf"), [1.0], True])
def test_numbers_that_are_none(tmp_path, label):
    with made(tmp_path / "p", classes=None, task="regression", model=LinearRegression()) as project:
        with pytest.raises(ValueError, match="labels: expected a finite number"):
            project.seed({0: 1.0, 1: label})
        assert project.seed({0: 1, 1: np.float32(2.5)}).new == 2
        assert project.labels().to_dict() == {0: 1.0, 1: 2.5}


# The rest.


def test_predictions_are_handed_over_to_models_that_are_trained_elsewhere_alone(project):
    project.seed({0: "yes", 1: "no"})
    with pytest.raises(TypeError, match="predictions: expected None"):
        project.fit(X)


@pytest.mark.parametrize(
    "bad", [np.full((ROWS, 2), np.nan), np.full((ROWS, 2), 0.9), np.full((ROWS, 3), 1 / 3), np.ones((ROWS - 1, 2)) / 2]
)
def test_predictions_that_are_none(tmp_path, bad):
    good = np.full((ROWS, 2), 0.5)
    with made(tmp_path / "p", model=ExternalModel(), annotator=SimulatedAnnotators(TRUTH)) as project:
        project.hold_out(dict(enumerate(TRUTH[:5])))
        project.ask()
        project.collect()
        with pytest.raises(ValueError, match="expected"):
            project.fit(bad)
        assert project.status().state == "closed"
        assert project.fit(good).state == "trained"
        assert len(project.ask()) == 6


def test_a_path_for_an_export_that_is_none(project, tmp_path):
    project.seed({0: "yes"})
    with pytest.raises(ValueError, match=r"\.parquet, \.csv or \.jsonl"):
        project.export(tmp_path / "labels.xlsx")


@pytest.mark.parametrize("bad", [3, 99, "round-0001"])
def test_models_that_are_not_there_are_not_promoted(project, bad):
    with pytest.raises(ValueError, match="promote"):
        project.promote()
    project.seed({0: "yes", 1: "no"})
    project.fit()
    with pytest.raises((ValueError, TypeError), match=r"(name|number): expected"):
        project.promote(bad)
    assert project.promote() == "round-0000"
    with pytest.raises(ValueError, match="rollback"):
        project.rollback()


@pytest.mark.parametrize("ids", [[999], ["0"], [], [0, 999]])
def test_rows_that_were_not_labelled_are_not_asked_for_again(project, ids):
    project.seed({0: "yes", 1: "no"})
    with pytest.raises((ValueError, TypeError), match="ids: expected"):
        project.relabel(ids)
    assert [each.number for each in project.history()] == [0]


def test_the_same_row_twice_is_asked_for_again_once(project):
    project.seed({0: "yes", 1: "no"})
    assert [task.id for task in project.relabel([1, 0, 1])] == [1, 0]


def test_rows_that_are_held_out_are_not_asked_for_again(project):
    project.seed({0: "yes", 1: "no"})
    project.hold_out({2: "yes"})
    with pytest.raises(ValueError, match="held out"):
        project.relabel([0, 2])


# The database.


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    made(tmp_path / "p").close()
    with sqlite3.connect(tmp_path / "p" / "project.db") as connection:
        connection.execute("update facts set value = '99' where name = 'version'")
    connection.close()
    for enter in (opened, pw.Project.join):
        with pytest.raises(ValueError, match=r"got 99.*upgrade"):
            enter(tmp_path / "p")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at " * 100, b"", None])
def test_what_is_no_database_is_refused(tmp_path, content):
    made(tmp_path / "p").close()
    path = tmp_path / "p" / "project.db"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for enter in (opened, pw.Project.join):
        with pytest.raises((ValueError, OSError), match=r"project\.db: .*not the database of a project"):
            enter(tmp_path / "p")


def test_a_database_that_is_damaged_says_so(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(TRUTH)) as project:
        project.run(rounds=1)
    path = tmp_path / "p" / "project.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"project\.db"):
        opened(tmp_path / "p")


# The settings.


def test_settings_that_are_none(tmp_path):
    made(tmp_path / "p").close()
    path = tmp_path / "p" / "project.toml"
    good = path.read_text()
    for text, said in (
        (f'colour = "red"\n{good}', "no setting is called 'colour'"),
        (good.replace("batch_size = 6", "batch_size ="), "not TOML"),
        (good.replace("batch_size = 6", "batch_size = 0"), "batch_size"),
        (good.replace("batch_size = 6", 'batch_size = "many"'), "batch_size"),
        (good.replace('"auto"', '"margn"'), "did you mean 'margin'"),
        (good.replace('task = "multiclass"', 'task = "many"'), "task"),
        ("", "name"),
    ):
        path.write_text(text)
        with pytest.raises((ValueError, TypeError), match=said) as caught:
            opened(tmp_path / "p")
        assert "project.toml" in str(caught.value)
    path.write_text(good)
    opened(tmp_path / "p").close()


def test_settings_that_are_changed_by_hand_take_effect(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(TRUTH)) as project:
        project.run(rounds=1)
    path = tmp_path / "p" / "project.toml"
    path.write_text(path.read_text().replace("batch_size = 6", "batch_size = 9").replace('"auto"', '"entropy"'))
    with opened(tmp_path / "p") as project:
        assert len(project.ask()) == 9
        assert project.history()[-1].strategy["strategy"] == "entropy"
