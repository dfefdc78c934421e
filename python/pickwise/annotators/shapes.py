"""Files of tasks and answers in the shapes of other tools: Prodigy and doccano."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pickwise.annotators.base import Kind

Line = dict[str, Any]

# Where the row is, in a file of tasks: "id" is doccano's own number of it.
_ROW = "pickwise_id"

_ANSWERS = ("accept", "reject", "ignore")


def as_prodigy(line: Line, shown: Mapping[str, Any]) -> Line:
    """Lay a task out for Prodigy, which shows what is in ``meta`` below the text.

    Parameters
    ----------
    line : dict
        Of a file of tasks of our own.
    shown : mapping
        What there is to look at.

    Returns
    -------
    dict
    """
    meta: Line = {name: line[name] for name in ("round", "score", "why")}
    meta |= {f"p({name})": round(p, 3) for name, p in line["suggestions"].items()}
    return {**shown, "key": line["key"], _ROW: line["id"], "meta": meta}


def as_doccano(line: Line, shown: Mapping[str, Any]) -> Line:
    """Lay a task out for doccano, which shows one text and keeps the other columns."""
    text = shown["text"] if "text" in shown else "\n".join(f"{name}: {value}" for name, value in shown.items())
    return {"text": text, "label": [], "key": line["key"], _ROW: line["id"]}


def foreign(line: Line, file: str) -> Sequence[Any] | None:
    """Read a line of an export of Prodigy or doccano.

    Parameters
    ----------
    line : dict
    file : str
        The name of the file that it is in.

    Returns
    -------
    id, label, kind, annotator, seconds, key, updated_at
        None if the line has another shape. Several labels are a tuple; whether there may be several is not known here.

    Raises
    ------
    ValueError
        If it does not say which row it is about.
    """
    if line.get("answer") in _ANSWERS and ("_task_hash" in line or "_input_hash" in line):
        return _of_prodigy(line)
    if isinstance(line.get("label"), list) and "kind" not in line and ("Comments" in line or _ROW in line):
        return _of_doccano(line, file)
    return None


def _of_prodigy(line: Line) -> Sequence[Any]:
    row = _row(line, "Prodigy", "id")
    who = line.get("_annotator_id") or line.get("_session_id")
    # A view of choices has its answer in accept, one that asks of a single label in label.
    names = line.get("accept") if isinstance(line.get("accept"), list) else line.get("label")
    kinds: dict[str, Kind] = {
        "accept": "label",
        "ignore": "skip",
        "reject": "abstain" if "label" in line and "accept" not in line else "none_of_these",
    }
    kind = kinds[line["answer"]]
    if isinstance(names, list):
        names = tuple(names)
    return row, names if kind == "label" else None, kind, who, None, line.get("key"), line.get("_timestamp")


def _of_doccano(line: Line, file: str) -> Sequence[Any]:
    names = line["label"]
    if not names:
        return None, None, None, None, None, None, None
    row = _row(line, "doccano")
    # People who do not share a project are exported to a file each, by the name of their account.
    who = re.sub(r" ?\(\d+\)$", "", Path(file).stem)
    return row, tuple(names), "label", None if who in ("all", "") else who, None, line.get("key"), None


def _row(line: Line, tool: str, *more: str) -> Any:
    """Find the row in a line, or in what the tool keeps beside it."""
    places = [place for name in ("meta", "metadata") if isinstance(place := line.get(name), dict)]
    for name in (_ROW, *more):
        for place in (line, *places):
            if place.get(name) is not None:
                return place[name]
    raise ValueError(f"{_ROW}: expected the row, as {tool} keeps it of a file of tasks, got none")


SHAPES: dict[str, Callable[[Line, Mapping[str, Any]], Line]] = {"prodigy": as_prodigy, "doccano": as_doccano}
"""What lays out a line of a file of tasks, by the name of the tool; the files are JSON lines."""
