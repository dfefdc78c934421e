"""One simulated run: a strategy chooses, known labels answer, a model learns and is measured."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.evaluate.curves import Curve
from pickwise.evaluate.learners import Fresh, Learner, as_learner
from pickwise.evaluate.measures import balance, diversity, measures
from pickwise.loop.choosing import Known, Scene, select_rows
from pickwise.loop.data import ArrayData
from pickwise.strategies import Joint
from pickwise.threads import num_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pickwise.strategies import Strategy


@dataclass(frozen=True, eq=False)
class Problem:
    """Labelled rows, and what learns from them.

    Attributes
    ----------
    data : ArrayData
        All rows.
    y : ndarray of int64 of shape (rows,)
        Their classes, as numbers.
    classes : ndarray of shape (classes,)
        Their names.
    others : (X, y) or None
        Test rows that are not among them.
    embeddings : ndarray of shape (rows, dims) or None
    learner : Learner
    fingerprint : str
        Of all this.
    """

    data: ArrayData
    y: NDArray[np.int64]
    classes: NDArray[Any]
    others: tuple[Any, NDArray[np.int64]] | None
    embeddings: NDArray[Any] | None
    learner: Learner
    fingerprint: str

    @classmethod
    def read(cls, x: Any, y: Any, model: Any, *, embeddings: Any, test: Any) -> Problem:
        """Check what `simulate` is given."""
        names = np.asarray(y)
        _refuse_missing(names, "y")
        classes, codes = np.unique(names, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y: expected at least two classes, got {classes.tolist()}")
        learner = as_learner(model, len(names))
        data = ArrayData(np.arange(len(names)) if learner.takes_positions else x)
        if data.count != len(names):
            raise ValueError(f"y: expected {data.count} labels, one for each row of X, got {len(names)}")
        others = None
        if isinstance(test, tuple):
            truth = np.asarray(test[1])
            _refuse_missing(truth, "test")
            unknown = set(truth.tolist()) - set(classes.tolist())
            if unknown:
                raise ValueError(f"test: expected the classes of y, got {min(map(str, unknown))!r}, too")
            others = test[0], np.searchsorted(classes, truth)
        points = _points(data.rows if embeddings is None else embeddings, data.count, given=embeddings is not None)
        about = hashlib.blake2b(digest_size=16)
        beside = None if others is None else ArrayData(others[0]).fingerprint()
        for part in (data.fingerprint(), codes.tobytes(), classes.tolist(), learner.described(), beside):
            about.update(part if isinstance(part, bytes) else repr(part).encode())
        if points is not None and embeddings is not None:
            about.update(ArrayData(points).fingerprint().encode())
        return cls(data, codes.astype(np.int64), classes, others, points, learner, about.hexdigest())

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.data.count

    def described(self) -> str:
        """Say what learns."""
        return self.learner.described()

    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse a strategy that this cannot be simulated with, before any run."""
        if isinstance(strategy, Joint) and self.embeddings is None:
            raise TypeError(
                f"embeddings: expected some with {name!r}, got none; X is no matrix of floats that could stand for them"
            )
        self.learner.check(name, strategy)


