"""The same project on PostgreSQL: it comes to the same, and eight annotators at once lose and repeat nothing."""

from __future__ import annotations

import os
import shutil
import signal
import threading

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import pickwise as pw
from pickwise.annotators import Annotation, SimulatedAnnotators
from pickwise.loop import FunctionModel
from pickwise.loop.ledger import read_counts
from postgres_server import running

ROWS = 400
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 2))
TRUTH = np.where(X[:, 0] > 0, "yes", "no")


def fit(x, y):
    return np.stack([x[y == name].mean(0) for name in np.unique(y)])


def predict_proba(centers, x):
    away = np.exp(-((x[:, None] - centers) ** 2).sum(-1))
    return away / away.sum(1, keepdims=True)


def a_model():
    return FunctionModel(fit=fit, predict_proba=predict_proba)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("postgres")) as url:
        yield url


def created(folder, database="", **options):
    return pw.Project.create(
        folder, X, model=a_model(), classes=["no", "yes"], batch_size=10, seed=1, database=database, **options
    )


def told(project):
    project.hold_out({row: TRUTH[row] for row in range(300, ROWS)})
    project.run(rounds=4)
    history = [(each.number, each.state, each.asked, each.labelled, each.metrics) for each in project.history()]
    return history, project.labels().to_dict(), str(project.status())


def test_it_comes_to_the_same_as_with_sqlite(server, tmp_path):
    found = []
    for place, database in ((tmp_path / "a" / "same", ""), (tmp_path / "b" / "same", server)):
        with created(place, database, annotator=SimulatedAnnotators(TRUTH, error=0.1, annotators=2)) as project:
            found.append(told(project))
    assert found[0] == found[1]


def test_a_killed_process_leaves_it_as_it_was_and_free(server, tmp_path):
    ready, answer = os.pipe()
    child = os.fork()
    if child == 0:
        project = created(tmp_path / "killed", server)
        tasks = project.ask()
        project.record([Annotation(key=task.key, id=task.id, label=str(TRUTH[task.id])) for task in tasks[:7]])
        os.write(answer, b"x")
        signal.pause()
    assert os.read(ready, 1) == b"x"
    with pytest.raises(BlockingIOError, match="another process drives this project"):
        pw.Project.open(tmp_path / "killed", X, model=a_model())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(100):  # until the server has noticed
        try:
            project = pw.Project.open(tmp_path / "killed", X, model=a_model())
            break
        except BlockingIOError:
            threading.Event().wait(0.1)
    with project:
        assert project.status().answers == 7
        assert len(project.tasks()) == 3


def test_projects_of_one_database_know_nothing_of_each_other(server, tmp_path):
    with created(tmp_path / "one", server) as one, created(tmp_path / "two", server) as two:
        one.seed({0: "yes", 1: "no"})
        assert (one.status().labelled, two.status().labelled) == (2, 0)
    shutil.rmtree(tmp_path / "two")
    with pytest.raises(FileExistsError, match="expected no project 'two' there"):
        created(tmp_path / "two", server)


def test_a_project_may_be_called_as_it_likes(server, tmp_path):
    with created(tmp_path / "My Reviews-'2' \"ß\"", server) as one, created(tmp_path / "my_reviews", server) as two:
        one.seed({0: "yes", 1: "no"})
        assert (one.status().labelled, two.status().labelled) == (2, 0)


def test_a_reader_sees_one_state(server, tmp_path):
    with created(tmp_path / "state", server) as project, project._context.store.read() as connection:
        before = read_counts(connection)
        project.seed({0: "yes", 1: "no"})
        assert read_counts(connection) == before


def test_a_password_is_not_written_down(server, tmp_path):
    with pytest.raises(ValueError, match="expected a URL without a password"):
        created(tmp_path / "p", server.replace("pickwise@", "pickwise:geheim@"))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_eight_annotators_at_once(server, tmp_path, kind):
    """Each answers every row, in an order of his own, some of it twice, beside the process that drives."""
    folder = tmp_path / f"many_{kind}"
    with created(folder, server if kind == "postgresql" else "", overlap=8) as project:
        tasks = project.ask(40)
        children = []
        for number in range(8):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    annotate(folder, tasks, number)
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
        status = project.status()
        assert (status.answers, status.labelled, status.open) == (320, 40, 0)
        assert status.classes == {name: 8 * sum(TRUTH[task.id] == name for task in tasks) for name in ("no", "yes")}
        project.collect()
        assert project.fit().labelled == 40
        table = project.labels()
        assert set(table.answers.tolist()) == {8}
        assert all(table.to_dict()[task.id] == TRUTH[task.id] for task in tasks)


def annotate(folder, tasks, number):
    with pw.Project.join(folder) as project:
        order = np.random.default_rng(number).permutation(len(tasks))
        for some in np.array_split(order, 8):
            answers = [
                Annotation(
                    key=f"{number}:{tasks[place].key}",
                    id=tasks[place].id,
                    label=str(TRUTH[tasks[place].id]),
                    annotator=f"annotator {number}",
                )
                for place in some
            ]
            assert project.record(answers).new == len(some)
            assert project.record(answers[:2]).repeated == 2
