"""The loop from the command line: what it says of what it cannot take, and that nothing is done then."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

import loop_commands
from loop_commands import MODEL, NAMES, POOL, TRUTH, begin, fill_in, run, run_process, status, write_labels

if TYPE_CHECKING:
    from pathlib import Path

folder = loop_commands.folder


def test_a_model_that_is_trained_elsewhere_needs_the_order_of_its_columns(folder: Path) -> None:
    done = run(folder, "init", "spam", *POOL, code=2)
    assert "--classes" in done.stderr
    assert not (folder / "spam").exists()


@pytest.mark.parametrize("table", ['format = "csv"', 'folder = "x"\nfrmat = "csv"'])
def test_an_annotator_that_cannot_be_made(folder: Path, table: str) -> None:
    begin(folder)
    with (folder / "spam" / "project.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[annotator]\n{table}\n")
    assert "annotator: expected a folder, and perhaps a format" in run(folder, "ask", "spam", code=1).stderr


def test_refused_answers_are_named_by_line_and_the_others_safe(folder: Path) -> None:
    begin(folder)
    run(folder, "ask", "spam", "-o", "batch.csv")
    with (folder / "batch.csv").open(encoding="utf-8") as file:
        ids = [line["id"] for line in csv.DictReader(file)]
    write_labels(folder / "answers.csv", [*ids[1:], NAMES[0]], **{ids[0]: "spm"})
    done = run(folder, "collect", "spam", "--labels", "answers.csv", code=1)
    lines = done.stderr.splitlines()
    assert lines[0] == "7 new answers, 0 known before, 2 refused"
    assert lines[1] == f"pickwise: answers.csv: line 9: ids: expected a row that was asked for, got {NAMES[0]!r}"
    assert lines[2].startswith("pickwise: answers.csv: line 10: labels: no class is called 'spm'")
    assert "did you mean 'spam'?" in lines[2]
    assert status(folder)["labelled"] == 7
    # Mended, the file closes the round; what was read before counts once.
    write_labels(folder / "answers.csv", ids)
    done = run(folder, "collect", "spam", "--labels", "answers.csv")
    assert done.stderr.splitlines()[:2] == [
        "1 new answers, 7 known before, 0 refused",
        "round 1 is closed: 8 of 8 rows are answered",
    ]


def test_a_malformed_file_is_not_read_at_all(folder: Path) -> None:
    begin(folder)
    run(folder, "ask", "spam", "-o", "batch.csv")
    ids = fill_in(folder / "batch.csv", TRUTH)
    (folder / "answers.csv").write_text(f"id,label\n{ids[0]},spam\n{ids[1]}\n", encoding="utf-8")
    done = run(folder, "collect", "spam", "--labels", "answers.csv", code=1)
    assert done.stderr == "pickwise: answers.csv: line 3: expected 2 fields, got 1\n"
    assert status(folder)["answers"] == 0


def test_a_seed_with_one_wrong_label_is_not_recorded(folder: Path) -> None:
    begin(folder)
    write_labels(folder / "first.csv", NAMES[30:42], **{NAMES[50]: "eggs"})
    done = run(folder, "seed", "spam", "--labels", "first.csv", code=1)
    assert done.stderr.splitlines() == [
        "pickwise: labels: no class is called 'eggs'. The classes are 'ham', 'spam'",
        f"labels: it is that of row {NAMES[50]!r}; nothing was recorded",
    ]
    assert status(folder)["labelled"] == 0


def test_a_model_that_fails_is_named(folder: Path) -> None:
    begin(folder, "--parameter", "C=-1")
    run(folder, "seed", "spam", "--labels", "first.csv")
    lines = run(folder, "fit", "spam", code=1).stderr.splitlines()
    assert lines[0].startswith("pickwise: The 'C' parameter of LogisticRegression must be")
    assert lines[-1].startswith("pickwise: ")
    assert len(lines) > 1


def test_a_model_that_raises_anything_ends_without_a_traceback(folder: Path) -> None:
    (folder / "moody.py").write_text("""
class Moody:
    def fit(self, x, y):
        raise KeyError("mood")

    def predict_proba(self, x):
        raise KeyError("mood")
