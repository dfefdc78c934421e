"""A small project that tests of the loop share, and processes of their own for it to be driven in."""

from __future__ import annotations

import os
import sys
import traceback

import numpy as np
import pytest
import sqlalchemy as sa
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import Annotation, SimulatedAnnotators

ROWS = 60
X = np.random.default_rng(2).normal(size=(ROWS, 2)).round(3)
TRUTH = [str(name) for name in np.where(X.sum(1) > 0, "yes", "no")]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def made(place, pool=X, model=None, **told):
    told = {"annotator": SimulatedAnnotators(TRUTH), "classes": ["no", "yes"], "batch_size": 6, **told}
    return pw.Project.create(place, pool, model=LogisticRegression() if model is None else model, **told)


def opened(place, pool=X, model=None, annotator=None):
    return pw.Project.open(
        place,
        pool,
        model=LogisticRegression() if model is None else model,
        annotator=SimulatedAnnotators(TRUTH) if annotator is None else annotator,
    )


def answers(tasks):
    return [Annotation(key=f"a:{task.key}", id=task.id, label=TRUTH[task.id]) for task in tasks]


def asked(place):
    with pw.Project.join(place) as project, project._context.store.read() as connection:
        return list(connection.execute(sa.text("select round, row from asks order by round, rank")))


def in_a_child(function, *arguments, uid=None):
    """Run a function in a process of its own, as another user if need be; return what it was ended by."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if uid is not None:
                os.seteuid(uid)
            function(*arguments)
            code = 0
        except BaseException:  # noqa: BLE001 - a child that fails must not go on as pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
