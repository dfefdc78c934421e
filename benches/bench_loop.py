"""What the loop costs beside the model: labels that come in by the million, a look at where it is, a round."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np

import pickwise as pw
from pickwise.annotators import Annotation
from pickwise.loop import FunctionModel

if TYPE_CHECKING:
    from pathlib import Path

LABELS, MANY, ROWS, DIMS, BATCH = 1_000_000, 5_000_000, 1_000_000, 100, 1000
CLASSES = list("abcde")


def a_model(weights=None):
    def predict_proba(_, x):
        if weights is None:
            return np.full((len(x), len(CLASSES)), 1 / len(CLASSES))
        p = np.exp(x @ weights)
        return p / p.sum(1, keepdims=True)

    return FunctionModel(fit=lambda x, y: None, predict_proba=predict_proba, classes=CLASSES)  # noqa: ARG005


def labels_of(count):
    return np.arange(count), np.array(CLASSES)[np.arange(count) % len(CLASSES)]


def created(folder, pool, model):
    return pw.Project.create(folder, pool, model=model, classes=CLASSES, batch_size=BATCH)


def bench_labels_by_the_million(race, tmp_path, scale):
    """Against SQLite by itself: the same labels in one table, with the key that keeps them apart, at once."""
    count = int(LABELS * scale)
    pool, (ids, labels) = np.zeros((count, 1), np.float32), labels_of(count)
    places = iter(range(1000))

    def pickwise():
        with created(tmp_path / f"p{next(places)}", pool, a_model()) as project:
            assert project.seed((ids, labels)).new == count

    def sqlite():
        connection = sqlite3.connect(tmp_path / f"s{next(places)}.db")
        connection.execute("CREATE TABLE labels (key TEXT UNIQUE, row TEXT, label TEXT, annotator TEXT)")
        rows = (
            (f"seed:{row}", str(row), label, "seed") for row, label in zip(ids.tolist(), labels.tolist(), strict=True)
        )
        connection.executemany("INSERT INTO labels VALUES (?, ?, ?, ?)", rows)
        connection.commit()
        connection.close()

    race.rival("SQLite by itself", sqlite)
    race.run(pickwise, rounds=2)
    race.info(page="loop", shape="import of 1M labels", rows=count)
    race.claim("import of 1M labels", "-", race.seconds["pickwise"], "<= 20", " s")


def bench_status(race, tmp_path, scale):
    count = int(MANY * scale)
    with created(tmp_path / "p", np.zeros((count, 1), np.float32), a_model()) as project:
        project.seed(labels_of(count))
    path: Path = tmp_path / "p"

    def pickwise():
        with pw.Project.join(path) as project:
            assert project.status().labelled == count

    def sqlite():
        connection = sqlite3.connect(path / "project.db")
        assert connection.execute("SELECT count(*) FROM rows WHERE labels > 0").fetchone() == (count,)
        connection.close()

    race.rival("counting", sqlite)
    race.run(pickwise)
    race.info(page="loop", shape="status of 5M labels", rows=count)
    race.claim("status of 5M labels, opened for it", "-", race.seconds["pickwise"], "<= 0.2", " s")


def bench_round(race, tmp_path, scale):
    """A round of a thousand rows out of a million, from asking to the model that has learnt."""
    rng = np.random.default_rng(0)
    pool = rng.random((int(ROWS * scale), DIMS), dtype=np.float32)
    weights = rng.normal(size=(DIMS, len(CLASSES))).astype(np.float32)
    model = a_model(weights)
    project = created(tmp_path / "p", pool, model)
    project.seed(labels_of(2000))
    project.fit()

    def a_round():
        tasks = project.ask()
        project.record([Annotation(key=task.key, id=task.id, label="a") for task in tasks])
        project.collect()
        assert project.fit().labelled > 2000

    def alone():
        for start in range(0, len(pool), 10_000):
            model.predict_proba(pool[start : start + 10_000])

    race.rival("the model", alone)
    race.run(a_round, rounds=8)
    project.close()
    race.info(page="loop", shape="round of 1000 of 1M x 100", rows=len(pool))
    beside = race.seconds["pickwise"] - race.seconds["the model"]
    race.claim("round of 1000 rows of 1M x 100", "the model", beside, "<= 1", " s more")
