"""One simulated run: a strategy chooses, known labels answer, a model learns and is measured."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import is_array_like, row_count
from pickwise.evaluate.curves import METRICS, Curve
from pickwise.evaluate.learners import Asked, Learner, as_learner, is_of_committee
from pickwise.evaluate.measures import balance, diversity, measures
from pickwise.loop.choosing import Known, Scene, select_rows
from pickwise.loop.data import ArrayData, is_float_matrix
from pickwise.loop.models.base import plain_scalar
from pickwise.options import as_count
from pickwise.strategies import Given, Joint, settled
from pickwise.strategies.base import ranking_of
from pickwise.strategies.greedy_sampling import GreedySamplingXY, GreedySamplingY
from pickwise.strategies.joint import Scored
from pickwise.strategies.multilabel import Multilabel
from pickwise.threads import num_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pickwise.strategies import Strategy


@dataclass(frozen=True, eq=False)
class Problem:
    """Labelled rows, and what learns from them.

    Attributes
    ----------
    rows : object
        All rows, as models get them; their positions where a model knows them by that alone.
    y : ndarray of int64 of shape (rows,)
        Their classes, as numbers.
    classes : ndarray of shape (classes,)
        Their names.
    others : (X, y) or None
        Test rows that are not among them.
    embeddings : ndarray of shape (rows, dims) or None
    learner : Learner
    """

    rows: Any
    y: NDArray[np.int64]
    classes: NDArray[Any]
    others: tuple[Any, NDArray[np.int64]] | None
    embeddings: NDArray[Any] | None
    learner: Learner

    @classmethod
    def read(cls, x: Any, y: Any, model: Any, *, embeddings: Any, test: Any) -> Problem:
        """Check what `simulate` is given."""
        names = _labels(y, "y")
        classes, codes = np.unique(names, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y: expected at least two classes, got {classes.tolist()}")
        rows = _rows(x, "X", names)
        learner = as_learner(model, len(names), classes)
        points = _points(rows if embeddings is None else embeddings, len(names), given=embeddings is not None)
        others = _others(test, classes, learner) if isinstance(test, tuple) else None
        taken = np.arange(len(names)) if learner.takes_positions else rows
        return cls(taken, codes.astype(np.int64), classes, others, points, learner)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.y)

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from others, but for what learns."""
        from joblib import hash as digest

        return str(digest((self.rows, self.y, self.classes, self.others, self.embeddings), coerce_mmap=True))

    def take(self, positions: NDArray[np.int64]) -> Any:
        """Return rows as models get them."""
        return getattr(self.rows, "iloc", self.rows)[positions]

    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse a strategy that this cannot be simulated with, before any run."""
        strategy = settled(strategy, has_embeddings=self.embeddings is not None)
        scoring = ranking_of(strategy.score) if isinstance(strategy, Scored) else strategy
        if isinstance(scoring, (Given, Multilabel, GreedySamplingY, GreedySamplingXY)):
            raise TypeError(f"strategies: expected some that choose by probabilities of classes, got {name!r}")
        if isinstance(strategy, Joint) and self.embeddings is None:
            raise TypeError(
                f"embeddings: expected some with {name!r}, got none, and X is no matrix of floats that could stand for "
                "them; pass embeddings="
            )
        if isinstance(strategy, Joint) and is_of_committee(strategy):
            raise TypeError(f"strategies: expected scores of single predictions, got those of a committee in {name!r}")
        self.learner.check(name, strategy)


@dataclass(frozen=True)
class Protocol:
    """How rows are labelled.

    Attributes
    ----------
    batch_size, budget : int
    initial : int or tuple of int
        How many rows are labelled at the beginning, or which.
    test : int, tuple of int, or None
        How many rows are for testing, or which; None where there are others.
    pool : int
        How many rows are not.
    """

    batch_size: int
    budget: int
    initial: int | tuple[int, ...]
    test: int | tuple[int, ...] | None
    pool: int

    @classmethod
    def read(cls, problem: Problem, batch_size: Any, *, budget: Any, initial: Any, test: Any) -> Protocol:
        """Check what `simulate` is given."""
        rows, size = problem.count, as_count(batch_size, "batch_size", least=1)
        held = None if problem.others is not None else _test_rows(test, rows)
        pool = rows - _count(held)
        begin: int | tuple[int, ...]
        if initial is None or np.ndim(initial) == 0:
            begin = size if initial is None else as_count(initial, "initial", least=1)
        else:
            begin = _positions(initial, rows, "initial")
            both = set(begin).intersection(held if isinstance(held, tuple) else ())
            if both:
                raise ValueError(f"initial: expected rows that are not for testing, got row {min(both)}, which is")
        if not 1 <= _count(begin) <= pool:
            raise ValueError(
                f"initial: expected from 1 to {pool} rows, all that are not for testing, got {_count(begin)}"
            )
        most = pool if budget is None else as_count(budget, "budget", least=1)
        if not _count(begin) <= most <= pool:
            raise ValueError(
                f"budget: expected from {_count(begin)}, the rows labelled at the beginning, to {pool}, all that are "
                f"not for testing, got {most}"
            )
        return cls(size, most, begin, held, pool)

    def described(self) -> dict[str, Any]:
        """Say what it is, for people."""
        test = "other rows" if self.test is None else _counted(self.test)
        return {
            "initial": _counted(self.initial),
            "batch_size": self.batch_size,
            "budget": self.budget,
            "test": test,
        }

    def check(self, problem: Problem, seeds: Sequence[int]) -> None:
        """Refuse seeds that would begin with rows of one class, before any run."""
        for seed in seeds:
            begin = self.split(problem, seed)[2]
            found = problem.classes[np.unique(problem.y[begin])].tolist()
            if len(found) < 2:
                where = (
                    "" if isinstance(self.initial, tuple) else f", all that are not for testing with the seed {seed}"
                )
                raise ValueError(
                    f"initial: expected rows of at least two classes, got {len(begin)} of {found[0]!r}{where}"
                )
            if len(begin) > self.budget:
                raise ValueError(
                    f"budget: expected at least {len(begin)}, as with the seed {seed} it takes so many rows to have "
                    f"two classes, got {self.budget}"
                )

    def split(self, problem: Problem, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Draw the test rows, the rows of the pool, and those of it that are labelled at the beginning."""
        begin = np.array(self.initial if isinstance(self.initial, tuple) else (), np.int64)
        if isinstance(self.test, int):
            order = np.random.default_rng(seed).permutation(problem.count)
            held = order[~np.isin(order, begin)][: self.test]
        else:
            held = np.array(() if self.test is None else self.test, np.int64)
        pool = np.setdiff1d(np.arange(problem.count), held)
        if isinstance(self.initial, int):
            # A fresh generator, so that these rows do not depend on how the test rows are chosen.
            begin = _first_rows(pool, problem.y, self.initial, np.random.default_rng(seed))
        return held, pool, begin


