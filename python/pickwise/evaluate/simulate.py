"""Which strategy saves labels: rounds on data whose labels are all known, by every strategy, with many seeds."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.evaluate.curves import Curve
from pickwise.evaluate.runs import Problem, Protocol, run
from pickwise.evaluate.simulation import Simulation
from pickwise.loop.archive import versions
from pickwise.options import as_count
from pickwise.progress import reporting
from pickwise.strategies import Strategy, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from pickwise.progress import Progress


def simulate(
    X: Any,  # noqa: N803 - as scikit-learn calls it
    y: Any,
    model: Any,
    strategies: Sequence[str | Strategy] | Mapping[str, str | Strategy] = ("auto", "random"),
    *,
    batch_size: int = 100,
    budget: int | None = None,
    seeds: int | Sequence[int] = 5,
    test: Any = 0.3,
    initial: Any = None,
    embeddings: Any = None,
    n_jobs: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress = None,
) -> Simulation:
    """Simulate active learning on labelled data, to find which strategy needs how many labels.

    Parameters
    ----------
    X : array_like of shape (rows, features), list of str or DataFrame
        The rows, in memory.
    y : array_like of shape (rows,)
        Their classes, by any names.
    model : object
        A scikit-learn-like classifier; a function of the seed that makes one; or what was predicted elsewhere, an array
        of shape (rounds, rows, classes), classes in sorted order, of which round i is used after i batches.
    strategies : sequence of str or Strategy, or mapping
        What to compare; a mapping gives them other names.
    batch_size : int
        Rows that are labelled in a round.
    budget : int, optional
        Labelled rows at the end, the initial ones included; the whole pool by default.
    seeds : int or sequence of int
        How many, or which. The seed sets the test rows, the initial rows and whatever a strategy draws, alike for all
        strategies, so that these compare in pairs.
    test : float, array_like of int, or (X, y)
        The rows that models are measured on: a share, drawn anew by each seed; positions; or others.
    initial : int or array_like of int, optional
        How many rows are labelled at the beginning, `batch_size` by default, or which. Where those drawn are of one
        class, more are drawn until there are two.
    embeddings : array_like of shape (rows, dims), optional
        For strategies that go by them; `X` itself by default, where that is a matrix of floats.
    n_jobs : int
        Runs at a time, each in a process; -1 for one a CPU. The result does not depend on it.
    folder : path, optional
        Where finished runs are kept, so that the same call goes on where it was, whatever has ended it.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a function is called with the runs done and in all.

    Returns
    -------
    Simulation
        With `table`, `compare`, `plot`, `savings` and `report`.

    Raises
    ------
    TypeError
        For a model without predict_proba or decision_function, and for a strategy that needs embeddings or
        probabilities that are not there.
    ValueError
        For labels that are missing, a budget above the pool, and what else makes no sense; before any run.

    Notes
    -----
    Every run is by itself on one thread, so that results have the same digits on any number of CPUs. Where a model has
    a `random_state` and that is None, it gets the seed of the run.

    The test rows are no part of the pool: no strategy sees them.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> from sklearn.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(600, 2))
    >>> y = np.where(x[:, 0] + x[:, 1] > 0, "spam", "ham")
    >>> found = pw.simulate(x, y, LogisticRegression(), ["margin", "random"], batch_size=10, budget=60, seeds=2)
    >>> sorted({curve.strategy for curve in found.curves})
    ['margin', 'random']
    """
    chosen, numbers = _named(strategies), _seeds(seeds)
    if as_count(n_jobs, "n_jobs", least=-1) == 0:
        raise ValueError("n_jobs: expected how many runs at a time, or -1 for one a CPU, got 0")
    problem = Problem.read(X, y, model, embeddings=embeddings, test=test)
    protocol = Protocol.read(problem, batch_size, budget=budget, initial=initial, test=test)
    protocol.check(problem, numbers)
    for name, strategy in chosen.items():
        problem.check(name, strategy)
    # Processes that make runs may have been started elsewhere.
    place = None if folder is None else Path(folder).resolve()
    jobs = [
        _Job(problem, protocol, name, strategy, seed, place)
        for seed, (name, strategy) in itertools.product(numbers, chosen.items())
    ]
    curves = {(curve.strategy, curve.seed): curve for curve in _done(jobs, n_jobs, progress)}
    about = {
        "model": problem.learner.described(),
        "rows": problem.count,
        "classes": len(problem.classes),
        **protocol.described(),
        "strategies": {name: repr(strategy) for name, strategy in chosen.items()},
        "environment": versions(),
    }
    if protocol.budget == protocol.pool:
        about["full"] = _last(list(curves.values()))
    return Simulation(tuple(curves[name, seed] for name in chosen for seed in numbers), about)


@dataclass(frozen=True)
class _Job:
    """A run that is to be made, and the folder where it is kept."""

    problem: Problem
    protocol: Protocol
    name: str
    strategy: Strategy
    seed: int
    folder: Path | None

    @cached_property
    def path(self) -> Path | None:
        """The file where it is kept: by all that it depends on."""
        if self.folder is None:
            return None
        learner = self.problem.learner.fingerprint(self.seed)
        own = self.protocol, self.name, repr(self.strategy), self.seed
        about = repr((self.problem.fingerprint, learner, own, sorted(versions().items())))
        return self.folder / f"{hashlib.blake2b(about.encode(), digest_size=16).hexdigest()}.json"

    def run(self) -> Curve:
        """Make it."""
        curve = run(self.problem, self.protocol, self.name, self.strategy, self.seed)
        if self.path is not None:
            curve.save(self.path)
        return curve


def _done(jobs: Sequence[_Job], n_jobs: int, progress: Progress) -> list[Curve]:
    """Make the runs that are not kept yet, and return all, in any order."""
    curves = [Curve.load(job.path) for job in jobs if job.path is not None and job.path.exists()]
    left = [job for job in jobs if job.path is None or not job.path.exists()]
    if left and left[0].folder is not None:
        left[0].folder.mkdir(parents=True, exist_ok=True)
    with reporting(progress, len(jobs), "run", start=len(curves)) as report:
        for curve in _made(left, n_jobs):
            curves.append(curve)
            if report is not None:
                report(len(curves))
    return curves


def _made(jobs: Sequence[_Job], n_jobs: int) -> Iterator[Curve]:
    if n_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield job.run()
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(job.run)() for job in jobs)


def _last(curves: Sequence[Curve]) -> dict[str, float]:
    """Average what all runs end at."""
    metrics = set.intersection(*(set(curve.metrics) for curve in curves))
    return {name: float(np.mean([curve.metrics[name][-1] for curve in curves])) for name in sorted(metrics)}


def _seeds(given: Any) -> list[int]:
    """Read seeds: how many, or which."""
    if np.ndim(given) == 0:
        return list(range(as_count(given, "seeds", least=1)))
    seeds = [as_count(seed, "seeds", least=0) for seed in given]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected one or more, each of them once, got {seeds}")
    return seeds


def _named(strategies: Any) -> dict[str, Strategy]:
    """Read strategies, each by a name of its own."""
    if isinstance(strategies, (str, Strategy)) or not strategies:
        raise TypeError(f"strategies: expected a list or a mapping of strategies, got {strategies!r}")
    if hasattr(strategies, "items"):
        return {str(name): resolve(strategy) for name, strategy in strategies.items()}
    found = [resolve(strategy) for strategy in strategies]
    names = [
        strategy.name if [other.name for other in found].count(strategy.name) == 1 else repr(strategy)
        for strategy in found
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"strategies: expected each once, got {names}")
    return dict(zip(names, found, strict=True))
