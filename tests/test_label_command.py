"""``pickwise label``, and the page in notebooks: what they say, what they refuse, and how they drive a project."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("sqlalchemy")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import httpx

import pickwise as pw
from label_pages import Person, created, served, votes, wait_for
from small_project import in_a_child, needs_fork


@pytest.fixture(autouse=True)
def _all_leave():
    yield
    Person.leave()


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
            ({"port": taken.getsockname()[1]}, "something else uses it; take another --port"),
            ({"host": "no.such.host.invalid"}, "host: expected the name or the address of this machine"),
            ({"media": tmp_path / "nowhere"}, "media: expected a folder"),
            ({"highlight": "("}, "highlight: expected a regular expression"),
            ({"guidelines": tmp_path / "latin.txt"}, "expected text in UTF-8"),
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
        for name in [name for name in sys.modules if name.startswith("pickwise.annotators.page")]:
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
