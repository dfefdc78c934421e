"""Files of tasks and answers: written whole, read when they are whole, nothing lost to malformed lines or doubled."""

from __future__ import annotations

import csv
import json
import os
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickwise.annotators import FileAnnotator, Task, read_answers


def tasks_of(rows, number=1, **more):
    return [
        Task(key=f"{number}/{row}", id=row, round=number, rank=rank, score=1.0 / (rank + 1), **more)
        for rank, row in enumerate(rows)
    ]


DATA = {"title": 'Prize, "won"\nby you', "id": 9, "pages": np.int64(3), "tags": ["a", "b"]}


def read_tasks(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().split("\n") if line]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()


FORMATS = ["jsonl", "csv", "parquet"]


@pytest.mark.parametrize("kind", FORMATS)
def test_tasks_are_written_once(tmp_path, kind):
    annotator = FileAnnotator(tmp_path, kind)
    tasks = tasks_of([5, 6], data=DATA, suggestions={"spam": 0.75, "ham": 0.25}) + tasks_of(
        [7], 2, data="plain\u2028 text"
    )
    annotator.push(tasks)
    first, second = sorted(tmp_path.glob(f"tasks-*.{kind}"))
    assert [path.name.split("-")[1] for path in (first, second)] == ["1", "2"]
    lines = read_tasks(first)
    assert list(lines[0])[:6] == ["key", "id", "rank", "score", "why", "overlap"]
    assert list(lines[0])[-2:] == ["suggestions", "label"]
    assert [(line["key"], str(line["id"]), str(line["rank"])) for line in lines] == [
        ("1/5", "5", "0"),
        ("1/6", "6", "1"),
    ]
    assert (lines[0]["title"], str(lines[0]["data_id"]), str(lines[0]["pages"])) == (DATA["title"], "9", "3")
    as_json = (lambda x: x) if kind == "jsonl" else json.loads
    assert as_json(lines[0]["tags"]) == ["a", "b"]
    assert as_json(lines[0]["suggestions"]) == {"spam": 0.75, "ham": 0.25}
    assert read_tasks(second)[0]["text"] == "plain\u2028 text"
    before = {path: path.read_bytes() for path in tmp_path.glob("tasks-*")}
    FileAnnotator(tmp_path, "jsonl").push([*tasks, *tasks_of([8])])  # those of before are known, in whatever format
    files = set(tmp_path.glob("tasks-*"))
    assert {path: path.read_bytes() for path in before} == before
    (new,) = files - set(before)
    assert [line["id"] for line in read_tasks(new)] == [8]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_what_json_cannot_hold(tmp_path):
    task = Task(key="1/1", id="a", round=1, rank=0, score=float("inf"), data={"x": np.nan, "at": datetime(2026, 1, 2)})  # noqa: DTZ001
    FileAnnotator(tmp_path, id_type=str).push([task])
    (line,) = read_tasks(next(tmp_path.glob("tasks-*")))
    assert (line["score"], line["x"], line["at"]) == (None, None, "2026-01-02T00:00:00")


