"""A webhook is a hint: the risk is that somebody else rings, that it stays behind, or that answers depend on it."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from pickwise.annotators import LabelStudioAnnotator
from pickwise.annotators.label_studio import webhook as webhook_module
from pickwise.annotators.label_studio.config import make_config

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")


class Fake:
    """A server of one project that has webhooks."""

    def __init__(self):
        self.webhooks = {}
        self.down = False
        self.refusal = None

    def __call__(self, request):
        path, method = request.url.path, request.method
        if self.down:
            raise httpx.ConnectError("refused")
        if path == "/api/projects/":
            return httpx.Response(200, json={"results": [{"id": 3, "title": "reviews"}], "next": None})
        if path == "/api/projects/3/":
            about = {"id": 3, "title": "reviews", "label_config": make_config("text", ["ham", "spam"], "multiclass")}
            return httpx.Response(200, json={**about, "maximum_annotations": 1})
        if method == "DELETE":
            del self.webhooks[int(path.split("/")[3])]
            return httpx.Response(204)
        assert path == "/api/webhooks/"
        if method == "POST" and self.refusal is not None:
            return self.refusal
        if method == "POST":
            made = {**json.loads(request.content), "id": max(self.webhooks, default=0) + 1}
            self.webhooks[made["id"]] = made
            return httpx.Response(201, json=made)
        assert request.url.params["project"] == "3"
        return httpx.Response(200, json=list(self.webhooks.values()))


@pytest.fixture
def url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(webhook_module, "_STORED", 0.0)


def annotator_of(server, url):
    annotator = LabelStudioAnnotator(
        "http://labels.example.org", token="0f3c", project="reviews", webhook=url, retries=0
    )
    annotator._client._http = httpx.Client(transport=httpx.MockTransport(server))
    return annotator


def took(function, *arguments):
    began = time.monotonic()
    function(*arguments)
    return time.monotonic() - began


def test_a_call_ends_the_wait_and_the_webhook_goes_with_the_annotator(url):
    server = Fake()
    annotator = annotator_of(server, url)
    assert server.webhooks == {}
    assert took(annotator.wait, 0.01) < 5
    (made,) = server.webhooks.values()
    assert made["actions"]
    assert (made["project"], made["url"], made["send_payload"]) == (3, url, False)
    for action in ("ANNOTATION_CREATED", "ANNOTATIONS_DELETED"):
        calling = threading.Timer(0.05, httpx.post, (url,), {"json": {"action": action}, "headers": made["headers"]})
        calling.start()
        assert took(annotator.wait, 60) < 30
        calling.join()
    # One that came while nobody waited is not forgotten, and rings once.
    assert httpx.post(url, headers=made["headers"]).status_code == 204
    assert took(annotator.wait, 60) < 30
    assert took(annotator.wait, 0.3) >= 0.3
    annotator.close()
    assert server.webhooks == {}
    with pytest.raises(httpx.ConnectError):
        httpx.post(url)


def test_nobody_else_rings(url):
    server = Fake()
    annotator = annotator_of(server, url)
    annotator.wait(0.01)
    (made,) = server.webhooks.values()
    headers = made["headers"]
    assert len(next(iter(headers.values()))) > 30
    for method, more in [
        ("POST", {}),
        ("POST", dict.fromkeys(headers, "")),
        ("POST", {name: token[:-1] for name, token in headers.items()}),
        ("GET", headers),
        ("OPTIONS", {"Origin": "http://elsewhere.example.org", "Access-Control-Request-Method": "POST"}),
    ]:
        answer = httpx.request(method, url, headers=more)
        assert (answer.status_code, answer.content) == (404, b"")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert took(annotator.wait, 0.3) >= 0.3
    annotator.close()


def test_what_a_killed_process_left_is_replaced_and_those_of_others_stay(url):
    server = Fake()
    server.webhooks = {1: {"id": 1, "url": url}, 2: {"id": 2, "url": "http://elsewhere.example.org/"}}
    annotator = annotator_of(server, url)
    annotator.wait(0.01)
    assert sorted(each["url"] for each in server.webhooks.values()) == sorted([url, "http://elsewhere.example.org/"])
    annotator.close()
    assert [each["url"] for each in server.webhooks.values()] == ["http://elsewhere.example.org/"]


def test_a_server_that_is_down_at_the_end_is_no_error(url):
    server = Fake()
    annotator = annotator_of(server, url)
    annotator.wait(0.01)
    server.down = True
    annotator.close()
    again = annotator_of(server, url)
    with pytest.raises(ConnectionError, match="gave no answer in 1 try"):
        again.wait(0.01)
    server.down = False
    assert took(again.wait, 0.01) < 5  # the address was given back
    again.close()


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (
            403,
            {"detail": "URL resolves to a reserved network address"},
            "refuses it: URL resolves to a reserved network",
        ),
        (400, {"validation_errors": {"url": ["Enter a valid URL."]}}, "Enter a valid URL."),
    ],
)
def test_an_address_that_label_studio_refuses(url, status, content, reason):
    server = Fake()
    server.refusal = httpx.Response(status, json=content)
    annotator = annotator_of(server, url)
    with pytest.raises(ValueError, match=f"^webhook: .*{reason}.*; for an address of a private network start Label"):
        annotator.wait(0.01)
    server.refusal = None
    annotator.wait(0.01)
    annotator.close()


def test_without_a_webhook_it_waits_as_long_as_it_is_told():
    annotator = annotator_of(Fake(), None)
    assert 0.2 <= took(annotator.wait, 0.2) < 5
    annotator.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8124/",
        "127.0.0.1:8124",
        "http://127.0.0.1/",
        "http://:8124/",
        "http://127.0.0.1:99999/",
        8124,
        "",
    ],
)
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError, match=r"^webhook: expected an address of this machine with a port, such as "):
        annotator_of(Fake(), url)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "no address of this machine; take another host"),
        ("no-such-host.invalid", "host: expected the name"),
    ],
)
def test_addresses_of_other_machines(host, message):
    annotator = annotator_of(Fake(), f"http://{host}:8124/")
    with pytest.raises(ValueError, match=f"^webhook: .*{message}"):
        annotator.wait(0.01)
    annotator.close()


def test_an_address_that_is_in_use(url):
    annotator = annotator_of(Fake(), url)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])))
        other.listen()
        with pytest.raises(ValueError, match=r"^webhook: 127.0.0.1:\d+: something else uses it; take another port"):
            annotator.wait(0.01)
    annotator.close()
