"""What else is told when a round ends: an experiment tracker, a web service, any function."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import platform
import time
import warnings
from contextlib import contextmanager
from dataclasses import fields
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from pickwise._native import __version__
from pickwise.annotators.files import plain
from pickwise.options import as_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from pickwise.loop.history import Round

# Seconds before the first retry; the second waits twice as long.
_BACK_OFF = 0.5
_RETRIES = 2

# What a server answers if it may do better the next time.
_TRY_AGAIN = (408, 425, 429)


class ProjectLike(Protocol):
    """What hooks know of a project.

    Attributes
    ----------
    name : str
        What people call it.
    id : str
        What it is known by: the same whenever and wherever the project is opened, and of no other project.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def id(self) -> str: ...  # noqa: D102


Hook: TypeAlias = "Callable[[ProjectLike, Round], object]"
"""Called with the project and the round that has ended."""


def run_hooks(hooks: Iterable[Hook], project: ProjectLike, round: Round) -> None:  # noqa: A002 - the field's word
    """Tell all hooks of the end of a round.

    A hook that fails stops neither the loop nor the other hooks: a warning tells of it. Ctrl-C passes.

    Parameters
    ----------
    hooks : iterable of callable
        ``hook(project, round)``.
    project : Project
    round : Round

    Warns
    -----
    RuntimeWarning
        Names the hook, and what it raised.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from pickwise.loop.history import Round, State
    >>> from pickwise.loop.hooks import run_hooks
    >>> def tell(project, round):
    ...     print(f"{project.name}: round {round.number}, accuracy {round.metrics['accuracy']}")
    >>> project = SimpleNamespace(name="reviews", id="6f1c")
    >>> run_hooks([tell], project, Round(number=3, state=State("trained"), metrics={"accuracy": 0.91}))
    reviews: round 3, accuracy 0.91
    """
    for hook in hooks:
        try:
            hook(project, round)
        except Exception as error:  # noqa: BLE001 - labels must not wait for a tracker
            name = getattr(hook, "__name__", None) or repr(hook)
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"hook {name} failed after round {round.number}: {reason}", RuntimeWarning, stacklevel=2)


class MlflowHook:
    """Keeps a project's rounds in MLflow: one run for the project, found again whenever it is opened.

    The metrics of a round have the number of labelled rows as their step, so that they draw the learning curve;
    parameters are the strategy, the seed and the versions. A round that is there already is not written again. MLflow's
    telemetry is off meanwhile.

    Parameters
    ----------
    uri : str
        Of the tracking server or its database.
    experiment : str, optional
        Its name; "pickwise", unless given. It is made where it is missing.

    Raises
    ------
    ImportError
        When it is called and MLflow is not installed.
    """

    def __init__(self, uri: str = "sqlite:///mlflow.db", experiment: str | None = None) -> None:
        self._uri = uri
        self._experiment = experiment or "pickwise"

    def __call__(self, project: ProjectLike, round: Round) -> None:  # noqa: A002 - the field's word
        """Write a round."""
        with _without_telemetry():
            try:
                from mlflow import MlflowClient
                from mlflow.entities import Metric, Param, RunTag
            except ImportError as error:
                raise ImportError("MlflowHook needs MLflow; install it with pip install 'pickwise[mlflow]'") from error
            client = MlflowClient(self._uri)
            run = self._run(client, project)
            done = f"pickwise.round.{round.number}"
            if done in run.data.tags:
                return
            # The time of the round, not of the call: half a round that is written again is the same.
            at = _milliseconds(round.trained_at or round.closed_at or round.planned_at)
            strategy = json.dumps(plain(round.strategy))
            # One transaction; where it is none, the tag that tells that all is there comes last.
            client.log_batch(
                run.info.run_id,
                metrics=[Metric(name, value, at, round.labelled) for name, value in _measured(round).items()],
                params=[Param(name, value) for name, value in _parameters(round, strategy, run.data).items()],
                tags=[RunTag("pickwise.strategy", strategy), RunTag(done, round.state.value)],
            )
            client.set_terminated(run.info.run_id)

    def __repr__(self) -> str:
        password = urlsplit(self._uri).password
        uri = self._uri if password is None else self._uri.replace(f":{password}@", ":***@")
        return f"MlflowHook({uri!r}, {self._experiment!r})"

    def _run(self, client: Any, project: ProjectLike) -> Any:
        """Find the project's run, or make it."""
        experiment = client.get_experiment_by_name(self._experiment)
        number = client.create_experiment(self._experiment) if experiment is None else experiment.experiment_id
        found = client.search_runs([number], f"tags.`pickwise.project` = '{project.id}'", max_results=1)
        tags = {"pickwise.project": project.id}
        return found[0] if found else client.create_run(number, tags=tags, run_name=project.name)


