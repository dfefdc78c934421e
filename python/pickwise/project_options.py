"""What the commands of a project are asked for. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here.

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pickwise.command_options import known_table_format
from pickwise.strategies import REGISTRY, resolve


class ProjectTask(StrEnum):
    """What a label is: one class, several of them, or a number."""

    multiclass = "multiclass"
    multilabel = "multilabel"
    regression = "regression"


class Merge(StrEnum):
    """How the answers of several annotators become one label."""

    majority = "majority"
    dawid_skene = "dawid_skene"
    crowdlab = "crowdlab"


WORDS = {
    "collect() fetches answers, close_round() waits for no more": (
        "'pickwise project ask --again' tells which, 'collect' records answers, 'collect --close' waits for no more"
    ),
    "seed() records those that you have, ask() asks for some": (
        "'pickwise project seed' records those that you have, 'ask' asks for some"
    ),
    "ask() begins one": "'pickwise project ask' begins one",
    "fit() one first": "'pickwise project fit' first",
    "Project.open goes on with one": "the other commands go on with one",
    "Project.join reads it and takes labels meanwhile": "'status', 'labels' and 'collect --labels' work meanwhile",
    "Project.join only reads": "'status' only reads",
    "make one with Project.create, or `pickwise project init`": "'pickwise project init' makes one",
    "if it was moved, pass its new path as pool=; if it has changed or grown, open the project with the pool as it was "
    "and call replace_pool(new), which compares the two": (
        "if it was moved, write its new path into project.toml; if it has changed or grown, put it as it was back in "
        "its place, and give the new one to 'pickwise project drift --pool', which compares the two"
    ),
    "pass them to Project.open": "write its path there, or drive the project from Python",
    "name it with id=": "name it with --id",
    "got none; call hand_over": "got none; hand them over with 'pickwise project fit --predictions'",
    "pip install 'pickwise[loop]'": "pip install 'pickwise[loop,cli]'",
}
"""What messages of the library tell to do, and how that is done here."""


def known_strategy(name: str | None) -> str | None:
    """Refuse strategies that there are not."""
    try:
        resolve(name) if name is not None else None
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error).removeprefix("strategy: ")) from None
    return name


def read_model(model: str | None, parameters: list[str] | None) -> dict[str, Any] | None:
    """Describe a model as ``project.toml`` does, of ``--model`` and all ``--parameter``."""
    if model is None:
        if parameters:
            raise typer.BadParameter("expected a --model that has parameters, got none", param_hint="'--parameter'")
        return None
    return {"estimator": model, "parameters": dict(map(_parameter, parameters or []))}


def read_classes(listed: str | None, file: Path | None) -> list[str] | None:
    """Read the names of classes: from a list with commas, or from a file."""
    if listed is not None and file is not None:
        raise typer.BadParameter("expected --classes or --classes-file, got both", param_hint="'--classes'")
    if file is not None:
        listed, separator = file.read_text(encoding="utf-8-sig"), "\n"
    else:
        separator = ","
    return None if listed is None else [name.strip() for name in listed.split(separator) if name.strip()]


def _parameter(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise typer.BadParameter(f"expected NAME=VALUE, such as C=10, got {text!r}", param_hint="'--parameter'")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    if read is None:
        raise typer.BadParameter(
            f"expected a value that project.toml can hold, got {text!r}; make such a project in Python",
            param_hint="'--parameter'",
        )
    return name, read


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False, help="The folder of the project.")]
NewFolder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", show_default=False, help="Where to: a folder that is not there yet, or empty."),
]
PoolPath = Annotated[
    str,
    typer.Option(
        "--pool",
        metavar="PATH",
        show_default=False,
        help="The rows: an .npy file, or Parquet files, a folder, a URL or a quoted glob. A relative path is "
        "remembered as seen from the project.",
    ),
]
PoolId = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="COLUMN",
        show_default=False,
        help="Parquet: the column of ids, which it needs. Rows of an .npy file are known by their position, from 0.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="COLUMN",
        show_default=False,
        help="Parquet: a feature. May be repeated, and hold several with commas. Default: all other columns.",
    ),
]
Embeddings = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="FILE|COLUMN",
        show_default=False,
        help="For strategies that choose rows together: files of embeddings, row for row as the pool, or the column "
        "that holds them.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="A,B,C",
        show_default=False,
        help="Their names; other labels are refused. Predictions that are handed over have their columns in this "
        "order. Default: whatever labels come.",
    ),
]
ClassesFile = Annotated[
    Path | None,
    typer.Option("--classes-file", metavar="FILE", show_default=False, help="The same from a file, one a line."),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        show_default=False,
        help="The dotted name of an estimator that is like those of scikit-learn. Default: the model is trained "
        "elsewhere, and 'fit --predictions' hands over what it predicts.",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        show_default=False,
        help="What the model is made with; VALUE is JSON, or else text. May be repeated.",
    ),
]
LoopStrategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        "-s",
        metavar="NAME",
        callback=known_strategy,
        show_default=False,
        help=f"What rows are selected by, one of {', '.join(REGISTRY)}. Default: auto; margin of several labels, "
        "greedy_xy in regression.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, metavar="ROWS", help="Rows that a round asks for.")]
BudgetRows = Annotated[
    int | None,
    typer.Option(
        "--budget", min=1, metavar="ROWS", show_default=False, help="Rows that may be asked for in all. Default: any."
    ),
]
TaskOption = Annotated[ProjectTask, typer.Option("--task", help="What a label is.")]
Overlap = Annotated[int, typer.Option("--overlap", min=1, metavar="ANNOTATORS", help="How many answer each row.")]
OverlapShare = Annotated[
    float,
    typer.Option(
        "--overlap-share",
        min=0,
        max=1,
        metavar="SHARE",
        help="Which share of the rows so many answer, drawn by the seed; one answers each of the others.",
    ),
]
MergeOption = Annotated[Merge, typer.Option("--merge", help="How their answers become one label.")]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        show_default=False,
        help="What models are judged by: accuracy, macro_f1 or log_loss; macro_f1, micro_f1 or accuracy of several "
        "labels a row; r2 or mae of numbers. Default: the first of these.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn.")]
Database = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        show_default=False,
        help="PostgreSQL, without a password, as postgresql+psycopg://host/name. Default: a file in the folder.",
    ),
]
LabelsFile = Annotated[
    Path,
    typer.Option(
        "--labels", metavar="FILE", show_default=False, help=".csv, .jsonl or .parquet with the columns id and label."
    ),
]
AnswersFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        show_default=False,
        help=".csv, .jsonl or .parquet with the columns id and label, and perhaps kind, annotator and seconds: a file "
        "of 'ask -o' that was filled in, or what a tool exports. Default: what is in the folder 'answers' of the "
        "annotator that project.toml names.",
    ),
]
AnnotatorName = Annotated[
    str | None,
    typer.Option("--annotator", metavar="NAME", show_default=False, help="Who answers, where the file does not say."),
]


def table_file(help: str) -> Any:  # noqa: A002 - as Typer calls it
    """Make the option of a file that a table is written to."""
    return typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        callback=known_table_format,
        show_default=False,
        help=help + " As .parquet, .csv or .jsonl, whole or not at all.",
    )
