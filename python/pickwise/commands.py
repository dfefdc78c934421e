"""What ``pickwise`` can do from the command line. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here.

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import pickwise as pw
from pickwise.arrays import Rows, as_rows
from pickwise.command_options import (
    CheckpointFile,
    Files,
    Filters,
    FromLogits,
    Id,
    Invalid,
    Metric,
    OnError,
    OnFileError,
    Probabilities,
    Quiet,
    StrategyName,
    Task,
    TaskName,
    Temperature,
    Ties,
    known_format,
    known_table_format,
    read_filters,
    tell_version,
)
from pickwise.command_output import failing_well, print_table
from pickwise.id_file import read_ids
from pickwise.ids import Ids, as_ids
from pickwise.label_command import label
from pickwise.output import items, writing
from pickwise.pools import Chunk, Pool, open_pool
from pickwise.pools.paths import find_files
from pickwise.progress import reporting
from pickwise.project_commands import project
from pickwise.ranking import Source, borrowed
from pickwise.report import some
from pickwise.scores import score_rows
from pickwise.simulate_command import simulate
from pickwise.strategies import REGISTRY, Committee, Joint, Ranking, Strategy, Uncertainty, resolve
from pickwise.suite_command import bench_suite

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(project, name="project")
app.command()(simulate)
app.command()(label)
app.command()(bench_suite)


@app.callback()
def pickwise(
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Tell the version and exit.")
    ] = False,
) -> None:
    """Pick the rows worth labelling, out of millions of predictions.

    \b
    Exit codes: 0 done, 1 bad data or files, 2 bad usage, 130 interrupted.
    """  # noqa: D301 - Click's mark for lines to be left as they are


@app.command()
def select(
    pool: Files,
    *,
    k: Annotated[int, typer.Option("-k", min=1, metavar="ROWS", show_default=False, help="How many rows to select.")],
    strategy: StrategyName = "margin",
    probabilities: Probabilities = None,
    id_column: Id = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            callback=known_table_format,
            show_default=False,
            help="Where to, as .parquet, .csv or .jsonl: id, index, score, rank. Replaced if there, whole or not at "
            "all. Default: a table on standard output.",
        ),
    ] = None,
    from_logits: FromLogits = False,
    temperature: Temperature = 1.0,
    task: TaskName = Task.multiclass,
    filters: Filters = None,
    on_file_error: OnError = OnFileError.raise_,
    checkpoint: CheckpointFile = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            metavar="FILE|COLUMN",
            show_default=False,
            help="For strategies that choose rows together: .npy or Parquet files of embeddings, row for row as the "
            "pool, or the column of the pool that holds them. Default: the pool itself is embeddings.",
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            "--labelled",
            metavar="FILE",
            show_default=False,
            help="For the same: an .npy file of what is labelled already: embeddings (rows, dims), or positions in the "
            "pool or a boolean mask of it.",
        ),
    ] = None,
    metric: Annotated[Metric, typer.Option("--metric", help="For the same: the distance.")] = Metric.euclidean,
    prefilter: Annotated[
        int | None,
        typer.Option(
            "--prefilter",
            min=1,
            metavar="TIMES",
            show_default=False,
            help="For k_center and kmeans++: among so many times -k rows of the smallest margin. The pool then holds "
            "probabilities, and --embeddings are needed.",
        ),
    ] = None,
    ties: Annotated[
        Ties, typer.Option("--ties", help="Of equal scores, the lower id first, or drawn by --seed.")
    ] = Ties.first,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="For strategies that draw, or begin with clusters, and --ties random.")
    ] = 0,
    invalid: Annotated[
        Invalid, typer.Option("--invalid", help="Rows that are no probabilities: an error, or passed over.")
    ] = Invalid.raise_,
    exclude_ids: Annotated[
        Path | None,
        typer.Option(
            "--exclude-ids",
            metavar="FILE",
            show_default=False,
            help="Ids never to select, say those labelled already: one a line, or a .parquet, .csv or .jsonl file with "
            "a column 'id' (such as an earlier selection) or with one column only.",
        ),
    ] = None,
    clip: Annotated[bool, typer.Option("--clip", help="Take fewer rows where there are fewer than -k.")] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Tell as well what was read of the pool, how long it took, and how all rows score."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Select the rows most worth labelling.

    \b
    Examples:
      pickwise select pool.npy -k 100
      pickwise select 'predictions/*.parquet' -k 1000 --strategy entropy \\
          --probabilities 'p_*' --id doc_id -o batch.parquet
      pickwise select pool.parquet -k 1000 --id doc_id --exclude-ids batch.parquet -o next.csv
      pickwise select logits.npy -k 50 --from-logits --temperature 1.5 -o batch.jsonl
      pickwise select emb.npy -k 1000 --strategy k_center --labelled labelled.npy -o batch.csv
      pickwise select pool.parquet -k 1000 --strategy k_center --prefilter 10 --embeddings emb.npy
      pickwise select a.npy b.npy c.npy -k 1000 --strategy bald
      pickwise select 's3://bucket/predictions/' -k 1000 -p 'p_*' --filter 'lang == en' \\
          --on-file-error skip --checkpoint sel.state --report -o batch.parquet
    """  # noqa: D301
    with failing_well():
        began = time.perf_counter()
        options = {"from_logits": from_logits, "temperature": temperature, "task": task}
        chosen = _strategy(strategy, **options, metric=metric, prefilter=prefilter)
        _refuse_embeddings(chosen, embeddings=embeddings, labelled=labelled)
        _refuse_pool(pool, output)
        source, columns = _source(pool, probabilities, id_column)
        columns |= {"filters": read_filters(filters), "on_file_error": on_file_error.value}

        def opened() -> Pool:
            return open_pool(source, **columns, committee=isinstance(chosen, Committee))

        def run() -> pw.Selection:
            return pw.select(
                source,
                k,
                chosen,
                **columns,
                checkpoint=checkpoint,
                exclude_ids=exclude_ids and read_ids(exclude_ids, strings=bool(opened().string_ids)),
                ties=ties.value,
                embeddings=embeddings,
                labelled=labelled,
                random_state=None if strategy == "k_center" else seed,
                invalid=invalid.value,
                clip=clip,
                progress=_shown(quiet),
            )

        if output is None:
            selection = run()
            _print_table(selection)
        else:
            with writing(output) as writer:
                selection = run()
                writer.write(_as_table(selection))
        if not quiet:
            seen = selection.report
            skipped = f", {selection.skipped} invalid rows skipped" if selection.skipped else ""
            done = f"{len(selection)} of {opened().rows if seen is None else seen.rows} rows by {strategy}{skipped}"
            if isinstance(selection, pw.Cover):
                done += f", radius {selection.radius:.6g}"
            _tell(done if output is None else f"{done} in {output}", began)
            if seen is not None and seen.failed and not report:
                files = "1 file" if len(seen.failed) == 1 else f"{len(seen.failed)} files"
                typer.echo(f"{files} left out: {some(seen.failed)}", err=True)
        if report:
            _tell_report(selection)


