"""Hooks: what a round's end tells others, once, without secrets; and that their failures hold up nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from pickwise.loop import hooks
from pickwise.loop.history import Round, State
from pickwise.loop.hooks import MlflowHook, WebhookHook, run_hooks

PROJECT = SimpleNamespace(name="reviews", id="0b6f")
ROUND = Round(
    number=3,
    state=State.trained,
    strategy={"name": "margin"},
    asked=10,
    answered=9,
    labelled=29,
    metrics={"accuracy": np.float64(0.75), "kappa": float("nan")},
    trained_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)
SECRET = "of ours alone"


@pytest.fixture(params=["httpx", "urllib"])
def client(request, monkeypatch):
    """Post by httpx where it is installed, and without it."""
    monkeypatch.setattr(hooks, "_BACK_OFF", 0.001)
    if request.param == "httpx":
        pytest.importorskip("httpx")
    else:
        monkeypatch.setitem(sys.modules, "httpx", None)


@pytest.fixture
def server(client):
    """Receive posts, and answer with the statuses that a test lists, then with 204."""
    received, statuses = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers, body))
            status = statuses.pop(0) if statuses else 204
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - as it is called

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{serving.server_port}/rounds?token=7d1"
        yield SimpleNamespace(url=url, received=received, statuses=statuses)
        serving.shutdown()
        thread.join()


def test_a_round_is_posted_and_signed(server):
    WebhookHook(server.url, secret=SECRET)(PROJECT, ROUND)
    ((path, headers, body),) = server.received
    assert path == "/rounds?token=7d1"
    assert headers["Content-Type"] == "application/json"
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Pickwise-Signature"] == f"sha256={expected}"
    told = json.loads(body)
    assert (told["event"], told["project"]) == ("round_end", {"name": "reviews", "id": "0b6f"})
    assert told["round"]["metrics"] == {"accuracy": 0.75, "kappa": None}
    assert (told["round"]["number"], told["round"]["state"]) == (3, "trained")
    assert told["round"]["trained_at"] == "2026-01-02T03:04:05+00:00"
    assert told["round"]["planned_at"] is None
    WebhookHook(server.url)(PROJECT, ROUND)
    assert server.received[1][1]["X-Pickwise-Signature"] is None


def test_what_may_pass_is_tried_again(server):
    server.statuses += [500, 429]
    WebhookHook(server.url)(PROJECT, ROUND)
    assert len(server.received) == 3
    assert len({body for _, _, body in server.received}) == 1


@pytest.mark.parametrize(("statuses", "tries"), [([503] * 3, 3), ([404], 1), ([302], 1)])
def test_what_does_not_pass_is_an_error(server, statuses, tries):
    server.statuses += statuses
    with pytest.raises(ConnectionError, match=rf"^http://127.0.0.1:\d+/…: expected .* 200 to 299, got {statuses[0]}$"):
        WebhookHook(server.url, secret=SECRET)(PROJECT, ROUND)
    assert [path for path, _, _ in server.received] == ["/rounds?token=7d1"] * tries


@pytest.mark.usefixtures("client")
def test_a_server_that_is_away_is_no_leak():
    hook = WebhookHook("http://127.0.0.1:9/token-7d1", secret=SECRET)
    with pytest.warns(RuntimeWarning, match=r"hook WebhookHook.* failed after round 3: ConnectionError") as warned:
        run_hooks([hook], PROJECT, ROUND)
    for text in (str(warned[0].message), repr(hook)):
        assert "7d1" not in text
        assert SECRET not in text


@pytest.mark.usefixtures("client")
def test_a_silent_server_is_not_waited_for():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = WebhookHook(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05)
        with pytest.raises(ConnectionError, match=r"127.0.0.1:\d+/…: .*[Tt]ime"):
            hook(PROJECT, ROUND)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "file:///etc/passwd"}, "url: expected one of http or https with a host, got the scheme 'file'"),
        ({"url": "ftp://example.org"}, "got the scheme 'ftp'"),
        ({"url": "example.org/x"}, "got the scheme ''"),
        ({"url": "http:///x"}, "with a host"),
        ({"url": "https://me:7d1@example.org"}, "url: expected no user and password"),
        ({"url": "https://example.org", "secret": ""}, "secret: expected None or text, got nothing"),
        ({"url": "https://example.org", "timeout": 0}, "timeout: expected seconds, got 0"),
    ],
)
def test_bad_webhooks(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        WebhookHook(**arguments)
    assert "7d1" not in str(error.value)


def test_a_hook_that_fails_stops_nothing():
    told = []

    def broken(project, round_):
        raise ZeroDivisionError("no rows")

    with pytest.warns(RuntimeWarning, match="hook broken failed after round 3: ZeroDivisionError: no rows"):
        run_hooks([broken, lambda project, round_: told.append((project, round_))], PROJECT, ROUND)
    assert told == [(PROJECT, ROUND)]


def test_ctrl_c_passes():
    def stopped(project, round_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_hooks([stopped], PROJECT, ROUND)


@pytest.mark.slow
def test_mlflow_has_each_round_once_and_phones_nobody(run_python, tmp_path):
    pytest.importorskip("mlflow")
    code = """
        import json, os, socket, sys, warnings
        from dataclasses import replace
        from types import SimpleNamespace

        # Where these are set MLflow is silent of itself.
        for name in ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
            os.environ.pop(name, None)
        os.chdir(sys.argv[1])
        before = set(os.environ.items())
        dialled = []
        socket.socket.connect = lambda self, address: dialled.append(address)
        socket.getaddrinfo = lambda *address, **_: dialled.append(address)
        warnings.simplefilter("ignore")

        from datetime import UTC, datetime
        from pickwise.loop.history import Round, State
        from pickwise.loop.hooks import MlflowHook

        def round_of(number, strategy="margin"):
            return Round(
                number=number, state=State.trained, strategy={"name": strategy}, seed=5, asked=10, answered=9,
                labelled=10 * number, metrics={"accuracy": number / 10, "log_loss": float("inf")},
                seconds={"fitting": 0.5}, trained_at=datetime(2026, 1, number, tzinfo=UTC),
            )

        project, other = SimpleNamespace(name="reviews", id="0b6f"), SimpleNamespace(name="reviews", id="77aa")
        hook = MlflowHook("sqlite:///mlflow.db")
        hook(project, round_of(1))
        hook(project, round_of(1))
        hook(other, round_of(1))
        again = MlflowHook("sqlite:///mlflow.db")
        again(project, round_of(2, "entropy"))
        again(project, round_of(1))
        from mlflow import MlflowClient
        from mlflow.telemetry import get_telemetry_client
        client = MlflowClient("sqlite:///mlflow.db")
        experiment = client.get_experiment_by_name("pickwise")
        runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
        history = lambda name: [
            [metric.step, metric.value, metric.timestamp]
            for metric in client.get_metric_history(runs[0].info.run_id, name)
        ]
        print(json.dumps({
            "runs": [[run.info.run_name, run.data.tags["pickwise.project"], run.info.status] for run in runs],
            "accuracy": history("accuracy"),
            "answered": history("answered"),
            "metrics": sorted(runs[0].data.metrics),
            "params": runs[0].data.params,
            "telemetry": get_telemetry_client() is not None,
            "environment": [name for name, _ in set(os.environ.items()) ^ before if name.startswith("MLFLOW")],
            "dialled": dialled,
        }))
    """
    found = json.loads(run_python(code, tmp_path, timeout=120).splitlines()[-1])
    day = 24 * 3600 * 1000
    first = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1000
    assert found["runs"] == [["reviews", "0b6f", "FINISHED"], ["reviews", "77aa", "FINISHED"]]
    assert found["accuracy"] == [[10, 0.1, first], [20, 0.2, first + day]]
    assert [step for step, _, _ in found["answered"]] == [10, 20]
    assert found["metrics"] == ["accuracy", "answered", "asked", "round", "seconds/fitting"]
    versions = {name: found["params"].pop(name) for name in ("pickwise", "python")}
    assert versions["python"].startswith("3.")
    assert found["params"] == {
        "strategy": '{"name": "margin"}',
        "seed": "5",
        "strategy_from_round_2": '{"name": "entropy"}',
    }
    assert (found["telemetry"], found["environment"], found["dialled"]) == (False, [], [])


def test_the_password_of_a_tracking_server_is_not_shown():
    assert repr(MlflowHook("https://me:7d1@example.org", "spam")) == "MlflowHook('https://me:***@example.org', 'spam')"
