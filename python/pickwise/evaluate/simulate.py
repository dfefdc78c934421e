"""Which strategy saves labels: rounds on data whose labels are all known, by every strategy, with many seeds."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.evaluate.curves import Curve
from pickwise.evaluate.runs import Problem, Protocol, run
from pickwise.evaluate.simulation import Simulation
from pickwise.loop.archive import versions
from pickwise.options import as_count
from pickwise.strategies import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from pickwise.strategies import Strategy


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
    progress: bool = False,
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
    progress : bool
        Whether a bar is shown (needs tqdm).

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
    Every run is by itself on one thread, so that results have the same digits on any number of CPUs.

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
    chosen = _named(strategies)
    numbers = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if not numbers:
        raise ValueError("seeds: expected at least one, got none")
    problem = Problem.read(X, y, model, embeddings=embeddings, test=test)
    protocol = Protocol.read(
        problem, as_count(batch_size, "batch_size", least=1), budget=budget, initial=initial, test=test
    )
    for name, strategy in chosen.items():
        problem.check(name, strategy)
    about = {
        "protocol": protocol.described(),
        "model": problem.described(),
        "rows": problem.rows,
        "classes": [str(name) for name in problem.classes],
        "strategies": {name: repr(strategy) for name, strategy in chosen.items()},
        "seeds": numbers,
        "versions": versions(),
    }
    place = None if folder is None else Path(folder)
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    jobs = [
        _Job(problem, protocol, name, strategy, seed)
        for seed, (name, strategy) in itertools.product(numbers, chosen.items())
    ]
    curves = list(_done(jobs, place, n_jobs, progress=progress))
    order = {name: place for place, name in enumerate(chosen)}
    curves.sort(key=lambda curve: (order[curve.strategy], curve.seed))
    return Simulation(tuple(curves), about)


@dataclass(frozen=True)
class _Job:
    """A run that is to be made."""

    problem: Problem
    protocol: Protocol
    name: str
    strategy: Strategy
    seed: int

    def path(self, folder: Path) -> Path:
        """Return where it is kept: by all that it depends on."""
        about = f"{self.problem.fingerprint} {self.protocol.described()} {self.strategy!r} {self.name} {self.seed}"
        return folder / f"{hashlib.blake2b(about.encode(), digest_size=12).hexdigest()}.json"

    def run(self, folder: Path | None) -> Curve:
        """Make it, unless it is there."""
        curve = run(self.problem, self.protocol, self.name, self.strategy, self.seed)
        if folder is not None:
            curve.save(self.path(folder))
        return curve


def _done(jobs: Sequence[_Job], folder: Path | None, n_jobs: int, *, progress: bool) -> Iterator[Curve]:
    """Make the runs that are not kept yet, and yield all, in any order."""
    left = []
    for job in jobs:
        if folder is not None and job.path(folder).exists():
            yield Curve.load(job.path(folder))
        else:
            left.append(job)
    with _bar(len(jobs), len(jobs) - len(left)) if progress else nullcontext() as bar:
        for curve in _made(left, folder, n_jobs):
            if bar is not None:
                bar.update()
            yield curve


def _made(jobs: Sequence[_Job], folder: Path | None, n_jobs: int) -> Iterator[Curve]:
    if n_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield job.run(folder)
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(job.run)(folder) for job in jobs)


def _bar(total: int, initial: int) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress: needs tqdm; install it with pip install 'pickwise[progress]'") from error
    return tqdm(total=total, initial=initial, unit="run")


def _named(strategies: Any) -> dict[str, Strategy]:
    """Read strategies, each by a name of its own."""
    if isinstance(strategies, str) or not strategies:
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
