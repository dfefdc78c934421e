"""Simulations from the command line: what they leave behind, what they go on with, and what they refuse."""

from __future__ import annotations

import csv
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import pickwise as pw
from command_line import run_command

for module in ("typer", "sqlalchemy", "pandas", "jinja2", "matplotlib"):
    pytest.importorskip(module)
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("sklearn.datasets")

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

X, Y = datasets.make_classification(160, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
NAMES = np.array(["cat", "dog", "ox"])[Y]
MODEL = ("--label", "topic", "--model", "sklearn.linear_model.LogisticRegression")
SHORT = (*MODEL, "--batch-size", "10", "--budget", "30", "--seeds", "2", "-o", "report")


def table(rows=slice(None), **more):
    columns = {f"x{number}": X[rows, number] for number in range(4)}
    return pa.table({**columns, "topic": NAMES[rows].tolist(), **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(table(), tmp_path / "data.parquet")
    return tmp_path


def run(folder: Path, *arguments: str, code: int = 0) -> SimpleNamespace:
    return run_command(folder, "simulate", *arguments, code=code)


def curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "report" / "curves.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def heights(folder: Path) -> list[float]:
    return [float(line["accuracy"]) for line in curves(folder)]


def expected(x, strategies, y=NAMES, **options):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(**options)
    found = pw.simulate(x, y, model, strategies, batch_size=10, budget=30, seeds=2)
    return [height for curve in found.curves for height in curve.metrics["accuracy"].tolist()]


def test_what_it_leaves_behind(folder: Path) -> None:
    done = run(folder, "data.parquet", *SHORT, "--strategies", "margin,badge,random", "--name", "Topics of 2026")
    assert done.stdout.splitlines()[0].split()[:2] == ["strategy", "area"]
    assert {line.split()[0] for line in done.stdout.splitlines()[1:4]} == {"margin", "badge", "random"}
    assert done.stderr == "report in report/report.html\n"
    report = (folder / "report" / "report.html").read_text("utf-8")
    assert "Topics of 2026" in report
    assert "LogisticRegression" in report
    assert len(list((folder / "report" / "runs").iterdir())) == 6
    lines = curves(folder)
    assert len(lines) == 18
    assert [(line["strategy"], line["seed"], line["labels"]) for line in lines[:3]] == [
        ("margin", "0", "10"),
        ("margin", "0", "20"),
        ("margin", "0", "30"),
    ]
    assert heights(folder) == expected(X, ["margin", "badge", "random"])


def test_it_goes_on_where_it_was(folder: Path) -> None:
    run(folder, "data.parquet", *SHORT, "--strategies", "margin,random")
    kept = {path: path.stat().st_mtime_ns for path in (folder / "report" / "runs").iterdir()}
    first = curves(folder)
    run(folder, "data.parquet", *SHORT, "--strategies", "margin,entropy,random", "--jobs", "2")
    after = {path: path.stat().st_mtime_ns for path in (folder / "report" / "runs").iterdir()}
    assert len(after) == 6
    assert kept.items() <= after.items()
    assert [line for line in curves(folder) if line["strategy"] != "entropy"] == first


def test_parameters_reach_the_model(folder: Path) -> None:
    run(folder, "data.parquet", *SHORT, "--strategies", "margin", "--parameter", "C=0.001")
    assert heights(folder) == expected(X, ["margin"], C=0.001)
    assert heights(folder) != expected(X, ["margin"])


def test_models_that_draw_have_the_seed_of_the_run(folder: Path) -> None:
    arguments = ("data.parquet", *SHORT, "--strategies", "margin", "--model", "sklearn.ensemble.RandomForestClassifier")
    run(folder, *arguments, "--parameter", "n_estimators=3")
    first = heights(folder)
    for path in (folder / "report" / "runs").iterdir():
        path.unlink()
    run(folder, *arguments, "--parameter", "n_estimators=3")
    assert heights(folder) == first


@pytest.mark.parametrize("columns", [["--columns", "x1,x3"], ["--columns", "x1", "--columns", "x3"]], ids=len)
def test_columns(folder: Path, columns: list[str]) -> None:
    run(folder, "data.parquet", *SHORT, "--strategies", "k_center", *columns)
    assert heights(folder) == expected(X[:, [1, 3]], ["k_center"])


def test_lists_and_files_in_a_folder(folder: Path) -> None:
    (folder / "data").mkdir()
    for name, rows in (("a", slice(0, 100)), ("b", slice(100, 160))):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(X[rows].ravel()), 4)
        pq.write_table(
            table(rows).select(["topic"]).append_column("vector", lists), folder / "data" / f"{name}.parquet"
        )
    run(folder, "data", *SHORT, "--strategies", "badge")
    assert heights(folder) == expected(X, ["badge"])


def test_texts_with_embeddings_beside(folder: Path) -> None:
    texts = [f"{name} {'tail' if x > 0 else 'paw'}" for name, x in zip(NAMES, X[:, 0], strict=True)]
    pq.write_table(table(text=texts, vector=X.tolist()).select(["text", "topic", "vector"]), folder / "texts.parquet")
    np.save(folder / "vectors.npy", X)
    steps = (
        'steps=[["words", {"estimator": "sklearn.feature_extraction.text.TfidfVectorizer"}], '
        '["model", {"estimator": "sklearn.linear_model.LogisticRegression"}]]'
    )
    found = []
    for embeddings in ("vector", "vectors.npy"):
        arguments = ("--columns", "text", "--embeddings", embeddings, "--strategies", "k_center")
        run(folder, "texts.parquet", *SHORT, *arguments, "--model", "sklearn.pipeline.Pipeline", "--parameter", steps)
        found.append(curves(folder))
    assert found[0] == found[1]
    assert found[0][1]["diversity"]


def test_classes_that_are_numbers(folder: Path) -> None:
    pq.write_table(pa.table({"topic": Y, "vector": X.tolist()}), folder / "data.parquet")
    run(folder, "data.parquet", *SHORT, "--strategies", "margin")
    assert heights(folder) == expected(X, ["margin"], y=Y)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--strategies", "margin,magic"], 2, "magic"),
        (["--strategies", "margin,margin"], 2, "each of them once"),
        (["--strategies", ","], 2, "one or more"),
        (["--label", "color"], 2, "expected a column of the data, which has x0, x1, x2, x3, topic"),
        (["--columns", "x9"], 2, "got 'x9'"),
        (["--columns", "x1,topic"], 2, "got 'topic', which is the label"),
        (["--parameter", "C"], 2, "expected NAME=VALUE"),
        (["--budget", "113"], 1, "pickwise: --budget: expected from 10, the rows labelled at the beginning, to 112"),
        (["--test", "1.5"], 1, "pickwise: --test: expected a share between 0 and 1, got 1.5"),
        (["--initial", "500"], 1, "pickwise: --initial: expected from 1 to 112"),
        (["--jobs", "0"], 1, "pickwise: --jobs: expected how many runs"),
        (["--model", "sklearn.linear_model.LinearRegression"], 1, "pickwise: model: expected a classifier"),
        (["--model", "sklearn.svm.LinearSVC", "--strategies", "badge"], 1, "one with predict_proba for 'badge'"),
        (["--model", "sklearn.nothing.Model"], 1, "sklearn.nothing"),
        (["--embeddings", "nowhere.npy", "--strategies", "k_center"], 1, "nowhere.npy"),
        (["--strategies", "bald"], 1, "expected one with members"),
    ],
)  # fmt: skip
def test_refused_in_one_line(folder: Path, arguments: list[str], code: int, told: str) -> None:
    if "--strategies" not in arguments:
        arguments = [*arguments, "--strategies", "margin"]
    done = run(folder, "data.parquet", *SHORT, *arguments, code=code)
    assert told in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("report/runs/*"))


