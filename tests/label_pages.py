"""A project whose page for labelling is served, and what tests ask it for."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from typing import ClassVar
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("sqlalchemy")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import httpx
import sqlalchemy as sa

import pickwise as pw
from pickwise.loop import FunctionModel
from pickwise.loop.schema import votes as table

CLASSES = ["ham", "spam", "other"]
XSS = [
    "<script>window.pwned = 1; alert(1)</script>",
    "<img src=x onerror='window.pwned=1;alert(1)'>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "</script><script>alert(1)</script>",
    "{{constructor.constructor('alert(1)')()}}",
]


def texts(count):
    rows = [f"Message {row}: you have won a free prize, claim it now" for row in range(count)]
    rows[: len(XSS)] = XSS[:count]
    return rows


def a_model(classes=CLASSES):
    def predict_proba(_, rows):
        p = np.full((len(rows), len(classes)), 0.2 / (len(classes) - 1))
        p[:, 0] = 0.8
        return p

    return FunctionModel(fit=lambda x, y: None, predict_proba=predict_proba, classes=classes)


def created(place, pool=None, *, rows=12, classes=CLASSES, **told):
    told = {"batch_size": rows, "classes": classes, "model": a_model(classes), **told}
    return pw.Project.create(place, texts(rows) if pool is None else pool, **told)


@contextmanager
def served(place, pool=None, *, ask=True, options=None, **told):
    """Make a project, ask for a round, and serve its page."""
    with created(place, pool, **told) as project:
        if ask:
            project.ask()
        with project.label(**(options or {})) as server:
            try:
                yield project, server
            finally:
                Person.leave()


class Person:
    """Somebody at a page, without a browser."""

    opened: ClassVar[list[httpx.Client]] = []

    @classmethod
    def leave(cls):
        while cls.opened:
            cls.opened.pop().close()

    def __init__(self, server, name="anna"):
        parts = urlsplit(server if isinstance(server, str) else server.url)
        self.base, self.token = f"{parts.scheme}://{parts.netloc}", parts.query.removeprefix("token=")
        self.name, self.session = name, secrets.token_hex(8)
        self.client = httpx.Client(base_url=self.base, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)
        self.opened.append(self.client)

    def post(self, path, **fields):
        return self.client.post(path, json={"annotator": self.name, **fields})

    def next(self, have=(), want=1):
        told = self.post("/api/next", session=self.session, have=list(have), want=want).json()
        return told["tasks"]

    def answer(self, item, label="ham", kind="label", key=None, **fields):
        if kind == "label":
            fields["label"] = label
        key = key or secrets.token_hex(8)
        return self.post("/api/answer", session=self.session, item=item, key=key, kind=kind, **fields)

    def undo(self, item):
        return self.post("/api/undo", session=self.session, item=item, key=secrets.token_hex(8))


@pytest.fixture(autouse=True)
def all_leave():
    """Everybody leaves after each test of a module that names this."""
    yield
    Person.leave()


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def votes(place):
    """Read what holds in the database: row, annotator, kind and label."""
    with pw.Project.join(place) as project, project._context.store.read() as connection:
        asked = sa.select(table.c.row, table.c.annotator, table.c.kind, table.c.label)
        found = connection.execute(asked.order_by(table.c.row, table.c.annotator))
        return [tuple(each) for each in found]
