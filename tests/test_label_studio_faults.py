"""Label Studio that is slow, down, busy or another server: tried again with patience; the token is shown nowhere."""

from __future__ import annotations

import base64
import json
import logging
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import LabelStudioAnnotator, Task
from pickwise.annotators.label_studio import client as client_module
from pickwise.annotators.label_studio import project as project_module
from pickwise.annotators.label_studio.changes import Cursor
from pickwise.annotators.label_studio.config import make_config, read_config
from pickwise.annotators.label_studio.mapping import prediction_json, task_json
from small_project import X, made

httpx = pytest.importorskip("httpx")

URL = "http://labels.example.org/tool"
SECRET = "5ec7e75ec7e7"


@pytest.fixture
def slept(monkeypatch):
    """Sleep no second, and tell how long it would have been."""
    seconds = []
    for module in (client_module, project_module):
        monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


class Fake:
    """A server of one project and its tasks, which answers some requests otherwise."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.requests = []
        self.tasks = []

    def __call__(self, request):
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            return fault
        path = request.url.path.removeprefix("/tool")
        if path == "/api/projects/":
            return httpx.Response(200, json={"results": [{"id": 3, "title": "reviews"}], "next": None})
        if path == "/api/projects/3/":
            xml = make_config("text", ["ham", "spam"], "multiclass")
            return httpx.Response(
                200, json={"id": 3, "title": "reviews", "label_config": xml, "maximum_annotations": 1}
            )
        if path == "/api/tasks/":
            return httpx.Response(200, json={"tasks": self._listed(json.loads(request.url.params["query"]))})
        if path == "/api/projects/3/import":
            added = json.loads(request.content)
            self.tasks += [{**each, "id": len(self.tasks) + n, "overlap": 1} for n, each in enumerate(added, 1)]
            return httpx.Response(201, json={"task_count": len(added)})
        if request.method == "PATCH" and path.startswith("/api/tasks/"):
            task = next(task for task in self.tasks if task["id"] == int(path.split("/")[3]))
            task |= json.loads(request.content)
            return httpx.Response(200, json=task)
        if path == "/api/token/refresh/":
            return httpx.Response(200, json={"access": access_token()})
        raise AssertionError(path)

    def _listed(self, query):
        count = {"total_annotations": 0, "cancelled_annotations": 0, "total_predictions": 1, "annotations": []}
        after = max([item["value"] for item in query["filters"]["items"] if item["filter"].endswith(":id")], default=0)
        stamp = {"updated_at": "2026-01-01T00:00:00Z"}
        return [{**count, **stamp, **task} for task in self.tasks if task["id"] > after]

    def paths(self):
        return [request.url.path.removeprefix("/tool") for request in self.requests]


def access_token(lifetime=300):
    payload = base64.urlsafe_b64encode(json.dumps({"iat": 1000, "exp": 1000 + lifetime}).encode()).decode().rstrip("=")
    return f"h.{payload}.s"


def annotator_of(server, **told):
    told = {"token": SECRET, "project": "reviews", "retries": 3, **told}
    annotator = LabelStudioAnnotator(URL, **told)
    annotator.close()
    annotator._client._http = httpx.Client(transport=httpx.MockTransport(server))
    return annotator


TASKS = [Task(key="1/7", id=7, round=1, rank=0, score=0.5, data="a", suggestions={"ham": 1.0})]


def test_a_busy_server_is_waited_for_as_long_as_it_asks(slept):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40))
    server = Fake(
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(503, headers={"Retry-After": later}),
        httpx.Response(500),
    )
    assert annotator_of(server).connect() == f"{URL}/projects/3"
    assert (slept[0], slept[2]) == (7.0, 2.0)
    assert 35 < slept[1] <= 40


def test_a_server_that_asks_for_hours_is_not_waited_for(slept):
    server = Fake(httpx.Response(429, headers={"Retry-After": "7200"}))
    with pytest.raises(ConnectionError, match=r"^Label Studio at \S+ asks to come back in 7200 seconds$"):
        annotator_of(server).connect()
    assert slept == []


def test_patience_has_an_end(slept):
    server = Fake(*[httpx.ConnectError("refused")] * 4)
    with pytest.raises(ConnectionError, match=r"gave no answer in 4 tries: ConnectError: refused$"):
        annotator_of(server).connect()
    assert slept == [0.5, 1.0, 2.0]
    assert annotator_of(Fake(*[httpx.ReadTimeout("slow")] * 3)).connect()


def test_a_server_that_is_slow_for_once(tmp_path):
    import http.server
    import threading

    waits = [1.0]

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if waits:
                time.sleep(waits.pop())
            answer = Fake()(httpx.Request("GET", f"http://x/tool{self.path}"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{served.server_port}"
        annotator = LabelStudioAnnotator(url, token=SECRET, project="reviews", timeout=0.3)
        assert annotator.connect() == f"{url}/projects/3"
        annotator.close()
        served.shutdown()


def test_json_that_is_cut_short_is_asked_for_again(slept):
    assert annotator_of(Fake(httpx.Response(200, text='{"results": [{"id"'))).connect()
    with pytest.raises(ConnectionError, match=r"its answer is no JSON; is the url that of Label Studio\?$"):
        annotator_of(Fake(*[httpx.Response(200, text="<html>")] * 4)).connect()


@pytest.mark.parametrize("fault", [httpx.ReadTimeout("slow"), httpx.Response(502), httpx.Response(201, text="{")])
@pytest.mark.parametrize("was_done", [True, False])
def test_an_import_of_which_nothing_is_known_is_looked_for_first(slept, fault, was_done):
    server = Fake()
    annotator = annotator_of(server)
    annotator.connect()

    def unsure(request):
        if request.url.path.endswith("/import") and not unsure.is_over:
            unsure.is_over = True
            if was_done:
                server(request)
            if isinstance(fault, Exception):
                raise fault
            return fault
        return server(request)

    unsure.is_over = False
    annotator._client._http = httpx.Client(transport=httpx.MockTransport(unsure))
    annotator.push(TASKS)
    assert [task["data"]["pickwise_key"] for task in server.tasks] == ["1/7"]
    assert server.paths().count("/api/projects/3/import") == 1
    annotator.push(TASKS)
    assert len(server.tasks) == 1


def test_tasks_that_some_people_answer_are_mended_by_the_next_push_if_one_was_ended(slept):
    tasks = [
        Task(key=f"1/{row}", id=row, round=1, rank=row, score=0.5, data="a", overlap=1 + row % 2) for row in range(4)
    ]
    server = Fake()
    annotator = annotator_of(server)

    def ended(request):
        if request.method == "PATCH" and any(task["overlap"] > 1 for task in server.tasks):
            raise KeyboardInterrupt
        return server(request)

    annotator._client._http = httpx.Client(transport=httpx.MockTransport(ended))
    with pytest.raises(KeyboardInterrupt):
        annotator.push(tasks)
    assert [task["overlap"] for task in server.tasks] == [1, 2, 1, 1]
    annotator._client._http = httpx.Client(transport=httpx.MockTransport(server))
    annotator.push(tasks)
    assert [task["overlap"] for task in server.tasks] == [1, 2, 1, 2]
    before = len(server.paths())
    annotator.push(tasks)
    assert not [path for path in server.paths()[before:] if path.startswith("/api/tasks/1")]
    server.tasks[1]["overlap"], patched = 1, []

    def deleted(request):
        if request.method == "PATCH":
            patched.append(request.url.path)
            return httpx.Response(404, json={"detail": "No Task matches the given query."})
        return server(request)

    annotator._client._http = httpx.Client(transport=httpx.MockTransport(deleted))
    annotator.push(tasks)
    assert patched == ["/tool/api/tasks/2/"]


def test_an_access_token_is_renewed_before_it_ends_and_when_it_is_refused(slept, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(client_module.time, "monotonic", lambda: clock[0])
    server = Fake()
    annotator = annotator_of(server, token=f"a.{SECRET}.c")
    annotator.connect()
    clock[0] += 230
    annotator.poll(None)
    assert server.paths().count("/api/token/refresh/") == 1
    clock[0] += 15
    annotator.poll(None)
    assert server.paths().count("/api/token/refresh/") == 2
    server.faults = [httpx.Response(401, json={"detail": "Token is expired"})]
    annotator.poll(None)
    assert server.paths().count("/api/token/refresh/") == 3
    assert {request.headers.get("Authorization", "")[:9] for request in server.requests} == {"", "Bearer h."}
    server.faults = [httpx.Response(401, json={"detail": "no"})] * 2
    with pytest.raises(PermissionError, match=r"refuses it: no$"):
        annotator.poll(None)


def test_the_token_is_shown_nowhere(slept, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", f" {SECRET}\n")
    echo = httpx.Response(401, json={"detail": f"no such token: Token {SECRET}"})
    faults = [[echo], [httpx.ConnectError("refused")] * 4, [httpx.Response(302, headers={"Location": f"/?{SECRET}"})]]
    for each in faults:
        annotator = annotator_of(Fake(*each), token=None)
        with pytest.raises((PermissionError, ConnectionError, ValueError)) as raised:
            annotator.connect()
        shown = "".join(traceback.TracebackException.from_exception(raised.value).format())
        assert SECRET not in shown + repr(annotator) + repr(annotator._client) + repr(vars(annotator)["_client"])
    assert SECRET not in caplog.text
    for token in ("", "a b", "a\nb", "ключ"):
        with pytest.raises(ValueError, match=r"^token: expected one from the account page") as refused:
            annotator_of(Fake(), token=token)
        assert token == "" or token not in str(refused.value)
    monkeypatch.delenv("LABEL_STUDIO_TOKEN")
    with pytest.raises(ValueError, match=r"^token: expected one, or the environment variable LABEL_STUDIO_TOKEN"):
        annotator_of(Fake(), token=None)


@pytest.mark.parametrize(
    "url", ["labels.example.org", "ftp://x", "http://", "http://anna:pass@x", "http://[", "http://x:99999"]
)
def test_another_kind_of_url(url):
    with pytest.raises(ValueError, match=r"^url: expected") as refused:
        LabelStudioAnnotator(url, token=SECRET, project="reviews")
    assert "pass" not in str(refused.value).replace("password", "")


def test_another_server(slept):
    with pytest.raises(ValueError, match=r"^url: expected that of Label Studio, got \S+, which lists no projects$"):
        annotator_of(Fake(httpx.Response(200, json={"hello": 1}))).connect()
    with pytest.raises(ValueError, match=r"which redirects to https://x\.example\.org/$"):
        annotator_of(Fake(httpx.Response(301, headers={"Location": "https://x.example.org/"}))).connect()
    two = {"results": [{"id": 3, "title": "reviews"}, {"id": 4, "title": "reviews"}], "next": None}
    with pytest.raises(ValueError, match=r"^project: expected one called 'reviews', got 2; give a number of \[3, 4\]$"):
        annotator_of(Fake(httpx.Response(200, json=two))).connect()


CONFIG = read_config(make_config("image", ["ham", "spam"], "multiclass"), None, "multiclass")


@pytest.mark.parametrize("path", ["../x.png", "a/../../x.png", "javascript:alert(1)", "data:text/html,x"])
def test_a_path_that_leaves_its_folder_or_runs_code(path):
    task = Task(key="1/7", id=7, round=1, rank=0, score=0.5, data=path)
    with pytest.raises(ValueError, match=r"^row 7: image: expected"):
        task_json(task, CONFIG, None if ":" in path else "https://x.example.org")


def test_nothing_to_show_and_missing_columns():
    server = Fake()
    annotator = annotator_of(server)
    bare = [Task(key=f"1/{row}", id=row, round=1, rank=row, score=0.5, data=None) for row in range(7)]
    with pytest.warns(UserWarning, match=r"^tasks: 7 have nothing to show, people can but skip them: 0, 1, 2, 3, 4$"):
        annotator.push(bare)
    assert server.tasks[0]["data"]["text"] == ""
    with pytest.raises(ValueError, match=r"^row 9: expected a column 'text', as the config shows it, got \['title'\]$"):
        annotator.push([Task(key="1/9", id=9, round=1, rank=0, score=0.5, data={"title": "a"})])


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<View>", "expected XML"),
        ("<View><Text name='a' value='$a'/></View>", "expected one tag .* got none"),
        ("<View><Choices name='a'/><Choices name='b'/></View>", "unless control= names one of several, got 'a', 'b'"),
        ("<View><Number name='a'/></View>", "expected Choices for multiclass, got Number 'a'"),
        ("<View><Choices name='a' choice='multiple'/></View>", "expected choice='single' for multiclass"),
    ],
)
def test_a_config_that_cannot_be_read(xml, message):
    with pytest.raises(ValueError, match=f"^config: .*{message}"):
        annotator_of(Fake(), config=xml)


def test_suggestions_that_the_config_does_not_have():
    task = Task(key="1/7", id=7, round=1, rank=0, score=0.5, data="a", suggestions={"eggs": 0.9, "ham": 0.1})
    assert prediction_json(task, CONFIG)["result"][0]["value"] == {"choices": ["ham"]}


def test_a_cursor_waits_for_changes_that_become_visible_late():
    cursor = Cursor(3)
    cursor.move("2026-01-01T00:10:00Z", datetime(2026, 1, 1, 0, 10, 5, tzinfo=UTC))
    assert cursor.since == "2026-01-01T00:09:05.000000Z"
    cursor.move("2026-01-01T00:10:00Z", datetime(2026, 1, 1, 0, 20, tzinfo=UTC))
    assert cursor.since == "2026-01-01T00:10:00.000000Z"  # at rest
    cursor.move("2026-01-01T00:10:30.000001Z", None)
    assert cursor.since == "2026-01-01T00:10:00.000000Z"  # never back
    assert Cursor.read(cursor.write(), 3) == cursor
    assert Cursor.read(cursor.write(), 4) == Cursor(4)
    for other in (None, "1f2e3d4c:17", '{"a.csv": [3, 4, "read"]}', "[]"):  # of the annotator that there was before
        assert Cursor.read(other, 3) == Cursor(3)


def test_arguments_that_can_be_none():
    for told, message in [
        ({"kind": "video"}, "^kind: expected"),
        ({"task": "ranking"}, "^task: expected"),
        ({"project": ""}, "^project: expected a title or a number"),
        ({"classes": "ham"}, "^classes: expected a list of names"),
        ({"timeout": 0}, "^timeout: expected seconds"),
        ({"retries": -1}, "^retries: expected at least 0"),
        ({"show_suggestions": "no"}, "^show_suggestions: expected True or False"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            annotator_of(Fake(), **told)


# Told in project.toml.


def test_a_project_knows_its_label_studio(tmp_path, monkeypatch):
    made(tmp_path / "p", annotator=None).close()
    settings = tmp_path / "p" / "project.toml"
    settings.write_text(settings.read_text() + '\n[annotator]\nurl = "http://127.0.0.1:9"\nkind = "table"\n')
    monkeypatch.delenv("LABEL_STUDIO_TOKEN", raising=False)
    with pytest.raises(ValueError, match="LABEL_STUDIO_TOKEN"):
        pw.Project.open(tmp_path / "p", X, model=LogisticRegression())
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", "0f3c")
    with (
        pw.Project.open(tmp_path / "p", X, model=LogisticRegression()) as project,
        pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"),
    ):
        project.ask()
    settings.write_text(settings.read_text().replace("kind =", "sort ="))
    with pytest.raises(ValueError, match=r"annotator: expected url, project, .* got 'sort'"):
        pw.Project.open(tmp_path / "p", X, model=LogisticRegression())
