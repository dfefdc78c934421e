"""A suite of simulations from the command line: ``pickwise bench-suite``. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here. What simulations need is imported where it is used: other
# commands do without.

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pickwise.command_options import Jobs, Quiet, listed, listed_strategies
from pickwise.command_output import failing_well

if TYPE_CHECKING:
    from pickwise.evaluate.suite import SuiteResult

WORDS = {
    "data: expected": "--data: expected",
    "pass data=": "name it with --data",
    "only: expected": "--only: expected",
    "n_jobs: expected": "--jobs: expected",
    "pip install 'pickwise[evaluate]'": "pip install 'pickwise[evaluate,cli]'",
}
"""What messages of the library call arguments that are options here."""


def bench_suite(
    suite: Annotated[
        Path | None,
        typer.Argument(
            metavar="SUITE.toml",
            show_default=False,
            help="The datasets, each with its protocol. Default: a small suite of data that scikit-learn ships.",
        ),
    ] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            show_default=False,
            help="Where to: report.html, suite.csv, summary.csv, times.csv, and finished runs, so that the same "
            "command goes on where it was.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", show_default=False, help="Where the files are that the suite names."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="A,B,C", show_default=False, help="Datasets to run, by name. Default: all."),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            "--strategies", metavar="A,B,C", show_default=False, help="What to compare. Default: as the suite says."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            metavar="COUNT",
            show_default=False,
            help="How often all is repeated. Default: as the suite says.",
        ),
    ] = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
) -> None:
    """Simulate strategies on several datasets, each with a protocol of its own, and compare them over all.

    \b
    Examples:
      pickwise bench-suite -o builtin
      pickwise bench-suite benches/label_savings/suite.toml --data ../shared/data --jobs -1 -o suite
    """  # noqa: D301 - Click's mark for lines to be left as they are
    with failing_well(words=WORDS):
        named = None if only is None else listed(only, "--only")
        wanted = None if strategies is None else listed_strategies(strategies)
        output.mkdir(parents=True, exist_ok=True)
        from pickwise.evaluate.suite import BUILTIN, Suite, run_suite

        began = time.perf_counter()
        found = run_suite(
            Suite.read(suite or BUILTIN),
            data=data,
            only=named,
            strategies=wanted,
            seeds=seeds,
            n_jobs=jobs,
            folder=output,
            progress=not quiet and sys.stderr.isatty(),
        )
        report = found.write(output)
        _tell(found)
        if not quiet:
            typer.echo(f"report in {report} ({time.perf_counter() - began:.1f} s)", err=True)


def _tell(found: "SuiteResult") -> None:
    """Print the strategies on each dataset, what the time went into, and the strategies over all datasets."""
    typer.echo(f"{found.table()!r}\n\n{found.times()!r}")
    if len(found.simulations) < 2 or len(found.suite.strategies) < 2:
        return
    compared = found.compare()
    typer.echo(f"\n{compared!r}")
    if math.isfinite(compared.friedman.p):
        typer.echo(f"Friedman: chi-square {compared.friedman.statistic:.2f}, p {compared.friedman.p:.2g}.")
