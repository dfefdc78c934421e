"""Tasks as Label Studio holds them, and annotations of Label Studio as answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from pickwise.annotators.files import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pickwise.annotators.base import Kind, Task
    from pickwise.annotators.label_studio.config import Config

Media: TypeAlias = "str | Callable[[Any], str] | None"

Json: TypeAlias = dict[str, Any]

MODEL = "pickwise"
"""What predictions are filed under; Label Studio shows those of one model version."""

KEY = "pickwise_key"
"""The column by which tasks are found again."""

ID = "pickwise_id"

# Tags whose column is an address.
_MEDIA = ("Image", "Audio", "Video", "Pdf")

# What a browser or a storage of Label Studio opens; never one that runs code.
_OPENED = ("http://", "https://", "/", "s3://", "gs://", "azure-blob://", "data:image/", "data:audio/", "data:video/")


def task_json(task: Task, config: Config, media: Media) -> Json:
    """Lay a task out as Label Studio imports it.

    Parameters
    ----------
    task : Task
    config : Config
    media : str or callable, optional
        What makes an address of a path.

    Returns
    -------
    dict
        Its columns, with those that pickwise finds it by, and its predictions.

    Raises
    ------
    ValueError
        If a column is missing that the config shows, or is no address where one is needed.
    """
    columns = _columns(task, config)
    for name, tag in config.variables.items():
        if columns.get(name) is None:
            columns[name] = {} if tag == "Table" else ""
        elif tag in _MEDIA:
            columns[name] = _address(columns[name], media, f"row {task.id!r}: {name}")
        elif tag in ("Text", "HyperText") and not isinstance(columns[name], str):
            columns[name] = json.dumps(columns[name], ensure_ascii=False)
    about = {KEY: task.key, ID: plain(task.id), "pickwise_round": task.round, "pickwise_rank": task.rank}
    columns |= {**about, "pickwise_score": plain(task.score), "pickwise_why": task.why}
    prediction = prediction_json(task, config)
    return {"data": columns, "predictions": [] if prediction is None else [prediction]}


def is_bare(task: Task, config: Config) -> bool:
    """Whether a task has nothing to show."""
    return all(_columns(task, config).get(name) in (None, "", {}) for name in config.variables)


def prediction_json(task: Task, config: Config) -> Json | None:
    """Write what the model suggests: the class it finds the most probable, or those it finds more likely than not."""
    written = {value: name for name, value in (config.names or {}).items()}
    known = {written.get(str(name), str(name)): float(p) for name, p in task.suggestions.items()}
    if config.names is not None:
        known = {name: p for name, p in known.items() if name in config.names}
    if config.type != "choices" or not known:
        return None
    ranked = sorted(known, key=lambda name: -known[name])
    chosen = [name for name in ranked if known[name] >= 0.5] if config.is_multiple else ranked[:1]
    if not chosen:
        return None
    score = round(known[chosen[0]], 6)
    result = {
        "from_name": config.control,
        "to_name": config.shown,
        "type": "choices",
        "value": {"choices": chosen},
        "score": score,
        "meta": {"text": [f"{name} {known[name]:.3f}" for name in ranked]},
    }
    return {"model_version": MODEL, "score": score, "result": [result]}


def answer_of(annotation: Json, config: Config, classes: Mapping[str, Any]) -> tuple[Kind, Any]:
    """Read an annotation.

    Parameters
    ----------
    annotation : dict
        As Label Studio lists it.
    config : Config
    classes : mapping of str to object
        What the classes are called on our side; empty if they are called the same.

    Returns
    -------
    kind : {"label", "skip"}
    label : object

    Raises
    ------
    ValueError
        If it is no answer, naming what is wrong.
    """
    if annotation.get("was_cancelled"):
        return "skip", None
    result = annotation.get("result")
    values = [
        each["value"].get(config.type)
        for each in (result if isinstance(result, list) else [])
        if isinstance(each, dict) and each.get("from_name") == config.control and isinstance(each.get("value"), dict)
    ]
    if config.type != "choices":
        return "label", _number(values)
    chosen = list(dict.fromkeys(name for names in values for name in (names if isinstance(names, list) else [names])))
    named = [_class_of(name, config, classes) for name in chosen]
    if config.is_multiple:
        return "label", named
    if len(named) != 1:
        raise ValueError(f"expected one class, got {', '.join(map(repr, named)) or 'none'}")
    return "label", named[0]


def _columns(task: Task, config: Config) -> Json:
    """Find the columns that are shown in what there is to look at."""
    names = list(config.variables)
    data = plain(task.data)
    is_table = list(config.variables.values()) == ["Table"]
    if isinstance(data, Mapping) and not (is_table and names[0] not in data):
        missing = [name for name in names if name not in data]
        if missing and data:
            raise ValueError(
                f"row {task.id!r}: expected a column {missing[0]!r}, as the config shows it, got {list(data)}"
            )
        return dict(data)
    if len(names) != 1:
        raise ValueError(f"row {task.id!r}: expected the columns {names}, as the config shows them, got one value")
    if is_table and not isinstance(data, Mapping):
        data = {"value": data} if data is not None else None
    return {names[0]: data}


def _address(path: Any, media: Media, where: str) -> str:
    """Make an address of a path, or check one."""
    if callable(media):
        text = media(path)
    elif media is not None and not str(path).startswith(_OPENED):
        if ".." in PurePosixPath(str(path)).parts:
            raise ValueError(f"{where}: expected a path inside the media folder, got {path!r}")
        text = f"{media.rstrip('/')}/{quote(str(path))}"
    else:
        text = str(path)
    if text and not text.lower().startswith(_OPENED):
        raise ValueError(f"{where}: expected an address that a browser opens, got {text!r}; media= makes one of a path")
    return text


def _number(values: Sequence[Any]) -> float:
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) != 1:
        raise ValueError(f"expected one number, got {values[0]!r}" if values else "expected one number, got none")
    return float(numbers[0])


def _class_of(name: Any, config: Config, classes: Mapping[str, Any]) -> Any:
    """Return what a class is called on our side."""
    value = str(name)
    if config.names is not None:
        if value not in config.names:
            raise ValueError(f"expected a class of the config, got {value!r}")
        value = config.names[value]
    if classes and value not in classes:
        raise ValueError(f"expected one of the classes, got {value!r}")
    return classes.get(value, value)
