"""What the page asks of the server, and what it gets."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.annotators.page.bodies import LARGEST, BadRequestError, openapi, read
from pickwise.annotators.page.guard import Guard, cookie_name
from pickwise.annotators.page.leases import Holder, Leases
from pickwise.annotators.page.media import Media, type_of
from pickwise.annotators.page.shown import Shown
from pickwise.annotators.page.source import Given, Refused
from pickwise.annotators.page.writing import Writer

try:
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import FileResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise ImportError(
        "the page for labelling needs Starlette; install it with pip install 'pickwise[label]'"
    ) from error

if TYPE_CHECKING:
    import re
    from collections.abc import Awaitable, Callable, Sequence

    from pickwise.annotators.page.feed import Feed
    from pickwise.annotators.page.guard import App
    from pickwise.annotators.page.source import Source

_PREFETCHED = 4
_HISTORY = 50
_FRAMES = "http://localhost:* http://127.0.0.1:* https://localhost:* vscode-webview:"


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a page looks, and who may see it.

    Attributes
    ----------
    lease : float
        Seconds that a row is lent.
    media : Media, optional
    guidelines : str
        What people are to go by, as text.
    highlight : pattern, optional
    hosts : sequence of str
        Names that the page may be called by, beside "localhost".
    is_open : bool
        Whether it may be called by any address of numbers.
    framed : bool
        Whether notebooks of this machine may show it in a frame.
    """

    lease: float = 120.0
    media: Media | None = None
    guidelines: str = ""
    highlight: re.Pattern[str] | None = None
    hosts: Sequence[str] = ()
    is_open: bool = False
    framed: bool = False