def _measured(round: Round) -> dict[str, float]:  # noqa: A002 - the field's word
    """Collect the numbers of a round."""
    numbers: dict[str, float] = {"round": round.number, "asked": round.asked, "answered": round.answered}
    numbers |= round.metrics
    numbers |= {f"seconds/{name}": value for name, value in round.seconds.items()}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _parameters(round: Round, strategy: str, logged: Any) -> dict[str, str]:  # noqa: A002 - the field's word
    """Choose what is written of how rows are chosen: MLflow lets a parameter never change."""
    if "strategy" not in logged.params:
        return {
            "strategy": strategy,
            "seed": str(round.seed),
            "pickwise": __version__,
            "python": platform.python_version(),
        }
    if strategy != logged.tags.get("pickwise.strategy"):
        return {f"strategy_from_round_{round.number}": strategy}
    return {}


def _milliseconds(moment: datetime | None) -> int:
    return int((time.time() if moment is None else moment.timestamp()) * 1000)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Switch MLflow's telemetry off, which it would begin when it is imported."""
    name = "MLFLOW_DISABLE_TELEMETRY"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class WebhookHook:
    """Posts each round as JSON: ``{"event": "round_end", "project": {"name", "id"}, "round": {...}}``.

    What fails for the moment is tried twice more, so a receiver may see a round again; redirects are not followed.

    Parameters
    ----------
    url : str
        Of http or https.
    secret : str, optional
        Known to the receiver too. The header ``X-Pickwise-Signature`` is then ``sha256=`` and the HMAC-SHA256 of the
        body in hexadecimal (RFC 2104); compare it with `hmac.compare_digest`.
    timeout : float
        Seconds that each try may wait for the server.

    Raises
    ------
    ValueError, TypeError
        For another kind of URL, an empty secret, or a timeout that is none.

    Examples
    --------
    >>> from pickwise.loop.hooks import WebhookHook
    >>> WebhookHook("https://example.org/rounds?token=7d1", secret="of ours")
    WebhookHook('https://example.org/…')
    """

    def __init__(self, url: str, *, secret: str | None = None, timeout: float = 5) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: expected one of http or https with a host, got the scheme {parts.scheme!r}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url: expected no user and password, got some; secret= signs what is sent")
        if secret is not None and not secret:
            raise ValueError("secret: expected None or text, got nothing")
        self._timeout = as_number(timeout, "timeout")
        if not 0 < self._timeout < math.inf:
            raise ValueError(f"timeout: expected seconds, got {timeout!r}")
        self._url = url
        # The path of a webhook is often its password.
        self._shown = f"{parts.scheme}://{parts.netloc}/…"
        self._secret = None if secret is None else secret.encode()

    def __call__(self, project: ProjectLike, round: Round) -> None:  # noqa: A002 - the field's word
        """Post a round.

        Raises
        ------
        ConnectionError
            If the server was not reached, or refuses.
        """
        content = {field.name: getattr(round, field.name) for field in fields(round)}
        told = {"event": "round_end", "project": {"name": project.name, "id": project.id}, "round": content}
        body = json.dumps(plain(told)).encode()
        headers = {"Content-Type": "application/json", "User-Agent": f"pickwise/{__version__}"}
        if self._secret is not None:
            headers["X-Pickwise-Signature"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        reason = ""
        for attempt in range(_RETRIES + 1):
            if attempt:
                time.sleep(_BACK_OFF * 2 ** (attempt - 1))
            try:
                status = _post(self._url, body, headers, self._timeout)
            except (OSError, HTTPException) as error:
                # Others than those of the system may quote the URL.
                reason = str(error) if isinstance(error, OSError) else type(error).__name__
                continue
            if status < 300:
                return
            reason = f"expected a status of 200 to 299, got {status}"
            if status < 500 and status not in _TRY_AGAIN:
                break
        raise ConnectionError(f"{self._shown}: {reason}")

    def __repr__(self) -> str:
        return f"WebhookHook({self._shown!r})"


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> int:
    """Post, and return the status.

    Raises
    ------
    OSError, HTTPException
        If there is no answer.
    """
    try:
        import httpx
    except ImportError:
        return _post_by_urllib(url, body, headers, timeout)
    try:
        return int(httpx.post(url, content=body, headers=headers, timeout=timeout).status_code)
    except httpx.TransportError as error:
        raise OSError(type(error).__name__) from None


def _post_by_urllib(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> int:
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    request = Request(url, body, dict(headers))  # noqa: S310 - WebhookHook has checked the scheme
    try:
        with build_opener(NoRedirect).open(request, timeout=timeout) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code
