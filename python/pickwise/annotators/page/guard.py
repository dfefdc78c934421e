"""Who may ask the page for anything: those who have its token, from its own address."""

from __future__ import annotations

import hmac
import ipaddress
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
# Of all that is no page: nothing in it is ever run, whatever it is taken for.
_NOTHING = b"default-src 'none'; frame-ancestors 'none'; sandbox"


class Guard:
    """Refuses requests before anything looks at them, and sets the headers that keep browsers strict.

    A page of somebody else in the same browser can send requests here. Its name in ``Host`` (DNS rebinding) and in
    ``Origin`` gives it away, and it does not know the token, which only the address that the command prints has. An
    address of numbers is no name, so that it cannot be somebody else's.

    Parameters
    ----------
    app : ASGI application
    token : str
    hosts : iterable of str
        Names that this server may be called by, beside those of the machine's own loopback and addresses of numbers.
    is_open : bool
        Whether addresses of numbers other than those of the loopback are its own.
    """

    def __init__(self, app: App, token: str, hosts: Iterable[str] = (), *, is_open: bool = False) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {*LOOPBACK, *(host.lower().strip("[]") for host in hosts)}
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                strict = [*_HEADERS, (b"content-security-policy", _NOTHING), (b"cache-control", b"no-store")]
                message["headers"] = [*message["headers"], *(pair for pair in strict if pair[0] not in given)]
            await send(message)

        refusal = self._foreign(scope, headers) or self._unknown(scope, headers)
        if refusal is None:
            await self._app(scope, receive, strictly)
        else:
            await _answer(strictly, *refusal, as_text=scope["path"] == "/")

    def _foreign(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Refuse what comes from another page, or by another name."""
        host = headers.get("host", "")
        if not self._is_ours(host) or [name for name, _ in scope["headers"]].count(b"host") != 1:
            return 403, "This address is not one of the page. Start it with --allow-host to use another name."
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "Other pages may not ask for anything here."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] != "/":
            return 403, "Other pages may not ask for anything here."
        return None

    def _unknown(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Refuse who does not know the token."""
        bearer = headers.get("authorization", "")
        by_header = bearer.lower().startswith("bearer ") and self._is_token(bearer[7:].strip())
        if by_header or (scope["path"] == "/" and self._is_token(_in_query(scope))):
            return None
        if not self._is_token(_in_cookie(headers.get("cookie", ""), cookie_name(headers["host"]))):
            return 401, "Open the page at the address that was printed when it was started; it ends with a token."
        if scope["method"] not in ("GET", "HEAD") and "origin" not in headers:
            return 403, "Other pages may not ask for anything here."
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._hosts:
            return True
        if not self._is_open:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)


def cookie_name(host: str) -> str:
    """Name the cookie of a page; cookies know no ports, but two pages may run on one machine."""
    port = host.rpartition(":")[2]
    return f"pickwise_label_{port}" if port.isascii() and port.isdigit() else "pickwise_label"


def _in_query(scope: Scope) -> str:
    try:
        query: bytes = scope["query_string"]
        return parse_qs(query.decode("latin-1"), max_num_fields=8).get("token", [""])[0]
    except ValueError:
        return ""


def _in_cookie(header: str, name: str) -> str:
    """Find a cookie, whatever those of other servers of the machine look like, which come along."""
    pairs = (each.strip().partition("=") for each in header.split(";"))
    return next((value for given, _, value in pairs if given == name), "")


async def _answer(send: Send, code: int, why: str, *, as_text: bool) -> None:
    body = why.encode() if as_text else json.dumps({"error": why}).encode()
    kind = b"text/plain; charset=utf-8" if as_text else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
