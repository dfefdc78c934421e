"""The loop from the command line: the whole cycle, its messages, its exit codes, and what it leaves behind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw
from pickwise import cli

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
for module in ("typer", "sqlalchemy", "sklearn", "pandas"):
    pytest.importorskip(module)

ROWS = 120
X = np.random.default_rng(0).normal(size=(2 * ROWS, 2))
NAMES = [f"ä{row}" for row in range(2 * ROWS)]
TRUTH = dict(zip(NAMES, np.where(X.sum(1) > 0, "spam", "ham").tolist(), strict=True))
MODEL = ("--model", "sklearn.linear_model.LogisticRegression")
POOL = ("--pool", "pool.parquet", "--id", "doc_id")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pool(tmp_path / "pool.parquet", slice(0, ROWS))
    write_labels(tmp_path / "test.csv", NAMES[:30])
    write_labels(tmp_path / "first.csv", NAMES[30:42])
    return tmp_path


def write_pool(path: Path, rows: slice) -> None:
    table = {"doc_id": NAMES[rows], "a": X[rows, 0], "b": X[rows, 1]}
    pq.write_table(pa.table(table), path)


def write_labels(path: Path, names: list[str], **also: str) -> None:
    lines = [f"{name},{label}" for name, label in ({name: TRUTH[name] for name in names} | also).items()]
    path.write_text("\n".join(["id,label", *lines]) + "\n", encoding="utf-8")


def run(folder: Path, *arguments: str, code: int = 0) -> SimpleNamespace:
    """Run the command in this process, which is much faster; the tests of processes start their own."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pickwise", "project", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    signal.signal(signal.SIGTERM, before)
    assert (ended.value.code or 0) == code, err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


