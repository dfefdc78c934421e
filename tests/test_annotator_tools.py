"""Exports of Prodigy and doccano, dropped into the folder of answers, count, and count for the rows they are about."""

from __future__ import annotations

import json
import os
import time

import pytest

from pickwise.annotators import FileAnnotator, Task, read_answers

TASKS = [
    Task(key=f"1/{row}", id=row, round=1, rank=rank, score=0.5, data=data, suggestions={"spam": 0.75, "ham": 0.25})
    for rank, (row, data) in enumerate([(70, "win a prize"), (71, {"text": "hello", "sender": "anna"}), (72, "bye")])
]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    os.utime(path, (time.time() - 60,) * 2)


def through_prodigy(line, number, **answer):
    """Do to a line what Prodigy does: what it does not know stays."""
    hashes = {"_input_hash": 1886699658 + number, "_task_hash": -1952856502 - number, "_is_binary": False}
    options = [{"id": "ham", "text": "ham"}, {"id": "spam", "text": "spam"}]
    view = {"options": options, "_view_id": "choice", "config": {"choice_style": "single"}}
    session = {"_timestamp": 1767323045 + number, "_annotator_id": "reviews-anna", "_session_id": "reviews-anna"}
    return {**line, **hashes, **view, **answer, **session}


def told(answers):
    return [(answer.id, answer.kind, answer.label, answer.annotator) for answer in answers]


def test_through_prodigy_and_back(tmp_path):
    annotator = FileAnnotator(tmp_path, "prodigy")
    annotator.push(TASKS)
    annotator.push(TASKS)  # is in a file already
    (path,) = tmp_path.glob("tasks-1-*.jsonl")
    first, second, third = lines_of(path)
    assert (first["text"], first["meta"]["p(spam)"], first["meta"]["why"]) == ("win a prize", 0.75, "selected")
    assert (second["text"], second["sender"]) == ("hello", "anna")
    export = [
        through_prodigy(first, 0, accept=["spam"], answer="accept"),
        through_prodigy(second, 1, accept=[], answer="ignore"),
        through_prodigy(third, 2, accept=[], answer="reject"),
    ]
    write(tmp_path / "answers" / "reviews.jsonl", export)
    answers, cursor = annotator.poll(None)
    assert told(answers) == [
        (70, "label", "spam", "reviews-anna"),
        (71, "skip", None, "reviews-anna"),
        (72, "none_of_these", None, "reviews-anna"),
    ]
    assert answers[0].version == 1767323045
    # Exported again by another name, with one more answer: the others are no news.
    write(tmp_path / "answers" / "later.jsonl", [*export, through_prodigy(second, 9, accept=["ham"], answer="accept")])
    again, _ = annotator.poll(cursor)
    assert [answer.key for answer in again[:3]] == [answer.key for answer in answers]
    assert told(again[3:]) == [(71, "label", "ham", "reviews-anna")]
    assert again[3].version > answers[1].version
    annotator.recall(["1/70", "1/71", "1/72"])
    assert list(tmp_path.glob("tasks-*")) == []


def test_prodigy_that_asks_of_one_label(tmp_path):
    binary = {"text": "win", "meta": {"pickwise_id": 7}, "label": "spam", "_input_hash": 1, "_task_hash": 2}
    lines = [{**binary, "answer": "accept"}, {**binary, "answer": "reject", "meta": {"id": 8}}]
    write(tmp_path / "a.jsonl", lines)
    assert told(read_answers(tmp_path / "a.jsonl")) == [
        (7, "label", "spam", "annotator"),
        (8, "abstain", None, "annotator"),  # that it is no spam does not tell what it is
    ]


def test_several_labels(tmp_path):
    line = {"id": "a", "text": "win", "accept": ["spam", "a|b"], "answer": "accept", "_input_hash": 1}
    write(tmp_path / "a.jsonl", [line, {**line, "accept": []}])
    answers = read_answers(tmp_path / "a.jsonl", id_type=str, task="multilabel")
    assert [answer.label for answer in answers] == [["spam", "a|b"], []]
    with pytest.raises(ValueError, match=r"line 1: label: expected the name of one class, got \('spam', 'a\|b'\)"):
        read_answers(tmp_path / "a.jsonl", id_type=str)


def through_doccano(line, number, label, **more):
    """Do to a line what doccano does: it has its own numbers, and keeps other columns."""
    kept = {name: value for name, value in line.items() if name not in ("text", "label")}
    return {"id": number, "text": line["text"], "label": label, **kept, "Comments": [], **more}


@pytest.mark.parametrize("is_nested", [False, True])
def test_through_doccano_and_back(tmp_path, is_nested):
    annotator = FileAnnotator(tmp_path, "doccano")
    annotator.push(TASKS)
    lines = lines_of(next(tmp_path.glob("tasks-1-*.jsonl")))
    assert [(line["text"], line["label"]) for line in lines] == [("win a prize", []), ("hello", []), ("bye", [])]
    export = [
        through_doccano(lines[0], 1, ["spam"]),
        through_doccano(lines[1], 2, []),
        through_doccano(lines[2], 3, ["ham"]),
    ]
    if is_nested:
        for line in export:
            line["meta"] = {name: line.pop(name) for name in ("key", "pickwise_id")}
    write(tmp_path / "answers" / "anna.jsonl", export)
    write(tmp_path / "answers" / "all (1).jsonl", export[:1])
    answers, _ = annotator.poll(None)
    assert sorted(told(answers)) == [
        (70, "label", "spam", "anna"),
        (70, "label", "spam", "annotator"),
        (72, "label", "ham", "anna"),
    ]


def test_a_number_of_doccano_is_no_row(tmp_path):
    write(tmp_path / "a.jsonl", [{"id": 1, "text": "win", "label": ["spam"], "Comments": []}])
    message = r"line 1: pickwise_id: expected the row, as doccano keeps it of a file of tasks, got none$"
    with pytest.raises(ValueError, match=message):
        read_answers(tmp_path / "a.jsonl")


def test_what_nobody_can_show_as_one_text(tmp_path):
    FileAnnotator(tmp_path, "doccano").push(
        [Task(key="1/1", id=1, round=1, rank=0, score=0.5, data={"a": 1, "b": None})]
    )
    (line,) = lines_of(next(tmp_path.glob("tasks-1-*.jsonl")))
    assert line["text"] == "a: 1\nb: None"
