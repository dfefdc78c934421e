"""``pickwise label``, and the page in notebooks: what they say, what they refuse, and how they drive a project."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest

import label_pages
import pickwise as pw
from label_pages import Person, created, served, votes, wait_for
from pickwise.loop import FunctionModel
from pickwise.loop.page import serve
from small_project import in_a_child, needs_fork

httpx = pytest.importorskip("httpx")
all_leave = label_pages.all_leave


def test_a_notebook_shows_the_page_and_no_log_the_token(tmp_path) -> None:
    with served(tmp_path / "project") as (_, server):
        assert "token" not in repr(server)
        assert server.url in server._repr_html_()
        assert "frame-ancestors http://localhost:*" in httpx.get(server.url).headers["content-security-policy"]
        url = server.url
    with pytest.raises(httpx.TransportError):
        httpx.get(url)


def test_options_that_make_no_sense(tmp_path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xff")
    with created(tmp_path / "project") as project, closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for options, message in [
            ({"port": taken.getsockname()[1]}, "something else uses it; take another port"),
            ({"host": "no.such.host.invalid"}, "host: expected the name or the address of this machine"),
            ({"media": tmp_path / "nowhere"}, "media: expected a folder"),
            ({"highlight": "("}, "highlight: expected a regular expression"),
            ({"guidelines": tmp_path / "latin.txt"}, "expected text in UTF-8"),
            ({"host": ""}, "host: expected the name or the address of this machine"),
            ({"allow_hosts": ["proxy.example:8443"]}, "allow_hosts: expected names without ports"),
            ({"allow_hosts": ["http://proxy.example"]}, "allow_hosts: expected names without ports"),
            ({"lease": 0}, "lease: expected 1 to 86400 seconds"),
            ({"show": ["text"]}, "show: expected a pool that is a table in files"),
        ]:
            with pytest.raises((ValueError, OSError), match=re.escape(message)):
                project.label(**options)
        with pytest.raises(FileNotFoundError):
            project.label(guidelines=tmp_path / "nowhere.md")


def a_folder(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    x = np.random.default_rng(0).normal(size=(80, 2))
    words = [f"text {row}" for row in range(80)]
    pq.write_table(pa.table({"doc": words, "text": words, "a": x[:, 0], "b": x[:, 1]}), tmp_path / "pool.parquet")
    model = "sklearn.linear_model.LogisticRegression"
    told = {"id": "doc", "columns": ["a", "b"], "classes": ["ham", "spam"], "batch_size": 20, "model": model}
    return pw.Project.create(tmp_path / "project", tmp_path / "pool.parquet", **told)


def started(tmp_path, *arguments):
    command = [sys.executable, "-m", "pickwise", "label", "project", "--port", "0", *arguments]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_people_go_on_while_a_model_learns(tmp_path) -> None:
    learns, may_end = threading.Event(), threading.Event()

    def fit(*_):
        learns.set()
        assert may_end.wait(30)

    model = FunctionModel(fit=fit, predict_proba=lambda _, x: np.full((len(x), 2), 0.5), classes=["ham", "spam"])
    told = {"rows": 4, "classes": ["ham", "spam"], "model": model}
    with created(tmp_path / "project", np.eye(12), **told) as project, pw.Project.join(project.folder) as joined:
        project.ask()
        with serve(joined, watch=project, low=1) as server:
            anna = Person(server)
            tasks = anna.next(want=4)
            for task, label in zip(tasks[:3], ["ham", "spam", "ham"], strict=True):
                anna.answer(task["key"], label, want=0)
            try:
                assert learns.wait(10)
                anna.client.timeout = 5
                assert anna.undo(tasks[0]["key"]).status_code == 200
                assert len(anna.post("/api/history").json()["answers"]) >= 2
                assert anna.answer(tasks[3]["key"], "spam").status_code == 200  # it has stayed
            finally:
                may_end.set()


def test_a_round_is_not_ended_before_anybody_has_answered(tmp_path) -> None:
    with created(tmp_path / "project", rows=4, batch_size=2) as project, pw.Project.join(project.folder) as joined:
        with pytest.raises(ValueError, match=r"low: expected fewer than the 2 rows of a round, got 2"):
            serve(joined, watch=project, low=2)
        project.ask(1)
        with serve(joined, watch=project, low=1) as server:
            time.sleep(1.5)
            assert project.status().round == 1
            anna = Person(server)
            assert anna.answer(anna.next()[0]["key"], want=0).status_code == 200
            wait_for(lambda: project.status().round == 2)


@pytest.mark.skipif(os.name == "nt", reason="sends signals")
def test_the_command_drives_the_project_while_people_label(tmp_path) -> None:
    a_folder(tmp_path).close()
    child = started(tmp_path, "--watch", "--low", "2", "--show", "text")
    try:
        anna = Person(child.stdout.readline().strip())
        wait_for(lambda: anna.next(want=1), 30)
        done, rounds = 0, set()
        end = time.monotonic() + 40
        while done < 50 and time.monotonic() < end:
            tasks = anna.next(want=1)
            if not tasks:
                time.sleep(0.05)
                continue
            (task,) = tasks
            rounds.add(task["round"])
            assert task["parts"][0]["pieces"][0][0] == f"text {task['id'].split()[1]}"
            label = "spam" if int(task["id"].split()[1]) % 2 else "ham"
            assert anna.answer(task["key"], label, want=0).status_code == 200
            done += 1
        assert done == 50
        assert rounds == {1, 2, 3}
        assert task["suggestions"]
        last = done
    finally:
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=30)[1]
    assert child.returncode == 0, said
    assert "round 1: a model of " in said
    assert "ended; all answers are saved" in said
    assert anna.token not in said
    assert len(votes(tmp_path / "project")) == last


@pytest.mark.parametrize("kind", ["in memory", "gone"])
def test_why_there_is_nothing_to_look_at_is_told(tmp_path, kind: str) -> None:
    pool = tmp_path / "pool.npy"
    np.save(pool, np.eye(4))
    created(tmp_path / "project", np.eye(4) if kind == "in memory" else pool, rows=2).close()
    pool.unlink()
    told = []
    with pw.Project.join(tmp_path / "project") as joined, serve(joined, tell=told.append):
        pass
    why = {
        "in memory": "the pool is in the memory of the process that has made the project; serve the page there, with "
        "project.label()",
        "gone": "the pool cannot be read (",
    }
    assert len(told) == 1
    assert told[0].startswith(f"people see nothing of a row but its id: {why[kind]}")
    assert ("pool.npy" in told[0]) is (kind == "gone")


def test_a_row_that_is_gone_hides_no_other(tmp_path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    with a_folder(tmp_path) as project:
        ids = sorted(str(task.id) for task in project.ask())
    table = pq.read_table(tmp_path / "pool.parquet")
    keep = [name != ids[0] for name in table["doc"].to_pylist()]
    pq.write_table(table.filter(keep), tmp_path / "pool.parquet")
    with pw.Project.join(tmp_path / "project") as joined, serve(joined) as server:
        shown = {task["id"]: task["parts"][0]["type"] for task in Person(server).next(want=20)}
    assert shown == {name: "missing" if name == ids[0] else "table" for name in ids}


def test_the_command_beside_the_process_that_drives(tmp_path) -> None:
    with a_folder(tmp_path) as project:
        project.ask()
        child = started(tmp_path, "--watch")
        try:
            anna = Person(child.stdout.readline().strip())
            (task,) = anna.next()
            assert anna.answer(task["key"], "ham").status_code == 200
            assert project.status().answers == 1
        finally:
            child.send_signal(signal.SIGTERM)
            said = child.communicate(timeout=30)[1]
    assert "another process drives this project, so it is not driven here" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 1, "nowhere: no project there; 'pickwise project init' makes one"),
        (["project", "--low", "3"], 2, "expected --watch with it"),
        (["project", "--low", "20", "--watch"], 1, "--low: expected fewer than the 20 rows of a round, got 20"),
        (["project", "--allow-host", "a:1"], 1, "--allow-host: expected names without ports, got 'a:1'"),
        (["project", "--highlight", "("], 1, "--highlight: expected a regular expression"),
        (["project", "--media", "nowhere"], 1, "--media: expected a folder, got nowhere"),
        (["project", "--guidelines", "nowhere.md"], 1, "nowhere.md: No such file or directory"),
        (["project", "--port", "99999"], 2, "--port"),
        (["project", "--show", "txt"], 1, "txt"),
    ],
)
def test_what_the_command_refuses(tmp_path, monkeypatch, capsys, arguments, code: int, message: str) -> None:
    from pickwise import cli

    a_folder(tmp_path).close()
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["pickwise", "label", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().err
    assert ended.value.code == code
    assert message in said
    assert "Traceback" not in said


@needs_fork
def test_without_the_extra_it_says_what_to_install(tmp_path) -> None:
    created(tmp_path / "project").close()

    def child() -> None:
        sys.modules["uvicorn"] = None
        for name in [
            name
            for name in sys.modules
            if name.startswith(("pickwise.annotators.page", "pickwise.annotators.listening"))
        ]:
            del sys.modules[name]
        with pw.Project.join(tmp_path / "project") as project, pytest.raises(ImportError, match=r"pickwise\[label\]"):
            project.label()

    assert in_a_child(child) == 0


def test_nothing_of_the_page_is_imported_before_it_is_served(run_python) -> None:
    code = """
    import sys
    import pickwise.loop, pickwise.annotators
    print([name for name in ("starlette", "uvicorn", "pickwise.annotators.page.app") if name in sys.modules])
    """
    assert run_python(code) == "[]"
