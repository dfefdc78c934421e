"""The page for labelling over HTTP: who may ask, and what is shown to them."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter

import pytest

import label_pages
from label_pages import CLASSES, XSS, Person, served, wait_for

httpx = pytest.importorskip("httpx")
all_leave = label_pages.all_leave


# ---- Who may ask.


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    media = folder / "media"
    media.mkdir()
    (media / "cat.png").write_bytes(b"\x89PNG not really")
    (media / "notes.txt").write_text("not shown")
    (folder / "secret.png").write_bytes(b"secret")
    (media / "link.png").symlink_to(folder / "secret.png")
    with served(folder / "project", options={"media": media}) as (_, server):
        person = Person(server)
        Person.opened.clear()  # it stays for all tests of this module
        yield person
        person.client.close()


def test_the_page_is_whole_and_strict(page) -> None:
    reply = httpx.get(f"{page.base}/?token={page.token}")
    assert reply.status_code == 200
    policy = reply.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert reply.text.count(f'nonce="{nonce}"') == 2
    assert "http://" not in reply.text
    assert "https://" not in reply.text
    assert not re.search(r"\son\w+=|innerHTML|\sstyle=", reply.text)
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert nonce not in httpx.get(f"{page.base}/?token={page.token}").text


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=wrong", "/api/about", "/openapi.json", "/media/cat.png", "/x"]
)
def test_without_the_token_there_is_nothing(page, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer ä".encode()},
        {"Cookie": "a=b;;="},
    ):
        reply = httpx.get(page.base + path, headers=headers)
        assert reply.status_code == 401
        assert page.token not in reply.text


def test_the_cookie_is_as_good_as_the_token_from_the_page_itself(page) -> None:
    with httpx.Client(base_url=page.base) as client:
        client.get(f"/?token={page.token}")
        assert client.get("/api/about").status_code == 200
        body = {"annotator": "cookie", "session": page.session, "want": 0}
        assert client.post("/api/next", json=body).status_code == 403  # no Origin: not the page itself
        assert client.post("/api/next", json=body, headers={"Origin": page.base}).status_code == 200


def test_cookies_of_other_servers_of_this_machine_do_no_harm(page) -> None:
    ours = f"pickwise_label_{page.base.rpartition(':')[2]}={page.token}"
    for cookies in (f'theirs={{"a": [1, 2]}}; {ours}', f"{ours}; a b=c", f"; =; {ours}", f'x="; {ours}'):
        assert httpx.get(f"{page.base}/api/about", headers={"Cookie": cookies}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", ""])
def test_foreign_origins_are_refused(page, origin: str) -> None:
    for method, path in (("GET", "/api/about"), ("POST", "/api/next"), ("GET", f"/?token={page.token}")):
        assert page.client.request(method, path, headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::", "1.2.3.4"]
)
def test_foreign_hosts_are_refused(page, host: str) -> None:
    assert page.client.get("/api/about", headers={"Host": host}).status_code in (400, 403)
    assert page.client.get("/api/about", headers={"Host": "localhost:1234"}).status_code == 200  # a tunnel


def test_other_pages_cannot_load_anything(page) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert page.client.get("/media/cat.png", headers=headers).status_code == 403
    assert page.client.get("/api/about", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "/etc/passwd",
        "link.png",
        "a/../../secret.png",
        "%00.png",
        "file://[.png",
        "file:///etc/passwd.png",
    ],
)
def test_no_file_outside_of_the_folder_of_media_is_shown(page, path: str) -> None:
    reply = page.client.get(f"/media/{path}")
    assert reply.status_code in (403, 404)
    assert b"secret" not in reply.content.replace(b"secret.png", b"")


def test_files_of_media(page) -> None:
    reply = page.client.get("/media/cat.png")
    assert reply.headers["content-type"] == "image/png"
    assert "sandbox" in reply.headers["content-security-policy"]
    assert page.client.get("/media/notes.txt").status_code == 404
    assert page.client.get("/media/").status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        (b'{"annotator": NaN}', 400),
        (b'{"annotator": "anna"}', 400),
        (b'{"annotator": " ", "session": "12345678"}', 400),
        (b'{"annotator": "a\\u0000", "session": "12345678"}', 400),
        (b'{"annotator": "\\ud800", "session": "12345678"}', 400),
        (b'{"annotator": "anna", "session": "1"}', 400),
        (b'{"annotator": "anna", "session": "12345678", "want": 1e9}', 400),
        (b'{"annotator": "anna", "session": "12345678", "want": true}', 400),
        (b'{"annotator": "anna", "session": "12345678", "have": ["' + b"x" * 3000 + b'"]}', 400),
        (b'{"annotator": "anna", "session": "12345678", "more": 1}', 400),
        (b'{"annotator": "' + b"x" * 70_000 + b'"}', 413),
        (b'{"annotator": "anna", "session": "12345678", "want": 0}', 200),
    ],
)
def test_bodies(page, body: bytes, code: int) -> None:
    reply = page.client.post("/api/next", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == code
    assert ("error" in reply.json()) is (code != 200)


def test_only_json_is_read(page) -> None:
    assert page.client.post("/api/next", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert page.client.post("/api/next", data={"annotator": "anna"}).status_code == 415
    assert page.client.get("/api/next").status_code == 405


@pytest.mark.parametrize(
    "fields",
    [
        {"label": "eggs"},
        {"label": None},
        {"label": ["ham"]},
        {"label": 1e308},
        {"kind": "skip", "label": "ham"},
        {"item": "1/999"},
        {"item": "x"},
        {"item": "1/"},
        {"item": "99999999999999999999/1"},
        {"item": "²/1"},
    ],
)
def test_answers_that_make_no_sense_are_refused(page, fields) -> None:
    (task,) = page.next()
    body = {"item": task["key"], "kind": "label", "label": "ham", "session": page.session, "key": "12345678", **fields}
    reply = page.post("/api/answer", **body)
    assert reply.status_code in (400, 422)
    assert reply.json()["error"]


def test_fuzzed_requests_never_break_the_server(page) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import given, settings

    schema = schemathesis.openapi.from_dict(page.client.get("/openapi.json").json())
    codes = Counter()

    for operation in schema.get_all_operations():
        found = operation.ok()

        @given(case=found.as_strategy())
        @settings(max_examples=25)
        def fuzz(case) -> None:
            reply = page.client.request(
                case.method, case.formatted_path, json=case.body if case.method == "POST" else None
            )
            codes[reply.status_code] += 1
            assert reply.status_code < 500
            reply.json()

        fuzz()
    assert set(codes) <= {200, 400, 404, 409, 413, 415, 422}
    assert codes[200]


# ---- What is shown.


def test_markup_is_text(tmp_path) -> None:
    with served(tmp_path / "project", rows=len(XSS)) as (_, server):
        shown = {task["parts"][0]["pieces"][0][0] for task in Person(server).next(want=len(XSS))}
    assert shown == set(XSS)


def test_a_task_as_the_page_gets_it(tmp_path) -> None:
    with served(tmp_path / "project", options={"highlight": "free|prize"}) as (project, server):
        anna = Person(server)
        for task in anna.next(want=12):
            anna.answer(task["key"], CLASSES[task["rank"] % 2])
        project.collect()
        project.fit()
        assert Person(server).client.get("/api/about").json()["classes"] == CLASSES
        project.relabel([9, 10, 11])
        ben, tasks = Person(server, "ben"), []
        wait_for(lambda: tasks.extend(ben.next()) or tasks)
        task = tasks[0]
    pieces = [
        ["Message 9: you have won a ", False],
        ["free", True],
        [" ", False],
        ["prize", True],
        [", claim it now", False],
    ]
    assert task["parts"] == [{"type": "text", "name": None, "pieces": pieces}]
    assert task["suggestions"][0] == ["ham", 0.8]
    assert (task["why"], task["rank"], task["round"], task["overlap"]) == ("relabel", 0, 2, 1)


def test_columns_images_and_what_is_missing(tmp_path) -> None:
    import pandas as pd

    media = tmp_path / "media"
    media.mkdir()
    (media / "ä b.png").write_bytes(b"png")
    names = ["ä b.png", "gone.png", "../../etc/x.png", "http://evil.example/x.png", "a sound.txt", None]
    frame = pd.DataFrame({"id": range(6), "file": names, "stars": 4.5, "long": "x" * 200})
    told = {"id": "id", "columns": ["file", "stars", "long"], "options": {"media": media}}
    with served(tmp_path / "project", frame, rows=6, **told) as (_, server):
        tasks = {int(task["id"]): task["parts"] for task in Person(server).next(want=6)}
    assert tasks[0][0] == {"type": "image", "name": "file", "path": "ä b.png", "called": "ä b.png"}
    assert tasks[0][1]["type"] == "text"
    assert tasks[0][2] == {"type": "table", "rows": [["stars", "4.5"]]}
    assert [tasks[row][0]["type"] for row in (1, 2, 3)] == ["missing"] * 3
    assert "leaves the folder" in tasks[2][0]["text"]
    assert ["file", "a sound.txt"] in tasks[4][1]["rows"]
    assert ["file", "—"] in tasks[5][1]["rows"]


def test_names_of_files_that_no_address_can_hold_are_missing(tmp_path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    with served(tmp_path / "project", ["file://[.png", "\0.png"], rows=2, options={"media": media}) as (_, server):
        parts = [task["parts"][0] for task in Person(server).next(want=2)]
    assert [part["type"] for part in parts] == ["missing"] * 2


def test_a_file_that_may_not_be_read_is_missing(tmp_path, monkeypatch) -> None:
    from pickwise.annotators.page.media import Media

    (tmp_path / "a.png").write_bytes(b"png")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"a\.png: may not be read"):
        Media(tmp_path).find("a.png")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are texts elsewhere")
def test_a_file_whose_name_is_not_in_utf_8_is_missing(tmp_path) -> None:
    from pickwise.annotators.page.media import Media

    (tmp_path / "\udcff.png").write_bytes(b"png")
    (tmp_path / "link.png").symlink_to(tmp_path / "\udcff.png")
    with pytest.raises(FileNotFoundError, match="its name is not in UTF-8"):
        Media(tmp_path).address("link.png")


def test_probabilities_that_are_none_are_not_shown() -> None:
    from pickwise.annotators import Task
    from pickwise.annotators.page.shown import Shown

    told = {"ham": float("nan"), "spam": 0.5}
    task = Task(key="1/0", id=0, round=1, rank=0, score=float("inf"), data="x", suggestions=told)
    assert Shown()(task)["suggestions"] == [["spam", 0.5]]
