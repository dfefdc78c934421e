"""Requests to a server of Label Studio: signed, repeated where that helps, and refused in one sentence."""

from __future__ import annotations

import base64
import json
import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from pickwise.options import as_count, as_number

# Seconds before the first repetition; each further one waits twice as long, up to the longest.
_BACK_OFF = 0.5
_LONGEST = 30.0

# Seconds that a server may ask for by Retry-After; who wants more is told of instead.
_PATIENCE = 120.0

# Access tokens are renewed when this share of their life is over, which is 300 seconds unless they say otherwise.
_RENEW = 0.8
_LIFETIME = 300.0

_SHOWN = 300


class UnsureError(ConnectionError):
    """A request was sent, and nobody knows whether it was carried out."""


class Client:
    """A connection to a server.

    Parameters
    ----------
    url : str
        Where Label Studio is.
    token : str
        A legacy token, or a personal access token.
    timeout : float
        Seconds that each try may wait for the server.
    retries : int
        How often a request is made again.

    Attributes
    ----------
    url : str
        Without a slash at its end.
    date : datetime or None
        What the server's clock said in its last answer.

    Raises
    ------
    ImportError
        If httpx is not installed.
    ValueError, TypeError
        For another kind of URL, or a token that can be none.
    """

    def __init__(self, url: str, token: str, *, timeout: float, retries: int) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ImportError(
                "Label Studio needs httpx; install it with pip install 'pickwise[label-studio]'"
            ) from error
        self.url = _checked_url(url)
        self.date: datetime | None = None
        self._retries = as_count(retries, "retries", least=0)
        seconds = as_number(timeout, "timeout")
        if not 0 < seconds < math.inf:
            raise ValueError(f"timeout: expected seconds, got {timeout!r}")
        self._token = _checked_token(token)
        self._is_personal = self._token.count(".") == 2
        self._access, self._renew_at = "", 0.0
        self._errors = (httpx.TransportError, httpx.TooManyRedirects, httpx.DecodingError)
        # The request has not left this machine.
        self._unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
        self._http = httpx.Client(timeout=seconds, headers={"Accept": "application/json"})

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """Fetch something."""
        return self.send("GET", path, params=params)

    def send(self, method: str, path: str, *, params: Any = None, body: Any = None, once: bool = False) -> Any:
        """Make a request, and return the JSON of its answer.

        Parameters
        ----------
        method, path : str
        params : mapping, optional
            The query.
        body : object, optional
            What is sent as JSON.
        once : bool
            Whether to carry it out twice does harm: it is then repeated only where it has certainly not been.

        Raises
        ------
        PermissionError
            If the token is refused.
        ValueError
            If the request is, or there is no Label Studio at the URL.
        UnsureError
            With `once`, if it may have been carried out or not.
        ConnectionError
            If the server is not reached, or fails, however often it is tried.
        """
        renewed, fault = False, ""
        for attempt in range(self._retries + 1):
            answer, fault, is_unsure = self._try(method, path, params, body, self._authorization())
            if answer is not None and answer.status_code == 401 and self._is_personal and not renewed:
                self._access, renewed = "", True
                answer, fault, is_unsure = self._try(method, path, params, body, self._authorization())
            if not fault:
                return self._read(answer)
            if once and is_unsure:
                raise UnsureError(f"Label Studio at {self.url}: {fault}")
            if attempt < self._retries:
                time.sleep(self._pause(attempt, answer))
        tries = f"{self._retries + 1} tries" if self._retries else "1 try"
        raise ConnectionError(f"Label Studio at {self.url} gave no answer in {tries}: {fault}")

    def is_not_there(self, why: str) -> ValueError:
        """Make the error of a URL at which there is something else."""
        return ValueError(f"url: expected that of Label Studio, got {self.url}, which {why}")

    def _try(self, method: str, path: str, params: Any, body: Any, authorization: str) -> tuple[Any, str, bool]:
        """Make a request; return its answer, what failed for the moment, and whether it may have been carried out."""
        headers = {"Authorization": authorization} if authorization else {}
        try:
            answer = self._http.request(method, self.url + path, params=params, json=body, headers=headers)
        except self._errors as error:
            # Without its cause, which knows the headers.
            return None, f"{type(error).__name__}: {error}"[:_SHOWN], not isinstance(error, self._unsent)
        with suppress(KeyError, ValueError, TypeError):
            self.date = parsedate_to_datetime(answer.headers["Date"])
        if answer.status_code == 429:
            return answer, "it answers 429, too many requests", False
        if answer.status_code >= 500:
            return answer, f"it answers {answer.status_code}", True
        if answer.is_success and answer.content and _decoded(answer) is _NO_JSON:
            return answer, "its answer is no JSON; is the url that of Label Studio?", True
        return answer, "", False

    def _read(self, answer: Any) -> Any:
        """Return what an answer says, or raise what it complains of."""
        status = answer.status_code
        if answer.is_success:
            return _decoded(answer) if answer.content else None
        content = _decoded(answer)
        if status in (401, 403):
            raise PermissionError(
                f"token: Label Studio at {self.url} refuses it: {self._safe(_complaint(content, status))}"
            )
        if answer.is_redirect:
            where = self._safe(str(answer.headers.get("Location", "elsewhere")))
            raise self.is_not_there(f"redirects to {where}")
        if not isinstance(content, dict):
            raise self.is_not_there(f"answers {status} and no JSON")
        raise RefusedError(status, self._safe(_complaint(content, status)), content)

    def _safe(self, text: str) -> str:
        """Leave out what must not be shown, should a server echo it."""
        for secret in (self._token, self._access):
            if secret:
                text = text.replace(secret, "***")
        return text

    def _authorization(self) -> str:
        if not self._is_personal:
            return f"Token {self._token}"
        if not self._access or time.monotonic() >= self._renew_at:
            self._renew()
        return f"Bearer {self._access}"

    def _renew(self) -> None:
        """Get an access token for the personal one."""
        fault = ""
        for attempt in range(self._retries + 1):
            began = time.monotonic()
            answer, fault, _ = self._try("POST", "/api/token/refresh/", None, {"refresh": self._token}, "")
            if not fault:
                content = self._read(answer)
                access = content.get("access") if isinstance(content, dict) else None
                if not isinstance(access, str):
                    raise self.is_not_there("renews no token")
                self._access, self._renew_at = access, began + _RENEW * _lifetime(access)
                return
            if attempt < self._retries:
                time.sleep(self._pause(attempt, answer))
        raise ConnectionError(f"Label Studio at {self.url} renews no token: {fault}")

    def _pause(self, attempt: int, answer: Any) -> float:
        """Return how many seconds to wait: as many as the server asks for, or ever more."""
        asked = None if answer is None else _retry_after(answer.headers.get("Retry-After"))
        if asked is None:
            return min(_BACK_OFF * 2.0**attempt, _LONGEST)
        if asked > _PATIENCE:
            raise ConnectionError(f"Label Studio at {self.url} asks to come back in {asked:.0f} seconds")
        return asked


