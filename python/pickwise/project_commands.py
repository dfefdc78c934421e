"""The loop from the command line: ``pickwise project``. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here. What the loop needs is imported where it is used: other
# commands do without.

import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import pickwise as pw
from pickwise.command_output import failing_well, print_table
from pickwise.project_answers import close_round, poll, read, record, tell
from pickwise.project_options import (
    WORDS,
    AnnotatorName,
    AnswersFile,
    BatchSize,
    BudgetRows,
    Classes,
    ClassesFile,
    Columns,
    Database,
    Embeddings,
    Folder,
    LabelsFile,
    LoopStrategy,
    Merge,
    MergeOption,
    MetricName,
    ModelName,
    NewFolder,
    Overlap,
    OverlapShare,
    Parameters,
    PoolId,
    PoolPath,
    ProjectTask,
    Seed,
    TaskOption,
    read_classes,
    read_model,
    table_file,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pickwise.annotators.base import Task
    from pickwise.loop import JoinedProject, Round

project = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@project.callback()
def about() -> None:
    """Drive the loop: train, predict, select, annotate, retrain, again.

    \b
    A project is a folder. It goes on where it was, whatever has ended the last command.
      pickwise project init reviews --pool pool.parquet --id doc_id \\
          --model sklearn.linear_model.LogisticRegression
      pickwise project hold-out reviews --labels test.csv
      pickwise project ask reviews -o batch.csv        # fill in its column 'label'
      pickwise project collect reviews --labels batch.csv
      pickwise project fit reviews                     # and ask again
    """  # noqa: D301 - Click's mark for lines to be left as they are


@project.command()
def init(
    folder: NewFolder,
    *,
    pool: PoolPath,
    id_column: PoolId = None,
    columns: Columns = None,
    embeddings: Embeddings = None,
    classes: Classes = None,
    classes_file: ClassesFile = None,
    model: ModelName = None,
    parameters: Parameters = None,
    strategy: LoopStrategy = None,
    batch_size: BatchSize = 100,
    budget: BudgetRows = None,
    task: TaskOption = ProjectTask.multiclass,
    overlap: Overlap = 1,
    overlap_share: OverlapShare = 1.0,
    merge: MergeOption = Merge.majority,
    metric: MetricName = None,
    seed: Seed = 0,
    database: Database = "",
) -> None:
    """Make a project.

    \b
    Examples:
      pickwise project init reviews --pool 'pool/*.parquet' --id doc_id --columns text_length,stars \\
          --model sklearn.linear_model.LogisticRegression --parameter C=10 --classes ham,spam
      pickwise project init images --pool ids.parquet --id file --classes cat,dog,none
    """  # noqa: D301
    with _failing_well():
        described, names = read_model(model, parameters), read_classes(classes, classes_file)
        if described is None and names is None and task is not ProjectTask.regression:
            raise typer.BadParameter(
                "expected them where there is no --model: they are the columns of the predictions that are handed over",
                param_hint="'--classes'",
            )
        made = pw.Project.create(
            folder,
            pool,
            id=id_column,
            columns=[name.strip() for some in columns or [] for name in some.split(",")] or None,
            embeddings=embeddings,
            classes=names,
            model=described,
            strategy=strategy,
            batch_size=batch_size,
            budget=budget,
            task=task.value,
            overlap=overlap,
            overlap_share=overlap_share,
            merge=merge.value,
            metric=metric,
            seed=seed,
            database=database,
        )
        with made:
            tell(f"{folder}: a project; its settings are in {folder / 'project.toml'}")
            _tell_next(made)


@project.command()
def seed(folder: Folder, *, labels: LabelsFile) -> None:
    """Record labels that are there already: all of a file, or, if one is wrong, none."""
    _give(folder, labels, held_out=False)


@project.command("hold-out")
def hold_out(folder: Folder, *, labels: LabelsFile) -> None:
    """Record labels of rows that models are measured on; they are never asked for, and no model learns from them."""
    _give(folder, labels, held_out=True)


@project.command()
def ask(
    folder: Folder,
    *,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, metavar="ROWS", show_default=False, help="How many. Default: the batch size."),
    ] = None,
    output: Annotated[
        Path | None,
        table_file("Where to write what is asked, with a column 'label' to be filled in. Default: a table."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin no round: only tell what is asked and has no answer yet.")
    ] = False,
) -> None:
    """Begin a round: choose rows, and ask for their labels.

    \b
    Examples:
      pickwise project ask reviews -k 50 -o batch.csv
      pickwise project ask reviews --again -o batch.csv
    """  # noqa: D301
    with _failing_well():
        if again and k is not None:
            raise typer.BadParameter("expected no number of rows with --again", param_hint="'-k'")
        _refuse_no_folder(output)
        with pw.Project.open(folder) as opened:
            tasks = opened.tasks() if again else opened.ask(k)
            _show(tasks, output)
            _tell_next(opened)


@project.command()
def collect(
    folder: Folder,
    *,
    labels: AnswersFile = None,
    annotator: AnnotatorName = None,
    close: Annotated[bool, typer.Option("--close", help="Wait for no more answers: the round is over.")] = False,
) -> None:
    """Record answers, and close the round when it has them all.

    Answers that are refused are named, and all others are safe; the exit code is 1 then. The same file may be read
    again when it has grown: no answer counts twice. While another process drives the project, that one closes the
    round.
    """
    with _failing_well():
        if annotator is not None and labels is None:
            raise typer.BadParameter("expected the --labels that are theirs, got none", param_hint="'--annotator'")
        refused = [] if labels is None else record(folder, labels, annotator)
        if labels is None and not close:
            with pw.Project.open(folder) as opened:
                refused = poll(opened)
        with pw.Project.join(folder) as joined:
            found = joined.status()
            is_complete = found.state in ("asked", "collecting") and not found.open
        if close or is_complete:
            close_round(folder, insist=close)
        with pw.Project.join(folder) as joined:
            _tell_next(joined)
        if refused:
            raise typer.Exit(1)


@project.command()
def fit(
    folder: Folder,
    *,
    predictions: Annotated[
        str | None,
        typer.Option(
            "--predictions",
            metavar="PATH",
            show_default=False,
            help="Of a model that is trained elsewhere: what it predicts for the pool now, as .npy or as Parquet with "
            "the same column of ids.",
        ),
    ] = None,
) -> None:
    """Let the model learn from all labels, measure it, and keep it."""
    with _failing_well(), pw.Project.open(folder) as opened:
        if predictions is None:
            _refuse_stale(opened, "--predictions")
        _tell_round(opened.fit(predictions))
        _tell_next(opened)


@project.command()
def run(
    folder: Folder,
    *,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", min=1, metavar="ROUNDS", show_default=False, help="Of the project in all, done ones included."
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every",
            min=0.1,
            metavar="SECONDS",
            show_default=False,
            help="Wait for answers, and look for them every so many seconds.",
        ),
    ] = None,
) -> None:
    """Go on, round after round, until answers are waited for, or there is a reason to stop.

    With --every it is answers that end rounds: people label in Label Studio, fill in files, or use the page of
    'pickwise label', while this command runs.
    """
    with _failing_well(), pw.Project.open(folder, hooks=[lambda _, ended: _tell_round(ended)]) as opened:
        _refuse_stale(opened, "FOLDER")
        if every is not None:
            tell(f"answers are looked for every {every:g} seconds; Ctrl-C ends that, and loses nothing")
        tell(opened.run(rounds, every=every))
        _tell_next(opened)


@project.command()
def status(
    folder: Folder, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False
) -> None:
    """Tell where the project is, and what comes next; also while another process drives it."""
    with _failing_well(), pw.Project.join(folder) as joined:
        found = joined.status()
        if as_json:
            from pickwise.annotators.files import plain

            typer.echo(json.dumps(plain(asdict(found)), ensure_ascii=False, indent=2))
        else:
            typer.echo(str(found))


@project.command()
def labels(folder: Folder) -> None:
    """Print the label of each row that models learn from, merged from all answers."""
    with _failing_well(), pw.Project.join(folder) as joined:
        found = joined.labels()
        print_table(
            {
                "id": [str(name) for name in found.ids.tolist()],
                "label": [str(label) for label in found.labels.tolist()],
                "confidence": [f"{value:.3g}" for value in found.confidence.tolist()],
                "agreement": [f"{value:.3g}" for value in found.agreement.tolist()],
                "answers": [str(count) for count in found.answers.tolist()],
            }
        )
        _tell_next(joined)


@project.command()
def export(folder: Folder, *, output: Annotated[Path, table_file("Where to write the labels.")]) -> None:
    """Write the label of each row that models learn from to a file."""
    with _failing_well(), pw.Project.join(folder) as joined:
        tell(f"{joined.export(output)} labels in {output}")
        _tell_next(joined)


@project.command()
def history(folder: Folder) -> None:
    """Print all rounds: how rows were chosen, how many have answers, and how good the model was."""
    with _failing_well(), pw.Project.join(folder) as joined:
        rounds = joined.history()
        metrics = dict.fromkeys(name for each in rounds for name in each.metrics)
        print_table(
            {
                "round": [str(each.number) for each in rounds],
                "state": [str(each.state) for each in rounds],
                "strategy": [str(each.strategy.get("strategy", "")) for each in rounds],
                "asked": [str(each.asked) for each in rounds],
                "answered": [str(each.answered) for each in rounds],
                "labelled": [str(each.labelled) for each in rounds],
                **{name: [_number(each.metrics.get(name)) for each in rounds] for name in metrics},
                "model": [each.model or "" for each in rounds],
            }
        )
        _tell_next(joined)


@project.command()
def drift(
    folder: Folder,
    *,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="PATH",
            show_default=False,
            help="The pool that takes the place of the one before; labelled rows are kept.",
        ),
    ] = None,
    embeddings: Embeddings = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", show_default=False, help="Where to draw it, as .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Tell how the pool differs from the one before, or replace it, and compare the two."""
    with _failing_well():
        _refuse_no_folder(plot)
        if pool is None and embeddings is not None:
            raise typer.BadParameter("expected a --pool that they are of, got none", param_hint="'--embeddings'")
        with _either(folder, drives=pool is not None) as opened:
            if pool is None:
                found = opened.drift()
                missing = "the pool was never replaced; drift --pool does it"
            else:
                found = opened.replace_pool(pool, embeddings=embeddings or opened.settings.embeddings)
                missing = "the pool is replaced; no model has learnt yet by which the two could be compared"
            if found is None:
                tell(missing)
            else:
                typer.echo(repr(found))
                if plot is not None:
                    found.plot().savefig(plot)
                    tell(f"drawn in {plot}")
            _tell_next(opened)


