"""Several datasets with fixed protocols, all simulated with the same strategies: a benchmark, told in a file."""

from __future__ import annotations

import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.evaluate.comparison import compare_datasets
from pickwise.evaluate.report import write_report
from pickwise.evaluate.runs import Problem, Protocol
from pickwise.evaluate.simulate import simulate
from pickwise.evaluate.simulation import Simulation
from pickwise.evaluate.suite_dataset import SuiteDataset, SuiteRows, naming, refuse_unknown
from pickwise.evaluate.suite_tables import tabulate_points, tabulate_summary, tabulate_times
from pickwise.loop.settings import write_whole
from pickwise.options import as_count
from pickwise.progress import reporting
from pickwise.strategies import resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from pickwise.evaluate.comparison import DatasetComparison
    from pickwise.evaluate.tables import ResultTable
    from pickwise.progress import Progress

BUILTIN = Path(__file__).with_name("suite.toml")
"""A small suite of data that scikit-learn ships."""


@dataclass(frozen=True)
class Suite:
    """Datasets with their protocols, and the strategies that are simulated on each.

    Attributes
    ----------
    datasets : tuple of SuiteDataset
    strategies : tuple of str
        By name.
    seeds : int
        How often all is repeated, where a dataset does not say.

    Examples
    --------
    >>> suite = Suite.read(BUILTIN)
    >>> [dataset.name for dataset in suite.datasets]
    ['digits', 'wine', 'breast_cancer']
    >>> suite.choose(only=["wine"], strategies=["margin", "random"], seeds=2).strategies
    ('margin', 'random')
    """

    datasets: tuple[SuiteDataset, ...]
    strategies: tuple[str, ...]
    seeds: int = 5

    def __post_init__(self) -> None:
        as_count(self.seeds, "seeds", least=1)
        named: Any = self.strategies
        if isinstance(named, str) or not all(isinstance(name, str) for name in named):
            raise TypeError(f"strategies: expected a list of names, got {named!r}")
        names = [dataset.name for dataset in self.datasets]
        for what, listed in (("strategies", list(self.strategies)), ("dataset", names)):
            if not listed or len(set(listed)) < len(listed):
                raise ValueError(f"{what}: expected one or more, each of them once, got {listed}")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Suite:
        """Read a suite from a TOML file.

        Parameters
        ----------
        path : path

        Returns
        -------
        Suite

        Raises
        ------
        FileNotFoundError
            If it is not there.
        ValueError, TypeError
            For what is no suite, naming the dataset and the key.
        """
        place = Path(path)
        try:
            told = tomllib.loads(place.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{place}: not TOML: {error}") from None
        with naming(str(place)):
            refuse_unknown(told, ("strategies", "seeds", "dataset"))
            datasets, strategies = told.get("dataset", []), told.get("strategies", [])
            for name, listed in (("dataset", datasets), ("strategies", strategies)):
                if not isinstance(listed, list):
                    raise TypeError(f"{name}: expected a list, got {listed!r}; a dataset begins with [[dataset]]")
            return cls(tuple(map(_dataset, datasets, range(len(datasets)))), tuple(strategies), told.get("seeds", 5))

    def choose(
        self, only: Sequence[str] | None = None, strategies: Sequence[str] | None = None, seeds: int | None = None
    ) -> Suite:
        """Return a part of it, or with other strategies or another number of seeds.

        Parameters
        ----------
        only : sequence of str, optional
            Names of datasets.
        strategies : sequence of str, optional
        seeds : int, optional
            On all datasets.

        Returns
        -------
        Suite

        Raises
        ------
        ValueError
            For datasets that there are not.
        """
        known = {dataset.name: dataset for dataset in self.datasets}
        for name in only or ():
            if name not in known:
                raise ValueError(f"only: expected datasets of the suite, which are {', '.join(known)}, got {name!r}")
        datasets = self.datasets if only is None else tuple(known[name] for name in known if name in only)
        if seeds is not None:
            datasets = tuple(replace(dataset, seeds=None) for dataset in datasets)
        return Suite(
            datasets,
            self.strategies if strategies is None else tuple(strategies),
            self.seeds if seeds is None else seeds,
        )

    def repeats(self, dataset: SuiteDataset) -> int:
        """Return how often all is repeated on a dataset."""
        return self.seeds if dataset.seeds is None else dataset.seeds


@dataclass(frozen=True, eq=False, repr=False)
class SuiteResult:
    """What strategies have done on the datasets of a suite.

    Attributes
    ----------
    suite : Suite
        What was run.
    simulations : dict of str to Simulation
        By the name of the dataset.
    seconds : dict of str to float
        How long each took now; runs that were kept took none of it.
    """

    suite: Suite
    simulations: dict[str, Simulation]
    seconds: dict[str, float]

    def table(self) -> ResultTable:
        """Return a row for each dataset and strategy, the best first.

        Returns
        -------
        ResultTable
            The mean accuracy over all points of the curve and the area under it, with standard errors over seeds; for
            each level of the dataset the first number of labels at which the mean curve is there (`first`), where it
            would be by a straight line (`labels_to`), and the share of labels saved against random with its 95 %
            interval; seconds of a selection, and the share of the time of the runs that was neither fitting nor
            predicting.
        """
        return tabulate_summary(self.simulations, {each.name: each.levels for each in self.suite.datasets})

    def points(self) -> ResultTable:
        """Return a row for each dataset, strategy and number of labels: the mean accuracy and its standard error.

        Returns
        -------
        ResultTable
        """
        return tabulate_points(self.simulations)

    def times(self) -> ResultTable:
        """Return a row for each dataset: what the time went into.

        Returns
        -------
        ResultTable
            Seconds that it took now; of all runs, when they were made, those in all, fitting, predicting, selecting,
            and besides, which is measuring and keeping books; the share that was neither fitting nor predicting.
        """
        return tabulate_times(self.simulations, self.seconds)

    def compare(self) -> DatasetComparison:
        """Compare the strategies over the datasets; see `compare_datasets`.

        Returns
        -------
        DatasetComparison
        """
        return compare_datasets(self.simulations)

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``report.html``, ``suite.csv`` (the points), ``summary.csv`` (the table) and ``times.csv``.

        Parameters
        ----------
        folder : path

        Returns
        -------
        Path
            The report.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for name, table in (("suite", self.points()), ("summary", self.table()), ("times", self.times())):
            text = table.to_pandas().to_csv(index=False, float_format="%.6g")
            write_whole(place / f"{name}.csv", text.encode())
        return write_report(self.simulations, place / "report.html")

    def __repr__(self) -> str:
        return repr(self.table())


def run_suite(
    suite: Suite,
    *,
    data: str | os.PathLike[str] | None = None,
    only: Sequence[str] | None = None,
    strategies: Sequence[str] | None = None,
    seeds: int | None = None,
    n_jobs: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress = None,
) -> SuiteResult:
    """Simulate the strategies of a suite on each of its datasets.

    Parameters
    ----------
    suite : Suite
    data : path, optional
        The folder of the files that the suite names.
    only : sequence of str, optional
        Names of datasets, to run no others.
    strategies : sequence of str, optional
        Instead of those of the suite.
    seeds : int, optional
        How often all is repeated, instead of what the suite says.
    n_jobs : int
        Runs at a time, each in a process; -1 for one a CPU. The result does not depend on it.
    folder : path, optional
        Where finished runs are kept, in ``<name of the dataset>/runs``, so that the same call goes on where it was.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a function is called with the runs done and in all.

    Returns
    -------
    SuiteResult

    Raises
    ------
    FileNotFoundError
        For a file that is not in the folder; before any run, as all that follows.
    ImportError
        For a model whose library is not installed.
    TypeError
        For a strategy that the model of a dataset does not go with.
    ValueError
        For what else is wrong with a dataset or its protocol.

    Examples
    --------
    >>> found = run_suite(Suite.read(BUILTIN), only=["wine"], strategies=["margin", "random"], seeds=2)
    >>> found.simulations["wine"].strategies
    ('margin', 'random')
    >>> len(found.table())
    2
    """
    chosen = suite.choose(only, strategies, seeds)
    rows = {dataset.name: _prepared(dataset, chosen, data) for dataset in chosen.datasets}
    found, seconds, done = {}, {}, 0
    total = sum(map(chosen.repeats, chosen.datasets)) * len(chosen.strategies)
    with reporting(progress, total, "run") as report:
        for dataset in chosen.datasets:
            began = time.perf_counter()
            found[dataset.name] = _simulated(
                dataset,
                chosen,
                rows[dataset.name],
                n_jobs=n_jobs,
                folder=None if folder is None else Path(folder) / dataset.name / "runs",
                progress=None if report is None else _shifted(report, done),
            )
            seconds[dataset.name] = time.perf_counter() - began
            done += len(found[dataset.name].curves)
            if report is not None:
                report(done)
    return SuiteResult(chosen, found, seconds)


def _dataset(told: Any, place: int) -> SuiteDataset:
    name = told.get("name") if isinstance(told, dict) else None
    with naming(f"dataset {name!r}" if isinstance(name, str) else f"dataset {place + 1}"):
        return SuiteDataset.of(told)


def _prepared(dataset: SuiteDataset, suite: Suite, data: str | os.PathLike[str] | None) -> SuiteRows:
    """Read the rows, and refuse what could not be simulated on them."""
    with naming(f"dataset {dataset.name!r}"):
        rows = dataset.read(None if data is None else Path(data))
        test = rows.test, rows.test_labels
        problem = Problem.read(rows.pool, rows.labels, dataset.estimator(), embeddings=None, test=test)
        protocol = Protocol.read(problem, dataset.batch_size, budget=dataset.budget, initial=dataset.initial, test=test)
        protocol.check(problem, range(suite.repeats(dataset)))
        for name in suite.strategies:
            problem.check(name, resolve(name))
    return rows


def _simulated(dataset: SuiteDataset, suite: Suite, rows: SuiteRows, **options: Any) -> Simulation:
    try:
        found = simulate(
            rows.pool,
            rows.labels,
            dataset.estimator(),
            suite.strategies,
            batch_size=dataset.batch_size,
            budget=dataset.budget,
            seeds=suite.repeats(dataset),
            test=(rows.test, rows.test_labels),
            initial=dataset.initial,
            **options,
        )
    except Exception as error:
        # Those that have notes are of the model, not of this program.
        if getattr(error, "__notes__", None):
            error.add_note(f"on the dataset {dataset.name!r}")
        raise
    about = {"name": dataset.name, "data": dataset.file or dataset.loader, "scale": dataset.scale}
    return Simulation(found.curves, about | found.about)


def _shifted(report: Callable[[int], object], start: int) -> Callable[[int, int | None], object]:
    """Report the runs of a dataset as what they are of the whole."""
    return lambda done, _: report(start + done)