def test_data_that_is_refused(folder: Path) -> None:
    options = (*SHORT, "--strategies", "margin")
    assert "nowhere.parquet" in run(folder, "nowhere.parquet", *options, code=1).stderr
    np.save(folder / "data.npy", X)
    assert "expected Parquet files" in run(folder, "data.npy", *options, code=2).stderr
    pq.write_table(table(extra=NAMES.tolist()).select(["topic"]), folder / "bare.parquet")
    assert "expected rows with a label and features" in run(folder, "bare.parquet", *options, code=2).stderr
    labels = [None, *NAMES[1:].tolist()]
    pq.write_table(table().set_column(4, "topic", pa.array(labels)), folder / "holes.parquet")
    done = run(folder, "holes.parquet", *options, code=1)
    assert done.stderr == ("pickwise: --label: expected a label for each row, got None in row 0; leave such rows out\n")
    (folder / "report").rmdir()
    (folder / "report").write_text("")
    assert "report" in run(folder, "data.parquet", *options, code=1).stderr


def test_a_model_that_fails_keeps_its_own_words(folder: Path) -> None:
    pq.write_table(table(text=NAMES.tolist()), folder / "data.parquet")
    done = run(folder, "data.parquet", *SHORT, "--strategies", "margin", "--columns", "text", code=1)
    assert "Traceback" not in done.stderr
    assert "LogisticRegression" in done.stderr


def test_other_commands_load_none_of_it(run_python) -> None:
    code = """
    import sys
    import pickwise.commands
    print([name for name in sys.modules if name.startswith("pickwise.evaluate") or name == "sklearn"])
    """
    assert run_python(code) == "[]"


def test_in_a_process_of_its_own(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pickwise",
        "simulate",
        "data.parquet",
        *SHORT,
        "--strategies",
        "margin",
        "--quiet",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert heights(folder) == expected(X, ["margin"])