@app.command()
def score(
    pool: Files,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            callback=known_format,
            show_default=False,
            help="Where to: .parquet, .csv or .jsonl (id, score), or .npy (scores alone). Replaced if there, whole or "
            "not at all.",
        ),
    ],
    strategy: StrategyName = "margin",
    probabilities: Probabilities = None,
    id_column: Id = None,
    from_logits: FromLogits = False,
    temperature: Temperature = 1.0,
    task: TaskName = Task.multiclass,
    quiet: Quiet = False,
) -> None:
    """Score every row; higher = worth more.

    \b
    Examples:
      pickwise score pool.npy -o scores.npy
      pickwise score 'predictions/*.parquet' --strategy entropy -p 'p_*' --id doc_id -o scores.parquet
    """  # noqa: D301
    with failing_well():
        began = time.perf_counter()
        chosen = _strategy(strategy, from_logits=from_logits, temperature=temperature, task=task)
        if not isinstance(chosen, (Uncertainty, Committee)):
            raise typer.BadParameter(f"{strategy} gives rows no score", param_hint="'--strategy'")
        _refuse_pool(pool, output)
        source, columns = _source(pool, probabilities, id_column)
        opened = open_pool(source, **columns, committee=isinstance(chosen, Committee))
        rows = 0
        with writing(output) as writer, reporting(_shown(quiet), opened.rows) as report:
            for chunk, scores in _scores(opened, chosen):
                ids = np.arange(rows, rows + len(scores)) if chunk.ids is None else chunk.ids
                if opened.numbering is not None and isinstance(ids, np.ndarray):
                    ids = opened.numbering.strings(ids)
                writer.write({"id": ids, "score": scores})
                rows += len(scores)
                if report is not None:
                    report(rows)
            if rows == 0:
                raise ValueError("pool: expected at least one row, got none")
        if not quiet:
            _tell(f"{rows} rows by {strategy} in {output}", began)


