"""Answers at the page for labelling: rows are lent to as many as asked for; no answer is lost, or counted twice."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import defaultdict

import numpy as np
import pytest

import label_pages
import pickwise as pw
import postgres_server
from label_pages import CLASSES, Person, created, served, votes, wait_for
from pickwise.annotators.page.leases import Holder, Leases
from pickwise.annotators.page.source import Asked

httpx = pytest.importorskip("httpx")
all_leave = label_pages.all_leave


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request, tmp_path_factory):
    """Where the answers are kept."""
    if request.param == "sqlite":
        yield ""
        return
    with postgres_server.running(tmp_path_factory.mktemp("postgres")) as url:
        yield url


ANNA, BEN = Holder("anna", "one"), Holder("ben", "two")


# ---- Leases.


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue_of(count, overlap=1, clock=None):
    leases = Leases(10, clock or Clock())
    leases.replace(Asked(key=f"1/{row}", round=1, rank=row, overlap=overlap) for row in range(count))
    leases.give(pw.annotators.Task(key=f"1/{row}", id=row, round=1, rank=row, score=0) for row in range(count))
    return leases


def keys(taken):
    return [task.key for task in taken.tasks]


def test_a_row_is_lent_to_one_and_comes_back_when_its_lease_is_over() -> None:
    clock = Clock()
    leases = queue_of(3, clock=clock)
    assert keys(leases.take(ANNA, [], 2)) == ["1/0", "1/1"]
    assert keys(leases.take(BEN, [], 2)) == ["1/2"]
    clock.now = 9
    assert leases.take(ANNA, ["1/0"], 1) == ([], [])
    clock.now = 11
    assert keys(leases.take(BEN, ["1/2"], 3)) == ["1/1"]
    assert leases.take(ANNA, ["1/0", "1/1"], 2).gone == ["1/1"]
    assert leases.may_answer("1/0", ANNA)
    assert not leases.may_answer("1/1", ANNA)


def test_nobody_gets_a_row_twice_and_no_row_too_many() -> None:
    leases = queue_of(1, overlap=2)
    assert keys(leases.take(ANNA, [], 1)) == ["1/0"]
    assert keys(leases.take(Holder("anna", "another page"), [], 1)) == []
    assert keys(leases.take(BEN, [], 1)) == ["1/0"]
    assert keys(leases.take(Holder("cleo", "three"), [], 1)) == []
    leases.answered("1/0", "anna")
    assert keys(leases.take(ANNA, [], 1)) == []
    assert leases.progress() == (1, 0)
    leases.answered("1/0", "ben")
    assert leases.progress() == (1, 1)
    leases.withdraw("1/0", BEN)
    assert leases.progress() == (1, 0)
    assert keys(leases.take(Holder("cleo", "three"), [], 1)) == []  # it is ben's again


def test_rows_of_a_round_that_was_closed_early_stay_with_people() -> None:
    leases = queue_of(3)
    leases.take(ANNA, [], 1)
    leases.answered("1/2", "ben")
    leases.keep(1)
    leases.replace([Asked(key="2/9", round=2, rank=0)])
    assert [key for key in ("1/0", "1/1", "1/2", "2/9") if key in leases] == ["1/0", "1/1", "2/9"]
    assert leases.may_answer("1/0", ANNA)


def test_who_takes_back_an_answer_that_was_not_saved_takes_the_row_from_nobody() -> None:
    leases = queue_of(1)
    assert keys(leases.take(BEN, [], 1)) == ["1/0"]
    leases.withdraw("1/0", ANNA)
    assert leases.take(BEN, ["1/0"], 1).gone == []
    assert leases.may_answer("1/0", BEN)
    assert not leases.may_answer("1/0", ANNA)


# ---- Answers.


def test_answers_repeated_corrected_and_taken_back(tmp_path) -> None:
    place = tmp_path / "project"
    with served(place, rows=3, overlap=2) as (project, server):
        anna = Person(server)
        (task,) = anna.next()
        key, row = task["key"], task["id"]
        first = anna.answer(key, "ham", key="the-first-one", seconds=2.5, want=1)
        assert first.json()["saved"] == "the-first-one"
        assert first.json()["tasks"][0]["key"] != key
        assert votes(place) == [(row, "anna", "label", '"ham"')]
        assert anna.answer(key, "ham", key="the-first-one").status_code == 200
        assert project.status().answers == 1
        assert anna.answer(key, "spam").status_code == 200
        assert anna.answer(key, "ham", key="the-first-one").status_code == 200  # late, and known
        assert votes(place) == [(row, "anna", "label", '"spam"')]
        told = anna.undo(key).json()
        assert told["withdrawn"] is True
        assert told["task"]["key"] == key
        assert votes(place) == [(row, "anna", "withdrawn", None)]
        assert anna.answer(key, kind="abstain").status_code == 200
        assert votes(place) == [(row, "anna", "abstain", None)]
        assert [each["kind"] for each in anna.post("/api/history").json()["answers"]] == ["abstain"]
        assert Person(server, "ben").post("/api/history").json()["answers"] == []
        assert anna.undo("1/999").status_code == 404


def test_what_is_sent_again_late_changes_nothing(tmp_path) -> None:
    place = tmp_path / "project"
    with served(place, rows=1) as (_, server):
        anna = Person(server)
        (task,) = anna.next()

        def undo():
            told = {"session": anna.session, "item": task["key"], "key": "the-first-undo"}
            return anna.post("/api/undo", **told).json()["progress"]["done"]

        def answer(key):
            return anna.answer(task["key"], key=key, want=0).json()["progress"]["done"]

        assert (answer("the-first-answer"), undo()) == (1, 0)
        assert answer("the-first-answer") == 0
        assert [kind for _, _, kind, _ in votes(place)] == ["withdrawn"]
        assert (answer("the-second-answer"), undo()) == (1, 1)
        assert [kind for _, _, kind, _ in votes(place)] == ["label"]


def test_a_correction_counts_though_the_clock_went_back(tmp_path, monkeypatch) -> None:
    place, real = tmp_path / "project", time.time
    with served(place, rows=1) as (project, server):
        anna = Person(server)
        assert anna.answer(anna.next()[0]["key"], "ham").status_code == 200
        with monkeypatch.context() as patch, project.label() as another:
            patch.setattr(time, "time", lambda: real() - 3600)
            assert Person(another).answer("1/0", "spam").status_code == 200
    assert [label for _, _, _, label in votes(place)] == ['"spam"']


def test_history_and_corrections_of_a_round_that_is_closed(tmp_path) -> None:
    place = tmp_path / "project"
    with served(place, rows=3) as (project, server):
        anna = Person(server)
        tasks = anna.next(want=3)
        for task, label in zip(tasks, CLASSES, strict=True):
            anna.answer(task["key"], label)
        project.collect()
        assert project.status().state == "closed"
        wait_for(lambda: server.leases.progress().asked == 0)
        given = anna.post("/api/history").json()["answers"]
        assert [each["label"] for each in given] == CLASSES[::-1]
        assert given[0]["task"]["parts"]
        assert anna.undo(given[0]["task"]["key"]).json()["withdrawn"] is False  # nobody would be asked again
        assert anna.answer(given[0]["task"]["key"], "ham").status_code == 200
        assert Person(server, "ben").answer(given[0]["task"]["key"], "ham").status_code == 409
        assert sorted(project.labels().to_dict().values()) == ["ham", "ham", "spam"]


def test_answers_from_elsewhere_reach_the_queue(tmp_path) -> None:
    with served(tmp_path / "project", rows=4) as (project, server):
        held = Person(server).next()[0]["key"]
        others = [task for task in project.tasks() if task.key != held]
        with pw.Project.join(tmp_path / "project") as joined:
            joined.record(
                [pw.annotators.Annotation(key=f"x{task.id}", id=task.id, label="ham", annotator="x") for task in others]
            )
        wait_for(lambda: server.leases.progress().done == 3)
        assert Person(server, "ben").next(want=4) == []


def people_at_work(servers, names, overlap_seen, errors) -> list[threading.Thread]:
    end = time.monotonic() + 30

    def work(person: Person, seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            have: list[str] = []
            while time.monotonic() < end:
                have += [task["key"] for task in person.next(have, want=3) if task["key"] not in have]
                if not have:
                    return
                item = have.pop(int(rng.integers(len(have))))
                kind = "skip" if rng.random() < 0.1 else "label"
                key = f"{person.session}-{item.replace('/', '-')}"
                reply = person.answer(item, CLASSES[int(rng.integers(3))], kind=kind, key=key, want=0)
                if rng.random() < 0.1:
                    assert person.answer(item, "ham", key=key, want=0).status_code in (200, 409)
                if reply.status_code == 200:
                    overlap_seen[item].add(person.name)
                else:
                    assert reply.status_code == 409, reply.text
        except Exception as error:  # noqa: BLE001 - threads must not end in silence
            errors.append(error)

    people = [Person(servers[place % len(servers)], name) for place, name in enumerate(names)]
    return [threading.Thread(target=work, args=(person, place)) for place, person in enumerate(people)]


@pytest.mark.parametrize("pages", [1, 2])
def test_twenty_people_lose_nothing_and_repeat_nothing(tmp_path, database: str, pages: int) -> None:
    place, rows, overlap = tmp_path / f"twenty-{pages}", 60, 2
    seen, errors = defaultdict(set), []
    with served(place, rows=rows, overlap=overlap, database=database) as (project, server):
        with project.label() as another:
            threads = people_at_work([server, another][:pages], [f"person {n}" for n in range(20)], seen, errors)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []
        assert project.status().open == 0
    recorded = defaultdict(set)
    for row, who, _, _ in votes(place):
        recorded[f"1/{row}"].add(who)
    assert recorded == seen
    assert {len(who) for who in recorded.values()} == {overlap}
    assert len(recorded) == rows


SERVER = """
import sys, time
import pickwise as pw
with pw.Project.join(sys.argv[1]) as project:
    server = project.label()
    print(server.url, flush=True)
    time.sleep(600)