def test_a_failed_push_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    annotator = FileAnnotator(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        annotator.push(tasks_of([1]))
    assert [path.name for path in tmp_path.iterdir()] == ["answers"]


@pytest.mark.parametrize("kind", FORMATS)
def test_recall_keeps_what_was_filled_in(tmp_path, kind):
    annotator = FileAnnotator(tmp_path, kind)
    annotator.push(tasks_of([1, 2, 3], data="text"))
    (path,) = tmp_path.glob("tasks-*")
    if kind == "jsonl":
        path.write_text(path.read_text().replace('"label": null', '"label": "spam", "note": "sure"'))
    annotator.recall(["1/2", "unknown"])
    lines = read_tasks(path)
    assert [line["key"] for line in lines] == ["1/1", "1/3"]
    assert kind != "jsonl" or lines[1]["note"] == "sure"
    annotator.push(tasks_of([1, 2, 3]))  # asked for again
    assert len(list(tmp_path.glob("tasks-*"))) == 2
    annotator.recall(["1/1", "1/2", "1/3"])
    assert list(tmp_path.glob("tasks-*")) == []


def write_answers(path, lines, age=60):
    path.write_text(lines)
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize("kind", FORMATS)
def test_tasks_that_were_filled_in_are_answers(tmp_path, kind):
    annotator = FileAnnotator(tmp_path, kind)
    annotator.push(tasks_of([1, 2, 3], data="text"))
    (path,) = tmp_path.glob("tasks-*")
    content = read_tasks(path)
    content[1]["label"] = "spam"
    filled = tmp_path / "answers" / path.name
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        pa.parquet.write_table(pa.Table.from_pylist(content), filled)
    elif kind == "csv":
        filled.write_text("id,label\n" + "".join(f"{line['id']},{line['label']}\n" for line in content))
    else:
        filled.write_text("".join(f"{json.dumps(line)}\n" for line in content))
    _, cursor = annotator.poll(None)
    answers, _ = annotator.poll(cursor)
    assert [(answer.id, answer.label) for answer in answers] == [(2, "spam")]


def test_a_file_is_read_when_it_is_at_rest(tmp_path):
    annotator, path = FileAnnotator(tmp_path), tmp_path / "answers" / "a.csv"
    path.write_text("id,label\n1,sp")
    answers, cursor = annotator.poll(None)
    assert answers == []
    path.write_text("id,label\n1,spam\n")
    answers, cursor = annotator.poll(cursor)
    assert answers == []
    answers, cursor = annotator.poll(cursor)
    assert [answer.label for answer in answers] == ["spam"]
    assert FileAnnotator(tmp_path).poll(cursor) == ([], cursor)
    write_answers(tmp_path / "answers" / "b.csv", "id,label\n2,ham\n")  # old enough to be whole
    answers, cursor = annotator.poll(cursor)
    assert [answer.label for answer in answers] == ["ham"]


def test_a_file_that_grows_doubles_nothing(tmp_path):
    annotator, path = FileAnnotator(tmp_path), tmp_path / "answers" / "a.jsonl"
    lines = [f'{{"id": {i}, "label": "ham"}}\n' for i in range(3)]
    write_answers(path, "".join(lines[:2]))
    first, cursor = annotator.poll(None)
    write_answers(path, "".join([*lines, '{"id": 0, "label": "spam"}\n', '{"id": 0, "label": "ham"}\n']), age=30)
    second, _ = annotator.poll(cursor)
    assert [answer.key for answer in second[:2]] == [answer.key for answer in first]
    assert len({answer.key for answer in second}) == 5  # who comes back to the first answer says something new
    assert [answer.label for answer in second] == ["ham", "ham", "ham", "spam", "ham"]


def test_malformed_lines_hold_up_no_others(tmp_path):
    annotator, path = FileAnnotator(tmp_path), tmp_path / "answers" / "a.csv"
    write_answers(path, "id,label\n1,ham\nx,spam\n3,ham,5\n4,spam\n")
    write_answers(tmp_path / "answers" / "b.csv", "id,label\n9,ham\n", age=90)
    answers, cursor = annotator.poll(None)
    assert [answer.id for answer in answers] == [9, 1, 4]
    expected = r"a\.csv: line 3: id: expected an integer, got 'x'\n.*a\.csv: line 4: expected 2 fields, got 3$"
    for another in (annotator, FileAnnotator(tmp_path)):
        with pytest.raises(ValueError, match=expected):
            another.poll(cursor)
    write_answers(tmp_path / "answers" / "c.csv", "id,label\n5,ham\n")
    answers, cursor = annotator.poll(cursor)
    assert [answer.id for answer in answers] == [5]
    write_answers(path, "id,label\n1,ham\n2,spam\n3,ham\n4,spam\n", age=30)
    answers, cursor = annotator.poll(cursor)
    assert [answer.id for answer in answers] == [1, 2, 3, 4]
    assert annotator.poll(cursor)[0] == []


def test_what_is_no_file_of_answers_is_left_alone(tmp_path):
    annotator = FileAnnotator(tmp_path)
    for name in (".a.csv.partial", ".b.csv", "notes.txt", "c.csv.crdownload"):
        write_answers(tmp_path / "answers" / name, "id,label\n1,ham\n")
    assert annotator.poll(None) == ([], "{}")


CSV = """id,label,kind,annotator,seconds,updated_at,key,comment
7,spam,,Anna,2.5,2026-01-02T03:04:05Z,k1,fine
7,"a, ""b""\nc",label,,,,,
8,,skip,Ben,,,,
9,,,,,,,not yet

10,,none_of_these,Ben,0,12.5,,
7,spam,,Anna,2.5,2026-01-02T03:04:05Z,k1,again
"""


def test_csv_with_all_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(CSV, encoding="utf-8-sig")
    answers = read_answers(path)
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert [(a.id, a.kind, a.label, a.annotator, a.version, a.seconds) for a in answers] == [
        (7, "label", "spam", "Anna", at, 2.5),
        (7, "label", 'a, "b"\nc', "annotator", 0.0, None),
        (8, "skip", None, "Ben", 0.0, None),
        (10, "none_of_these", None, "Ben", 12.5, 0.0),
        (7, "label", "spam", "Anna", at, 2.5),
    ]
    assert len({answer.key for answer in answers}) == 5
    assert [answer.id for answer in read_answers(path, id_type=str)] == ["7", "7", "8", "10", "7"]


def test_the_same_content_in_all_formats(tmp_path):
    pa = pytest.importorskip("pyarrow")
    content = [
        {"id": 1, "label": ["a", "b"], "annotator": "Anna", "updated_at": 5.0},
        {"id": 2, "label": ["c"], "annotator": None, "updated_at": None},
        {"id": 3, "label": None, "annotator": "Ben", "updated_at": None},
    ]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in content))
    (tmp_path / "a.csv").write_text("id,label,annotator,updated_at\n1,a|b,Anna,5.0\n2,c,,\n3,,Ben,\n")
    pa.parquet.write_table(pa.Table.from_pylist(content), tmp_path / "a.parquet")
    for kind in FORMATS:
        answers = read_answers(tmp_path / f"a.{kind}", task="multilabel")
        assert [(a.id, a.label, a.annotator, a.version) for a in answers] == [
            (1, ["a", "b"], "Anna", 5.0),
            (2, ["c"], "annotator", 0.0),
        ]