@dataclass(frozen=True)
class Protocol:
    """How rows are labelled.

    Attributes
    ----------
    batch_size, budget : int
    initial : int or tuple of int
        How many rows are labelled at the beginning, or which.
    test : float, tuple of int, or None
        The share or the positions of the test rows; None where there are others.
    """

    batch_size: int
    budget: int
    initial: int | tuple[int, ...]
    test: float | tuple[int, ...] | None

    @classmethod
    def read(cls, problem: Problem, batch_size: int, *, budget: Any, initial: Any, test: Any) -> Protocol:
        """Check what `simulate` is given."""
        rows = problem.rows
        held: float | tuple[int, ...] | None
        if problem.others is not None:
            held, pool = None, rows
        elif np.ndim(test) == 0:
            held = float(test)
            if not 0 < held < 1:
                raise ValueError(f"test: expected a share between 0 and 1, positions, or (X, y), got {test!r}")
            pool = rows - round(held * rows)
        else:
            held = tuple(_positions(test, rows, "test"))
            pool = rows - len(held)
        begin: int | tuple[int, ...]
        if initial is None or np.ndim(initial) == 0:
            begin = batch_size if initial is None else int(initial)
            count = begin
        else:
            begin = tuple(_positions(initial, rows, "initial"))
            count = len(begin)
        if not 2 <= count <= pool:
            raise ValueError(f"initial: expected from 2 to {pool} rows, all that are not for testing, got {count}")
        most = pool if budget is None else int(budget)
        if not count <= most <= pool:
            raise ValueError(
                f"budget: expected from {count}, the rows labelled at the beginning, to {pool}, all that are not for "
                f"testing, got {most}"
            )
        return cls(batch_size, most, begin, held)

    def described(self) -> dict[str, Any]:
        """Say what it is, as JSON can hold it."""
        test: Any = self.test if isinstance(self.test, float) else "given" if self.test is None else _short(self.test)
        begin = self.initial if isinstance(self.initial, int) else _short(self.initial)
        return {"initial": begin, "batch_size": self.batch_size, "budget": self.budget, "test": test}

    def split(self, problem: Problem, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Draw the test rows, the rows of the pool, and those of it that are labelled at the beginning."""
        order = np.random.default_rng(seed).permutation(problem.rows)
        if isinstance(self.test, float):
            held = order[: round(self.test * problem.rows)]
        else:
            held = np.array([] if self.test is None else self.test, np.int64)
        pool = order[~np.isin(order, held)]
        if not isinstance(self.initial, int):
            return held, pool, np.array(self.initial, np.int64)
        count = self.initial
        while len(np.unique(problem.y[pool[:count]])) < 2 and count < len(pool):
            count += 1
        return held, pool, pool[:count]


def run(problem: Problem, protocol: Protocol, name: str, strategy: Strategy, seed: int) -> Curve:
    """Simulate one strategy with one seed."""
    held, pool, begin = protocol.split(problem, seed)
    rows, truth = problem.others or (problem.data.take(held.tolist()), problem.y[held])
    clock, found = Clock(), _Found()
    labelled = begin.tolist()
    model = problem.learner.fresh(seed)
    outside = np.setdiff1d(np.arange(problem.rows), pool).tolist()
    with _alone():
        while True:
            learnt = np.array(labelled)
            with clock("fitting"):
                model.fit(problem.data.take(labelled), problem.y[learnt])
            with clock("predicting"):
                predicted = model.predicted(rows)
            found.add(len(labelled), measures(truth, predicted, model.classes, len(problem.classes)))
            found.balance.append(balance(problem.y[learnt], len(problem.classes)))
            left = protocol.budget - len(labelled)
            if left <= 0:
                clock.end()
                break
            k = min(protocol.batch_size, left)
            known = Known(ids=labelled + outside, labelled=labelled)
            seed_of = seed + len(labelled)
            batch = _chosen(problem, model, strategy, k=k, seed=seed_of, known=known, clock=clock)
            clock.end()
            found.diversity.append(diversity(problem.embeddings, batch, pool, seed))
            labelled += batch
    return Curve(
        strategy=name,
        seed=seed,
        labels=np.array(found.labels),
        metrics={metric: np.array(values) for metric, values in found.metrics.items()},
        seconds=clock.seconds(),
        balance=np.array(found.balance),
        diversity=np.array([np.nan, *found.diversity]),
        picks=np.array(labelled),
    )


def _chosen(
    problem: Problem, model: Fresh, strategy: Strategy, *, k: int, seed: int, known: Known, clock: Clock
) -> list[int]:
    """Let the strategy choose. What it has the model predict counts as the model's time."""
    scene = Scene(data=problem.data, embeddings=problem.embeddings, model=model.timed(clock), has_learnt=True)
    with clock("selecting"):
        chosen = select_rows(scene, model.read(strategy), k, seed, known)
    assert chosen is not None  # noqa: S101 - the budget ends before the pool does
    return [int(row) for row in chosen.indices]


class Clock:
    """Adds up seconds by what they were spent on, for each round; what is inside something else counts only once."""

    def __init__(self) -> None:
        self._rounds: list[dict[str, float]] = [{}]
        self._open: list[float] = []

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Count what is done here."""
        began = time.perf_counter()
        self._open.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - began
            inside = self._open.pop()
            self._rounds[-1][what] = self._rounds[-1].get(what, 0.0) + took - inside
            if self._open:
                self._open[-1] += took

    def end(self) -> None:
        """End a round."""
        self._rounds.append({})

    def seconds(self) -> dict[str, NDArray[np.float64]]:
        """Return the seconds of each round."""
        names = ("fitting", "predicting", "selecting")
        return {name: np.array([each.get(name, 0.0) for each in self._rounds[:-1]]) for name in names}


class _Found:
    """What was measured so far."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.metrics: dict[str, list[float]] = {}
        self.balance: list[float] = []
        self.diversity: list[float] = []

    def add(self, labels: int, measured: dict[str, float]) -> None:
        """Add a point."""
        self.labels.append(labels)
        for name, value in measured.items():
            self.metrics.setdefault(name, []).append(value)


@contextmanager
def _alone() -> Iterator[None]:
    """Compute on one thread, so that sums have the same digits wherever a run is made."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), num_threads(1), warnings.catch_warnings():
        # A model that has not converged is what it is; it would say so in every round.
        warnings.filterwarnings("ignore", module="sklearn")
        yield


def _points(rows: Any, count: int, *, given: bool) -> NDArray[Any] | None:
    """Read embeddings, those that were given, or rows that can stand for them."""
    if not given and not (isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.dtype.kind == "f"):
        return None
    points = np.asarray(rows)
    if points.ndim != 2 or len(points) != count:
        raise ValueError(f"embeddings: expected shape ({count}, dims), one row for each of X, got {points.shape}")
    return points


def _refuse_missing(names: NDArray[Any], where: str) -> None:
    if names.ndim != 1:
        raise ValueError(f"{where}: expected one label a row, got shape {names.shape}")
    missing = np.array([name is None or (isinstance(name, float) and math.isnan(name)) for name in names.tolist()])
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(
            f"{where}: expected a label for each row, got {names[row]!r} in row {row}; leave such rows out"
        )


def _positions(given: Any, rows: int, name: str) -> list[int]:
    found = np.asarray(given)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected positions of rows, integers, got {found.dtype} of shape {found.shape}")
    if len(np.unique(found)) < len(found) or (len(found) and (found.min() < 0 or found.max() >= rows)):
        raise ValueError(f"{name}: expected different positions from 0 to {rows - 1}")
    return [int(place) for place in found]


def _short(positions: Any) -> str:
    digest = hashlib.blake2b(np.asarray(positions, np.int64).tobytes(), digest_size=8).hexdigest()
    return f"{len(positions)} given rows ({digest})"