@project.command()
def report(
    folder: Folder,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Default: report.html in the folder."),
    ] = None,
) -> None:
    """Write what there is to know about the project into one HTML file."""
    with _failing_well():
        _refuse_no_folder(output)
        with pw.Project.join(folder) as joined:
            tell(f"report in {joined.report(output)}")
            _tell_next(joined)


@project.command()
def promote(
    folder: Folder,
    number: Annotated[
        int | None,
        typer.Argument(metavar="[ROUND]", min=0, show_default=False, help="Whose model. Default: the best one."),
    ] = None,
) -> None:
    """Deploy the model of a round: deployed.json names it from now on."""
    with _failing_well(), pw.Project.open(folder) as opened:
        tell(f"deployed: {opened.promote(number)}")
        _tell_next(opened)


@project.command()
def rollback(folder: Folder) -> None:
    """Deploy the model again that was deployed before this one."""
    with _failing_well(), pw.Project.open(folder) as opened:
        tell(f"deployed: {opened.rollback()}")
        _tell_next(opened)


def _failing_well() -> AbstractContextManager[None]:
    return failing_well(RuntimeError, words=WORDS)


def _either(folder: Path, *, drives: bool) -> "JoinedProject":
    return pw.Project.open(folder) if drives else pw.Project.join(folder)