def test_parquet_as_pandas_writes_it(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "label": [1.5, np.nan, 2.0],
            "seconds": [np.nan, np.nan, 3.0],
            "updated_at": pd.to_datetime(["2026-01-02", None, "2026-01-03"]),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    answers = read_answers(tmp_path / "a.parquet", id_type=str, task="regression")
    assert [(answer.id, answer.label, answer.seconds) for answer in answers] == [("a", 1.5, None), ("c", 2.0, 3.0)]
    assert answers[0].version == datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    pd.DataFrame({"id": [1, 2], "label": [3, None]}).to_parquet(tmp_path / "b.parquet")
    assert [repr(answer.label) for answer in read_answers(tmp_path / "b.parquet")] == ["3"]


def test_a_key_tells_the_same_answer_in_another_file(tmp_path):
    content = "id,label,key,annotator\n1,ham,k1,Anna\n1,ham,k1,Ben\n1,spam,k1,Anna\n1,ham,,Anna\n"
    (tmp_path / "a.csv").write_text(content)
    (tmp_path / "b.csv").write_text(content)
    a, b = ([answer.key for answer in read_answers(tmp_path / name)] for name in ("a.csv", "b.csv"))
    assert a[:3] == b[:3]
    assert a[3] != b[3]
    assert len(set(a)) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"row,label\n1,a\n", "a.csv: expected the columns 'id' and 'label', got 'row', 'label'"),
        ("a.csv", b"id;label\n1;a\n", "expected the columns 'id' and 'label', got 'id;label'"),
        ("a.csv", b'id,label\n1,"a\n2,b\n', "line 3: unexpected end of data"),
        ("a.csv", b"id,label\n1,caf\xe9\n", "line 2: expected text in UTF-8"),
        ("a.csv", b"id,label\n,a\n", "line 2: id: expected an integer, got ''"),
        ("a.csv", b"id,kind\n1,maybe\n", "line 2: kind: expected label, skip, .*, got 'maybe'"),
        ("a.csv", b"id,label,kind\n1,,label\n", "line 2: label: expected one, as its kind is 'label', got none"),
        ("a.csv", b"id,label,seconds\n1,a,-2\n", "line 2: seconds: expected a number of 0 or more, got '-2'"),
        ("a.csv", b"id,label,updated_at\n1,a,noon\n", "line 2: updated_at: expected a number, or a time"),
        ("a.jsonl", b'{"id": 1, "label": "a"}\n{"id": 2', "line 2: expected a JSON object, got no JSON"),
        ("a.jsonl", b"[1]\n", r"line 1: expected a JSON object, got '\[1\]'"),
        ("a.jsonl", b'{"id": 1, "answer": "a"}\n', "line 1: expected 'id' and 'label', got 'id', 'answer'"),
        ("a.jsonl", b'{"id": true, "label": "a"}\n', "line 1: id: expected an integer, got True"),
        ("a.jsonl", b'{"id": 1.5, "label": "a"}\n', "line 1: id: expected an integer, got 1.5"),
        ("a.jsonl", b'{"id": 1, "label": ["a"]}\n', r"line 1: label: expected the name of one class, got \['a'\]"),
        ("a.jsonl", b'{"id": 1, "label": 0.5}\n', "line 1: label: expected the name of one class, got 0.5"),
        ("a.parquet", b"PAR1 cut short", "a.parquet: .*not a readable Parquet file"),
        ("a.xlsx", b"", "a.xlsx: expected a file of .jsonl, .csv, .parquet, got '.xlsx'"),
        ("a.csv", b"id,label\n" + b"x,a\n" * 9, "line 6: .*\nand 4 more"),
    ],
)
def test_malformed_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_answers(tmp_path / name)


def test_bad_arguments_of_files(tmp_path):
    with pytest.raises(
        ValueError, match="format: expected 'jsonl' or 'csv' or 'parquet' or 'prodigy' or 'doccano', got 'xlsx'"
    ):
        FileAnnotator(tmp_path, "xlsx")
    with pytest.raises(ValueError, match="id_type: expected int or str, got <class 'float'>"):
        read_answers(tmp_path / "a.csv", id_type=float)
    with pytest.raises(ValueError, match="task: expected 'multiclass' or"):
        read_answers(tmp_path / "a.csv", task="binary")
    with pytest.raises(FileNotFoundError):
        read_answers(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("id,label\n1,many\n")
    with pytest.raises(ValueError, match="line 2: label: expected a number, got 'many'"):
        read_answers(tmp_path / "a.csv", task="regression")
    (tmp_path / "empty.csv").touch()
    assert read_answers(tmp_path / "empty.csv") == []


@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1), st.text(min_size=1).filter(lambda s: "\r" not in s and "\0" not in s)
        )
    )
)
def test_csv_comes_back_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "label"), *rows])
    assert [(answer.id, answer.label) for answer in read_answers(path)] == rows
