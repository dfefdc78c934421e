"""Label Studio calls when somebody has answered; a call that does not come is no harm."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pickwise.annotators.listening import Listener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pickwise.annotators.label_studio.client import Client

_ACTIONS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")

# It calls before it has stored the answer; and where one has come others are not far.
_STORED = 1.0

_HEADER = "X-Pickwise-Token"


class Webhook:
    """A webhook of a project, and what listens for its calls.

    It is a hint: Label Studio calls once, waits a second for an answer, and does not call again.

    Parameters
    ----------
    client : Client
    project : int
    url : str
        Where Label Studio reaches this process.

    Raises
    ------
    ImportError
        If uvicorn is not installed.
    ValueError
        If it is no address of this machine, or Label Studio refuses it.
    PermissionError, ConnectionError
        As each request does.
    """

    def __init__(self, client: Client, project: int, url: str) -> None:
        host, port = address_of(url)
        self._client = client
        self._called = threading.Event()
        self._token = secrets.token_urlsafe(32)
        try:
            self._listener = Listener(host, port, "pickwise: webhook")
        except ValueError as error:
            raise ValueError(f"webhook: {error}") from None
        try:
            self._listener.start(self._answer)
            self._number = self._put(project, url)
        except BaseException:
            self._listener.close()
            raise

    def wait(self, seconds: float) -> None:
        """Wait until it is called, or for so many seconds."""
        if self._called.wait(seconds):
            time.sleep(min(_STORED, seconds))
        self._called.clear()

    def close(self) -> None:
        """Take the webhook out of the project, and listen no more."""
        # Whatever comes of it: the next process takes it out.
        with suppress(ConnectionError, PermissionError, ValueError):
            self._client.send("DELETE", f"/api/webhooks/{self._number}/")
        self._listener.close()

    def _put(self, project: int, url: str) -> Any:
        """Make the webhook, in place of one of a process that was killed, and return its number."""
        for each in self._client.get("/api/webhooks/", project=project):
            if each["url"] == url:
                self._client.send("DELETE", f"/api/webhooks/{each['id']}/")
        made = {
            "project": project,
            "url": url,
            "send_payload": False,
            "send_for_all_actions": False,
            "actions": list(_ACTIONS),
            "headers": {_HEADER: self._token},
        }
        try:
            return self._client.send("POST", "/api/webhooks/", body=made)["id"]
        except (PermissionError, ValueError) as error:
            # Newer versions call no private address by default.
            reason = str(error).partition(": ")[2] or str(error)
            raise ValueError(
                f"webhook: {reason}; for an address of a private network start Label Studio with "
                "SSRF_PROTECTION_ENABLED=false in its environment"
            ) from None

    async def _answer(self, scope: Any, _: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Take a call, and nothing else; what is in it is not read."""
        token = dict(scope["headers"]).get(_HEADER.lower().encode(), b"")
        is_call = scope["method"] == "POST" and secrets.compare_digest(token, self._token.encode())
        if is_call:
            self._called.set()
        await send({"type": "http.response.start", "status": 204 if is_call else 404, "headers": []})
        await send({"type": "http.response.body"})


def address_of(url: str) -> tuple[str, int]:
    """Read where a webhook listens; refuse a URL that can be none of one."""
    with suppress(ValueError, AttributeError, TypeError):
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise ValueError(
        f"webhook: expected an address of this machine with a port, such as 'http://127.0.0.1:8124/', got {url!r}"
    )