class RefusedError(ValueError):
    """The server understands a request, and refuses it.

    Attributes
    ----------
    status : int
        Of HTTP.
    complaint : str
        Why.
    fields : dict
        What is wrong with each part of the request.
    """

    def __init__(self, status: int, complaint: str, content: dict[str, Any]) -> None:
        super().__init__(f"Label Studio refuses it: {complaint}")
        self.status = status
        self.complaint = complaint
        self.fields: dict[str, Any] = content.get("validation_errors") or {}


_NO_JSON = object()


def _decoded(answer: Any) -> Any:
    try:
        return answer.json()
    except ValueError:
        return _NO_JSON


def _complaint(content: Any, status: int) -> str:
    """Find the words in which a server complains."""
    if not isinstance(content, dict):
        return f"it answers {status}"
    errors = content.get("validation_errors")
    if isinstance(errors, dict) and errors:
        parts = [part for each in errors.values() for part in (each if isinstance(each, list) else [each])]
        return " ".join(map(str, parts))[:_SHOWN]
    return str(content.get("detail") or f"it answers {status}")[:_SHOWN]


def _retry_after(header: str | None) -> float | None:
    """Read how many seconds to wait: a number, or a time."""
    if header is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(header)) if math.isfinite(float(header)) else None
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None


def _lifetime(access: str) -> float:
    """Read how long a token lives, whatever clock wrote it."""
    with suppress(ValueError, KeyError, TypeError, IndexError):
        payload = access.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        seconds = float(claims["exp"]) - float(claims["iat"])
        if 0 < seconds < math.inf:
            return seconds
    return _LIFETIME


def _checked_url(url: str) -> str:
    if not isinstance(url, str):
        raise TypeError(f"url: expected text, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        is_known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"url: expected one of http or https with a host, got none ({error})") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("url: expected no user and password, got some; token= signs in")
    if not is_known:
        raise ValueError(f"url: expected one of http or https with a host, got {url!r}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _checked_token(token: str) -> str:
    if not isinstance(token, str):
        raise TypeError(f"token: expected text, got {type(token).__name__}")
    text = token.strip()
    if not text or not text.isascii() or any(mark <= " " for mark in text):
        raise ValueError("token: expected one from the account page of Label Studio, got none, or text with spaces")
    return text
