"""The risk: a project that waits for answers misses some, gives up when a server is away, or cannot be stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("sqlalchemy")

import pickwise as pw
from loop_commands import TRUTH as NAMED
from loop_commands import begin, fill_in, folder, run, status  # noqa: F401
from pickwise.annotators import FileAnnotator, SimulatedAnnotators
from small_project import TRUTH, answers, made


def test_answers_that_come_late_are_waited_for(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(TRUTH, delay=3)) as project:
        assert project.run(rounds=2) == "6 rows have no answer yet"
        assert project.run(rounds=2, every=0.001) == "2 of 2 rounds are done"
        assert project.status().labelled == 12


def test_a_folder_is_watched(tmp_path):
    annotator = FileAnnotator(tmp_path / "tasks", "csv", id_type=int)

    def people():
        for number in (1, 2):
            while not (found := list((tmp_path / "tasks").glob(f"tasks-{number}-*.csv"))):
                time.sleep(0.01)
            (tmp_path / "tasks" / "answers").mkdir(exist_ok=True)
            lines = found[0].read_text().splitlines()[1:]
            ids = [int(line.split(",")[1]) for line in lines]
            text = "".join(f"{row},{TRUTH[row]}\n" for row in ids)
            (tmp_path / "tasks" / "answers" / f"{number}.csv").write_text("id,label\n" + text)

    working = threading.Thread(target=people)
    with made(tmp_path / "p", annotator=annotator) as project:
        working.start()
        assert project.run(rounds=2, every=0.05) == "2 of 2 rounds are done"
        working.join()
        assert project.status().labelled == 12


def test_answers_of_other_processes_are_seen(tmp_path):
    def other():
        for number in (1, 2):
            with pw.Project.join(tmp_path / "p") as joined:
                while (joined.status().round or 0) < number or not (tasks := joined.tasks()):
                    time.sleep(0.01)
                joined.record(answers(tasks))

    working = threading.Thread(target=other)
    with made(tmp_path / "p", annotator=None) as project:
        working.start()
        assert project.run(rounds=2, every=0.02) == "2 of 2 rounds are done"
        working.join()


class Away(SimulatedAnnotators):
    """Is not reached for a while, at whatever is asked of it."""

    def __init__(self, times):
        super().__init__(TRUTH)
        self.times = times

    def push(self, tasks):
        self.fail("push")
        super().push(tasks)

    def poll(self, cursor):
        self.fail("poll")
        return super().poll(cursor)

    def wait(self, seconds):
        self.fail("wait")
        time.sleep(seconds)

    def fail(self, what):
        if self.times.get(what, 0):
            self.times[what] -= 1
            raise ConnectionError(f"no {what}")


def test_an_annotator_that_is_away_is_tried_again(tmp_path):
    away = Away({"push": 1, "poll": 2, "wait": 1})
    with made(tmp_path / "p", annotator=away) as project, pytest.warns(UserWarning, match="tried again") as told:
        assert project.run(rounds=2, every=0.01) == "2 of 2 rounds are done"
    assert [str(each.message) for each in told][:2] == [
        "no push; tried again in 0.01 seconds",
        "no poll; tried again in 0.01 seconds",
    ]
    assert away.times == {"push": 0, "poll": 0, "wait": 1}
    with made(tmp_path / "q", annotator=Away({"push": 1})) as project:
        with pytest.raises(ConnectionError, match="no push"):
            project.run(rounds=2)
        assert project.run(rounds=2) == "2 of 2 rounds are done"


def test_an_annotator_that_is_told_of_answers_is_not_slept_through(tmp_path):
    waited = []

    class Told(SimulatedAnnotators):
        def wait(self, seconds):
            waited.append(seconds)

    with made(tmp_path / "p", annotator=Told(TRUTH, delay=2)) as project:
        assert project.run(rounds=1, every=3600) == "1 of 1 rounds are done"
    assert waited == [3600, 3600]


@pytest.mark.parametrize(
    ("every", "message"),
    [(0, "every: expected seconds, got 0"), (-1.0, "got -1.0"), (float("nan"), "got nan"), (True, "expected a number")],
)
def test_pauses_that_are_none(tmp_path, every, message):
    with made(tmp_path / "p") as project:
        with pytest.raises((ValueError, TypeError), match=message):
            project.run(every=every)
        assert project.history() == []


def test_the_command_waits_until_it_is_stopped_and_goes_on_where_it_was(folder):  # noqa: F811
    begin(folder)
    command = [sys.executable, "-m", "pickwise", "project", "run", "spam", "--every", "0.2"]
    waiting = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for number in (1, 2):
            deadline = time.monotonic() + 60
            while status(folder)["round"] != number or status(folder)["state"] not in ("asked", "collecting"):
                assert time.monotonic() < deadline
                assert waiting.poll() is None
                time.sleep(0.1)
            if number == 1:
                with pw.Project.join(folder / "spam") as joined:
                    lines = "".join(f"{task.id},{NAMED[task.id]}\n" for task in joined.tasks())
                (folder / "answers.csv").write_text("id,label\n" + lines, encoding="utf-8")
                run(folder, "collect", "spam", "--labels", "answers.csv")
    finally:
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=60)
    assert waiting.returncode == 130, told
    assert "answers are looked for every 0.2 seconds" in told
    assert "round 1: a model of 8 labelled rows" in told
    assert "Traceback" not in told
    assert status(folder)["round"] == 2