@app.command()
def info() -> None:
    """Tell version, build, SIMD and threads."""
    for name, value in pw.build_info().items():
        typer.echo(f"{name:15} {', '.join(value) if isinstance(value, list) else value}")


def _strategy(name: str, **options: Any) -> Strategy:
    """Make the strategy; an option that it does not have must be left as it is."""
    known = {field.name: field.default for field in dataclasses.fields(REGISTRY[name])}
    defaults = {"from_logits": False, "temperature": 1.0, "task": Task.multiclass}
    defaults |= {"metric": Metric.euclidean, "prefilter": None}
    given = {option: value for option, value in options.items() if value != defaults[option]}
    for option in given:
        if option not in known:
            hint = f"'--{option.replace('_', '-')}'"
            raise typer.BadParameter(f"{name} has no use for it", param_hint=hint)
    return resolve(
        name, **{option: str(value) if isinstance(value, StrEnum) else value for option, value in given.items()}
    )


def _refuse_embeddings(strategy: Strategy, **files: Path | str | None) -> None:
    for name, file in files.items():
        if file is not None and not isinstance(strategy, Joint):
            raise typer.BadParameter(f"{strategy.name} has no use for it", param_hint=f"'--{name}'")


def _refuse_pool(pool: list[str], output: Path | None) -> None:
    if (
        output is not None
        and output.exists()
        and any(file.filesystem is None and output.samefile(file.path) for file in find_files(pool)[1])
    ):
        raise ValueError(f"{output}: is the pool itself; write the result elsewhere")


def _source(
    pool: list[str], probabilities: list[str] | None, id_column: str | None
) -> tuple[str | list[str], dict[str, Any]]:
    """Tell where the pool is and which columns it has, as the library takes them: one, not a list of one."""
    one = probabilities[0] if probabilities and len(probabilities) == 1 else None
    return pool[0] if len(pool) == 1 else pool, {"probabilities": one or probabilities or None, "id": id_column}


def _scores(pool: Pool, strategy: Uncertainty | Committee) -> Iterator[tuple[Chunk, NDArray[Any]]]:
    """Score the chunks of a pool; a row that is no probability is an error that says where it is."""
    start, dtype = 0, None
    with closing(Source(pool.rows, pool.parts, pool).chunks()) as chunks:
        for part, chunk in chunks:
            if isinstance(strategy, Committee):
                rows = borrowed(strategy, chunk, part, "pool")
                assert isinstance(rows, Rows)  # noqa: S101 - it reads them
                yield chunk, next(rows.blocks())[:, 0]
                continue
            binary = chunk.matrix.shape[1] < strategy.min_classes
            values = chunk.matrix[:, 0] if binary else chunk.matrix
            rows = as_rows(values, "pool", min_classes=strategy.min_classes, allow_empty=True)
            scores = score_rows(
                rows,
                strategy.criterion(binary=rows.binary),
                name="pool",
                from_logits=strategy.from_logits,
                dtype=dtype,
                start=start,
                locate=pool.locate,
            )
            dtype = scores.dtype  # one type for the whole file, whatever the files of the pool hold
            yield chunk, scores
            start += len(scores)


def _as_table(selection: pw.Selection) -> dict[str, NDArray[Any] | Ids]:
    return {
        "id": as_ids(selection.ids, "ids"),
        "index": selection.indices,
        "score": selection.scores,
        "rank": np.arange(1, len(selection) + 1),
    }


def _print_table(selection: pw.Selection) -> None:
    columns = {name: [str(item) for item in items(column)] for name, column in _as_table(selection).items()}
    columns["score"] = [f"{score:.6g}" for score in selection.scores.tolist()]
    print_table({name: columns[name] for name in ("rank", "id", "index", "score")})


def _shown(quiet: bool) -> bool:
    return not quiet and sys.stderr.isatty()


def _tell(what: str, began: float) -> None:
    typer.echo(f"{what} ({time.perf_counter() - began:.2f} s)", err=True)


def _tell_report(selection: pw.Selection) -> None:
    """Tell what was seen of the pool, and where the last selected row stands among all."""
    seen = selection.report
    if seen is None:
        typer.echo("No report: the strategy reads the pool as a whole.", err=True)
        return
    typer.echo(repr(seen), err=True)
    ranked = isinstance(selection.strategy, Ranking) and selection.strategy.noise is None
    if ranked and len(selection) and len(seen.scores.scores):
        last = float(selection.scores[-1])
        share = seen.scores.share_above(last)
        typer.echo(f"  {share:.3%} of the rows score higher than {last:.4g}, as the last selected one does", err=True)