def _first_rows(
    pool: NDArray[np.int64], y: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw rows, up to the first of a second class: a model learns from two at least."""
    begin = pool[rng.choice(len(pool), count, replace=False)]
    if (y[begin] != y[begin[0]]).any():
        return begin
    more = rng.permutation(np.setdiff1d(pool, begin))
    is_other = y[more] != y[begin[0]]
    return np.concatenate([begin, more[: int(is_other.argmax()) + 1 if is_other.any() else len(more)]])


def run(problem: Problem, protocol: Protocol, name: str, strategy: Strategy, seed: int) -> Curve:
    """Simulate one strategy with one seed.

    Parameters
    ----------
    problem : Problem
    protocol : Protocol
    name : str
        What the strategy is called.
    strategy : Strategy
    seed : int

    Returns
    -------
    Curve
    """
    began = time.perf_counter()
    held, pool, labelled = protocol.split(problem, seed)
    rows, truth = problem.others or (problem.take(held), problem.y[held])
    clock, classes = Clock(), len(problem.classes)
    found: dict[str, list[float]] = defaultdict(list)
    data = ArrayData(pool, ids=pool)
    embeddings = None if problem.embeddings is None else problem.embeddings[pool]
    model = problem.learner.fresh(seed)
    scene = Scene(data=data, embeddings=embeddings, model=Asked(model, problem.take, clock), has_learnt=True)
    diverse = [np.nan]
    with _alone():
        while True:
            # In the order of the pool: some models depend on it, and the same labels are to make the same model.
            learnt = np.sort(labelled)
            with clock("fitting"):
                model.fit(problem.take(learnt), problem.classes[problem.y[learnt]])
            with clock("predicting"):
                predicted = model.predict(rows)
            found["labels"].append(len(labelled))
            found["balance"].append(balance(problem.y[labelled], classes))
            columns = np.searchsorted(problem.classes, model.classes_)
            for metric, value in measures(truth, predicted, columns, classes).items():
                found[metric].append(value)
            k = min(protocol.batch_size, protocol.budget - len(labelled))
            if k <= 0:
                break
            with clock("selecting"):
                batch = _chosen(scene, model.read(strategy), k, seed, labelled)
            clock.end()
            diverse.append(diversity(problem.embeddings, batch, pool, seed))
            labelled = np.concatenate([labelled, batch])
    return Curve(
        strategy=name,
        seed=seed,
        labels=np.array(found["labels"], np.int64),
        metrics={metric: np.array(found[metric]) for metric in METRICS if metric in found},
        seconds=clock.seconds(),
        elapsed=time.perf_counter() - began,
        balance=np.array(found["balance"]),
        diversity=np.array(diverse),
        picks=labelled,
    )


def _chosen(scene: Scene, strategy: Strategy, k: int, seed: int, labelled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let the strategy choose."""
    known = labelled.tolist()
    # Of its own for each seed and round: sums of the two would repeat.
    drawn = int(np.random.default_rng((seed, len(known))).integers(2**32))
    chosen = select_rows(scene, strategy, k, drawn, Known(ids=known, labelled=known))
    assert chosen is not None  # noqa: S101 - the budget ends before the pool does
    return np.asarray(chosen.ids, np.int64)


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
        return {name: np.array([each.get(name, 0.0) for each in self._rounds]) for name in names}


@contextmanager
def _alone() -> Iterator[None]:
    """Compute on one thread, so that sums have the same digits wherever a run is made."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), num_threads(1), warnings.catch_warnings():
        # A model that has not converged is what it is; it would say so in every round.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _labels(given: Any, name: str) -> NDArray[Any]:
    """Read names of classes: text, or whole numbers."""
    listed = given if isinstance(given, (list, tuple)) else np.asarray(given)
    if np.ndim(listed) != 1:
        raise ValueError(f"{name}: expected one label a row, got shape {np.shape(listed)}")
    plain = [plain_scalar(label) for label in listed]
    for row, label in enumerate(plain):
        # None, NaN, and what pandas has in their place.
        if label is None or (not isinstance(label, str) and str(label) in ("nan", "NaT", "<NA>")):
            raise ValueError(f"{name}: expected a label for each row, got {label} in row {row}; leave such rows out")
    if all(isinstance(label, str) for label in plain):
        return np.array(plain, str)
    for row, label in enumerate(plain):
        if not isinstance(label, (bool, int, float)) or label % 1 != 0:
            raise TypeError(
                f"{name}: expected classes, all of them text or all whole numbers, got {label!r} in row {row}"
            )
    return np.array([int(label) for label in plain], np.int64)


def _rows(x: Any, name: str, labels: NDArray[Any]) -> Any:
    """Read rows that are in memory, one for each label."""
    if isinstance(x, dict) or hasattr(x, "num_rows") or not (is_array_like(x) or hasattr(x, "tocsr")):
        raise TypeError(f"{name}: expected rows in memory, an array, texts or a DataFrame, got {type(x).__name__}")
    count = row_count(x, name)
    if count != len(labels):
        raise ValueError(f"{name}: expected {len(labels)} rows, one for each label, got {count}")
    return ArrayData(x).rows


def _others(test: tuple[Any, ...], classes: NDArray[Any], learner: Learner) -> tuple[Any, NDArray[np.int64]]:
    """Read test rows that are not among those of the pool."""
    if len(test) != 2:
        raise ValueError(
            f"test: expected a share, positions, or (X, y), got a tuple of {len(test)}; positions in a list"
        )
    if learner.takes_positions:
        raise TypeError("test: expected a share or positions with predictions from elsewhere, got other rows")
    truth = _labels(test[1], "test")
    unknown = set(truth.tolist()) - set(classes.tolist())
    if unknown:
        raise ValueError(f"test: expected the classes of y, got {sorted(unknown)[0]!r}, too")
    return _rows(test[0], "test", truth), np.searchsorted(classes, truth)


def _test_rows(test: Any, rows: int) -> int | tuple[int, ...]:
    if np.ndim(test) != 0:
        held = _positions(test, rows, "test")
        if not held:
            raise ValueError("test: expected one row or more, got none")
        return held
    if isinstance(test, (str, bool)) or test is None or not 0 < test < 1:
        raise ValueError(f"test: expected a share between 0 and 1, positions, or (X, y), got {test!r}")
    count = round(float(test) * rows)
    if not 1 <= count < rows:
        raise ValueError(f"test: expected a share that leaves some of {rows} rows on both sides, got {test!r}")
    return count


def _points(rows: Any, count: int, *, given: bool) -> NDArray[Any] | None:
    """Read embeddings, those that were given, or rows that can stand for them."""
    if not given:
        return rows if is_float_matrix(rows) and np.isfinite(rows).all() else None
    points = np.asarray(rows)
    if points.ndim != 2 or len(points) != count or points.dtype.kind not in "fiu":
        raise ValueError(
            f"embeddings: expected numbers of shape ({count}, dims), one row for each of X, got {points.dtype} of "
            f"shape {points.shape}"
        )
    if not np.isfinite(points).all():
        raise ValueError("embeddings: expected finite numbers, got NaN or inf; drop or mend such rows first")
    return points


def _positions(given: Any, rows: int, name: str) -> tuple[int, ...]:
    found = np.asarray(given)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise TypeError(f"{name}: expected positions of rows, integers, got {found.dtype} of shape {found.shape}")
    if len(np.unique(found)) < len(found) or (len(found) and (found.min() < 0 or found.max() >= rows)):
        raise ValueError(f"{name}: expected different positions from 0 to {rows - 1}")
    return tuple(int(place) for place in found)


def _count(told: int | tuple[int, ...] | None) -> int:
    return told if isinstance(told, int) else len(told or ())


def _counted(told: int | tuple[int, ...]) -> str:
    return f"{told} drawn" if isinstance(told, int) else f"{len(told)} given"