"""


def test_what_was_confirmed_survives_a_kill(tmp_path, database: str) -> None:
    place = tmp_path / "killed"
    with created(place, rows=40, database=database) as project:
        project.ask()
    confirmed: dict[str, str] = {}
    for turn in range(2):
        child = subprocess.Popen([sys.executable, "-c", SERVER, str(place)], stdout=subprocess.PIPE, text=True)
        url = child.stdout.readline().strip()
        killer, before = threading.Timer(0.1 + 0.03 * turn, child.kill), len(confirmed)
        anna = Person(url)
        try:
            while tasks := anna.next():
                label = CLASSES[len(confirmed) % 3]
                if anna.answer(tasks[0]["key"], label, want=0).status_code == 200:
                    confirmed[tasks[0]["id"]] = label
                if len(confirmed) == before + 3:
                    killer.start()  # in the midst of what comes next
        except httpx.HTTPError:
            pass
        killer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
        assert confirmed
        held = {row: json.loads(label) for row, _, _, label in votes(place)}
        assert confirmed.items() <= held.items()
        assert len(held) <= len(confirmed) + turn + 1  # at most one that was never confirmed, each time


def test_a_full_disk_is_told_and_the_answer_can_be_sent_again(tmp_path, monkeypatch) -> None:
    from pickwise.loop.labelling import Labelling

    with served(tmp_path / "project") as (_, server):
        anna = Person(server)
        (task,) = anna.next()
        with monkeypatch.context() as patch:

            def fails(*_):
                raise OSError("the disk is full")

            patch.setattr(Labelling, "record", fails)
            patch.setattr(Labelling, "answered", fails)
            assert anna.post("/api/history").json() == {"error": "the disk is full"}
            reply = anna.answer(task["key"], key="the-same-one")
        assert (reply.status_code, reply.json()) == (503, {"error": "nothing was saved: the disk is full"})
        assert anna.answer(task["key"], key="the-same-one").status_code == 200
    assert len(votes(tmp_path / "project")) == 1


# ---- Other tasks.


def test_several_labels_a_row(tmp_path) -> None:
    place = tmp_path / "project"
    with served(place, rows=3, task="multilabel", model=None) as (_, server):
        anna = Person(server)
        first, second, third = anna.next(want=3)
        assert anna.answer(first["key"], ["spam", "ham"]).status_code == 200
        assert anna.answer(second["key"], []).status_code == 200
        assert anna.answer(third["key"], ["eggs"]).status_code == 422
        assert anna.answer(third["key"], "ham").status_code == 422
    assert sorted(label for _, _, _, label in votes(place)) == ['["ham", "spam"]', "[]"]


def test_numbers(tmp_path) -> None:
    from sklearn.linear_model import Ridge

    place = tmp_path / "project"
    pool = np.random.default_rng(0).normal(size=(20, 3))
    told = {"task": "regression", "classes": None, "model": Ridge()}
    with served(place, pool, rows=3, **told) as (_, server):
        anna = Person(server)
        tasks = anna.next(want=2)
        assert anna.client.get("/api/about").json()["task"] == "regression"
        assert tasks[0]["parts"][0]["type"] == "table"
        assert anna.answer(tasks[0]["key"], 2.5).status_code == 200
        assert anna.answer(tasks[1]["key"], "much").status_code == 422
    assert [label for _, _, _, label in votes(place)] == ["2.5"]


def test_classes_that_are_not_named_before(tmp_path) -> None:
    from sklearn.dummy import DummyClassifier

    with served(tmp_path / "project", rows=3, classes=None, model=DummyClassifier()) as (_, server):
        anna = Person(server)
        assert anna.client.get("/api/about").json()["other_classes"] is True
        assert anna.answer(anna.next()[0]["key"], "<b>new</b>").status_code == 200
        assert anna.client.get("/api/about").json()["classes"] == ["<b>new</b>"]
