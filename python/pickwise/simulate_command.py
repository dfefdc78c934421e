"""Simulations from the command line: ``pickwise simulate``. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here. What simulations need is imported where it is used: other
# commands do without.

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pickwise.command_options import Jobs, Quiet, listed_strategies
from pickwise.command_output import failing_well
from pickwise.pools.paths import find_files
from pickwise.project_options import Parameters, read_model

if TYPE_CHECKING:
    import pyarrow as pa

WORDS = {
    "y: expected": "--label: expected",
    "X: expected": "--columns: expected",
    "X is no matrix": "the features are no matrix",
    "pass embeddings=": "name them with --embeddings",
    "batch_size: expected": "--batch-size: expected",
    "budget: expected": "--budget: expected",
    "initial: expected": "--initial: expected",
    "seeds: expected": "--seeds: expected",
    "test: expected a share between 0 and 1, positions, or (X, y),": "--test: expected a share between 0 and 1,",
    "test: expected": "--test: expected",
    "n_jobs: expected": "--jobs: expected",
    "pip install 'pickwise[evaluate]'": "pip install 'pickwise[evaluate,cli]'",
}
"""What messages of the library call arguments that are options here."""


def simulate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="Labelled rows: Parquet files, a folder, a URL or a quoted glob. They are read into memory.",
        ),
    ],
    *,
    label: Annotated[
        str, typer.Option("--label", metavar="COLUMN", show_default=False, help="The column of the classes.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            show_default=False,
            help="The dotted name of a classifier that is like those of scikit-learn.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            show_default=False,
            help="Where to: report.html, curves.csv, and finished runs, so that the same command goes on where it was.",
        ),
    ],
    parameters: Parameters = None,
    strategies: Annotated[
        str, typer.Option("--strategies", metavar="A,B,C", help="What to compare, by name.")
    ] = "auto,random",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            metavar="COLUMN",
            show_default=False,
            help="A feature: numbers, or one column of lists or of texts. May be repeated, and hold several with "
            "commas. Default: all other columns.",
        ),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            metavar="FILE|COLUMN",
            show_default=False,
            help="For strategies that choose rows together: files of embeddings, row for row as the data, or the "
            "column that holds them. Default: the features, where they are numbers.",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, metavar="ROWS", help="Rows that are labelled in a round.")
    ] = 100,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget",
            min=1,
            metavar="ROWS",
            show_default=False,
            help="Labelled rows at the end, the initial ones included. Default: all but the test rows.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="COUNT", help="How often all is repeated.")] = 5,
    test: Annotated[
        float, typer.Option("--test", metavar="SHARE", help="The share of rows that models are measured on.")
    ] = 0.3,
    initial: Annotated[
        int | None,
        typer.Option(
            "--initial",
            min=1,
            metavar="ROWS",
            show_default=False,
            help="Rows that are labelled at the beginning. Default: the batch size.",
        ),
    ] = None,
    jobs: Jobs = 1,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="TEXT", show_default=False, help="What the report calls the data. Default: its file name."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Find which strategy needs how many labels, on data whose labels are all known.

    \b
    Examples:
      pickwise simulate data.parquet --label topic --model sklearn.linear_model.LogisticRegression \\
          --parameter C=10 --strategies margin,badge,random -o report
      pickwise simulate data.parquet --label topic --columns embedding --batch-size 200 --budget 2600 \\
          --model sklearn.linear_model.LogisticRegression --jobs -1 -o report
    """  # noqa: D301 - Click's mark for lines to be left as they are
    with failing_well(words=WORDS):
        wanted = listed_strategies(strategies)
        output.mkdir(parents=True, exist_ok=True)
        from pickwise.evaluate import Simulation
        from pickwise.evaluate import simulate as simulated
        from pickwise.loop.models.estimators import built
        from pickwise.loop.settings import write_whole

        table = _read(data, label)
        features = _features(table, columns, label, embeddings)
        found = simulated(
            features,
            table[label].to_pylist(),
            built(read_model(model, parameters)),
            wanted,
            batch_size=batch_size,
            budget=budget,
            seeds=seeds,
            test=test,
            initial=initial,
            embeddings=None if embeddings is None else _embeddings(embeddings, data),
            n_jobs=jobs,
            folder=output / "runs",
            progress=not quiet and sys.stderr.isatty(),
        )
        found = Simulation(found.curves, {"name": name or Path(data).stem, **found.about})
        write_whole(output / "curves.csv", found.to_pandas().to_csv(index=False).encode())
        report = found.report(output / "report.html")
        typer.echo(repr(found.table()))
        if not quiet:
            typer.echo(f"report in {report}", err=True)


def _read(data: str, label: str) -> "pa.Table":
    """Read labelled rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind, files = find_files(data)
    if kind != ".parquet":
        raise typer.BadParameter(f"expected Parquet files, got {kind}", param_hint="'DATA'")
    tables = []
    for file in files:
        with file.open() as stream:
            tables.append(pq.read_table(stream))
    table = pa.concat_tables(tables)
    _refuse_unknown(table, [label], "--label")
    return table


def _features(table: "pa.Table", columns: list[str] | None, label: str, embeddings: str | None) -> Any:
    """Choose what models see of the rows."""
    from pickwise.loop.data import as_input

    names = [name.strip() for some in columns or [] for name in some.split(",")]
    _refuse_unknown(table, names, "--columns")
    if label in names:
        raise typer.BadParameter(f"expected features, got {label!r}, which is the label", param_hint="'--columns'")
    names = names or [name for name in table.column_names if name not in (label, embeddings)]
    if not names or not table.num_rows:
        raise typer.BadParameter(
            f"expected rows with a label and features, got {table.num_rows} rows of {', '.join(table.column_names)}",
            param_hint="'DATA'",
        )
    return as_input(table.select(names).combine_chunks().to_batches()[0])


def _refuse_unknown(table: "pa.Table", names: list[str], option: str) -> None:
    for name in names:
        if name not in table.column_names:
            raise typer.BadParameter(
                f"expected a column of the data, which has {', '.join(table.column_names)}, got {name!r}",
                param_hint=f"'{option}'",
            )


def _embeddings(told: str, data: str) -> Any:
    """Read embeddings: a column of the data, or files beside it."""
    from pickwise.gathering import as_matrix
    from pickwise.ranking import Request

    return as_matrix(told, data, Request())