""")
    run_process(folder, "init", "spam", *POOL, "--model", "moody.Moody", PYTHONPATH=str(folder))
    run_process(folder, "seed", "spam", "--labels", "first.csv", PYTHONPATH=str(folder))
    done = run_process(folder, "fit", "spam", code=1, PYTHONPATH=str(folder))
    first, note = done.stderr.splitlines()
    assert first == "pickwise: KeyError: 'mood'"
    assert "Moody" in note
    assert status(folder)["state"] == "closed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nowhere"], "nowhere: no project there; 'pickwise project init' makes one"),
        (["fit", "spam"], "got none; 'pickwise project seed' records those that you have, 'ask' asks for some"),
        (["fit", "spam", "--predictions", "p.npy"], "expected None with a model that is trained here"),
        (["seed", "spam", "--labels", "no.csv"], "no.csv: No such file or directory"),
        (["seed", "spam", "--labels", "pool.parquet"], "expected the columns 'id' and 'label', got 'doc_id', 'a', 'b'"),
        (["seed", "spam", "--labels", "test.txt"], "test.txt: expected a file of .jsonl, .csv, .parquet, got '.txt'"),
        (["ask", "spam", "-o", "nowhere/batch.csv"], "nowhere/batch.csv: there is no folder 'nowhere'"),
        (["export", "spam", "-o", "nowhere/labels.csv"], "there is no folder"),
        (["report", "spam", "-o", "nowhere/report.html"], "there is no folder"),
        (["drift", "spam", "--pool", "no.parquet"], "there is no file 'no.parquet'"),
        (["promote", "spam"], "got none; 'pickwise project fit' first"),
        (["promote", "spam", "4"], "expected a model that was kept"),
        (["rollback", "spam"], "expected a model deployed before"),
        (["init", "spam", *POOL, *MODEL], "spam: expected no such folder, or an empty one; the other commands go on"),
        (["init", "new", "--pool", "pool.parquet", *MODEL], "id: expected the name of a column of ids"),
        (["init", "new", "--pool", "pool.parquet", "--id", "docid", *MODEL], "did you mean 'doc_id'?"),
        (["init", "new", *POOL, "--model", "sklearn.linear_model.LogisticRegresion"], "expected the dotted name"),
        (["init", "new", *POOL, *MODEL, "--metric", "f1"], "metric: "),
        (["init", "new", *POOL, *MODEL, "--classes", "spam"], "classes: expected at least two different names"),
        (["init", "new", *POOL, *MODEL, "--database", "postgresql://me:secret@host/x"], "without a password"),
    ],
)
def test_bad_data_is_one_line_and_exit_code_1(folder: Path, arguments: list[str], message: str) -> None:
    begin(folder)
    done = run(folder, *arguments, code=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("pickwise: ")
    assert message in done.stderr
    assert status(folder)["round"] is None
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "new", *POOL, *MODEL, "-s", "margn"], "did you mean 'margin'?"),
        (["init", "new", *POOL, *MODEL, "--parameter", "C"], "expected NAME=VALUE"),
        (["init", "new", *POOL, *MODEL, "--parameter", "C=null"], "make such a project in Python"),
        (["init", "new", *POOL, "--parameter", "C=1", "--classes", "a,b"], "expected a --model"),
        (["init", "new", *POOL, *MODEL, "--classes", "a,b", "--classes-file", "c.txt"], "got both"),
        (["init", "new", *MODEL], "--pool"),
        (["init", "new", *POOL, *MODEL, "--task", "binary"], "'binary' is not one of"),
        (["ask", "spam", "-k", "0"], "-k"),
        (["ask", "spam", "--again", "-k", "3"], "no number of rows with --again"),
        (["ask", "spam", "-o", "batch.npy"], "use .parquet, .csv or .jsonl"),
        (["collect", "spam"], "project.toml names no [annotator]"),
        (["collect", "spam", "--annotator", "Anna"], "expected the --labels"),
        (["drift", "spam", "--embeddings", "emb.npy"], "expected a --pool"),
        (["export", "spam"], "--output"),
        (["colect", "spam"], "colect"),
    ],
)
def test_bad_usage_is_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    begin(folder)
    assert message in run(folder, *arguments, code=2).stderr
    assert not (folder / "new").exists()


def test_asking_while_a_round_is_open(folder: Path) -> None:
    begin(folder)
    asked = run(folder, "ask", "spam").stdout
    done = run(folder, "ask", "spam", code=1)
    assert "round 1: 8 of 8 rows have no answer yet; 'pickwise project ask --again' tells which" in done.stderr
    assert run(folder, "ask", "spam", "--again").stdout == asked


def test_without_sqlalchemy_it_says_what_to_install(folder: Path) -> None:
    (folder / "sqlalchemy.py").write_text("raise ImportError")
    done = run_process(folder, "status", "spam", code=1, PYTHONPATH=str(folder))
    assert done.stderr == "pickwise: Project needs SQLAlchemy; install it with pip install 'pickwise[loop,cli]'\n"