class Page:
    """The routes of the page.

    Parameters
    ----------
    source : Source
    leases : Leases
    feed : Feed
    look : Look
    note : callable
        Tells what the server does beside, such as fitting a model; "" for nothing.
    """

    def __init__(self, source: Source, leases: Leases, feed: Feed, look: Look, note: Callable[[], str]) -> None:
        self._source = source
        self._leases = leases
        self._feed = feed
        self._look = look
        self._note = note
        self._writer = Writer(source)
        self._shown = Shown(look.media, look.highlight)
        self._parts = {name: _text(name) for name in ("page.html", "page.css", "page.js")}

    def app(self, token: str) -> App:
        """Make the application, which answers only those who know the token."""
        starlette = Starlette(
            routes=[
                Route("/", self.page),
                Route("/openapi.json", self.openapi),
                Route("/api/about", self.about),
                Route("/api/next", self._reading(self.next), methods=["POST"]),
                Route("/api/answer", self._reading(self.answer), methods=["POST"]),
                Route("/api/undo", self._reading(self.undo), methods=["POST"]),
                Route("/api/history", self._reading(self.history), methods=["POST"]),
                Route("/media/{name:path}", self.media),
            ],
            exception_handlers={404: _not_found, 405: _not_found},
        )
        self._token = token
        return Guard(starlette, token, self._look.hosts, is_open=self._look.is_open)

    async def page(self, request: Request) -> Response:
        """Return the page, whole: its style and its script are in it."""
        nonce = secrets.token_urlsafe(16)
        parts = self._parts
        text = parts["page.html"].replace("{nonce}", nonce)
        text = text.replace("{style}", parts["page.css"]).replace("{script}", parts["page.js"])
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors {_FRAMES if self._look.framed else chr(39) + 'none' + chr(39)}"
        )
        response = Response(text, media_type="text/html", headers={"Content-Security-Policy": policy})
        name = cookie_name(request.headers["host"])
        response.set_cookie(name, self._token, path="/", httponly=True, samesite="strict")
        return response

    async def openapi(self, _: Request) -> Response:
        """Return the description of all this."""
        return _json(openapi())

    async def about(self, _: Request) -> Response:
        """Tell what is labelled."""
        names, is_open = await _threaded(self._source.classes)
        return _json(
            {
                **await _threaded(self._source.about),
                "classes": list(names),
                "other_classes": is_open,
                "guidelines": self._look.guidelines,
                "lease": self._look.lease,
                "prefetched": _PREFETCHED,
            }
        )

    async def next(self, told: dict[str, Any]) -> Response:
        """Renew what a page has, and give it more."""
        return _json(self._more(told))

    async def answer(self, told: dict[str, Any]) -> Response:
        """Record an answer, and reply when it is durable, with more to do."""
        holder = _holder(told)
        refusal = _unfit(told) or ("" if self._leases.may_answer(told["item"], holder) else _TAKEN)
        if refusal:
            return _json({"error": refusal, **self._more(told)}, 409 if refusal is _TAKEN else 422)
        given = Given(
            item=told["item"],
            key=told["key"],
            annotator=holder.annotator,
            kind=told["kind"],
            label=told.get("label"),
            seconds=told.get("seconds"),
        )
        try:
            if await self._is_new(given):
                self._leases.answered(told["item"], holder.annotator)
        except Refused as refused:
            if refused.is_taken:
                await _threaded(self._feed.look)  # so that nobody else is given the row
            return _json({"error": str(refused), **self._more(told)}, 409 if refused.is_taken else 422)
        return _json({"saved": told["key"], **self._more(told)})

    async def undo(self, told: dict[str, Any]) -> Response:
        """Take an answer back, and give the row to who has answered it; where nobody waits for it, only show it."""
        holder, item = _holder(told), told["item"]
        tasks = await _threaded(self._source.tasks, [item])
        if not tasks:
            return _json({"error": "item: there is no such row"}, 404)
        withdrawn = item in self._leases
        if withdrawn:
            given = Given(item=item, key=told["key"], annotator=holder.annotator, kind="withdrawn")
            try:
                if await self._is_new(given):
                    self._leases.withdraw(item, holder)
            except Refused as refused:
                return _json({"error": str(refused)}, 409)
        return _json({"task": self._shown(tasks[0]), "withdrawn": withdrawn, "progress": self._progress()})

    async def history(self, told: dict[str, Any]) -> Response:
        """Tell what somebody has answered last."""
        found = await _threaded(self._source.answered, told["annotator"], _HISTORY)
        return _json(
            {
                "answers": [
                    {"task": self._shown(each.task), "kind": each.kind, "label": _as_shown(each.label)}
                    for each in found
                ]
            }
        )

    async def media(self, request: Request) -> Response:
        """Return a file of the folder of media."""
        try:
            if self._look.media is None:
                return _json({"error": "there is no folder of media; --media names one"}, 404)
            path = await _threaded(self._look.media.find, request.path_params["name"])
        except PermissionError as error:
            return _json({"error": str(error)}, 403)
        except OSError as error:
            return _json({"error": str(error)}, 404)
        return FileResponse(path, media_type=type_of(path))

    async def _is_new(self, given: Given) -> bool:
        """Return when an answer is durable; False if it was before, as when it is sent again."""
        try:
            await self._writer.record(given)
        except Refused as refused:
            if refused.is_known:
                return False
            raise
        return True

    def _more(self, told: dict[str, Any]) -> dict[str, Any]:
        taken = self._leases.take(_holder(told), told.get("have", []), told.get("want", _PREFETCHED))
        return {
            "tasks": [self._shown(task) for task in taken.tasks],
            "gone": taken.gone,
            "progress": self._progress(),
        }

    def _progress(self) -> dict[str, Any]:
        return {**self._feed.about, **self._leases.progress()._asdict(), "note": self._note()}

    def _reading(
        self, endpoint: Callable[[dict[str, Any]], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Read the body of a request before an endpoint sees it."""

        async def reading(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                return _json({"error": "body: expected application/json"}, 415)
            body = b""
            try:
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > LARGEST:
                        return _json({"error": f"body: expected {LARGEST} bytes or fewer"}, 413)
                return await endpoint(read(request.url.path, body))
            except BadRequestError as error:
                return _json({"error": str(error)}, 400)
            except OSError as error:
                before = "nothing was saved: " if request.url.path in _SAVES else ""
                return _json({"error": f"{before}{error}"}, 503)
            except ClientDisconnect:
                return _json({"error": "the request ended too early"}, 400)

        return reading


_SAVES = ("/api/answer", "/api/undo")
_TAKEN = "others have it by now, as it was with you for too long; this answer was not saved"


def _unfit(told: dict[str, Any]) -> str:
    has_label = told.get("label") is not None
    if has_label is (told["kind"] == "label"):
        return ""
    return f"label: expected {'none' if has_label else 'one'} with an answer of kind {told['kind']!r}"


def _holder(told: dict[str, Any]) -> Holder:
    return Holder(told["annotator"], told["session"])


def _as_shown(label: Any) -> Any:
    """Return a label with the names of classes as texts, as the page has them."""
    if isinstance(label, list):
        return [str(name) for name in label]
    return label if label is None or isinstance(label, float) else str(label)


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _json(told: Any, code: int = 200) -> Response:
    # Escaped, as texts may hold halves of surrogate pairs, which UTF-8 has no bytes for.
    return Response(json.dumps(told), code, media_type="application/json")


async def _threaded(function: Callable[..., Any], *arguments: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(function, *arguments)


async def _not_found(_: Request, error: Exception) -> Response:
    return _json({"error": "there is nothing at this address"}, getattr(error, "status_code", 404))
