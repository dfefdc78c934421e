"""What a request may say. One table: requests are checked by it, and the OpenAPI document is made of it."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pickwise.annotators.base import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST = 64 * 1024
"""Bytes of the body of a request."""

_NAMES = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_LONGEST_NAME = 100
_LONGEST_KEY = 2000
_MOST_KEYS = 100
_LARGEST_NUMBER = 2**53


class BadRequestError(ValueError):
    """A request that makes no sense."""


@dataclass(frozen=True)
class _Field:
    check: Callable[[Any], bool]
    expected: str
    schema: Mapping[str, Any]


def _is_text(value: Any, longest: int) -> bool:
    """Whether it is text that every database can hold."""
    return isinstance(value, str) and 0 < len(value) <= longest and not re.search("[\0\ud800-\udfff]", value)


def _is_name(value: Any) -> bool:
    is_text = _is_text(value, _LONGEST_NAME) and value == value.strip()
    return is_text and not any(unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") for each in value)


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and _NAMES.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST_NUMBER


def _is_class(value: Any) -> bool:
    return _is_text(value, _LONGEST_KEY) or (isinstance(value, float) and math.isfinite(value)) or _is_number(value)


def _is_label(value: Any) -> bool:
    return value is None or _is_class(value) or (isinstance(value, list) and all(map(_is_class, value)))


def _is_keys(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_KEYS and all(_is_text(each, _LONGEST_KEY) for each in value)


_TOKEN = {"type": "string", "pattern": f"^{_NAMES.pattern}$"}
_KEY = {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY}
_CLASS = [{"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY}, {"type": "number"}]
_FIELDS = {
    "annotator": _Field(
        _is_name,
        f"a name of 1 to {_LONGEST_NAME} characters",
        {"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME},
    ),
    "session": _Field(_is_token, "8 to 64 letters and digits", _TOKEN),
    "key": _Field(_is_token, "8 to 64 letters and digits", _TOKEN),
    "item": _Field(lambda value: _is_text(value, _LONGEST_KEY), "the key of a task", _KEY),
    "have": _Field(_is_keys, "a list of keys of tasks", {"type": "array", "maxItems": _MOST_KEYS, "items": _KEY}),
    "want": _Field(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 50,
        "a number from 0 to 50",
        {"type": "integer", "minimum": 0, "maximum": 50},
    ),
    "kind": _Field(
        lambda value: value in KINDS and value != "withdrawn",
        ", ".join(KINDS[:-1]),
        {"type": "string", "enum": list(KINDS[:-1])},
    ),
    "label": _Field(
        _is_label,
        "the name of a class, a list of them, or a number",
        {"anyOf": [*_CLASS, {"type": "array", "items": {"anyOf": _CLASS}}, {"type": "null"}]},
    ),
    "seconds": _Field(
        lambda value: value is None or (_is_number(value) and value >= 0),
        "a number of 0 or more",
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": _LARGEST_NUMBER}, {"type": "null"}]},
    ),
}

REQUESTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "/api/next": ("Renew rows, and get more", ("annotator", "session"), ("have", "want")),
    "/api/answer": (
        "Answer a row, and get more",
        ("annotator", "session", "item", "key", "kind"),
        ("label", "seconds", "have", "want"),
    ),
    "/api/undo": ("Take an answer back", ("annotator", "session", "item", "key"), ()),
    "/api/history": ("See what one has answered last", ("annotator",), ()),
}
"""What each of them does, which fields it needs, and which it may have."""


def read(path: str, body: bytes) -> dict[str, Any]:
    """Read the body of a request.

    Raises
    ------
    BadRequestError
        For anything but an object of the fields that there are.
    """
    try:
        found = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadRequestError("body: expected a JSON object in UTF-8") from None
    if not isinstance(found, dict):
        raise BadRequestError("body: expected a JSON object")
    _, needed, possible = REQUESTS[path]
    for name in needed:
        if name not in found:
            raise BadRequestError(f"{name}: expected {_FIELDS[name].expected}, got none")
    for name, value in found.items():
        if name not in needed and name not in possible:
            raise BadRequestError(f"body: expected {', '.join((*needed, *possible))}, and no other field")
        if not _FIELDS[name].check(value):
            raise BadRequestError(f"{name}: expected {_FIELDS[name].expected}")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def openapi() -> dict[str, Any]:
    """Describe the requests as OpenAPI does."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "pickwise label", "version": "1"},
        "security": [{"token": []}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/api/about": {"get": _operation("Tell what is labelled", ("200", "401", "403"))},
            **{path: {"post": _described(*told)} for path, told in REQUESTS.items()},
        },
    }


def _described(summary: str, needed: tuple[str, ...], possible: tuple[str, ...]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": list(needed),
        "properties": {name: _FIELDS[name].schema for name in (*needed, *possible)},
        "additionalProperties": False,
    }
    codes = ("200", "400", "401", "403", "404", "409", "413", "415", "422", "503")
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {**_operation(summary, codes), "requestBody": body}


def _operation(summary: str, codes: tuple[str, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {"summary": summary, "responses": {code: {"description": "JSON", "content": content} for code in codes}}
