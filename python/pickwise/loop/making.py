"""Projects are made and opened: settings, database, pool and model come together."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pickwise.arrays import row_count
from pickwise.loop import training
from pickwise.loop.context import Context
from pickwise.loop.data import PoolData, open_data
from pickwise.loop.keeping import ModelStore
from pickwise.loop.ledger import log
from pickwise.loop.models import as_loop_model
from pickwise.loop.settings import DATABASE, FILE, METRICS, Settings, found_path, kept_path
from pickwise.loop.store import LOCK, Store, get_fact, schema_of, set_fact
from pickwise.options import one_of
from pickwise.strategies import Uncertainty, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pickwise.annotators.base import Annotator
    from pickwise.loop.settings import Task
    from pickwise.strategies import Strategy


@dataclass(frozen=True)
class Objects:
    """What no file holds, so that it is handed over whenever a project is opened; see `Project.create`."""

    pool: Any
    model: Any
    annotator: Annotator | None
    ids: Any
    embeddings: Any
    evaluation: Any


def make(path: Any, objects: Objects, told: Mapping[str, Any]) -> tuple[Context, ExitStack]:
    """Make a project, and return what it works with, and what is to be closed at its end; see `Project.create`."""
    folder = Path(path)
    _refuse_existing(folder)
    task = cast("Task", one_of(told["task"], "task", tuple(METRICS)))
    measured_on = _as_evaluation(objects.evaluation)
    id_column, columns = told["id"], told["columns"]
    data = None if objects.pool is None else open_data(objects.pool, ids=objects.ids, id=id_column, columns=columns)
    learner = as_loop_model(objects.model, task)
    if data is None and learner.trains:
        raise TypeError(f"pool: expected the rows that {learner.name} learns from, got None")
    given = {name: value for name, value in told.items() if value is not None}
    for name in ("classes", "columns"):
        if isinstance(given.get(name), str):
            raise TypeError(f"{name}: expected a list of names, got {given[name]!r}")
        if name in given:
            given[name] = tuple(given[name])
    default = {"regression": "greedy_xy", "multilabel": "margin"}.get(task, "auto")
    given["strategy"] = _strategy(given.get("strategy", default), task)
    given["initial_strategy"] = _strategy(given["initial_strategy"], task)
    given.setdefault("metric", METRICS[task][0])
    if "until" in given:
        given["until"] = given["until"].to_dict()
    settings = Settings(
        name=folder.resolve().name,
        ids=_id_type(data, objects.ids),
        pool=kept_path(folder, objects.pool),
        embeddings=kept_path(folder, objects.embeddings),
        model=_as_table(objects.model),
        **given,
    )
    fingerprint = None if data is None else data.fingerprint()
    folder.mkdir(parents=True, exist_ok=True)
    store = _store(folder, settings)
    with ExitStack() as held:
        held.callback(store.close)
        held.push(store.lead(folder))
        # Only now, and only if they are none of a process that was quicker.
        _refuse_existing(folder)
        for leftover in folder.iterdir():
            if leftover.name != LOCK:
                leftover.unlink()
        store.create()
        with store.write() as connection:
            if get_fact(connection, "name") is not None:
                raise FileExistsError(
                    f"{store.where}: expected no project {settings.name!r} there, got one; take a folder of another "
                    f"name, or drop the schema {schema_of(settings.name)}"
                )
            set_fact(connection, "name", settings.name)
            set_fact(connection, "id", uuid.uuid4().hex)
            set_fact(connection, "fingerprint", fingerprint)
            log(connection, "created", "created", body={"pool": fingerprint, "name": settings.name})
        # The settings come last: a folder without them is no project yet.
        settings.write(folder)
        context = Context(folder, settings, store, ModelStore(folder), data, objects.embeddings, learner)
        context.annotator, context.evaluation = objects.annotator, measured_on
        return context, held.pop_all()


def reopen(path: Any, objects: Objects) -> tuple[Context, ExitStack]:
    """Open a project, and return what it works with, and what is to be closed at its end; see `Project.open`."""
    folder = Path(path)
    settings = Settings.read(folder)
    measured_on = _as_evaluation(objects.evaluation)
    store = _store(folder, settings)
    with ExitStack() as held:
        held.callback(store.close)
        held.push(store.lead(folder))
        store.check()
        rows = found_path(folder, settings.pool) if objects.pool is None else objects.pool
        learner = as_loop_model(settings.model if objects.model is None else objects.model, settings.task)
        if rows is None and learner.trains:
            raise TypeError(
                "pool: expected the rows, which project.toml has no path of, got None; pass them to Project.open"
            )
        data = None if rows is None else open_data(rows, ids=objects.ids, id=settings.id, columns=settings.columns)
        if data is not None:
            _refuse_other_pool(store, data)
        moved = kept_path(folder, objects.pool)
        if moved is not None and moved != settings.pool:
            settings = settings.changed(pool=moved)
            settings.write(folder)
        given = found_path(folder, settings.embeddings) if objects.embeddings is None else objects.embeddings
        context = Context(folder, settings, store, ModelStore(folder), data, given, learner)
        context.annotator = _own_annotator(folder, settings) if objects.annotator is None else objects.annotator
        context.evaluation = measured_on
        training.recover(context)
        return context, held.pop_all()


def join(path: Any) -> tuple[Context, ExitStack]:
    """Open a project without driving it; see `Project.join`."""
    folder = Path(path)
    settings = Settings.read(folder)
    store = _store(folder, settings)
    held = ExitStack()
    held.callback(store.close)
    store.check()
    return Context(folder, settings, store, ModelStore(folder)), held


def _strategy(told: Any, task: Task) -> Strategy:
    """Find a strategy; one that is named alone looks at rows as the task has them."""
    chosen = resolve(told)
    if isinstance(told, str) and isinstance(chosen, Uncertainty) and task == "multilabel":
        return replace(chosen, task=task)
    return chosen


def _store(folder: Path, settings: Settings) -> Store:
    """Find the database of a project."""
    if settings.database:
        return Store(settings.database, schema=schema_of(settings.name))
    return Store(f"sqlite:///{folder.resolve() / DATABASE}")


def _own_annotator(folder: Path, settings: Settings) -> Annotator | None:
    """Make the annotator that `project.toml` tells of: files, their folder looked for in its own, or Label Studio."""
    about: Any = settings.annotator
    if about is None:
        return None
    if isinstance(about, dict) and "url" in about:
        return _label_studio(about, settings)
    if not isinstance(about, dict) or "folder" not in about or not about.keys() <= {"folder", "format"}:
        raise ValueError(
            "annotator: expected a folder, and perhaps a format, or the url of Label Studio and a project, in "
            f"project.toml, got {about}"
        )
    from pickwise.annotators.files import FileAnnotator

    id_type = int if settings.ids == "int" else str
    return FileAnnotator(folder / about["folder"], about.get("format", "jsonl"), id_type=id_type, task=settings.task)


def _label_studio(about: dict[str, Any], settings: Settings) -> Annotator:
    """Make the annotator of a project in Label Studio; its token is in the environment, never in a file."""
    known = ("url", "project", "kind", "control", "media", "show_suggestions", "webhook")
    for name in about:
        if name not in known:
            raise ValueError(f"annotator: expected {', '.join(known)} of Label Studio in project.toml, got {name!r}")
    from pickwise.annotators.label_studio import LabelStudioAnnotator

    return LabelStudioAnnotator(**{"project": settings.name, **about}, classes=settings.classes, task=settings.task)


def _refuse_other_pool(store: Store, data: PoolData) -> None:
    """Refuse a pool that is not the one that rows were asked from."""
    with store.read() as connection:
        known = get_fact(connection, "fingerprint")
    found = data.fingerprint()
    if known is not None and found != known:
        raise ValueError(
            f"pool: expected the one that rows were asked from (fingerprint {known[:12]}), got another ({found[:12]}); "
            "if it was moved, pass its new path as pool=; if it has changed or grown, open the project with the pool "
            "as it was and call replace_pool(new), which compares the two"
        )


def _as_evaluation(evaluation: Any) -> tuple[Any, Any] | None:
    """Look at rows to measure models on before a model is trained for that."""
    if evaluation is None:
        return None
    if not isinstance(evaluation, (tuple, list)) or len(evaluation) != 2:
        raise TypeError(f"evaluation: expected (X, y), rows and their labels, got {type(evaluation).__name__}")
    rows, labels = evaluation
    count = row_count(rows, "evaluation")
    if not count or len(labels) != count:
        raise ValueError(f"evaluation: expected a label for each of {count} rows, and at least one, got {len(labels)}")
    return rows, labels


def _id_type(data: PoolData | None, ids: Any) -> Literal["int", "str"]:
    if data is not None:
        return data.id_type
    return "str" if isinstance(ids, str) and ids == "str" else "int"


def _refuse_existing(folder: Path) -> None:
    """Refuse a folder with more in it than a process left that was killed while it made a project."""
    unfinished = {LOCK, DATABASE, *(f"{DATABASE}-{end}" for end in ("journal", "wal", "shm")), f".{FILE}.partial"}
    if folder.exists() and not (folder.is_dir() and {each.name for each in folder.iterdir()} <= unfinished):
        raise FileExistsError(f"{folder}: expected no such folder, or an empty one; Project.open goes on with one")


def _as_table(model: Any) -> dict[str, Any] | None:
    """Return what can be written down of a model."""
    if isinstance(model, str):
        return {"estimator": model}
    return dict(model) if isinstance(model, dict) and "estimator" in model else None
