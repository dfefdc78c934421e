"""Answers from files, as the commands of a project take them. Needs Typer, from the extra ``cli``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

import pickwise as pw
from pickwise.command_output import worded
from pickwise.project_options import WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pickwise.annotators.base import Annotation
    from pickwise.loop import JoinedProject
    from pickwise.loop.ledger import Recorded

# Answers that are refused and are named.
_SHOWN = 5


def tell(what: str) -> None:
    """Tell what was done, beside what is printed as data."""
    typer.echo(what, err=True)


def read(opened: JoinedProject, path: Path) -> list[tuple[str, Annotation]]:
    """Read a file of answers, and where each of them stands; all of it, or nothing."""
    from pickwise.annotators.answers import AnswerReader
    from pickwise.annotators.answers import worded as first_of
    from pickwise.annotators.base import Annotation

    reader = AnswerReader(int if opened.settings.ids == "int" else str, opened.settings.task)
    lines = list(reader.lines(path))
    problems = [f"{where}: {found}" for where, found in lines if isinstance(found, str)]
    if problems:
        raise ValueError(first_of(problems))
    return [(where, found) for where, found in lines if isinstance(found, Annotation)]


def record(folder: Path, path: Path, annotator: str | None) -> list[str]:
    """Record the answers of a file, tell what came of them, and return those that were refused."""
    with pw.Project.join(folder) as joined:
        lines = read(joined, path)
        if annotator is not None:
            # Of two people who hand in files of one name, each has answered.
            lines = [
                (where, replace(found, annotator=annotator, key=f"{annotator}:{found.key}"))
                if found.annotator == "annotator"
                else (where, found)
                for where, found in lines
            ]
        done = joined.record([found for _, found in lines])
    places = {found.key: where for where, found in lines}
    _tell_recorded(done, [_placed(text, places) for text in done.refused[:_SHOWN]])
    return done.refused


def poll(opened: pw.Project) -> list[str]:
    """Collect what the annotator of the project has answered, and return what was refused."""
    if opened.settings.annotator is None:
        raise typer.BadParameter(
            "expected a file of answers, as project.toml names no [annotator] with a folder", param_hint="'--labels'"
        )
    done = opened.collect()
    _tell_recorded(done, done.refused[:_SHOWN])
    if not done.new:
        tell("a file of answers is read when nobody has written to it for two seconds")
    return done.refused


def _tell_recorded(done: Recorded, named: Sequence[str]) -> None:
    corrected = f", {done.corrected} of them corrections" if done.corrected else ""
    tell(f"{done.new} new answers{corrected}, {done.repeated} known before, {len(done.refused)} refused")
    for text in named:
        tell(f"pickwise: {text}")
    if len(done.refused) > len(named):
        tell(f"pickwise: and {len(done.refused) - len(named)} more")


def _placed(refused: str, places: dict[str, str]) -> str:
    """Say where in its file an answer stands that was refused."""
    key = next((key for key in places if refused.startswith(f"{key}: ")), None)
    return refused if key is None else places[key] + refused[len(key) :]


def close_round(folder: Path, *, insist: bool) -> None:
    """Close the round; where another process drives the project, and none insists, that one does it."""
    try:
        with pw.Project.open(folder) as opened:
            ended = opened.close_round()
            tell(f"round {ended.number} is closed: {ended.answered} of {ended.asked} rows are answered")
    except BlockingIOError as error:
        if insist:
            raise
        tell(f"the round is not closed: {worded(error, WORDS)}")