def _tell_next(opened: "JoinedProject") -> None:
    tell(f"next: {opened.status().next}")


def _tell_round(ended: "Round") -> None:
    """Tell what has come of a round."""
    if ended.model is None:
        tell(f"round {ended.number}: no model yet, as it takes labels of two classes")
        return
    measured = "".join(f", {name} {value:.4g}" for name, value in ended.metrics.items())
    tell(f"round {ended.number}: a model of {ended.labelled} labelled rows{measured}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _give(folder: Path, path: Path, *, held_out: bool) -> None:
    """Record the labels of a file as those of one annotator."""
    with _failing_well(), pw.Project.open(folder) as opened:
        found = [answer for _, answer in read(opened, path) if answer.kind == "label"]
        pairs = [answer.id for answer in found], [answer.label for answer in found]
        done = opened.hold_out(pairs) if held_out else opened.seed(pairs)
        tell(f"{done.new} new labels, {done.repeated} known before{', held out' if held_out else ''}")
        _tell_next(opened)


def _show(tasks: "Sequence[Task]", output: Path | None) -> None:
    """Print what is asked, or write it to a file."""
    if not tasks:
        tell("nothing is left to ask for")
    elif output is not None:
        from pickwise.annotators.files import write_tasks

        write_tasks(output, tasks)
        tell(f"{len(tasks)} rows asked in {output}")
    else:
        print_table(
            {
                "rank": [str(task.rank + 1) for task in tasks],
                "id": [str(task.id) for task in tasks],
                "score": [f"{task.score:.6g}" for task in tasks],
                "why": [task.why for task in tasks],
                "suggested": [", ".join(f"{name} {p:.2f}" for name, p in task.suggestions.items()) for task in tasks],
            }
        )


def _refuse_no_folder(path: Path | None) -> None:
    """Refuse a place that cannot be written to before the work whose result shall go there."""
    if path is not None and not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {str(path.parent)!r}")


def _refuse_stale(opened: "pw.Project", hint: str) -> None:
    """Refuse to take predictions of a model that is trained elsewhere for new ones."""
    if opened.model is not None and not opened.model.trains:
        raise typer.BadParameter(
            "expected a model that is trained here; of one that is trained elsewhere 'fit --predictions' takes what it "
            "predicts now, after each round",
            param_hint=f"'{hint}'",
        )
