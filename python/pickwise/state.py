"""What all reducers have in common: what they are asked for, what their chunks must agree on, and their bytes."""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.ids import as_excluded_ids, refuse_other_kind
from pickwise.options import as_k

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.ids import Ids
    from pickwise.strategies import Strategy

_KINDS = {"position": "no ids", "integer": "integer ids", "string": "string ids"}


class State(ABC):
    """The part of a reducer that is about rows of any kind.

    Attributes
    ----------
    strategy : Strategy
    k : int
    """

    strategy: Strategy
    _magic: bytes

    def __init__(self, k: int, exclude_ids: Any) -> None:
        self.k = as_k(k)
        self._exclude_ids = as_excluded_ids(exclude_ids, "exclude_ids")
        self._id_kind: str | None = None
        self._columns: Any = None

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many rows were taken."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Return all of the state, options included, for `from_bytes` on any machine."""

    def about(self) -> dict[str, Any]:
        """Tell what a state must have in common with this one to be gone on with, as JSON can hold it."""
        return {"strategy": repr(self.strategy), "k": self.k}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.strategy}, k={self.k}, rows={self.rows})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(),)  # type: ignore[attr-defined]

    def _check(self, kind: str, columns: Any, name: str) -> None:
        """Refuse rows that are of another make than those before them."""
        if self._id_kind is None:
            if self._exclude_ids is not None:
                refuse_other_kind(self._exclude_ids, strings=kind == "string")
        elif kind != self._id_kind:
            raise ValueError(f"{name}: expected {_KINDS[self._id_kind]}, as before, got {_KINDS[kind]}")
        elif columns != self._columns:
            raise ValueError(
                f"{name}: expected {self._described(self._columns)}, as before, got {self._described(columns)}"
            )

    def _described(self, columns: Any) -> str:
        """Say what all chunks must have in common, for messages."""
        return str(columns)

    def _refuse_unlike(self, other: object, **options: str) -> None:
        """Refuse to be merged with what is asked for something else; options are by their attributes."""
        if type(other) is not type(self):
            raise TypeError(f"merge: expected a {type(self).__name__}, got {type(other).__name__}")
        for attribute, what in (("strategy", "strategies"), ("k", "k"), *options.items()):
            mine, theirs = getattr(self, attribute), getattr(other, attribute)
            if mine != theirs:
                raise ValueError(f"merge: the reducers have different {what}: {mine} and {theirs}")

    def _header(self) -> dict[str, Any]:
        ids = self._exclude_ids
        return {
            "strategy": self.strategy.name,
            "options": self.strategy.options,
            "k": self.k,
            "exclude_ids": ids if ids is None or isinstance(ids, list) else ids.tolist(),
            "id_kind": self._id_kind,
            "columns": self._columns,
        }

    def _pack(self, header: dict[str, Any], state: bytes) -> bytes:
        content = json.dumps(header).encode() + b"\n" + state
        return self._magic + zlib.crc32(content).to_bytes(4) + content

    @classmethod
    def _unpack(cls, data: bytes) -> tuple[dict[str, Any], bytes]:
        start = len(cls._magic) + 4
        content = data[start:]
        if not data.startswith(cls._magic) or data[len(cls._magic) : start] != zlib.crc32(content).to_bytes(4):
            name = cls.__name__
            raise ValueError(f"from_bytes: expected what {name}.to_bytes returned; the bytes are damaged or others")
        text, _, state = content.partition(b"\n")
        return json.loads(text), state


def begins(name: str, positions: Any, locate: Callable[[int], str] | None) -> str:
    """Say what rows are called and, if it is known, where the first of them is."""
    if locate is None or positions is None:
        return name
    return f"{name}: {locate(positions if isinstance(positions, int) else int(positions[0]))}"


def id_kind(ids: Ids | None) -> str:
    """Say what rows are known by."""
    return "position" if ids is None else "string" if isinstance(ids, tuple) else "integer"


def digest(*arrays: NDArray[Any]) -> str:
    """Tell arrays from others."""
    import hashlib

    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()[:16]
