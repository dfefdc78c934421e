"""Answers of several annotators: late, again, corrected, withdrawn, skipped; each counts for what it is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import sqlalchemy as sa
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import Annotation, SimulatedAnnotators
from small_project import ROWS, TRUTH, X, made

WRONG = {"yes": "no", "no": "yes"}


@pytest.fixture
def project(tmp_path):
    with made(tmp_path / "p", annotator=None) as opened:
        yield opened


def answer(task, label=None, **more):
    """A label, the right one unless it is given, or an answer of another kind."""
    kind = more.get("kind", "label")
    text = label or (TRUTH[task.id] if kind == "label" else None)
    key = more.pop("key", f"{task.key}:{more.get('annotator', '')}:{more.get('version', '')}:{kind}:{text}")
    return Annotation(key=key, id=task.id, label=text, **more)


def test_an_event_that_is_delivered_again_changes_nothing(project):
    tasks = project.ask()
    answers = [answer(task) for task in tasks]
    assert project.record(answers).new == 6
    before = project.labels().to_dict(), project.status()
    again = project.record([*answers, *answers])
    assert (again.new, again.repeated) == (0, 12)
    twice = project.record([answer(tasks[0], key="k"), answer(tasks[0], key="k")])
    assert (twice.new, twice.repeated) == (1, 1)
    assert (project.labels().to_dict(), project.status()) == before


def test_of_two_answers_of_an_annotator_the_higher_version_holds_and_of_equal_ones_the_later(project):
    tasks = project.ask()
    first, second, third = tasks[:3]
    done = project.record(
        [
            answer(first, "yes", version=2.0, key="1"),
            answer(first, "no", version=1.0, key="2"),
            answer(second, "yes", version=1.0, key="3"),
            answer(second, "no", version=2.0, key="4"),
            answer(third, "yes", key="5"),
            answer(third, "no", key="6"),
        ]
    )
    assert (done.new, done.superseded, done.corrected) == (6, 1, 2)
    assert project.labels().to_dict() == {first.id: "yes", second.id: "no", third.id: "no"}
    assert project.status().answers == 3


def test_the_order_in_which_versions_arrive_does_not_matter(tmp_path):
    events = [("yes", 3.0), ("no", 1.0), ("yes", 2.0), ("no", 4.0)]
    for number, order in enumerate(([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])):
        with made(tmp_path / str(number), annotator=None) as project:
            task = project.ask()[0]
            for at in order:
                label, version = events[at]
                project.record([answer(task, label, version=version)])
            assert project.labels().to_dict() == {task.id: "no"}
            assert project.status().classes == {"no": 1}


def test_a_correction_after_training_is_what_the_next_fit_learns(project):
    tasks = project.ask(20)
    project.record([answer(task) for task in tasks])
    project.collect()
    project.fit()
    before = project.model.predict_proba(X)
    done = project.record([answer(task, WRONG[TRUTH[task.id]], version=1.0) for task in tasks])
    assert done.corrected == 20
    assert project.labels().to_dict() == {task.id: WRONG[TRUTH[task.id]] for task in tasks}
    ended = project.fit()
    assert ended.number == 1
    assert ended.labelled == 20
    after = project.model.predict_proba(X)
    assert ((before[:, 1] > 0.5) != (after[:, 1] > 0.5)).mean() > 0.9


def test_a_correction_survives_closing_the_project(tmp_path):
    with made(tmp_path / "p", annotator=None) as project:
        tasks = project.ask(20)
        project.record([answer(task) for task in tasks])
        project.collect()
        project.fit()
    with pw.Project.join(tmp_path / "p") as project:
        project.record([answer(tasks[0], WRONG[TRUTH[tasks[0].id]], version=1.0)])
    with pw.Project.open(tmp_path / "p", X, model=LogisticRegression()) as project:
        assert project.labels().to_dict()[tasks[0].id] == WRONG[TRUTH[tasks[0].id]]
        project.fit()
        reference = LogisticRegression().fit(X[project.labels().ids], project.labels().labels.astype(str))
        assert (project.model.predict_proba(X) == reference.predict_proba(X)).all()


def test_an_answer_to_a_row_that_is_waited_for_no_more_counts_all_the_same(project):
    tasks = project.ask(20)
    project.record([answer(task) for task in tasks[:15]])
    project.close_round()
    assert project.status().asked == 15
    assert project.tasks() == []
    project.fit()
    assert project.record([answer(task) for task in tasks[15:]]).new == 5
    assert project.fit().labelled == 20
    asked = {task.id for task in project.ask(20)}
    assert not asked & {task.id for task in tasks}


def test_a_withdrawn_answer_opens_the_row_while_the_round_is_open(project):
    tasks = project.ask()
    project.record([answer(task) for task in tasks[:5]])
    done = project.record([answer(tasks[0], kind="withdrawn", version=1.0)])
    assert done.corrected == 1
    assert [task.id for task in project.tasks()] == [tasks[0].id, tasks[5].id]
    assert tasks[0].id not in project.labels().to_dict()
    project.collect()
    assert project.status().state == "collecting"
    project.record([answer(tasks[0], version=2.0), answer(tasks[5])])
    project.collect()
    assert project.status().state == "closed"
    assert len(project.labels()) == 6


def test_a_withdrawn_answer_of_a_closed_round_is_no_label_any_more(project):
    tasks = project.ask(20)
    project.record([answer(task) for task in tasks])
    project.collect()
    project.fit()
    project.record([answer(tasks[0], kind="withdrawn", version=1.0)])
    assert tasks[0].id not in project.labels().to_dict()
    assert project.status().labelled == 19
    assert project.status().open == 0
    assert project.fit().labelled == 19
    assert tasks[0].id not in {task.id for task in project.ask(30)}


def test_an_older_answer_that_comes_after_its_withdrawal_counts_no_more(project):
    task = project.ask()[0]
    project.record([answer(task, version=2.0)])
    project.record([answer(task, kind="withdrawn", version=3.0)])
    done = project.record([answer(task, version=1.0, key="late")])
    assert (done.new, done.superseded, done.corrected) == (1, 1, 0)
    assert (project.status().labelled, project.status().answers, project.status().open) == (0, 0, 6)
    assert project.status().classes == {}
    assert project.labels().to_dict() == {}
    # What the annotator says since is an answer, and corrects none.
    done = project.record([answer(task, version=4.0)])
    assert (done.superseded, done.corrected) == (0, 0)
    assert (project.status().labelled, project.status().answers, project.status().open) == (1, 1, 5)


def test_doubtful_rows_are_found_beside_withdrawn_ones(project):
    pytest.importorskip("cleanlab")
    tasks = project.ask(20)
    project.record([answer(task) for task in tasks])
    project.collect()
    project.fit()
    project.record([answer(tasks[0], kind="withdrawn", version=1.0)])
    again = project.relabel(5)
    assert len(again) == 5
    assert tasks[0].id not in {task.id for task in again}


@pytest.mark.parametrize("first", [1, "1"])
def test_a_number_and_its_text_are_one_class(tmp_path, first):
    numbers = np.where(X.sum(1) > 0, 1, 0)
    other = str if isinstance(first, int) else int
    same = type(first)
    evaluation = (X[40:] + 1e-6, numbers[40:])
    with pw.Project.create(tmp_path / "p", X, model=LogisticRegression(), evaluation=evaluation) as project:
        project.seed({row: same(numbers[row]) for row in range(10)})
        project.hold_out({row: other(numbers[row]) for row in range(20, 30)})
        tasks = project.ask(5)
        answers = [Annotation(key=task.key, id=task.id, label=other(numbers[task.id])) for task in tasks]
        assert project.record(answers).new == 5
        project.collect()
        assert project.fit().metrics["accuracy"] > 0.7
        assert {type(label) for label in project.labels().labels.tolist()} == {same}
        assert len(project.status().classes) == 2


def test_classes_are_counted_one_by_one_and_numbers_not_at_all(tmp_path):
    from sklearn.linear_model import LinearRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = OneVsRestClassifier(LogisticRegression())
    with pw.Project.create(tmp_path / "p", X, model=model, task="multilabel") as project:
        project.seed({0: ["a", "b"], 1: ["b"], 2: []})
        assert project.status().classes == {"a": 1, "b": 2}
        project.seed({0: ["a"]})
        assert project.status().classes == {"a": 1, "b": 1}
        assert project.status().labelled == 3
    with pw.Project.create(tmp_path / "q", X, model=LinearRegression(), task="regression") as project:
        project.seed({row: float(x) for row, x in enumerate(X[:, 0])})
        assert project.status().classes == {}
        with project._context.store.read() as connection:
            # A total for each number would be read whenever anything is.
            assert connection.scalar(sa.text("select count(*) from counts")) < 10


@pytest.mark.parametrize("kind", ["skip", "abstain", "none_of_these"])
def test_answers_that_are_no_labels(project, kind):
    tasks = project.ask(20)
    project.record([answer(tasks[0], kind=kind), *(answer(task) for task in tasks[1:])])
    project.collect()
    assert project.status().state == "closed"
    assert project.status().labelled == 19
    assert tasks[0].id not in project.labels().to_dict()
    assert project.fit().labelled == 19
    assert tasks[0].id not in {task.id for task in project.ask(40)}


def test_a_round_that_nobody_could_answer_is_closed_and_the_next_one_asks_for_others(project):
    tasks = project.ask()
    project.record([answer(task, kind="skip") for task in tasks])
    project.collect()
    ended = project.fit()
    assert (ended.state, ended.labelled, ended.model) == ("trained", 0, None)
    assert not {task.id for task in project.ask()} & {task.id for task in tasks}


def test_none_of_these_outvotes_a_label(tmp_path):
    with made(tmp_path / "p", annotator=None, overlap=3) as project:
        task = project.ask(1)[0]
        project.record([answer(task, "yes", annotator="a")])
        assert len(project.tasks()) == 1
        project.record([answer(task, kind="none_of_these", annotator=name) for name in "bc"])
        assert project.tasks() == []
        assert len(project.labels()) == 0


def test_a_row_waits_for_as_many_annotators_as_are_wanted(tmp_path):
    with made(tmp_path / "p", annotator=None, overlap=2) as project:
        tasks = project.ask()
        assert {task.overlap for task in tasks} == {2}
        project.record([answer(task, annotator="ann") for task in tasks])
        # The same one again is not a second one.
        project.record([answer(task, annotator="ann", version=1.0) for task in tasks])
        assert len(project.tasks()) == 6
        project.collect()
        assert project.status().state == "collecting"
        project.record([answer(task, annotator="bob") for task in tasks])
        project.collect()
        assert project.status().state == "closed"
        assert (project.labels().answers == 2).all()
        assert project.status().answers == 12


def test_a_majority_is_right_where_its_members_err(tmp_path):
    annotator = SimulatedAnnotators(TRUTH, annotators=3, error=0.2, random_state=1)
    with made(tmp_path / "p", overlap=3, annotator=annotator, batch_size=20) as project:
        project.run(rounds=3)
        labels = project.labels()
        right = np.mean([TRUTH[row] == label for row, label in labels.to_dict().items()])
        assert len(labels) == 60
        assert right > 0.85
        assert labels.agreement.min() < 1


@pytest.mark.slow
@pytest.mark.parametrize(("merge", "library"), [("dawid_skene", "crowdkit"), ("crowdlab", "cleanlab")])
def test_votes_are_merged_by_how_good_the_annotators_are(tmp_path, merge, library):
    pytest.importorskip(library)
    told = {"overlap": 5, "batch_size": 30}
    with made(tmp_path / "p", merge=merge, annotator=two_of_five(), **told) as project:
        project.run(rounds=2)
        merged = project.labels()
        assert [each.state for each in project.history()] == ["trained", "trained"]
    with made(tmp_path / "q", merge="majority", annotator=two_of_five(), **told) as project:
        project.run(rounds=2)
        elected = project.labels()
    assert right(merged) > right(elected)
    with pw.Project.open(tmp_path / "p", X, model=LogisticRegression()) as project:
        assert project.labels().to_dict() == merged.to_dict()
    with pw.Project.join(tmp_path / "p") as project:
        assert len(project.labels()) == 60


@pytest.mark.slow
def test_crowdlab_goes_by_a_model_that_does_not_know_all_classes_yet(tmp_path):
    pytest.importorskip("cleanlab")
    told = {"classes": ["maybe", "no", "yes"], "overlap": 2, "merge": "crowdlab", "batch_size": 20}
    annotator = SimulatedAnnotators(TRUTH, annotators=2)
    with made(tmp_path / "p", annotator=annotator, **told) as project:
        project.run(rounds=2)
        assert list(project.model.classes_) == ["no", "yes"]
        assert right(project.labels()) == 1


def two_of_five():
    """Three who guess, and two who know."""
    return SimulatedAnnotators(TRUTH, annotators=5, error=[0.48, 0.48, 0.48, 0.05, 0.05], random_state=3)


def right(labels):
    return np.mean([TRUTH[row] == label for row, label in labels.to_dict().items()])


def test_rows_that_are_asked_for_again_wait_for_new_answers(project):
    tasks = project.ask(20)
    project.record([answer(task, annotator="ann") for task in tasks])
    project.collect()
    project.fit()
    again = project.relabel([tasks[0].id, tasks[3].id])
    assert [task.id for task in again] == [tasks[0].id, tasks[3].id]
    assert {task.why for task in again} == {"relabel"}
    assert len(project.tasks()) == 2
    # What was recorded before is no answer to it.
    project.record([answer(task, annotator="ann") for task in tasks])
    assert len(project.tasks()) == 2
    project.record([answer(task, annotator="bob", version=5.0) for task in again])
    project.collect()
    assert project.status().state == "closed"
    assert project.fit().labelled == 20
    with pytest.raises(ValueError, match="rows that were labelled, got 'none'"):
        project.relabel([])


# Labels that are there already.


def test_seeding_again_corrects_and_the_same_again_changes_nothing(project):
    assert project.seed({0: "yes", 1: "no"}).new == 2
    assert project.seed({0: "yes", 1: "no"}).repeated == 2
    done = project.seed({0: "no", 1: "no"})
    assert (done.new, done.corrected, done.repeated) == (1, 1, 1)
    assert project.labels().to_dict() == {0: "no", 1: "no"}
    # Back to what it was.
    assert project.seed({0: "yes"}).corrected == 1
    assert project.labels().to_dict() == {0: "yes", 1: "no"}
    assert project.seed({0: "yes"}).new == 0
    assert project.status().answers == 2


def test_seeds_after_rounds_are_learnt_from_by_the_next_fit(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(TRUTH)) as project:
        project.run(rounds=2)
        left = [row for row in range(ROWS) if row not in project.labels().to_dict()][:10]
        project.seed({row: TRUTH[row] for row in left})
        assert project.fit().labelled == 22
        assert not {task.id for task in project.ask()} & set(left)


def test_a_strategy_that_goes_by_scores_alone_merges_no_votes(tmp_path, monkeypatch):
    with made(tmp_path / "p", annotator=None, strategy="margin") as project:
        project.seed(dict(enumerate(TRUTH[:20])))
        project.fit()
        with monkeypatch.context() as patch:
            patch.setattr("pickwise.loop.answering.labelled", None)
            assert len(project.ask()) == 6


@pytest.mark.parametrize("as_what", ["dict", "pair", "arrays", "series"])
def test_labels_are_handed_over_in_any_form(project, as_what):
    ids = [3, 1, 2]
    labels = {
        "dict": lambda: {row: TRUTH[row] for row in ids},
        "pair": lambda: (ids, [TRUTH[row] for row in ids]),
        "arrays": lambda: (np.array(ids), np.array(TRUTH)[ids]),
        "series": lambda: pytest.importorskip("pandas").Series(TRUTH)[ids],
    }[as_what]()
    assert project.seed(labels).new == 3
    assert project.labels().to_dict() == {row: TRUTH[row] for row in sorted(ids)}


# Budgets.


def test_a_budget_that_is_smaller_than_a_batch(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(TRUTH), budget=4) as project:
        assert len(project.ask()) == 4
        project.collect()
        project.fit()
        assert project.ask() == []
        assert project.status().budget_left == 0
        assert "4" in project.run()
        assert len(project.history()) == 1


def test_a_budget_ends_in_the_middle_of_a_batch(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(TRUTH), budget=15) as project:
        project.run()
        assert [each.asked for each in project.history()] == [6, 6, 3]
        assert project.status().labelled == 15


def test_rows_that_are_waited_for_no_more_go_back_into_the_budget(tmp_path):
    with made(tmp_path / "p", annotator=None, budget=10) as project:
        tasks = project.ask()
        project.record([answer(task) for task in tasks[:2]])
        project.close_round()
        assert project.status().budget_left == 8
        project.fit()
        assert not {task.id for task in project.ask()} & {task.id for task in tasks}


def test_more_rows_than_there_are(project):
    tasks = project.ask(1000)
    assert sorted(task.id for task in tasks) == list(range(ROWS))


def test_a_round_that_is_open_is_not_left_behind(project):
    tasks = project.ask()
    with pytest.raises(RuntimeError, match=r"6 of 6 rows .* close_round"):
        project.ask()
    project.record([answer(tasks[0])])
    with pytest.raises(RuntimeError, match=r"5 of 6 rows .* close_round"):
        project.relabel([tasks[0].id])
    with pytest.raises(RuntimeError, match="fit: expected labels"):
        project.fit()


def test_the_least_probable_label_is_the_wrong_one(project):
    with pytest.raises(ValueError, match="label_quality: expected a model"):
        project.label_quality()
    wrong = int(np.abs(X.sum(1)).argmax())
    project.seed({row: WRONG[name] if row == wrong else name for row, name in enumerate(TRUTH)})
    project.fit()
    found = project.label_quality()
    assert len(found) == ROWS
    assert min(found, key=found.get) == wrong
    # A model that has learnt from it finds it less improbable.
    p = project.model.predict_proba(X[wrong : wrong + 1])[0]
    assert found[wrong] < 0.5 * p[list(project.model.classes_).index(WRONG[TRUTH[wrong]])]
