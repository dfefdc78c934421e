"""The loop from the command line: the whole cycle, its messages, its exit codes, and what it leaves behind."""

from __future__ import annotations

import csv
import os
import time
import tomllib
from typing import TYPE_CHECKING

import numpy as np
import pytest

import loop_commands
import pickwise as pw
from loop_commands import (
    MODEL,
    NAMES,
    POOL,
    ROWS,
    TRUTH,
    X,
    answered_round,
    begin,
    fill_in,
    last_line,
    pa,
    pq,
    run,
    run_process,
    status,
    write_labels,
    write_pool,
)

if TYPE_CHECKING:
    from pathlib import Path

folder = loop_commands.folder


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


def test_classes_are_text_here_and_may_be_numbers_in_files(folder: Path) -> None:
    run(folder, "init", "spam", *POOL, *MODEL, "--classes", "0,1")
    pq.write_table(pa.table({"id": NAMES[:4], "label": [0, 1, 1, 0]}), folder / "first.parquet")
    run(folder, "seed", "spam", "--labels", "first.parquet")
    with pw.Project.join(folder / "spam") as project:
        assert list(project.labels().to_dict().values()) == ["0", "1", "1", "0"]


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


def test_every_command_is_explained(folder: Path) -> None:
    commands = [
        "init", "seed", "hold-out", "ask", "collect", "fit", "run", "status", "labels", "export", "drift", "report",
        "promote", "rollback", "history",
    ]  # fmt: skip
    overview = run(folder, "--help").stdout
    for command in commands:
        assert command in overview
        assert "FOLDER" in run(folder, command, "--help").stdout
