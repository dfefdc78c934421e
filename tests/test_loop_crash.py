"""Killed at any instant, a project goes on where it was: the same rows asked, none twice, no answer lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("pyarrow")
if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

# All that a project may import, so that hundreds of children need not.
import sqlalchemy as sa

import pickwise as pw
from pickwise.annotators import Annotation
from pickwise.loop import FunctionModel
from pickwise.loop.store import Store
from small_project import in_a_child

ROWS, ROUNDS, BATCH = 60, 3, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 2)).round(3)
TRUTH = np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")
OTHER = np.concatenate([X, X[:20] + 4])


class Notebook:
    """Annotators who write all down: what they are asked, in a file, and answer three rows at a time."""

    remembers = True

    def __init__(self, folder):
        self.path = folder / "asked.jsonl"

    def _asked(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def push(self, tasks):
        known = {task["key"] for task in self._asked()}
        with self.path.open("a") as file:
            for task in tasks:
                if task.key not in known:
                    file.write(json.dumps({"key": task.key, "id": task.id}) + "\n")

    def poll(self, cursor):
        begin = int(cursor or 0)
        some = self._asked()[begin : begin + 3]
        answers = [Annotation(key=f"nb:{task['key']}", id=task["id"], label=str(TRUTH_OF[task["id"]])) for task in some]
        return answers, str(begin + len(some))

    def recall(self, keys):
        pass

    def close(self):
        pass


TRUTH_OF = {row: TRUTH[row] if row < ROWS else "yes" for row in range(len(OTHER))}


def fit(x, y):
    return np.stack([x[y == code].mean(0) for code in np.unique(y)])


def predict_proba(centers, x):
    away = np.exp(-((x[:, None] - centers) ** 2).sum(-1))
    return away / away.sum(1, keepdims=True)


def a_model():
    return FunctionModel(
        fit=fit,
        predict_proba=predict_proba,
        save=lambda centers, folder: np.save(folder / "centers.npy", centers),
        load=lambda folder: np.load(folder / "centers.npy"),
    )


def drive(folder):
    """Run a project to its end from wherever it is: seeded, with rows held out, and a pool that grows."""
    place, annotator = folder / "project", Notebook(folder)
    if not (place / "project.toml").exists():
        shutil.rmtree(place, ignore_errors=True)  # a folder without settings is no project yet
        pw.Project.create(
            place, X, model=a_model(), annotator=annotator, classes=["no", "yes"], batch_size=BATCH, seed=3
        ).close()
    with reopened(place, annotator) as project:
        if project.status().held_out == 0:
            project.hold_out({row: str(TRUTH[row]) for row in range(50, 60)})
        if not project.history():
            project.seed({row: str(TRUTH[row]) for row in range(6)})
        project.run(rounds=ROUNDS)
        if project.drift() is None:
            project.replace_pool(OTHER)
        project.run(rounds=ROUNDS + 1)
        project.promote()


def reopened(place, annotator):
    for pool in (X, OTHER):
        try:
            return pw.Project.open(place, pool, model=a_model(), annotator=annotator)
        except ValueError as error:
            assert "fingerprint" in str(error)  # noqa: PT017 - it is the other one, then
    raise AssertionError("neither pool is that of the project")


class Killer:
    """Ends this process at the n-th step: before each rename, removal and flush to disk, and around each commit."""

    def __init__(self, at):
        self.at, self.count = at, 0

    def step(self, *_):
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self):
        for owner, name in ((Path, "replace"), (os, "fsync"), (os, "rename"), (shutil, "rmtree")):
            setattr(owner, name, self._before(getattr(owner, name)))
        sa.event.listen(sa.Engine, "commit", self.step)
        inner = Store.write
        Store.write = self._committed(inner)

    def _before(self, function):
        def around(*arguments, **options):
            self.step()
            return function(*arguments, **options)

        return around

    def _committed(self, inner):
        from contextlib import contextmanager

        @contextmanager
        def write(store):
            with inner(store) as connection:
                yield connection
            self.step()

        return write


def driven(folder, at=0):
    folder.mkdir(exist_ok=True)
    killer = Killer(at)
    killer.watch()
    drive(folder)
    (folder / "steps").write_text(str(killer.count))


def outcome(folder):
    """What a project has come to, all but the times."""
    with pw.Project.join(folder / "project") as project:
        store = project._context.store
        with store.read() as connection:
            tables = {
                name: sorted(map(tuple, connection.execute(sa.text(f"select {columns} from {name}"))))
                for name, columns in (
                    ("asks", "round, row, rank, score, why, state"),
                    ("votes", "row, annotator, kind, label"),
                    ("rows", "row, held_out, answers, labels"),
                    ("counts", "name, count"),
                )
            }
        # Steps that a restart may repeat are events of their own.
        tables["counts"] = [count for count in tables["counts"] if count[0] != "events"]
        history = [(each.number, each.state, each.labelled, each.metrics) for each in project.history()]
        return {
            **tables,
            "history": history,
            "labels": project.labels().to_dict(),
            "drift": project.drift().to_dict(),
            "deployed": project.status().deployed,
            "asked": [json.loads(line)["id"] for line in (folder / "asked.jsonl").read_text().splitlines()],
        }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert in_a_child(driven, folder) == 0
    return folder, outcome(folder), int((folder / "steps").read_text())


def test_there_are_enough_points_to_be_killed_at(uninterrupted):
    _, found, steps = uninterrupted
    assert steps >= 200
    assert len(found["asked"]) == len(set(found["asked"])) == BATCH * (ROUNDS + 1)
    assert [each[1] for each in found["history"]] == ["trained"] * (ROUNDS + 2)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_killed_at_each_step_it_comes_to_the_same(uninterrupted, tmp_path, part):
    _, expected, steps = uninterrupted
    for at in range(1 + part, steps + 1, 8):
        folder = tmp_path / str(at)
        assert in_a_child(driven, folder, at) == -signal.SIGKILL
        assert in_a_child(driven, folder) == 0, f"after a kill at step {at}"
        found = outcome(folder)
        for name, value in expected.items():
            assert found[name] == value, f"{name}, after a kill at step {at} of {steps}"
        shutil.rmtree(folder)


def test_killed_again_and_again_it_comes_to_an_end(uninterrupted, tmp_path):
    """A process that gets some steps further each time."""
    _, expected, _ = uninterrupted
    for _ in range(50):
        if in_a_child(driven, tmp_path, 80) == 0:
            break
    assert outcome(tmp_path) == expected


def test_an_answer_that_was_acknowledged_is_there_after_a_kill(tmp_path):
    def record_and_die():
        with pw.Project.create(tmp_path / "p", X, model=a_model(), classes=["no", "yes"]) as project:
            tasks = project.ask(5)
            answers = [Annotation(key=task.key, id=task.id, label=str(TRUTH[task.id])) for task in tasks]
            assert project.record(answers).new == 5
            os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    assert in_a_child(record_and_die) == -signal.SIGKILL
    with pw.Project.open(tmp_path / "p", X, model=a_model()) as project:
        assert project.status().answers == 5
        project.collect()
        assert project.history()[-1].state == "closed"
    assert time.monotonic() - began < 60
