"""What the commands are asked for. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here.

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import pickwise as pw
from pickwise.output import WRITERS
from pickwise.strategies import REGISTRY, BatchBALD, resolve


class Task(StrEnum):
    """Whether a row is one distribution or a probability for each label."""

    multiclass = "multiclass"
    multilabel = "multilabel"


class Ties(StrEnum):
    """Which of equal scores comes first."""

    first = "first"
    random = "random"


class Invalid(StrEnum):
    """What to do about rows that are no probabilities."""

    raise_ = "raise"
    skip = "skip"


class OnFileError(StrEnum):
    """What to do about files that cannot be read."""

    raise_ = "raise"
    skip = "skip"


class Metric(StrEnum):
    """How far two rows are from each other."""

    euclidean = "euclidean"
    sqeuclidean = "sqeuclidean"
    cosine = "cosine"


# Those that can take files.
NAMES = [name for name, strategy in REGISTRY.items() if not issubclass(strategy, BatchBALD)]


def known_strategy(name: str) -> str:
    """Refuse strategies that there are not, or not for files."""
    try:
        resolve(name)
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("strategy: ")) from None
    if name not in NAMES:
        raise typer.BadParameter(f"{name} needs a committee in memory; it works with pickwise.select in Python")
    return name


def listed(told: str, option: str) -> list[str]:
    """Read names with commas between them, each once."""
    names = [name.strip() for name in told.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise typer.BadParameter(f"expected one or more, each of them once, got {told!r}", param_hint=f"'{option}'")
    return names


def listed_strategies(told: str) -> list[str]:
    """Read names of strategies, with commas between them."""
    names = listed(told, "--strategies")
    try:
        for name in names:
            resolve(name)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error).removeprefix("strategy: "), param_hint="'--strategies'") from None
    return names


def known_format(path: Path | None) -> Path | None:
    """Refuse files of formats that cannot be written."""
    if path is not None and path.suffix.lower() not in WRITERS:
        raise typer.BadParameter(f"{path}: expected a name that ends in {', '.join(WRITERS)}")
    return path


def known_table_format(path: Path | None) -> Path | None:
    """Refuse files of formats that cannot hold a table."""
    if path is not None and path.suffix.lower() == ".npy":
        raise typer.BadParameter(f"{path}: an .npy file cannot hold a table; use .parquet, .csv or .jsonl")
    return known_format(path)


def tell_version(wanted: bool) -> None:
    """Tell the version and exit."""
    if wanted:
        typer.echo(f"pickwise {pw.__version__}")
        raise typer.Exit


Files = Annotated[
    list[str],
    typer.Argument(
        metavar="POOL",
        help="Files, folders, URLs or quoted globs: all .npy or all .parquet. For committees each is a member, row for "
        "row; a single one holds all members.",
        show_default=False,
    ),
]
Probabilities = Annotated[
    list[str] | None,
    typer.Option(
        "--probabilities",
        "-p",
        metavar="COLUMN",
        show_default=False,
        help="Parquet: columns of class probabilities by name or quoted pattern, one column of lists, or one of "
        "P(y=1). May be repeated; for a committee in one POOL once for each member. Default: the one column of lists "
        "of floats, else all columns of floats.",
    ),
]
Id = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="COLUMN",
        show_default=False,
        help="Parquet: the column of ids, integers or strings. Default: rows are known by 'path#row', those of a "
        "single .npy file by their position, from 0.",
    ),
]
StrategyName = Annotated[
    str,
    typer.Option("--strategy", "-s", metavar="NAME", callback=known_strategy, help=f"One of {', '.join(NAMES)}."),
]
FromLogits = Annotated[bool, typer.Option("--from-logits", help="The pool holds logits, not probabilities.")]
Temperature = Annotated[float, typer.Option("--temperature", help="What logits are divided by first.")]
TaskName = Annotated[Task, typer.Option("--task", help="One distribution over classes, or independent labels.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]
Jobs = Annotated[
    int, typer.Option("--jobs", metavar="COUNT", help="Runs at a time; -1 for one a CPU. Results are the same.")
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="'COLUMN OP VALUE'",
        show_default=False,
        help="Parquet: select among the rows of which this is so, such as 'lang == en', 'year >= 2020' or "
        '\'lang in ["en", "fr"]\'. OP is one of ==, !=, <, <=, >, >=, in, not in, with spaces around it; VALUE is '
        "JSON, or else text. May be repeated: all must be so.",
    ),
]
OnError = Annotated[
    OnFileError,
    typer.Option("--on-file-error", help="Files that cannot be read: an error, or left out as a whole and named."),
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        show_default=False,
        help="Where to keep the state after each file of the pool, so that the same command goes on from there after "
        "whatever has ended it. Removed when the selection is there.",
    ),
]

_FILTER = re.compile(r"\s*(.+?)\s+(==|!=|<=|>=|<|>|not in|in)\s+(.+?)\s*", re.DOTALL)


def read_filters(texts: list[str] | None) -> list[tuple[str, str, Any]] | None:
    """Read the conditions of ``--filter``."""
    return [_condition(text) for text in texts] if texts else None


def _condition(text: str) -> tuple[str, str, Any]:
    found = _FILTER.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"expected COLUMN OP VALUE with spaces between, such as 'lang == en', got {text!r}", param_hint="'--filter'"
        )
    column, operator, value = found.groups()
    try:
        read = json.loads(value)
    except ValueError:
        read = value
    if operator.endswith("in") != isinstance(read, list):
        expected = 'a list, such as ["en", "fr"],' if operator.endswith("in") else "one value, not a list,"
        raise typer.BadParameter(f"expected {expected} after {operator!r}, got {value!r}", param_hint="'--filter'")
    return column, operator, read
