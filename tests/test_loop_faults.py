"""What goes wrong around a project: others on it, full disks, changed files, clocks and models that fail."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import sqlalchemy as sa
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import CallbackAnnotator, SimulatedAnnotators
from pickwise.loop import FunctionModel
from small_project import ROWS, TRUTH, X, answers, asked, in_a_child, made, needs_fork, opened

OTHER = np.concatenate([X, X[:20] + 4])


# Others on the same project.


def test_one_process_drives_and_others_read_and_record(tmp_path, run_python):
    with made(tmp_path / "p", annotator=None) as project:
        project.ask()
        said = run_python(
            """
            import sys
            import pickwise as pw
            from pickwise.annotators import Annotation
            try:
                pw.Project.open(sys.argv[1])
            except BlockingIOError as error:
                print(error)
            with pw.Project.join(sys.argv[1]) as project:
                tasks = project.tasks()
                answers = [Annotation(key=task.key, id=task.id, label="yes") for task in tasks]
                print(project.record(answers).new, project.status().open)
            """,
            tmp_path / "p",
        ).splitlines()
        assert "another process drives this project" in said[0]
        assert "Project.join" in said[0]
        assert said[1] == "6 0"
        project.collect()
        assert project.history()[-1].state == "closed"


def test_who_joins_cannot_drive(tmp_path):
    made(tmp_path / "p").close()
    with pw.Project.join(tmp_path / "p") as project:
        for verb in ("ask", "collect", "fit", "step", "run", "close_round", "promote", "rollback"):
            with pytest.raises(AttributeError, match=r"Project\.open"):
                getattr(project, verb)()
        with pytest.raises(AttributeError, match=r"Project\.open"):
            project.seed({0: "yes"})


def test_the_same_process_cannot_open_it_twice(tmp_path):
    with made(tmp_path / "p") as project:
        with pytest.raises(BlockingIOError, match="drives this project"):
            opened(tmp_path / "p")
        project.ask()
    opened(tmp_path / "p").close()


def test_a_driver_that_is_killed_leaves_the_project_free_at_once(tmp_path):
    made(tmp_path / "p").close()
    code = """
    import sys, time
    import pickwise as pw
    import numpy as np
    project = pw.Project.open(sys.argv[1], np.load(sys.argv[2]), model="sklearn.linear_model.LogisticRegression")
    project.ask()
    print("open", flush=True)
    time.sleep(60)
    """
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-c", "\n".join(line[4:] for line in code.splitlines())]
    child = subprocess.Popen([*command, tmp_path / "p", tmp_path / "x.npy"], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout.readline() == "open\n"
        with pytest.raises(BlockingIOError):
            opened(tmp_path / "p")
        child.send_signal(signal.SIGKILL)
        child.wait()
    with opened(tmp_path / "p") as project:
        assert project.status().state == "asked"
        assert len(project.tasks()) == 6


@needs_fork
def test_a_fork_records_and_leaves_the_parent_in_charge(tmp_path):
    def record():
        assert project.record(answers(tasks)).new == 6
        project.close()

    def refused():
        with pytest.raises(BlockingIOError):
            opened(tmp_path / "p")

    with made(tmp_path / "p", annotator=None) as project:
        tasks = project.ask()
        assert in_a_child(record) == 0
        # The child has closed what it had; the parent drives on, alone.
        assert in_a_child(refused) == 0
        assert project.status().answers == 6
        project.collect()
        assert project.fit().state == "trained"


def test_the_lock_is_free_after_an_open_that_failed(tmp_path):
    made(tmp_path / "p").close()
    with pytest.raises(ValueError, match="fingerprint"):
        opened(tmp_path / "p", pool=OTHER)
    opened(tmp_path / "p").close()


# Files.


def test_a_project_can_be_moved(tmp_path):
    with made(tmp_path / "p", pool=X) as project:
        project.run(rounds=1)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "p", tmp_path / "elsewhere" / "q")
    with made(tmp_path / "whole") as project:
        project.run(rounds=3)
    with opened(tmp_path / "elsewhere" / "q") as project:
        assert project.name == "p"
        project.run(rounds=3)
    assert asked(tmp_path / "elsewhere" / "q") == asked(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_a_pool_can_be_moved(tmp_path, kind):
    pl = pytest.importorskip("polars")
    told, (there, here) = {}, (tmp_path / f"{name}.{kind}" for name in ("pool", "moved"))
    if kind == "npy":
        np.save(there, X)
    else:
        pl.DataFrame({"id": np.arange(ROWS), "a": X[:, 0], "b": X[:, 1]}).write_parquet(there)
        told = {"id": "id"}
    with made(tmp_path / "p", pool=there, **told) as project:
        project.run(rounds=1)
    there.rename(here)
    with pytest.raises(FileNotFoundError, match="pool"):
        opened(tmp_path / "p", pool=None)
    with opened(tmp_path / "p", pool=here) as project:
        project.run(rounds=2)
    # It is remembered where it is now.
    with opened(tmp_path / "p", pool=None) as project:
        assert project.settings.pool == str(here)
        project.run(rounds=3)
    rows = [row for _, row in asked(tmp_path / "p")]
    assert len(rows) == len(set(rows)) == 18


def test_a_changed_pool_is_refused_with_a_way_on(tmp_path):
    with made(tmp_path / "p") as project:
        project.run(rounds=1)
    changed = X.copy()
    changed[3, 1] += 1
    for other in (changed, X[:-1], X.astype(np.float32), X[::-1].copy(), OTHER):
        with pytest.raises(ValueError, match=r"fingerprint .*replace_pool"):
            opened(tmp_path / "p", pool=other)
    # The way: with the old one, then replace it.
    annotator = SimulatedAnnotators(TRUTH + ["yes"] * 20)
    with opened(tmp_path / "p", annotator=annotator) as project:
        project.replace_pool(OTHER)
        project.run(rounds=2)
    with opened(tmp_path / "p", pool=OTHER, annotator=annotator) as project:
        project.run(rounds=3)


def test_a_project_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Project\.create"):
        opened(tmp_path / "p")
    (tmp_path / "p").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Project\.create"):
        pw.Project.join(tmp_path / "p")


def test_a_project_is_not_made_over_another(tmp_path):
    made(tmp_path / "p").close()
    with pytest.raises(FileExistsError, match=r"Project\.open"):
        made(tmp_path / "p")


# The clock, and being interrupted.


def test_times_never_go_back_though_the_clock_does(tmp_path, monkeypatch):
    clock = iter(np.linspace(2_000_000_000, 1_000_000_000, 10_000).tolist())
    monkeypatch.setattr("pickwise.loop.store.time.time", lambda: next(clock))
    with made(tmp_path / "p") as project:
        project.run(rounds=3)
        with project._context.store.read() as connection:
            times = list(connection.scalars(sa.text("select at from events order by number")))
        rounds = project.history()
    assert len(times) > 20
    assert times == sorted(times)
    for each in rounds:
        assert each.planned_at <= each.closed_at <= each.trained_at
    assert [each.number for each in sorted(rounds, key=lambda each: (each.planned_at, each.number))] == [1, 2, 3]


def interrupting(function, at):
    """Make a function that is interrupted, as by Ctrl-C, at its n-th call."""
    calls = 0

    def around(*arguments):
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return function(*arguments)

    return around


@pytest.mark.parametrize("where", ["fit", "predict_proba", "annotator"])
@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_after_ctrl_c_the_project_goes_on(tmp_path, where, at):
    def model(interrupted=False):
        functions = {
            "fit": lambda x, y: LogisticRegression().fit(x, y),
            "predict_proba": lambda m, x: m.predict_proba(x),
        }
        if interrupted and where in functions:
            functions[where] = interrupting(functions[where], at)
        return FunctionModel(**functions)

    def annotator(interrupted=False):
        answer = lambda task: TRUTH[task.id]  # noqa: E731
        return CallbackAnnotator(interrupting(answer, at) if interrupted and where == "annotator" else answer)

    with made(tmp_path / "whole", model=model(), annotator=annotator()) as project:
        project.run(rounds=3)
        expected = project.labels().to_dict()
    project = made(tmp_path / "p", model=model(interrupted=True), annotator=annotator(interrupted=True))
    with project:
        try:
            project.run(rounds=3)
        except KeyboardInterrupt:
            pass
        else:
            assert (where, at) in {("fit", 5), ("fit", 9)}
        # In the same object, as in a notebook.
        project.run(rounds=3)
        assert project.labels().to_dict() == expected
    assert asked(tmp_path / "p") == asked(tmp_path / "whole")
    with opened(tmp_path / "p", model=model(), annotator=annotator()) as project:
        project.run(rounds=4)


# A pool that is replaced.


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_killed_while_a_pool_is_replaced_there_is_a_way_on(tmp_path, monkeypatch, kind):
    old, new = X, OTHER
    if kind == "files":
        old, new = tmp_path / "old.npy", tmp_path / "new.npy"
        np.save(old, X)
        np.save(new, OTHER)
    annotator = lambda: SimulatedAnnotators(TRUTH + ["yes"] * 20)  # noqa: E731
    with made(tmp_path / "p", pool=old, annotator=annotator()) as project:
        project.run(rounds=2)
        before = asked(tmp_path / "p")
        with monkeypatch.context() as patch:
            patch.setattr("pickwise.loop.changing.set_fact", interrupting(None, 1))
            with pytest.raises(KeyboardInterrupt):
                project.replace_pool(new)
    # The settings say one thing, the database the other.
    with pytest.raises(ValueError, match=r"fingerprint .*replace_pool"):
        opened(tmp_path / "p", pool=None if kind == "files" else new, annotator=annotator())
    with opened(tmp_path / "p", pool=old, annotator=annotator()) as project:
        assert project.drift() is None
        drift = project.replace_pool(new)
        assert drift is not None
        project.run(rounds=3)
    with opened(tmp_path / "p", pool=None if kind == "files" else new, annotator=annotator()) as project:
        project.run(rounds=4)
    rows = asked(tmp_path / "p")
    assert rows[: len(before)] == before
    assert len(rows) == len({row for _, row in rows}) == 24


def test_the_report_of_a_project_in_any_state(tmp_path):
    with made(tmp_path / "p") as project:
        project.report()
        project.ask()
        project.report()
        project.collect()
        project.report()
        project.fit()
        assert project.report().stat().st_size > 1000


def test_a_relative_pool_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    np.save("pool.npy", X)
    with made("p", "pool.npy") as project:
        assert project.settings.pool == "../pool.npy"
        asked = [task.id for task in project.ask(5)]
    monkeypatch.chdir(tmp_path)
    with pw.Project.open("work/p", model=LogisticRegression()) as project:
        assert [task.id for task in project.tasks()] == asked


def test_two_that_make_a_project_in_one_folder_do_not_remove_each_others_database(tmp_path):
    from filelock import FileLock

    folder = tmp_path / "p"
    folder.mkdir()
    with FileLock(folder / ".lock"):  # another process is about to make it
        (folder / "project.db").write_text("what it has written")
        with pytest.raises(BlockingIOError, match="another process"):
            made(folder)
        assert (folder / "project.db").read_text() == "what it has written"
    made(folder).close()


def test_manifests_are_a_chain(tmp_path):
    with made(tmp_path / "p") as project:
        project.run(rounds=3)
        assert project.verify() == []
    path = tmp_path / "p" / "rounds" / "0002" / "manifest.json"
    path.write_text(path.read_text().replace('"seed": ', '"seed": 1'))
    with pw.Project.join(tmp_path / "p") as joined:
        assert joined.verify() == ["rounds/0003/manifest.json: changed, or the manifest before it"]
        (path.parent / "labels.parquet").unlink()
        assert "rounds/0002/labels.parquet: missing" in joined.verify()


def test_what_a_killed_create_left_is_made_anew(tmp_path):
    folder = tmp_path / "p"
    made(folder).close()
    (folder / "project.toml").unlink()
    made(folder).close()
    (folder / "notes.txt").write_text("mine")
    (folder / "project.toml").unlink()
    with pytest.raises(FileExistsError):
        made(folder)
