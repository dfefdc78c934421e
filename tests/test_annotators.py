"""Answers of functions and simulated people: the same for the same task whatever happens in between, and none lost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickwise.annotators import (
    Annotation,
    Annotator,
    CallbackAnnotator,
    FileAnnotator,
    SimulatedAnnotators,
    Task,
    callback,
)

LABELS = ["ham", "spam", "eggs", "ham"] * 500


def tasks_of(rows, number=1, **more):
    return [
        Task(key=f"{number}/{row}", id=row, round=number, rank=rank, score=1.0 / (rank + 1), **more)
        for rank, row in enumerate(rows)
    ]


def answers_of(annotator, tasks, polls=1):
    annotator.push(tasks)
    cursor, answers = None, []
    for _ in range(polls):
        some, cursor = annotator.poll(cursor)
        answers += some
    return answers


@pytest.fixture
def clock(monkeypatch):
    """Let time pass only where somebody sleeps."""

    class Clock:
        def __init__(self):
            self.now, self.slept = 100.0, []

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.slept.append(seconds)
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(callback, "time", clock)
    return clock


def test_all_keep_to_the_protocol(tmp_path):
    for annotator in (SimulatedAnnotators(LABELS), CallbackAnnotator(len), FileAnnotator(tmp_path)):
        assert isinstance(annotator, Annotator)
        assert annotator.remembers is isinstance(annotator, FileAnnotator)
        annotator.push([])
        assert annotator.poll(None)[0] == []
        annotator.recall(["unknown"])
        annotator.close()


# ---- simulated


@given(rows=st.permutations(range(12)), cut=st.integers(0, 12), seed=st.integers(0, 3))
def test_answers_depend_on_neither_order_nor_restarts(rows, cut, seed):
    options = {"annotators": 3, "error": 0.5, "skip": 0.3, "random_state": seed}
    tasks = tasks_of(range(12), overlap=2)
    expected = {answer.key: answer for answer in answers_of(SimulatedAnnotators(LABELS, **options), tasks)}
    first = SimulatedAnnotators(LABELS, **options)
    first.push([tasks[row] for row in rows[:cut]])
    seen, cursor = first.poll(None)
    again = SimulatedAnnotators(LABELS, **options)
    again.push([tasks[row] for row in rows])
    more, cursor = again.poll(cursor)
    assert {answer.key: answer for answer in [*seen, *more]} == expected
    assert again.poll(cursor)[0] == []


def test_answers_are_the_same_in_another_process(run_python):
    code = """
        from pickwise.annotators import SimulatedAnnotators, Task
        annotators = SimulatedAnnotators(["a", "b", "c"], annotators=5, error=0.5, skip=0.2, random_state=7)
        annotators.push([Task(key=str(i), id=i, round=1, rank=i, score=0.0, overlap=3) for i in range(3)])
        print([(answer.key, answer.kind, answer.label) for answer in annotators.poll(None)[0]])
    """
    assert run_python(code, PYTHONHASHSEED="1") == run_python(code, PYTHONHASHSEED="2")


def test_a_cursor_is_given_what_came_after_it():
    annotators = SimulatedAnnotators(LABELS)
    annotators.push(tasks_of([1, 2]))
    first, cursor = annotators.poll(None)
    annotators.push(tasks_of([1, 2, 3]))  # two are known
    second, after = annotators.poll(cursor)
    assert [[answer.id for answer in some] for some in (first, second)] == [[1, 2], [3]]
    assert annotators.poll(cursor)[0] == second  # what was delivered but not stored is delivered again
    assert annotators.poll(None)[0] == [*first, *second]
    assert annotators.poll(after)[0] == []


def test_delay_and_recall():
    annotators = SimulatedAnnotators(LABELS, delay=2)
    annotators.push(tasks_of([1, 2]))
    assert annotators.poll(None)[0] == []
    annotators.push(tasks_of([1, 2, 5]))
    annotators.recall(["1/2", "unknown"])
    cursor = annotators.poll(None)[1]
    first, cursor = annotators.poll(cursor)
    second, cursor = annotators.poll(cursor)
    assert [[answer.id for answer in some] for some in (first, second)] == [[1], [5]]
    annotators.recall(["1/1"])  # answered: too late
    annotators.push(tasks_of([1, 2]))
    assert [answer.id for answer in answers_of(annotators, [], polls=4)] == [1, 5, 2]


def test_error_is_as_frequent_as_told():
    answers = answers_of(SimulatedAnnotators(LABELS, annotators=2, error=[0.0, 0.3]), tasks_of(range(2000), overlap=2))
    wrong = Counter(answer.annotator for answer in answers if answer.label != LABELS[answer.id])
    assert wrong["annotator-1"] == 0
    assert abs(wrong["annotator-2"] / 2000 - 0.3) < 0.04
    other = Counter(answer.label for answer in answers if LABELS[answer.id] == "spam" and answer.label != "spam")
    assert abs(other["ham"] - other["eggs"]) < 40


def test_confusion_of_each_annotator():
    good, bad = np.eye(3), np.array([[0, 1, 0], [0.5, 0.5, 0], [0, 0, 1]])
    classes = ["spam", "eggs", "ham"]
    annotators = SimulatedAnnotators(LABELS, annotators=2, confusion=[good, bad], classes=classes)
    seen = Counter(
        (answer.annotator[-1], LABELS[answer.id], answer.label)
        for answer in answers_of(annotators, tasks_of(range(2000), overlap=2))
    )
    half = seen.pop(("2", "eggs", "eggs"))
    assert abs(half - 250) < 50
    assert seen == {
        ("1", "spam", "spam"): 500,
        ("1", "eggs", "eggs"): 500,
        ("1", "ham", "ham"): 1000,
        ("2", "spam", "eggs"): 500,
        ("2", "eggs", "spam"): 500 - half,
        ("2", "ham", "ham"): 1000,
    }


def test_as_many_answer_as_are_wanted():
    answers = answers_of(SimulatedAnnotators(LABELS, annotators=4), tasks_of(range(400), overlap=2))
    per_row = Counter((answer.id, answer.annotator) for answer in answers)
    assert set(per_row.values()) == {1}
    assert len(answers) == 800
    assert all(abs(count - 200) < 50 for count in Counter(answer.annotator for answer in answers).values())
    one = [answer.annotator for answer in answers_of(SimulatedAnnotators(LABELS, annotators=4), tasks_of(range(40)))]
    two = [answer.annotator for answer in answers_of(SimulatedAnnotators(LABELS, annotators=4), tasks_of(range(40), 2))]
    assert one != two  # asked again, others may see the row


def test_what_one_skips_another_is_asked():
    answers = answers_of(SimulatedAnnotators(LABELS, annotators=3, skip=0.5), tasks_of(range(800)))
    skipped = [answer for answer in answers if answer.kind == "skip"]
    labelled = [answer for answer in answers if answer.kind == "label"]
    assert all(answer.label is None for answer in skipped)
    assert len({answer.id for answer in labelled}) == len(labelled)
    assert abs(len(labelled) / 800 - 7 / 8) < 0.04
    assert len({answer.key for answer in answers}) == len(answers)


def test_several_labels_and_numbers():
    labels = {"x": ["a", "b"], "y": [], "z": {"c"}}
    answers = answers_of(SimulatedAnnotators(labels), tasks_of(["x", "y", "z"]))
    assert [answer.label for answer in answers] == [["a", "b"], [], ["c"]]
    many = [["a"]] * 1000
    noisy = answers_of(SimulatedAnnotators(many, error=0.2, classes=["a", "b"]), tasks_of(range(1000)))
    assert abs(np.mean(["a" in answer.label for answer in noisy]) - 0.8) < 0.05
    assert abs(np.mean(["b" in answer.label for answer in noisy]) - 0.2) < 0.05
    numbers = answers_of(SimulatedAnnotators(np.full(2000, 5.0), error=2.0), tasks_of(range(2000)))
    values = np.array([answer.label for answer in numbers])
    assert abs(values.mean() - 5) < 0.2
    assert abs(values.std() - 2) < 0.2


def test_labels_of_numpy_are_pythons():
    answers = answers_of(SimulatedAnnotators({1: np.int64(3), 2: np.int64(4)}, error=1.0), tasks_of([1, np.int64(2)]))
    assert json.dumps([answer.label for answer in answers]) == "[4, 3]"
    assert answers_of(SimulatedAnnotators(np.array(["a", "b"])), tasks_of([1]))[0].label == "b"


@pytest.mark.parametrize("row", [4000, -1, "1"])
def test_a_row_without_a_label_is_named(row):
    annotators = SimulatedAnnotators(LABELS)
    with pytest.raises(ValueError, match=rf"labels: expected a label for row {row!r}, got none among 2000 positions"):
        annotators.push(tasks_of([1, row]))
    assert annotators.poll(None)[0] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotators": 0}, "annotators: expected at least 1"),
        ({"error": 1.5}, "error: expected shares from 0 to 1"),
        ({"error": [0.1, 0.2]}, "error: expected one number, or one for each of 1 annotators, got 2"),
        ({"error": np.nan}, "error: expected numbers of 0 or more"),
        ({"skip": 2}, "skip: expected a share"),
        ({"classes": ["ham"]}, "classes: expected every class among the labels"),
        ({"confusion": np.eye(2)}, r"confusion: expected the shape \(3, 3\) or \(1, 3, 3\), got \(2, 2\)"),
        ({"confusion": np.ones((3, 3))}, "confusion: expected rows that are 0 or more and sum to 1"),
        ({"confusion": np.eye(3), "error": 0.1}, "error: expected none beside confusion"),
        ({"delay": -1}, "delay: expected at least 0"),
    ],
)
def test_bad_simulations(options, message):
    with pytest.raises(ValueError, match=message):
        SimulatedAnnotators(LABELS, **options)


def test_other_bad_simulations():
    with pytest.raises(ValueError, match="overlap of at most 1, the number of annotators, got 2 for row 3"):
        SimulatedAnnotators(LABELS).push(tasks_of([3], overlap=2))
    with pytest.raises(TypeError, match="labels: expected all to be lists of classes, or none, got 1 of 2"):
        SimulatedAnnotators(["a", ["b"]])
    with pytest.raises(ValueError, match="classes: expected at least two to err between"):
        SimulatedAnnotators(["a"], error=0.1)
    with pytest.raises(ValueError, match="confusion: expected none but for rows of one class each"):
        SimulatedAnnotators([1.5], confusion=[[1.0]])


# ---- callback


def test_a_function_answers_in_all_ways():
    known = Annotation(key="mine", id=3, kind="none_of_these", annotator="Anna", version=5.0, seconds=2.0)
    replies = {1: "spam", 2: None, 3: known, 4: np.int64(7), 5: ["a", "b"]}
    annotator = CallbackAnnotator(lambda task: replies[task.id], name="llm")
    answers = answers_of(annotator, tasks_of([1, 2, 3, 4, 5]))
    assert [(answer.kind, answer.label, answer.annotator) for answer in answers] == [
        ("label", "spam", "llm"),
        ("skip", None, "llm"),
        ("none_of_these", None, "Anna"),
        ("label", 7, "llm"),
        ("label", ["a", "b"], "llm"),
    ]
    assert [answer.key for answer in answers] == [f"1/{row}:llm" for row in range(1, 6)]
    assert answers[2] == replace(known, key="1/3:llm")
    assert 0 <= answers[0].seconds < 1


def test_the_same_task_after_a_restart_is_the_same_event():
    annotator, another = CallbackAnnotator(str), CallbackAnnotator(str)
    first = answers_of(annotator, tasks_of([1]))
    _, cursor = annotator.poll(None)
    another.push(tasks_of([1, 2]))
    second, _ = another.poll(cursor)
    assert second[0].key == first[0].key
    annotator.push(tasks_of([1]))
    assert annotator.poll(cursor)[0] == []
    assert annotator.calls == 1


def test_answers_before_an_error_come_first(clock):
    def answer(task):
        if task.id == 3 and not mended:
            raise RuntimeError("no such model")
        return "spam"

    mended = False
    annotator = CallbackAnnotator(answer, name="llm", cost=0.5)
    annotator.push(tasks_of([1, 2, 3, 4]))
    answers, cursor = annotator.poll(None)
    assert [answer.id for answer in answers] == [1, 2]
    with pytest.raises(RuntimeError, match="no such model") as error:
        annotator.poll(cursor)
    assert error.value.__notes__ == ["llm: row 3 of round 1, called 3 times"]
    assert clock.slept == [1.0, 2.0] * 2
    assert (annotator.calls, annotator.spent) == (8, 4.0)
    mended = True
    assert [answer.id for answer in annotator.poll(cursor)[0]] == [3, 4]
    assert [answer.id for answer in annotator.poll(None)[0]] == [1, 2, 3, 4]


def test_a_retry_that_succeeds_is_no_error(clock):
    replies = iter([ValueError("busy"), ValueError("busy"), "ham"])

    def answer(_):
        reply = next(replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    annotator = CallbackAnnotator(answer, cost=lambda task, reply: len(reply) * task.id)
    assert [answer.label for answer in answers_of(annotator, tasks_of([2]))] == ["ham"]
    assert (annotator.calls, annotator.spent, clock.slept) == (3, 6, [1.0, 2.0])


def test_ctrl_c_is_not_retried(clock):
    def answer(task):
        raise KeyboardInterrupt

    annotator = CallbackAnnotator(answer)
    annotator.push(tasks_of([1]))
    with pytest.raises(KeyboardInterrupt):
        annotator.poll(None)
    assert (annotator.calls, clock.slept) == (1, [])


def test_calls_are_spread_over_the_minute(clock):
    begun = []

    def answer(task):
        begun.append(clock.now)
        if task.id == 2 and len(begun) == 3:
            raise ValueError("busy")
        clock.now += 0.1
        return "ham"

    annotator = CallbackAnnotator(answer, per_minute=20)
    answers = answers_of(annotator, tasks_of(range(5)), polls=5)
    assert [answer.id for answer in answers] == [0, 1, 2, 3, 4]
    assert np.diff(begun).tolist() == pytest.approx([3.0] * 5)  # a retry is a call too


def test_a_poll_returns_before_long(clock):
    def answer(_):
        clock.now += 0.9
        return "ham"

    annotator = CallbackAnnotator(answer)
    annotator.push(tasks_of(range(5)))
    sizes, cursor = [], None
    for _ in range(3):
        answers, cursor = annotator.poll(cursor)
        sizes.append(len(answers))
    assert sizes == [3, 2, 0]


def test_recalled_tasks_are_not_paid_for():
    annotator = CallbackAnnotator(str, cost=1)
    annotator.push(tasks_of([1, 2]))
    annotator.recall(["1/1"])
    assert [answer.id for answer in annotator.poll(None)[0]] == [2]
    assert annotator.spent == 1


def test_bad_callbacks():
    with pytest.raises(TypeError, match="function: expected something to call"):
        CallbackAnnotator("spam")
    with pytest.raises(ValueError, match="per_minute: expected more than 0, got 0"):
        CallbackAnnotator(str, per_minute=0)
    with pytest.raises(ValueError, match="retries: expected at least 0"):
        CallbackAnnotator(str, retries=-1)
    annotator = CallbackAnnotator(lambda _: Annotation(key="", id=9))
    annotator.push(tasks_of([1]))
    with pytest.raises(ValueError, match="expected an answer about row 1, got one about 9"):
        annotator.poll(None)


def test_the_annotators_import_nothing_heavy(run_python):
    code = """
        import sys, pickwise.annotators
        print(sorted({"pyarrow", "pandas", "sqlalchemy", "sklearn"} & set(sys.modules)))
    """
    assert run_python(code) == "[]"