def run_process(folder: Path, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pickwise", "project", *arguments]
    environ = os.environ | environment
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == code, done
    return done


def fill_in(path: Path, answers: dict[str, str]) -> list[str]:
    """Write labels into a file of tasks, as a person would; return its ids."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        ids = table["id"].to_pylist()
        labels = pa.array([answers[name] for name in ids])
        pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", labels), path)
        return ids
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        filled = [json.dumps({**line, "label": answers[line["id"]]}) + "\n" for line in lines]
        path.write_text("".join(filled), encoding="utf-8")
        return [line["id"] for line in lines]
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows({**line, "label": answers[line["id"]]} for line in lines)
    return [line["id"] for line in lines]


def status(folder: Path, project: str = "spam") -> dict:
    return json.loads(run(folder, "status", project, "--json").stdout)


def begin(folder: Path, *more: str) -> None:
    run(folder, "init", "spam", *POOL, *MODEL, "--classes", "ham,spam", "--batch-size", "8", *more)


def answered_round(folder: Path, project: str = "spam", **wrong: str) -> list[str]:
    run(folder, "ask", project, "-o", "batch.csv")
    ids = fill_in(folder / "batch.csv", TRUTH | wrong)
    run(folder, "collect", project, "--labels", "batch.csv")
    return ids


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def test_the_whole_cycle(folder: Path) -> None:
    begin(folder, "--parameter", "C=10", "--budget", "40")
    assert "30 new labels, 0 known before, held out" in run(folder, "hold-out", "spam", "--labels", "test.csv").stderr
    done = run(folder, "seed", "spam", "--labels", "first.csv")
    assert last_line(done.stderr) == "next: fit"
    done = run(folder, "fit", "spam")
    assert done.stderr.startswith("round 0: a model of 12 labelled rows, accuracy 0.")
    assert last_line(done.stderr) == "next: ask"
    assert run(folder, "promote", "spam").stderr.startswith("deployed: round-0000\n")

    done = run(folder, "ask", "spam", "-o", "batch.csv")
    assert done.stderr == "8 rows asked in batch.csv\nnext: collect\n"
    ids = fill_in(folder / "batch.csv", TRUTH)
    assert len(set(ids)) == 8
    assert not set(ids) & set(NAMES[:42])
    done = run(folder, "collect", "spam", "--labels", "batch.csv")
    assert done.stderr.splitlines() == [
        "8 new answers, 0 known before, 0 refused",
        "round 1 is closed: 8 of 8 rows are answered",
        "next: fit",
    ]

    done = run(folder, "run", "spam")
    assert "round 1: a model of 20 labelled rows" in done.stderr
    assert done.stderr.splitlines()[-2:] == ["8 rows have no answer yet", "next: collect"]
    done = run(folder, "ask", "spam", "--again", "-o", "batch.csv")
    fill_in(folder / "batch.csv", TRUTH)
    run(folder, "collect", "spam", "--labels", "batch.csv")
    assert "rounds are done" in run(folder, "run", "spam", "--rounds", "2").stderr

    shown = run(folder, "status", "spam")
    assert "round 2, trained" in shown.stdout
    assert "24 left of the budget" in shown.stdout
    found = status(folder)
    assert {name: found[name] for name in ("round", "state", "asked", "labelled", "held_out", "open")} == {
        "round": 2, "state": "trained", "asked": 16, "labelled": 28, "held_out": 30, "open": 0,
    }  # fmt: skip
    assert "rounds are done" in found["stopped"]
    lines = [line.split() for line in run(folder, "history", "spam").stdout.splitlines()]
    assert lines[0][:7] == ["round", "state", "strategy", "asked", "answered", "labelled", "accuracy"]
    assert [line[:6] for line in lines[1:]] == [
        ["0", "trained", "seed", "0", "0", "12"],
        ["1", "trained", "auto", "8", "8", "20"],
        ["2", "trained", "auto", "8", "8", "28"],
    ]

    assert run(folder, "export", "spam", "-o", "labels.csv").stderr.startswith("28 labels in labels.csv\n")
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        exported = {line["id"]: line["label"] for line in csv.DictReader(file)}
    assert exported.items() <= TRUTH.items()
    printed = [line.split() for line in run(folder, "labels", "spam").stdout.splitlines()[1:]]
    assert {line[0]: line[1] for line in printed} == exported
    run(folder, "report", "spam", "-o", "spam.html")
    assert "<svg" in (folder / "spam.html").read_text("utf-8")

    assert run(folder, "promote", "spam", "2").stderr == "deployed: round-0002\nnext: ask\n"
    assert run(folder, "rollback", "spam").stderr == "deployed: round-0000\nnext: ask\n"
    run(folder, "promote", "spam")
    assert status(folder)["deployed"] == f"round-{status(folder)['best'][0]:04}"

    write_pool(folder / "grown.parquet", slice(0, 2 * ROWS))
    done = run(folder, "drift", "spam", "--pool", "grown.parquet", "--plot", "drift.png")
    assert done.stdout == run(folder, "drift", "spam").stdout
    assert "120" in done.stdout
    assert (folder / "drift.png").read_bytes().startswith(b"\x89PNG")
    run(folder, "ask", "spam", "-o", "batch.csv")
    assert set(fill_in(folder / "batch.csv", TRUTH)) - set(NAMES[:ROWS])


def test_a_model_that_is_trained_elsewhere(folder: Path) -> None:
    run(folder, "init", "spam", *POOL, "--classes", "ham,spam", "--batch-size", "8")

    def hand_over(number: int) -> str:
        spam = 1 / (1 + np.exp(-X[:ROWS].sum(1) * number))
        table = {"doc_id": NAMES[:ROWS], "ham": 1 - spam, "spam": spam}
        pq.write_table(pa.table(table), folder / f"predictions-{number}.parquet")
        return f"predictions-{number}.parquet"

    # Predictions may come before any label.
    done = run(folder, "fit", "spam", "--predictions", hand_over(1))
    assert done.stderr.splitlines()[-1] == "next: ask"
    run(folder, "hold-out", "spam", "--labels", "test.csv")
    asked = answered_round(folder)
    nearest = np.argsort(np.abs(X[30:ROWS].sum(1)))[:8] + 30
    assert set(asked) == {NAMES[row] for row in nearest}
    # Those of the round before are not taken for new ones.
    for command in ("fit", "run"):
        assert "'fit --predictions' takes" in run(folder, command, "spam", code=2).stderr.replace("\n", " ")
    done = run(folder, "fit", "spam", "--predictions", hand_over(3))
    assert done.stderr.startswith("round 1: a model of 8 labelled rows, accuracy 1")


def test_without_predictions_the_first_round_is_drawn(folder: Path) -> None:
    run(folder, "init", "spam", *POOL, "--classes", "ham,spam", "--batch-size", "8")
    table = run(folder, "ask", "spam").stdout
    assert [line.split()[3] for line in table.splitlines()[1:]] == ["initial"] * 8


def test_a_model_that_is_trained_elsewhere_needs_the_order_of_its_columns(folder: Path) -> None:
    done = run(folder, "init", "spam", *POOL, code=2)
    assert "--classes" in done.stderr
    assert not (folder / "spam").exists()


@pytest.mark.parametrize("how", ["listed", "file"])
def test_names_of_classes_are_taken_as_they_are(folder: Path, how: str) -> None:
    names = ["ham", "spam\x0bspam", "a\u2028b"]
    (folder / "classes.txt").write_text("\n".join([*names, ""]), encoding="utf-8")
    told = ["--classes", ",".join([*names, ""])] if how == "listed" else ["--classes-file", "classes.txt"]
    run(folder, "init", "spam", *POOL, *MODEL, *told)
    with pw.Project.join(folder / "spam") as project:
        assert project.settings.classes == tuple(names)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_files_of_tasks_are_filled_in_and_read(folder: Path, suffix: str) -> None:
    begin(folder)
    batch = folder / f"batch{suffix}"
    run(folder, "ask", "spam", "-k", "5", "-o", batch.name)
    ids = fill_in(batch, TRUTH)
    run(folder, "collect", "spam", "--labels", batch.name)
    with pw.Project.join(folder / "spam") as project:
        assert project.labels().to_dict() == {name: TRUTH[name] for name in ids}
    assert status(folder)["state"] == "closed"


def test_the_annotator_of_the_settings(folder: Path) -> None:
    begin(folder)
    with (folder / "spam" / "project.toml").open("a", encoding="utf-8") as file:
        file.write('\n[annotator]\nfolder = "tasks"\nformat = "csv"\n')
    run(folder, "ask", "spam")
    (batch,) = (folder / "spam" / "tasks").glob("*.csv")
    assert "0 new answers" in run(folder, "collect", "spam").stderr
    ids = fill_in(batch, TRUTH)
    moved = batch.rename(batch.parent / "answers" / "done.csv")
    an_hour_ago = time.time() - 3600
    os.utime(moved, (an_hour_ago, an_hour_ago))  # nobody writes to it any more
    done = run(folder, "collect", "spam")
    assert done.stderr.splitlines() == ["8 new answers, 0 known before, 0 refused", "next: fit"]
    with pw.Project.join(folder / "spam") as project:
        assert set(project.labels().to_dict()) == set(ids)


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


def test_answers_of_two_people_in_files_of_one_name(folder: Path) -> None:
    begin(folder, "--overlap", "2", "-s", "entropy")
    run(folder, "ask", "spam", "-o", "batch.csv")
    fill_in(folder / "batch.csv", TRUTH)
    done = run(folder, "collect", "spam", "--labels", "batch.csv", "--annotator", "Anna")
    assert last_line(done.stderr).startswith("next: collect")
    done = run(folder, "collect", "spam", "--labels", "batch.csv", "--annotator", "Ben")
    assert "round 1 is closed: 8 of 8 rows are answered" in done.stderr
    assert status(folder)["answers"] == 16


def test_a_round_may_be_closed_before_it_is_complete(folder: Path) -> None:
    begin(folder)
    run(folder, "ask", "spam", "-o", "batch.csv")
    ids = fill_in(folder / "batch.csv", TRUTH)
    write_labels(folder / "answers.csv", ids[:3])
    done = run(folder, "collect", "spam", "--labels", "answers.csv")
    assert last_line(done.stderr) == "next: collect (3 rows are answered)"
    done = run(folder, "collect", "spam", "--close")
    assert "round 1 is closed: 3 of 3 rows are answered" in done.stderr
    done = run(folder, "collect", "spam", "--close", code=1)
    assert "got none; 'pickwise project ask' begins one" in done.stderr


def test_settings_are_what_was_asked_for(folder: Path) -> None:
    (folder / "classes.txt").write_text("eggs\nham\n\nspam\n")
    options = {
        "budget": "50", "overlap": "3", "merge": "dawid_skene", "metric": "macro_f1", "seed": "7",
        "strategy": "entropy", "classes-file": "classes.txt", "columns": "a,b",
    }  # fmt: skip
    given = [text for name, value in options.items() for text in (f"--{name}", value)]
    parameters = ("--parameter", "C=0.5", "--parameter", "solver=saga", "--parameter", "fit_intercept=false")
    run(folder, "init", "spam", *POOL, *MODEL, *parameters, *given)
    settings = tomllib.loads((folder / "spam" / "project.toml").read_text("utf-8"))
    for name in ("merge", "metric", "strategy"):
        assert settings[name] == options[name]
    for name in ("budget", "overlap", "seed"):
        assert settings[name] == int(options[name])
    assert settings["classes"] == ["eggs", "ham", "spam"]
    assert settings["columns"] == ["a", "b"]
    assert settings["model"]["parameters"] == {"C": 0.5, "solver": "saga", "fit_intercept": False}


def test_embeddings_in_a_file_beside_a_table(folder: Path) -> None:
    np.save(folder / "emb.npy", X[:ROWS].astype("f4"))
    begin(folder, "--strategy", "k_center", "--embeddings", "emb.npy")
    run(folder, "seed", "spam", "--labels", "first.csv")
    run(folder, "fit", "spam")
    run(folder, "ask", "spam", "-k", "3", "-o", "batch.csv")
    picked = pw.k_center(X[:ROWS].astype("f4"), 3, labelled=np.arange(30, 42))
    assert fill_in(folder / "batch.csv", TRUTH) == [NAMES[row] for row in picked]


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


def test_classes_are_text_here_and_may_be_numbers_in_files(folder: Path) -> None:
    run(folder, "init", "spam", *POOL, *MODEL, "--classes", "0,1")
    pq.write_table(pa.table({"id": NAMES[:4], "label": [0, 1, 1, 0]}), folder / "first.parquet")
    run(folder, "seed", "spam", "--labels", "first.parquet")
    with pw.Project.join(folder / "spam") as project:
        assert list(project.labels().to_dict().values()) == ["0", "1", "1", "0"]


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


def test_the_end_of_the_budget(folder: Path) -> None:
    begin(folder, "--budget", "8")
    answered_round(folder)
    run(folder, "fit", "spam")
    done = run(folder, "ask", "spam", "-o", "more.csv")
    assert done.stderr.splitlines()[0] == "nothing is left to ask for"
    assert not (folder / "more.csv").exists()
    assert "budget" in run(folder, "run", "spam").stderr


def test_a_pool_that_has_changed_is_refused_with_a_way_on(folder: Path) -> None:
    begin(folder)
    (folder / "pool.parquet").rename(folder / "old.parquet")
    write_pool(folder / "pool.parquet", slice(0, ROWS + 1))
    done = run(folder, "ask", "spam", code=1)
    assert "give the new one to 'pickwise project drift --pool'" in done.stderr
    assert "replace_pool" not in done.stderr


def test_while_another_process_drives(folder: Path) -> None:
    begin(folder)
    run(folder, "ask", "spam", "-o", "batch.csv")
    fill_in(folder / "batch.csv", TRUTH)
    with pw.Project.open(folder / "spam", folder / "pool.parquet") as driving:
        done = run_process(folder, "fit", "spam", code=1)
        assert done.stderr == (
            "pickwise: spam: another process drives this project; 'status', 'labels' and 'collect --labels' work "
            "meanwhile\n"
        )
        assert "round 1, asked" in run_process(folder, "status", "spam").stdout
        done = run_process(folder, "collect", "spam", "--labels", "batch.csv")
        assert "8 new answers" in done.stderr
        assert "the round is not closed: spam: another process drives" in done.stderr
        run_process(folder, "collect", "spam", "--close", code=1)
        driving.collect()
        assert driving.status().state == "closed"


def test_other_commands_import_nothing_of_the_loop(run_python) -> None:
    code = """
    import sys
    import pickwise.commands
    print([name for name in ("sqlalchemy", "pandas", "sklearn", "pickwise.loop") if name in sys.modules])
    """
    assert run_python(code) == "[]"


def test_without_sqlalchemy_it_says_what_to_install(folder: Path) -> None:
    (folder / "sqlalchemy.py").write_text("raise ImportError")
    done = run_process(folder, "status", "spam", code=1, PYTHONPATH=str(folder))
    assert done.stderr == "pickwise: Project needs SQLAlchemy; install it with pip install 'pickwise[loop,cli]'\n"


def test_every_command_is_explained(folder: Path) -> None:
    commands = [
        "init", "seed", "hold-out", "ask", "collect", "fit", "run", "status", "labels", "export", "drift", "report",
        "promote", "rollback", "history",
    ]  # fmt: skip
    overview = run(folder, "--help").stdout
    for command in commands:
        assert command in overview
        assert "FOLDER" in run(folder, command, "--help").stdout
