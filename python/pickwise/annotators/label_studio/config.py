"""Labelling configs of Label Studio: made of classes, and read for where the answer is."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pickwise.annotators.answers import LabelTask

DataKind: TypeAlias = Literal["text", "image", "audio", "table"]

KINDS: tuple[DataKind, ...] = ("text", "image", "audio", "table")

# With more classes than these there is a box to search among them.
_MANY = 20

_CONTROLS = {"Choices": "choices", "Number": "number", "Rating": "rating"}


@dataclass(frozen=True)
class Config:
    """What there is to know of a labelling config.

    Attributes
    ----------
    control : str
        The name of the tag in which people answer.
    shown : str
        The name of the tag that it is about.
    type : {"choices", "number", "rating"}
        What the answer is.
    is_multiple : bool
        Whether several classes may be chosen.
    names : mapping of str to str, or None
        What an answer may be, by how Label Studio writes it; None if the tasks have choices of their own.
    variables : mapping of str to str
        The columns of a task that are shown, and the tag that shows each.
    """

    control: str
    shown: str
    type: str
    is_multiple: bool
    names: Mapping[str, str] | None
    variables: Mapping[str, str]


def make_config(kind: DataKind, classes: Sequence[Any], task: LabelTask) -> str:
    """Write a config in which people choose between classes, or type a number.

    Parameters
    ----------
    kind : {"text", "image", "audio", "table"}
        What is shown, of the column of that name.
    classes : sequence
    task : {"multiclass", "multilabel", "regression"}

    Returns
    -------
    str
        XML.

    Examples
    --------
    >>> from pickwise.annotators.label_studio.config import make_config
    >>> print(make_config("text", ["ham", "spam & co"], "multiclass"))
    <View>
      <Text name="data" value="$text" />
      <Choices name="label" toName="data" choice="single-radio" required="true" showInline="true">
        <Choice value="ham" />
        <Choice value="spam &amp; co" />
      </Choices>
    </View>
    """
    view = ET.Element("View")
    options = {"zoom": "true", "zoomControl": "true"} if kind == "image" else {}
    ET.SubElement(view, kind.capitalize(), {"name": "data", "value": f"${kind}", **options})
    if task == "regression":
        ET.SubElement(view, "Number", {"name": "label", "toName": "data", "required": "true"})
    else:
        if len(classes) > _MANY:
            ET.SubElement(view, "Filter", {"name": "search", "toName": "label", "minlength": "0"})
        # Of several classes none may be right.
        how = {"choice": "multiple"} if task == "multilabel" else {"choice": "single-radio", "required": "true"}
        choices = ET.SubElement(view, "Choices", {"name": "label", "toName": "data", **how, "showInline": "true"})
        for name in classes:
            ET.SubElement(choices, "Choice", {"value": str(name)})
    ET.indent(view)
    return ET.tostring(view, encoding="unicode")


def read_config(xml: str, control: str | None, task: LabelTask) -> Config:
    """Read a config.

    Parameters
    ----------
    xml : str
    control : str, optional
        The name of the tag in which people answer; it may be left out where there is one only.
    task : {"multiclass", "multilabel", "regression"}

    Returns
    -------
    Config

    Raises
    ------
    ValueError
        If it is no XML, has no such tag, or another kind of it.
    """
    try:
        view = ET.fromstring(xml)  # noqa: S314 - expat limits what entities may grow to
    except ET.ParseError as error:
        raise ValueError(f"config: expected XML, got what is none ({error})") from None
    found = [tag for tag in view.iter() if tag.tag in _CONTROLS and control in (None, tag.get("name"))]
    if len(found) != 1:
        others = ", ".join(repr(tag.get("name")) for tag in view.iter() if tag.tag in _CONTROLS) or "none"
        wanted = f"called {control!r}" if control else "unless control= names one of several"
        raise ValueError(f"config: expected one tag {', '.join(_CONTROLS)}, {wanted}, got {others}")
    (tag,) = found
    kind = _CONTROLS[str(tag.tag)]
    is_multiple = tag.get("choice", "single") == "multiple"
    if (task == "regression") != (kind != "choices"):
        wanted = "a Number or a Rating" if task == "regression" else "Choices"
        raise ValueError(f"config: expected {wanted} for {task}, got {tag.tag} {tag.get('name')!r}")
    if kind == "choices" and is_multiple != (task == "multilabel"):
        raise ValueError(f"config: expected choice='{'multiple' if task == 'multilabel' else 'single'}' for {task}")
    choices: dict[str, str] = {}
    for choice in tag.iter("Choice"):
        value = choice.get("value") or ""
        choices[choice.get("alias") or value] = value
    variables = {
        value[1:]: str(each.tag)
        for each in view.iter()
        if (value := each.get("value") or "").startswith("$") and each.tag not in ("Choices", "Choice")
    }
    names = None if (tag.get("value") or "").startswith("$") else choices
    return Config(tag.get("name") or "", tag.get("toName") or "", kind, is_multiple, names, variables)


def is_same(xml: str, other: str) -> bool:
    """Whether two configs differ in nothing but blanks and the order of attributes."""
    try:
        return ET.canonicalize(xml, strip_text=True) == ET.canonicalize(other, strip_text=True)
    except ET.ParseError:
        return False
