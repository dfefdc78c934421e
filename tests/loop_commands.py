"""A pool in a folder, and the loop's commands there, as people type them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from command_line import run_command

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

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
    """Run the command in this process; the tests of processes start their own."""
    return run_command(folder, "project", *arguments, code=code)


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
