"""A round moves on: rows are asked for, answers waited for, and its files written."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from pickwise.annotators.base import Task
from pickwise.loop import answering, training
from pickwise.loop.archive import write_round
from pickwise.loop.carried import shown as shown_rows
from pickwise.loop.choosing import Known, Scene, choose
from pickwise.loop.history import Round, State
from pickwise.loop.ledger import read_counts
from pickwise.loop.rounds import advance, change, known_among, plan, read_asks, read_rounds, recall
from pickwise.loop.schema import rows
from pickwise.loop.stopping import Budget, Criterion, Rounds, Standing
from pickwise.loop.store import among, get_fact, set_fact
from pickwise.loop.tables import round_tables
from pickwise.options import as_number
from pickwise.strategies import Joint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pickwise.annotators.base import RowId
    from pickwise.loop.context import Context
    from pickwise.loop.settings import Settings


def last_round(context: Context, *states: State) -> Round | None:
    """Read the last round, or the last of those in some states."""
    with context.store.read() as connection:
        rounds = [each for each in read_rounds(connection) if not states or each.state in states]
    return rounds[-1] if rounds else None


def refuse_open(last: Round | None) -> None:
    """Raise where a round waits for answers."""
    if last is not None and last.state.is_open:
        raise RuntimeError(
            f"round {last.number}: {last.asked - last.answered} of {last.asked} rows have no answer yet; collect() "
            "fetches answers, close_round() waits for no more"
        )


def reasons(settings: Settings, rounds: int | None, until: Criterion | None) -> tuple[list[Criterion], list[Criterion]]:
    """List the limits of a project, and the criteria to stop by."""
    limits: list[Criterion] = [] if rounds is None else [Rounds(rounds)]
    if settings.budget is not None:
        limits.append(Budget(settings.budget))
    criteria = [] if until is None else [until]
    if settings.until is not None:
        criteria.append(Criterion.from_dict(settings.until))
    return limits, criteria


def reason_to_stop(
    context: Context, limits: Sequence[Criterion], criteria: Sequence[Criterion], seconds: float
) -> str | None:
    """Say why the loop ends, where no round is open; None to go on."""
    with context.store.read() as connection:
        history, asked = read_rounds(connection), read_counts(connection).get("asked", 0)
        reopened = get_fact(connection, "reopened")
    if history and history[-1].state is not State.trained:
        return None
    # A pool that differs much is a new beginning, but no more rounds or rows are paid for.
    recent = [each for each in history if reopened is None or each.number > reopened]
    standing = Standing(asked=asked, seconds=seconds)
    reasons = [each.check(history, standing) for each in limits] + [each.check(recent, standing) for each in criteria]
    return next((why for why in reasons if why is not None), None)


def patient(context: Context, step: Callable[[], Round | None], every: float) -> Callable[[], Round | None]:
    """Make a step one that waits for answers, and for an annotator that is not reached."""
    seconds = as_number(every, "every")
    if not 0 < seconds < math.inf:
        raise ValueError(f"every: expected seconds, got {every!r}")
    wait = getattr(context.annotator, "wait", time.sleep)

    def patiently() -> Round | None:
        while True:
            try:
                ended = step()
                last = last_round(context)
                if ended is not None or last is None or not last.state.awaits_answers:
                    return ended
                wait(seconds)
            except ConnectionError as error:
                warnings.warn(f"{error}; tried again in {seconds:g} seconds", stacklevel=3)
                time.sleep(seconds)

    return patiently


def begin(context: Context, k: int) -> list[Task]:
    """Choose up to `k` rows, plan a round of them, and ask for them."""
    last = last_round(context)
    number = 1 if last is None else last.number + 1
    seed = _seed(context.settings.seed, number)
    with context.store.read() as connection:
        share = get_fact(connection, "new_region") or 0.0
    began = time.perf_counter()
    strategy, wanted = choose(context, k, seed=seed, known=_known(context, share), new_region=share)
    if not wanted:
        return []
    with context.store.write() as connection:
        pool = get_fact(connection, "fingerprint")
        plan(connection, number, strategy, seed=seed, pool=pool, wanted=wanted)
        change(connection, number, seconds={"selecting": time.perf_counter() - began})
        if share:
            set_fact(connection, "new_region", 0.0)
    return push(context, number)


def begin_again(context: Context, ids: Iterable[RowId] | int) -> list[Task]:
    """Plan a round of rows that have labels, and ask for them."""
    last = last_round(context)
    pairs = training.doubtful(context, ids) if isinstance(ids, int) else [(name, 0.0) for name in dict.fromkeys(ids)]
    wanted = [(context.as_row(name), score, "relabel") for name, score in pairs]
    names = [row for row, _, _ in wanted]
    with context.store.write() as connection:
        known = known_among(connection, names)
        unknown = [row for row in names if row not in known]
        if unknown or not wanted:
            raise ValueError(f"ids: expected rows that were labelled, got {unknown[0] if unknown else 'none'!r}")
        inside = among(connection, rows.c.row, names)
        held_out = connection.scalar(select(rows.c.row).where(inside, rows.c.held_out == 1).limit(1))
        if held_out is not None:
            raise ValueError(f"ids: expected rows that models learn from, got {held_out!r}, which is held out")
        number = 1 if last is None else last.number + 1
        seed, pool = _seed(context.settings.seed, number), get_fact(connection, "fingerprint")
        plan(connection, number, {"strategy": "relabel"}, seed=seed, pool=pool, wanted=wanted)
    return push(context, number)


def push(context: Context, number: int) -> list[Task]:
    """Ask the annotator for the rows of a round that is planned."""
    with context.store.read() as connection:
        asks = read_asks(connection, number)
    tasks = as_tasks(context, number, asks)
    if context.annotator is not None:
        context.annotator.push(tasks)
    with context.store.write() as connection:
        advance(connection, number, State.asked)
    return tasks


def open_tasks(context: Context) -> list[Task]:
    """Return what is asked and has no answer yet."""
    with context.store.read() as connection:
        waiting = answering.open_asks(connection)
    return [task for number, asks in waiting.items() for task in as_tasks(context, number, asks)]


def close(context: Context) -> None:
    """Wait for no more answers to the last round, write its files, and note that it is closed."""
    last = last_round(context)
    if last is None or not last.state.awaits_answers:
        raise RuntimeError("close_round: expected a round that waits for answers, got none; ask() begins one")
    number = last.number
    with context.store.write() as connection:
        recall(connection, number)
    with context.store.read() as connection:
        left = read_asks(connection, number, "recalled")
        parent, pool = get_fact(connection, "manifest"), get_fact(connection, "fingerprint")
    if left and context.annotator is not None:
        context.annotator.recall([task_key(number, each.row) for each in left])
    about = {
        "project": context.settings.name,
        "parent": parent,
        "pool": pool,
        "strategy": last.strategy,
        "seed": last.seed,
    }
    manifest = write_round(context.folder, number, round_tables(context, number), about)
    with context.store.write() as connection:
        advance(connection, number, State.closed, body={"manifest": manifest})
        set_fact(connection, "manifest", manifest)


def as_tasks(context: Context, number: int, asks: Sequence[Any]) -> list[Task]:
    """Make tasks of the rows of a round."""
    ids = [context.as_id(each.row) for each in asks]
    shown = [None] * len(ids) if context.data is None else shown_rows(context.folder, context.data, ids)
    suggested = training.suggestions(context, ids)
    return [
        Task(
            key=task_key(number, each.row),
            id=name,
            round=number,
            rank=each.rank,
            score=0.0 if each.score is None else each.score,
            why=each.why,
            data=data,
            suggestions=classes,
            overlap=context.settings.overlap_of(each.row),
        )
        for each, name, data, classes in zip(asks, ids, shown, suggested, strict=True)
    ]


def task_key(number: int, row: str) -> str:
    """Name what a round asks about a row."""
    return f"{number}/{row}"


def _known(context: Context, new_region: float) -> Known:
    ids = [context.as_id(row) for row in context.known()]
    scene = Scene.of(context)
    used = [scene.settled(each) for each in (context.settings.strategy, context.settings.initial_strategy)]
    if not new_region and not any(isinstance(each, Joint) for each in used):
        return Known(ids=ids, labelled=[])  # to merge all votes takes long, and nobody looks at them
    names, labels = answering.labelled(context).learnable
    targets = labels.astype(np.float64) if context.settings.task == "regression" else None
    return Known(ids=ids, labelled=names, targets=targets)


def _seed(seed: int, number: int) -> int:
    """Draw the seed of a round."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint32)[0])
