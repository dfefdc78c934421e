"""Label Studio, a real one: nothing is imported twice, no answer is lost, doubled or out of date."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

import pickwise as pw
from pickwise.annotators import LabelStudioAnnotator, Task
from pickwise.annotators.label_studio import project as project_module
from pickwise.annotators.label_studio.config import make_config

httpx = pytest.importorskip("httpx")

from label_studio_server import PASSWORD, PROGRAM, TOKEN, running  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs Label Studio: make label-studio"),
]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("label-studio")) as server:
        yield server


@pytest.fixture
def made(server, request):
    """Make annotators of a project that only this test has."""
    annotators = []

    def make(**told):
        told = {"token": TOKEN, "project": request.node.name[:50], "classes": ["ham", "spam"], **told}
        annotators.append(LabelStudioAnnotator(told.pop("url", server.url), **told))
        return annotators[-1]

    yield make
    for annotator in annotators:
        annotator.close()


def tasks_of(rows, number=1, **more):
    more = {"suggestions": {"spam": 0.6, "ham": 0.4}, **more}
    return [
        Task(key=f"{number}/{row}", id=row, round=number, rank=rank, score=1 / (rank + 1), data=f"text {row}", **more)
        for rank, row in enumerate(rows)
    ]


def told(events):
    return [(event.id, event.kind, event.label, event.annotator.split("@")[0]) for event in events]


def suggested(task):
    ours = [each for each in task["predictions"] if each["model_version"] == "pickwise"]
    return [[*each["result"][0]["value"]["choices"], each["score"]] for each in ours]


def test_a_project_is_made_once_with_tasks_in_order_of_rank(server, made):
    annotator = made()
    where = annotator.connect()
    tasks = tasks_of([7, 3, 5], overlap=2)
    annotator.push(tasks[::-1])
    found = server.tasks(annotator)
    assert [(task["data"]["text"], task["overlap"]) for task in found] == [("text 7", 2), ("text 3", 2), ("text 5", 2)]
    assert [suggested(task) for task in found] == [[["spam", 0.6]]] * 3
    again = made()
    again.push([*tasks, *tasks_of([9], 2)])
    assert again.connect() == where
    assert [task["data"]["pickwise_key"] for task in server.tasks(again)] == ["1/7", "1/3", "1/5", "2/9"]
    assert made(project=again._project.number).connect() == where


def test_each_task_is_given_to_as_many_people_as_it_asks_for(server, made):
    annotator, anna, bob = made(), server.anna, server.bob
    tasks = [replace(task, overlap=1 + (task.id == 3)) for task in tasks_of([7, 3, 5])]
    annotator.push(tasks)
    asked = [(task["data"]["text"], task["overlap"]) for task in server.tasks(annotator)]
    assert asked == [("text 7", 1), ("text 3", 2), ("text 5", 1)]
    for task in server.tasks(annotator):
        anna.answer(task, "ham")
    assert [task["is_labeled"] for task in server.tasks(annotator)] == [True, False, True]
    left = bob.call("GET", f"/api/projects/{annotator._project.number}/next")
    assert left["data"]["text"] == "text 3"
    bob.answer(left, "spam")
    assert all(task["is_labeled"] for task in server.tasks(annotator))
    annotator.push(tasks)  # as where the model has learnt meanwhile
    annotator.push(tasks_of([8], 2))
    assert [task["overlap"] for task in server.tasks(annotator)] == [1, 2, 1, 1]
    # What is asked of two by a project that asks two of each is still asked of one where that is enough.
    annotator.push(tasks_of([9], 3, overlap=2))
    annotator.push([replace(task, overlap=1 + (task.id == 11)) for task in tasks_of([10, 11], 4)])
    assert [task["overlap"] for task in server.tasks(annotator)] == [1, 2, 1, 1, 2, 1, 2]


def test_answers_come_back_once_whatever_becomes_of_them(server, made):
    annotator, anna, bob = made(), server.anna, server.bob
    annotator.push(tasks_of([7, 3, 5], overlap=2))
    first, second, third = server.tasks(annotator)
    events, cursor = annotator.poll(None)
    assert events == []
    anna.answer(first, "ham")
    changed, deleted = bob.answer(first, "spam"), anna.answer(second, "ham")
    bob.skip(second)
    events, cursor = annotator.poll(cursor)
    expected = [
        (7, "label", "ham", "anna"),
        (7, "label", "spam", "bob"),
        (3, "label", "ham", "anna"),
        (3, "skip", None, "bob"),
    ]
    assert sorted(told(events), key=str) == sorted(expected, key=str)
    assert {event.seconds for event in events if event.kind == "label"} == {2.5}
    assert annotator.poll(cursor)[0] == []
    bob.change(changed, "ham")
    anna.delete(deleted)
    bob.answer(third, "spam")
    events, after = made().poll(cursor)  # in another process
    expected = [(7, "label", "ham", "bob"), (3, "withdrawn", None, "anna"), (5, "label", "spam", "bob")]
    assert sorted(told(events), key=str) == sorted(expected, key=str)
    assert made().poll(after)[0] == []
    repeated, _ = annotator.poll(cursor)  # the cursor was not stored
    assert [event.key for event in repeated] == [event.key for event in events]
    whole, _ = annotator.poll(None)
    assert sorted(told(whole), key=str) == sorted(
        [
            (7, "label", "ham", "anna"),
            (7, "label", "ham", "bob"),
            (3, "skip", None, "bob"),
            (5, "label", "spam", "bob"),
        ],
        key=str,
    )
    assert {event.key for event in whole if event.id == 5} == {event.key for event in events if event.id == 5}


def test_whoever_waits_is_told_of_each_answer(server, made):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    annotator, anna = made(webhook=url), server.anna
    annotator.push(tasks_of([7, 3]))
    first, second = server.tasks(annotator)
    annotator.wait(0.01)
    _, cursor = annotator.poll(None)
    answered = []
    for act, expected in [
        (lambda: answered.append(anna.answer(first, "ham")), (7, "label", "ham", "anna")),
        (lambda: anna.change(answered[0], "spam"), (7, "label", "spam", "anna")),
        (lambda: anna.skip(second), (3, "skip", None, "anna")),
        (lambda: anna.delete(answered[0]), (7, "withdrawn", None, "anna")),
    ]:
        acting = threading.Timer(0.2, act)
        began = time.monotonic()
        acting.start()
        annotator.wait(60)
        acting.join()
        assert time.monotonic() - began < 30
        events, cursor = annotator.poll(cursor)
        assert told(events) == [expected]
    hooks = f"/api/webhooks/?project={annotator._project.number}"
    assert [hook["url"] for hook in anna.call("GET", hooks)] == [url]
    annotator.close()
    assert server.anna.call("GET", hooks) == []


def test_an_earlier_answer_holds_again_when_the_later_one_is_deleted(server, made):
    annotator = made()
    annotator.push(tasks_of([7]))
    (task,) = server.tasks(annotator)
    server.anna.answer(task, "ham")
    earlier, cursor = annotator.poll(None)
    later = server.anna.answer(task, "spam")
    events, cursor = annotator.poll(cursor)
    assert told(events) == [(7, "label", "spam", "anna")]
    server.anna.delete(later)
    again, cursor = annotator.poll(cursor)
    assert told(again) == [(7, "label", "ham", "anna")]
    assert again[0].version > events[0].version > earlier[0].version
    assert again[0].key != earlier[0].key
    assert annotator.poll(cursor)[0] == []


def test_a_process_killed_after_the_import_imports_nothing_twice(server, made, monkeypatch):
    annotator = made()
    annotator.connect()
    send = annotator._client.send

    def killed(method, path, **told):
        done = send(method, path, **told)
        if path.endswith("/import"):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(annotator._client, "send", killed)
    tasks = tasks_of(range(130))
    with pytest.raises(KeyboardInterrupt):
        annotator.push(tasks)
    assert len(server.tasks(annotator)) == 100
    again = made()
    again.push(tasks)
    assert [task["data"]["pickwise_id"] for task in server.tasks(again)] == list(range(130))


class Deaf(httpx.HTTPTransport):
    """Carries requests out, and loses the answers of some."""

    def __init__(self, path, times):
        super().__init__()
        self.path, self.times = path, times

    def handle_request(self, request):
        answer = super().handle_request(request)
        if request.method == "POST" and request.url.path.endswith(self.path) and self.times:
            self.times -= 1
            answer.read()
            raise httpx.ReadTimeout("slow", request=request)
        return answer


@pytest.mark.parametrize("path", ["/import", "/api/projects/", "/import/predictions"])
def test_a_lost_answer_makes_nothing_twice(server, made, path):
    if path.endswith("predictions"):
        made().push(tasks_of([1, 2], suggestions={"ham": 1.0}))
    annotator = made()
    annotator.close()
    annotator._client._http = httpx.Client(transport=Deaf(path, 1), timeout=60)
    annotator.push(tasks_of([1, 2]))
    assert [suggested(task) for task in server.tasks(annotator)] == [[["spam", 0.6]]] * 2
    listed = server.anna.call("GET", "/api/projects/", params={"title": annotator._project.title})
    assert listed["count"] == 1


def test_tasks_that_are_there_twice_become_one(server, made):
    annotator = made()
    tasks = tasks_of([1, 2])
    annotator.push(tasks)
    first, second = server.tasks(annotator)
    copies = [{"data": first["data"]}, {"data": second["data"]}]
    server.anna.call("POST", f"/api/projects/{annotator._project.number}/import", json=copies)
    *_, copy = server.tasks(annotator)
    server.bob.answer(copy, "ham")
    annotator.push(tasks)
    assert [task["id"] for task in server.tasks(annotator)] == [first["id"], copy["id"]]


def test_suggestions_are_brought_up_to_date_and_others_left(server, made):
    annotator = made()
    tasks = tasks_of([1, 2, 3])
    annotator.push(tasks)
    first = server.tasks(annotator)[0]
    result = [{"from_name": "label", "to_name": "data", "type": "choices", "value": {"choices": ["ham"]}}]
    server.anna.call(
        "POST", "/api/predictions/", json={"task": first["id"], "result": result, "model_version": "other"}
    )
    new = [replace(task, suggestions={"ham": 0.9, "spam": 0.1}) for task in tasks[:2]]
    annotator.push([*new, replace(tasks[2], suggestions={})])
    assert [suggested(task) for task in server.tasks(annotator)] == [[["ham", 0.9]], [["ham", 0.9]], []]
    versions = server.anna.call("GET", "/api/predictions/", params={"task": first["id"]})
    assert sorted(each["model_version"] for each in versions) == ["other", "pickwise"]


def test_recall_leaves_what_was_answered_or_skipped(server, made):
    annotator = made()
    annotator.push(tasks_of([1, 2, 3, 4]))
    first, second, *_ = server.tasks(annotator)
    server.anna.answer(first, "ham")
    server.bob.skip(second)
    annotator.recall(["1/1", "1/2", "1/3", "9/9"])
    assert [task["data"]["pickwise_id"] for task in server.tasks(annotator)] == [1, 2, 4]
    annotator._project.delete([first["id"], second["id"]])  # answered after it was looked at
    assert len(server.tasks(annotator)) == 3
    assert told(annotator.poll(None)[0]) == [(1, "label", "ham", "anna"), (2, "skip", None, "bob")]


def test_what_is_no_answer_is_told_of_once_and_read_when_it_is_mended(server, made):
    annotator = made()
    annotator.push(tasks_of([1, 2, 3]))
    first, second, third = server.tasks(annotator)
    wrong = server.anna.answer(first, "spma")
    server.anna.answer(second, ["ham", "spam"])
    server.bob.answer(third, "ham")
    with pytest.warns(UserWarning, match="mend it there") as warned:
        events, cursor = annotator.poll(None)
    assert told(events) == [(3, "label", "ham", "bob")]
    assert [str(each.message).partition(": expected ")[2] for each in warned] == [
        "a class of the config, got 'spma'; mend it there",
        "one class, got 'ham', 'spam'; mend it there",
    ]
    assert annotator.poll(cursor)[0] == []  # and no warning
    server.anna.change(wrong, "spam")
    events, cursor = annotator.poll(cursor)
    assert told(events) == [(1, "label", "spam", "anna")]
    with pytest.warns(UserWarning, match="got 'ham', 'spam'"):  # another process knows not what was told
        _, cursor = made().poll(cursor)


def test_a_class_that_the_config_is_given_later(server, made):
    annotator = made(classes=None, config=make_config("text", ["ham", "spam"], "multiclass"))
    annotator.push(tasks_of([1]))
    (task,) = server.tasks(annotator)
    annotator.close()
    annotator = made(classes=None)
    annotator.connect()
    path = f"/api/projects/{annotator._project.number}/"
    more = make_config("text", ["ham", "spam", "eggs"], "multiclass")
    server.anna.call("PATCH", path, json={"label_config": more})
    server.anna.answer(task, "eggs")
    assert told(annotator.poll(None)[0]) == [(1, "label", "eggs", "anna")]


def test_more_tasks_and_answers_than_a_request_holds(server, made, monkeypatch):
    monkeypatch.setattr(project_module, "_AT_ONCE", 5)
    annotator = made()
    annotator.push(tasks_of(range(23)))
    tasks = server.tasks(annotator)
    assert [task["data"]["pickwise_id"] for task in tasks] == list(range(23))
    for task in tasks[::2]:
        server.anna.answer(task, "ham")
    events, cursor = annotator.poll(None)
    assert [event.id for event in events] == list(range(0, 23, 2))
    assert annotator.poll(cursor)[0] == []
    annotator.recall([f"1/{row}" for row in range(23)])
    assert len(server.tasks(annotator)) == 12


def test_a_personal_token(server, made):
    token = server.bob.call("POST", "/api/token/", json={})["token"]
    annotator = made(token=token)
    annotator.push(tasks_of([1]))
    annotator._client._access = "expired"  # as after a pause
    assert len(server.tasks(annotator)) == 1
    assert token not in repr(annotator)
    with pytest.raises(PermissionError, match=r"^token: Label Studio at http://.* refuses it: Token is invalid$"):
        made(token=token[:-2] + "xx").connect()


def test_what_is_wrong_is_one_sentence(server, made):
    with pytest.raises(PermissionError, match=r"^token: Label Studio at http://\S+ refuses it: Invalid token\.$"):
        made(token="0" * 40).connect()
    with pytest.raises(ValueError, match=r"^url: expected that of Label Studio, got \S+/elsewhere, which answers 404"):
        made(url=f"{server.url}/elsewhere").connect()
    with pytest.raises(ValueError, match=r"^project: expected one of \S+, got number 9999: No Project"):
        made(project=9999).connect()
    bad = "<View><Text name='a' value='$a'/><Choices name='b' toName='zz'><Choice value='x'/></Choices></View>"
    with pytest.raises(ValueError, match=r"^config: Label Studio refuses it: toName=\"zz\" not found"):
        made(config=bad, classes=None).connect()
    with pytest.raises(ValueError, match=r"^classes: expected some, or a config"):
        made(classes=None).connect()
    made().push(tasks_of([1, 2]))
    with pytest.raises(ValueError, match=r"^classes: expected those of the config of project '.*', it has no 'eggs'$"):
        made(classes=["eggs", "ham"]).connect()
    with pytest.raises(ValueError, match=r"^config: expected that of project .*, got another"):
        made(config=bad.replace("zz", "a"), classes=None).connect()
    other = replace(tasks_of([1])[0], id=8)
    with pytest.raises(
        ValueError, match=r"has a task '1/1' about row 1, not 8; it is that of another pickwise project"
    ):
        made().push([other])


OWN = """<View><Header value="Which?"/><Image name="photo" value="$picture"/><Text name="t" value="$caption"/>
<Choices name="kind" toName="photo"><Choice value="cat" alias="c"/><Choice value="dog"/></Choices></View>"""


def test_a_config_of_ones_own(server, made):
    annotator = made(config=OWN, classes=["dog", "cat"], media="https://media.example.org/x")
    data = {"picture": "a b.png", "caption": "<script>alert(1)</script>", "more": 3}
    annotator.push([replace(tasks_of([1])[0], data=data, suggestions={"cat": 0.7, "dog": 0.3})])
    (task,) = server.tasks(annotator)
    assert task["data"]["picture"] == "https://media.example.org/x/a%20b.png"
    assert task["data"]["caption"] == data["caption"]
    assert suggested(task) == [["c", 0.7]]
    server.anna.answer(task, "c", "kind", "photo")
    assert told(annotator.poll(None)[0]) == [(1, "label", "cat", "anna")]


@pytest.mark.parametrize(
    ("told_of", "data", "answer", "label"),
    [
        ({"task": "multilabel"}, "a", ["ham", "spam"], ["ham", "spam"]),
        ({"task": "multilabel"}, "a", [], []),
        ({"task": "regression", "classes": None}, "a", 2.5, 2.5),
        ({"kind": "table"}, {"length": 3, "sender": "x"}, "ham", "ham"),
        ({"kind": "audio"}, {"audio": "https://x.example.org/a.mp3"}, "ham", "ham"),
        ({"classes": range(600)}, "a", "599", 599),
    ],
    ids=["multilabel", "none of several", "regression", "table", "audio", "600 classes"],
)
def test_kinds_of_data_and_labels(server, made, told_of, data, answer, label):
    annotator = made(**told_of)
    annotator.push([replace(tasks_of([1])[0], data=data, suggestions={})])
    (task,) = server.tasks(annotator)
    server.anna.answer(task, answer)
    assert told(annotator.poll(None)[0]) == [(1, "label", label, "anna")]


def test_the_loop(server, made, tmp_path):
    pytest.importorskip("sqlalchemy")
    naive_bayes = pytest.importorskip("sklearn.naive_bayes")
    pool = np.random.default_rng(2).normal(size=(60, 2)).round(3)
    truth = np.where(pool.sum(1) > 0, "spam", "ham").tolist()
    annotator = made(kind="table")
    project = pw.Project.create(
        tmp_path / "reviews",
        pool,
        model=naive_bayes.GaussianNB(),
        annotator=annotator,
        classes=["ham", "spam"],
        batch_size=6,
    )
    asked = {task.id for task in project.ask()}
    for task in server.tasks(annotator):
        server.anna.answer(task, truth[task["data"]["pickwise_id"]])
    assert project.collect().new == 6
    assert project.fit().labelled == 6
    second = project.ask()
    new = server.tasks(annotator)[6:]
    assert [task["data"]["pickwise_id"] for task in new] == [task.id for task in second]
    assert not asked & {task.id for task in second}
    assert all(suggested(task) for task in new)
    wrong = server.bob.answer(new[0], "ham" if truth[second[0].id] == "spam" else "spam")
    assert project.collect().new == 1
    server.bob.change(wrong, truth[second[0].id])
    assert project.collect().corrected == 1
    project.close_round()
    assert len(server.tasks(annotator)) == 7
    assert project.fit().labelled == 7
    project.close()


@contextmanager
def page_of(server):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/user/login/")
        page.fill("input[name=email]", "anna@example.org")
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(re.compile(r"/(projects|$)"))
        try:
            yield page
        finally:
            browser.close()


def test_an_answer_through_its_own_page(server, made):
    annotator = made()
    annotator.push([replace(tasks_of([1])[0], data="win <b>a prize</b>")])
    (task,) = server.tasks(annotator)
    with page_of(server) as page:
        page.goto(f"{annotator.connect()}/data?labeling=1&task={task['id']}")
        page.get_by_text("win <b>a prize</b>").first.wait_for()  # as text
        choices = page.get_by_role("radio")
        choices.first.wait_for()
        assert [choice.is_checked() for choice in choices.all()] == [False, True]  # as the model suggests
        page.get_by_text(re.compile("^ham")).first.click()
        page.locator("button", has_text=re.compile("^Submit$")).first.click()
        events, cursor, until = [], None, time.monotonic() + 60
        while not events and time.monotonic() < until:
            events, cursor = annotator.poll(cursor)
            page.wait_for_timeout(200)
    assert told(events) == [(1, "label", "ham", "anna")]
    assert events[0].seconds > 0
