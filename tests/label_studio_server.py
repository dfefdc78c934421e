"""A server of Label Studio that tests share, and people who label there through its API."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

PROGRAM = Path(__file__).parent.parent / ".venv-label-studio" / "bin" / "label-studio"

PASSWORD = "the password of a test"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
ENVIRONMENT = {
    "COLLECT_ANALYTICS": "false",
    "FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "SSRF_PROTECTION_ENABLED": "false",  # else it calls no address of this machine
}


class Person:
    """Somebody who labels through the API."""

    def __init__(self, url, token, name):
        self.name, self.token = name, token
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=60)

    def call(self, method, path, **told):
        answer = self.http.request(method, path, **told)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def answer(self, task, label, control="label", shown="data"):
        value = (
            {"number": label} if isinstance(label, float) else {"choices": [label] if isinstance(label, str) else label}
        )
        result = {"from_name": control, "to_name": shown, "type": next(iter(value)), "value": value}
        return self.call("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [result], "lead_time": 2.5})

    def change(self, annotation, label):
        result = [{**annotation["result"][0], "value": {"choices": [label]}}]
        return self.call("PATCH", f"/api/annotations/{annotation['id']}/", json={"result": result})

    def skip(self, task):
        body = {"result": [], "was_cancelled": True}
        return self.call("POST", f"/api/tasks/{task['id']}/annotations/", json=body)

    def delete(self, annotation):
        self.call("DELETE", f"/api/annotations/{annotation['id']}/")


class Server:
    def __init__(self, url):
        self.url = url
        self.anna = Person(url, TOKEN, "anna@example.org")
        self.bob = Person(url, signed_up(url, "bob@example.org"), "bob@example.org")

    def tasks(self, annotator):
        """List the tasks of the project as people get them."""
        return list(annotator._connected().tasks([]))


def signed_up(url, email):
    with httpx.Client(base_url=url, follow_redirects=True, timeout=60) as browser:
        page = browser.get("/user/signup/").text
        form = {
            "csrfmiddlewaretoken": re.search(r'csrfmiddlewaretoken" value="([^"]+)', page)[1],
            "email": email,
            "password": PASSWORD,
            "allow_newsletters": "false",
        }
        browser.post("/user/signup/", data=form, headers={"Referer": f"{url}/user/signup/"})
        return browser.get("/api/current-user/token").json()["token"]


@contextmanager
def running(folder):
    """Start a server that keeps its data in a folder; it takes half a minute, and more on a busy machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    command = [PROGRAM, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port, "--data-dir", folder]
    command += ["--username", "anna@example.org", "--password", PASSWORD, "--user-token", TOKEN]
    environment = {**os.environ, **ENVIRONMENT, "HOME": str(folder)}
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            until = time.monotonic() + 300
            while not is_up(url):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.5)
            server = Server(url)
            yield server
            server.anna.http.close()
            server.bob.http.close()
        finally:
            process.terminate()


def is_up(url):
    try:
        return httpx.get(f"{url}/health", timeout=10).is_success
    except httpx.TransportError:
        return False
